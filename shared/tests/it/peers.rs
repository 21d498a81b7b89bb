//! What other audit trails test or got wrong, and the eleven defects of the service that this one replaces.

use serde_json::{Value, json};
use shared::event::{Outcome, Quality, RetentionClass, Trust};
use shared::identity::Verdict;
use shared::policy::Router;
use shared::redact;

use crate::edge::{NOW_MS, Seen, changes, details, router, rule, token};
use crate::packs::{APP, SUPABASE};

/// An update with both sides.
fn update() -> Router {
    rule(&json!({
        "match": {"method": "POST", "path": "/r"},
        "before": {"get": "/r"},
        "changes": {"request": "request:", "fields": ["name", "tags", "config", "password", "when", "note"], "ignore": ["config.seen"]},
        "details": {"note": "request:/note", "error": "response:/error"},
        "claimed_user": ["request-header:x-user-id", "request:/user_id"],
    }))
}

fn changed(before: &Value, request: &Value) -> (Quality, Value) {
    let seen = Seen {
        before: Some(before.to_string().into_bytes()),
        ..Seen::of("POST", "/r", request, 200, &json!({}))
    };
    let event = seen.event(&update());
    (event.changes.as_ref().expect("changes").quality, changes(&event))
}

fn person(sub: &str) -> String {
    let claims = json!({"sub": sub, "email": format!("{sub}@example.com"), "role": "authenticated",
                        "exp": NOW_MS / 1000 + 60, "session_id": "s1"});
    token(&json!({"alg": "ES256", "kid": "k"}), &claims)
}

fn by(sub: &str) -> Seen {
    Seen::of("POST", "/r", &json!({"name": "x"}), 200, &json!({}))
        .header("authorization", &format!("Bearer {}", person(sub)))
}

fn kept(seen: &Seen, router: &Router) -> String {
    String::from_utf8_lossy(&seen.all_that_is_kept(router)).into_owned()
}

#[test]
fn c01_a_batch_over_the_limit_is_refused_with_both_numbers() {
    use shared::batch::{Body, MAX_EVENTS_PER_BATCH};
    for count in [101_u16, 5_000, u16::MAX] {
        let mut bytes = count.to_be_bytes().to_vec();
        bytes.resize(2 + usize::from(count) * 36, 0);
        let error = Body::parse(&bytes).expect_err("refused").to_string();
        assert_eq!(error, format!("body announces {count} events, over the limit of {MAX_EVENTS_PER_BATCH}"));
    }
    assert_eq!(MAX_EVENTS_PER_BATCH, 100);
}

#[test]
fn c03_addresses_are_of_either_family_and_what_is_none_is_not_recorded() {
    for (peer, want) in [
        ("192.0.2.7", Some("192.0.2.7")),
        ("2001:DB8::7", Some("2001:db8::7")),
        ("[2001:db8::7]:443", Some("2001:db8::7")),
        ("lol", None),
        ("999.1.1.1", None),
        ("", None),
    ] {
        let event = Seen { about: json!({"clientIp": peer}), ..by("u1") }.event(&update());
        assert_eq!(event.context.ip.map(|ip| ip.to_string()).as_deref(), want, "{peer}");
    }
    let nobody = Seen::of("POST", "/r", &json!({}), 200, &json!({})).event(&update());
    assert_eq!((nobody.trust, nobody.actor), (Trust::Anonymous, None), "nobody is said to be nobody");
}

#[test]
fn c27_a_password_is_masked_on_success_and_error_and_inside_nested_strings_and_urls() {
    let secret = "Tr0ub4dor-and-3";
    for note in [
        json!({"password": secret}),
        json!(json!({"password": secret}).to_string()),
        json!(json!({"inner": json!({"new_password": secret}).to_string()}).to_string()),
        json!(format!("postgres://bob:{secret}@db.example.com/x")),
        json!(format!("host=db user=bob password={secret}")),
        json!(format!("ALTER ROLE bob PASSWORD '{secret}'")),
        json!(format!("https://a.example.com/reset?password={secret}&x=1")),
        json!(format!("https%3A%2F%2Fa.example.com%2F%3Fpassword%3D{secret}")),
        json!(format!("invalid input: {{\"password\": \"{secret}\", \"mode\": 1}}")),
    ] {
        for status in [200, 400, 500] {
            let (request, response) = (json!({"note": note, "password": secret}), json!({"error": note}));
            let kept = kept(&Seen::of("POST", "/r", &request, status, &response), &update());
            assert!(!kept.contains(secret) && !kept.contains("Tr0ub4"), "{status}: {note}");
        }
    }
}

#[test]
fn c29_an_update_that_changes_nothing_says_so_exactly() {
    let same = json!({"name": "a", "tags": ["x", "y"], "config": {"deep": {"n": 1}}});
    assert_eq!(changed(&same, &same), (Quality::Exact, json!({})));
    let noise =
        changed(&json!({"config": {"seen": 1, "on": true}}), &json!({"config": {"seen": 2, "on": true}}));
    assert_eq!(noise, (Quality::Exact, json!({})));
}

#[test]
fn c29_a_masked_field_shows_that_it_changed_and_not_its_value() {
    let (_, fields) = changed(&json!({"password": "old-secret"}), &json!({"password": "new-secret"}));
    assert_eq!(fields, json!({"password": {"changed": true}}));
}

#[test]
fn c29_json_is_compared_by_its_members_and_lists_by_what_came_and_went() {
    let (quality, fields) = changed(
        &json!({"config": {"ai": {"temp": 1, "model": "a"}}, "tags": ["x", "y"], "name": null}),
        &json!({"config": {"ai": {"temp": 2, "model": "a"}}, "tags": ["y", "z"], "name": "n"}),
    );
    assert_eq!(quality, Quality::Exact);
    assert_eq!(
        fields,
        json!({
            "config.ai.temp": {"from": 1, "to": 2},
            "tags": {"added": ["z"], "removed": ["x"]},
            "name": {"from": null, "to": "n"},
        })
    );
    let (_, cleared) = changed(&json!({"tags": ["x", "y"]}), &json!({"tags": []}));
    assert_eq!(cleared, json!({"tags": {"added": [], "removed": ["x", "y"]}}));
}

#[test]
fn c29_a_thing_without_a_key_is_recorded_all_the_same() {
    let router = rule(&json!({"entity": {"type": "thing", "id": "response:/id", "name": "response:/name"}}));
    for id in [json!(null), json!("")] {
        let answer = json!({"id": id, "name": "n"});
        let entity = Seen::of("POST", "/r", &json!({}), 200, &answer).event(&router).entity.expect("a thing");
        assert_eq!((entity.kind.as_str(), entity.id, entity.name.as_deref()), ("thing", None, Some("n")));
    }
    let absent = Seen::of("POST", "/r", &json!({}), 200, &json!({})).event(&router).entity.expect("a thing");
    assert_eq!((absent.id, absent.name), (None, None));
}

#[test]
fn c29_nobody_of_one_exchange_is_left_over_for_the_next() {
    let router = update();
    assert_eq!(by("u1").event(&router).actor.map(|actor| actor.id).as_deref(), Some("u1"));
    let broken = Seen { request: b"\xff".to_vec(), ..by("u2") };
    assert_eq!(broken.event(&router).actor.map(|actor| actor.id).as_deref(), Some("u2"));
    let nobody = Seen::of("POST", "/r", &json!({}), 500, &json!({}));
    assert_eq!(nobody.event(&router).actor, None);
}

#[test]
fn c30_schedules_and_webhooks_act_as_themselves_and_a_self_signup_as_who_signed_up() {
    for word in ["cron", "webhook", "queue"] {
        let router = rule(&json!({"system": word}));
        let event = Seen::of("POST", "/r", &json!({}), 200, &json!({})).event(&router);
        assert_eq!((event.trust, event.actor.map(|actor| actor.id).as_deref()), (Trust::System, Some(word)));
        let refused = Seen::of("POST", "/r", &json!({}), 401, &json!({})).event(&router);
        assert_eq!((refused.trust, refused.actor), (Trust::Anonymous, None), "anybody can call");
    }
    let signup = rule(&json!({"actor_token": "response:/access_token"}));
    let answer = json!({"access_token": person("new")});
    let event = Seen::of("POST", "/r", &json!({}), 200, &answer).event(&signup);
    assert_eq!((event.trust, event.actor.map(|actor| actor.id).as_deref()), (Trust::Verified, Some("new")));
}

#[test]
fn c32_a_token_with_a_forged_subject_or_an_expired_one_never_makes_a_verified_user() {
    for verdict in [Verdict::Invalid, Verdict::Unavailable] {
        let event = Seen { verdict, ..by("victim") }.event(&update());
        assert_eq!(event.trust, Trust::Asserted, "{verdict:?}");
    }
    let expired =
        token(&json!({"alg": "ES256", "kid": "k"}), &json!({"sub": "u1", "exp": NOW_MS / 1000 - 1}));
    let seen = Seen::of("POST", "/r", &json!({}), 200, &json!({}))
        .header("authorization", &format!("Bearer {expired}"));
    assert_eq!(seen.event(&update()).trust, Trust::Asserted);
}

#[test]
fn c39_every_secret_shaped_name_is_masked_at_every_depth() {
    let names = [
        "password",
        "newPassword",
        "API-KEY",
        "client_secret",
        "refresh_token",
        "accessToken",
        "set-cookie",
        "otp",
        "totp_secret",
        "private_key",
        "passphrase",
        "credentials",
        "code_verifier",
        "recovery_codes",
        "pin",
        "jwt",
        "service_role_key",
        "webhook_signature",
        "authorization",
    ];
    let mut value = json!({"n": 1});
    for name in names {
        assert!(redact::is_secret_name(name), "{name}");
        value = json!({name: "walked-secret", "items": [value], name.to_uppercase(): ["walked-secret"]});
    }
    assert!(!redact::value("note", &value).to_string().contains("walked-secret"));
}

#[test]
fn c40_what_is_masked_in_one_place_stands_in_no_other() {
    let secret = "nf_live_0123456789abcdef0123456789abcdef";
    let seen = Seen {
        query: format!("key={secret}&note={secret}"),
        ..Seen::of(
            "POST",
            "/r",
            &json!({"note": secret, "name": secret, "user_id": secret}),
            400,
            &json!({"error": secret}),
        )
    }
    .header("user-agent", &format!("client {secret}"))
    .header("x-user-id", secret);
    let router = rule(&json!({
        "entity": {"type": "t", "id": "request:/note", "name": "query:note"},
        "claimed_user": ["request-header:x-user-id"],
        "details": {"all": "request:", "error": "response:/error", "query": "query:key", "text": "request-text"},
    }));
    assert!(!kept(&seen, &router).contains("0123456789ab"));
}

#[test]
fn c41_a_secret_under_a_plain_name_is_kept_back_by_its_rule() {
    let request = json!({"name": "stripe", "value": "plain words nobody could tell from prose"});
    let router = rule(&json!({"details": {"name": "request:/name", "value": "fingerprint(request:/value)"}}));
    let seen = Seen::of("POST", "/r", &request, 200, &json!({}));
    let event = seen.event(&router);
    let hash = details(&event)["value"].as_str().expect("a fingerprint").to_owned();
    assert!(hash.starts_with("hmac:") && hash.len() == 21, "{hash}");
    assert!(!kept(&seen, &router).contains("plain words"));
    let unnamed = rule(&json!({"details": {"name": "request:/name"}}));
    assert!(!kept(&seen, &unnamed).contains("plain words"), "what no rule names does not leave");
}

#[test]
fn c42_forwarding_headers_are_ignored_where_the_platform_does_not_set_them() {
    let forged = by("u1")
        .header("x-forwarded-for", "6.6.6.6")
        .header("cf-connecting-ip", "6.6.6.6")
        .header("x-real-ip", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6");
    let event = forged.event(&update());
    assert_eq!(event.context.ip.map(|ip| ip.to_string()).as_deref(), Some("198.51.100.9"));
    let cloudflare =
        Seen { platform: "cloudflare", about: json!({}), ..by("u1").header("x-forwarded-for", "6.6.6.6") };
    assert_eq!(cloudflare.event(&update()).context.ip, None);
}

#[test]
fn c45_every_cap_that_is_hit_says_so() {
    let long = "word ".repeat(2_000);
    let items: Vec<u32> = (0..500).collect();
    let members: serde_json::Map<String, Value> = (0..500).map(|n| (format!("k{n:03}"), json!(n))).collect();
    let request = json!({"text": long, "items": items, "members": members, "huge": vec![long.clone(); 90]});
    let take = json!({"details": {"text": "request:/text", "items": "request:/items", "members": "request:/members", "huge": "request:/huge"}});
    let details = details(&Seen::of("POST", "/r", &request, 200, &json!({})).event(&rule(&take)));
    assert!(details["text"].as_str().is_some_and(|text| text.ends_with("… [10000 characters]")));
    assert_eq!(details["items"][100], "… 400 more");
    assert_eq!(details["members"]["…"], "400 more");
    assert!(details["huge"].as_str().is_some_and(|text| text.starts_with("[left out: ")));
}

// The incumbent's defects, as far as the edge can show that they are gone.

#[test]
fn incumbent_01_a_session_is_never_a_token_nor_a_piece_of_one() {
    let nameless =
        token(&json!({"alg": "ES256", "kid": "k"}), &json!({"sub": "u1", "exp": NOW_MS / 1000 + 60}));
    for jwt in [person("u1"), nameless] {
        for name in ["authorization", "cookie"] {
            let value = match name {
                "cookie" => format!(
                    "sb-access-token={jwt}; sb-refresh-token=v1.refresh-abcdef; sb-r-auth-token=%5B%22{jwt}%22%5D"
                ),
                _ => format!("Bearer {jwt}"),
            };
            let seen = Seen::of("POST", "/r", &json!({}), 200, &json!({})).header(name, &value);
            let session = seen.event(&update()).context.session.expect("a session");
            assert!(session == "s1" || session.starts_with("hmac:"), "{session}");
            let kept = kept(&seen, &update());
            assert!(
                jwt.as_bytes()
                    .windows(12)
                    .all(|piece| !kept.contains(core::str::from_utf8(piece).expect("ASCII")))
            );
            assert!(!kept.contains("refresh-abcdef"));
        }
    }
}

#[test]
fn incumbent_02_an_event_is_complete_when_its_exchange_ends_and_waits_in_no_queue_of_its_own() {
    let seen = by("u1");
    let kept = seen.all_that_is_kept(&update());
    assert_eq!(
        kept,
        seen.all_that_is_kept(&update()),
        "the same exchange gives the same bytes, as often as it is asked"
    );
    assert!(!kept.is_empty());
}

#[test]
fn incumbent_03_every_field_is_committed_to_under_a_salt_of_its_own() {
    use shared::leaf::{Seed, digest};
    let event = by("u1").event(&update());
    let of = |event: &shared::event::Event, seed: u8| digest(&event.to_opening(Seed([seed; 32])));
    let whole = of(&event, 1);
    assert_ne!(whole, of(&event, 2), "who knows the values cannot recompute the digest without the seed");
    let mut other = event.clone();
    other.context.user_agent = Some("another".to_owned());
    assert_ne!(whole, of(&other, 1));
    other = event.clone();
    other.changes = None;
    assert_ne!(whole, of(&other, 1));
    other = event.clone();
    other.actor = None;
    assert_ne!(whole, of(&other, 1));
}

#[test]
fn incumbent_04_a_user_id_in_a_header_or_body_is_a_claim_and_never_the_actor() {
    let victim = "11111111-1111-4111-8111-111111111111";
    let forged =
        Seen::of("POST", "/r", &json!({"user_id": victim}), 200, &json!({})).header("x-user-id", victim);
    let event = forged.event(&update());
    assert_eq!((event.trust, event.actor), (Trust::Anonymous, None));
    assert_eq!(event.claimed_user.map(|claimed| claimed.id).as_deref(), Some(victim));
    let events = by("22222222-2222-4222-8222-222222222222").header("x-user-id", victim).events(&update());
    let names: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(names, ["R", "IDENTITY_MISMATCH"]);
    assert!(
        events.iter().all(|event| event.actor.as_ref().is_some_and(|actor| actor.id.starts_with("2222")))
    );
}

#[test]
fn incumbent_05_the_first_hop_of_x_forwarded_for_is_not_the_address() {
    let event = by("u1").header("x-forwarded-for", "6.6.6.6, 10.0.0.1").event(&update());
    assert_eq!(event.context.ip.map(|ip| ip.to_string()).as_deref(), Some("198.51.100.9"));
}

#[test]
fn incumbent_06_a_role_that_users_write_into_their_own_metadata_is_not_their_role() {
    let claims = json!({"sub": "u1", "role": "authenticated", "exp": NOW_MS / 1000 + 60,
                        "user_metadata": {"role": "admin"}, "raw_user_meta_data": {"role": "admin"}});
    let jwt = token(&json!({"alg": "ES256", "kid": "k"}), &claims);
    let seen =
        Seen::of("POST", "/r", &json!({}), 200, &json!({})).header("authorization", &format!("Bearer {jwt}"));
    assert_eq!(seen.event(&update()).actor.and_then(|actor| actor.role).as_deref(), Some("authenticated"));
}

#[test]
fn incumbent_07_the_actor_is_part_of_the_event_and_not_a_reference_that_a_deletion_empties() {
    use shared::event::Event;
    use shared::leaf::{Opening, Seed};
    let event = by("u1").event(&update());
    let bytes = event.to_opening(Seed([1; 32])).encode();
    let read = Event::from_opening(&Opening::decode(&bytes).expect("an opening")).expect("an event");
    let actor = read.actor.expect("kept");
    assert_eq!((actor.id.as_str(), actor.email.as_deref()), ("u1", Some("u1@example.com")));
}

#[test]
fn incumbent_08_who_acted_and_who_was_named_are_both_kept_so_an_export_finds_either() {
    let victim = "11111111-1111-4111-8111-111111111111";
    let event = &by("u1").header("x-user-id", victim).events(&update())[0];
    assert_eq!(event.actor.as_ref().map(|actor| actor.id.as_str()), Some("u1"));
    assert_eq!(event.claimed_user.as_ref().map(|claimed| claimed.id.as_str()), Some(victim));
}

#[test]
fn incumbent_09_changes_names_and_ids_are_fields_of_their_own_that_erasure_can_reach() {
    use shared::leaf::Seed;
    let seen = Seen { before: Some(json!({"name": "Alice"}).to_string().into_bytes()), ..by("u1") };
    let opening = seen.event(&update()).to_opening(Seed([1; 32]));
    let structure = &opening.fields()[0];
    let stays = String::from_utf8_lossy(&structure.value).into_owned();
    for personal in ["u1@", "\u{1}u1", "Alice", "198.51.100"] {
        assert!(!stays.contains(personal), "what stays as long as the event names nobody: {personal}");
    }
}

#[test]
fn incumbent_10_a_critical_event_has_a_class_with_an_end() {
    for (severity, class) in [
        ("info", RetentionClass::Standard),
        ("warning", RetentionClass::Standard),
        ("critical", RetentionClass::Critical),
    ] {
        let event =
            Seen::of("POST", "/r", &json!({}), 200, &json!({})).event(&rule(&json!({"severity": severity})));
        assert_eq!(event.class, class, "{severity}");
    }
}

#[test]
fn incumbent_11_redaction_reaches_every_depth_and_every_copy_and_there_is_no_unredacted_summary() {
    let secret = "sk_live_redact_me_everywhere_0001";
    let request = json!({"name": "n", "config": {"_created": {"api_key": secret}, "list": [{"deep": {"apiKey": secret}}]}});
    let before = json!({"name": "n", "config": {"_deleted": {"api_key": secret}}});
    let seen = Seen {
        before: Some(before.to_string().into_bytes()),
        ..Seen::of(
            "POST",
            "/r",
            &request,
            200,
            &json!({"error": format!("changed api_key from 'x' to '{secret}'")}),
        )
    };
    assert!(!kept(&seen, &update()).contains("redact_me_every"));
}

#[test]
fn c18_the_first_rule_that_fits_wins_and_what_none_names_is_still_seen() {
    let router = router(&[APP, SUPABASE]);
    let seen =
        Seen::of("POST", "/api/nobody/thought/of/this/42", &json!({"secret_plan": "x"}), 200, &json!({}));
    let event = seen.event(&router);
    assert_eq!((event.action.as_str(), event.outcome), ("UNMAPPED_MUTATION", Outcome::Success));
    assert!(event.details.is_none() && event.changes.is_none());
}
