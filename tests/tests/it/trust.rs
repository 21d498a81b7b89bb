//! Who acted: only what a signature proves is verified.

use tests::keys::{Alg, Keys};
use tests::replay::Session;
use tests::wire::Call;

use crate::scene::{SOON, Scene, Setup, alice, creation};

#[tokio::test]
async fn only_a_good_signature_on_a_current_token_makes_an_actor_verified() {
    let keys = Keys::generate();
    let now = tests::clock::unix_now();
    let cases = [
        ("es256", keys.sign(&alice(), Alg::Es256), "verified"),
        ("rs256", keys.sign(&alice(), Alg::Rs256), "verified"),
        ("hs256", keys.sign(&alice(), Alg::Hs256), "verified"),
        ("forged-es256", keys.forged(&alice(), Alg::Es256), "asserted"),
        ("forged-rs256", keys.forged(&alice(), Alg::Rs256), "asserted"),
        ("forged-hs256", keys.forged(&alice(), Alg::Hs256), "asserted"),
        ("expired", keys.expired(&alice(), Alg::Es256, now), "asserted"),
        ("unsigned", keys.unsigned(&alice()), "asserted"),
        ("wrong-kid", keys.wrong_kid(&alice()), "asserted"),
        ("anon", keys.api_key("anon"), "anonymous"),
        ("service", keys.api_key("service_role"), "service"),
        ("nonsense", "not.a.token".to_owned(), "anonymous"),
    ];
    let creations: Vec<_> = cases.iter().map(|(name, _, _)| creation(name)).collect();
    let exchanges = creations.iter().map(|(exchange, _)| exchange.clone()).collect();
    let scene = Scene::start(&keys, exchanges, Setup::default()).await;

    for ((name, token, _), (_, call)) in cases.iter().zip(&creations) {
        let answer = scene.app(&call.clone().header("authorization", format!("Bearer {token}"))).await;
        assert_eq!(answer.status, 201, "{name}");
    }
    let events = scene.at_least(cases.len(), SOON).await;
    for (name, _, trust) in cases {
        let event =
            events.iter().find(|event| event["entity"]["name"] == name).expect("each one is recorded");
        assert_eq!(event["trust"], trust, "{name}");
        if trust == "verified" {
            assert_eq!(event["actor"]["id"], alice()["sub"], "{name}");
            assert_eq!(event["context"]["session"], alice()["session_id"], "{name}");
        }
    }
}

#[tokio::test]
async fn the_session_cookie_names_the_actor_in_every_form_and_a_header_only_claims() {
    let keys = Keys::generate();
    let token = keys.sign(&alice(), Alg::Es256);
    let session =
        serde_json::json!({"access_token": token, "refresh_token": "r", "user": {"bio": "x".repeat(5000)}});
    let chunked = Session::new("sb-ref-auth-token", session.to_string());
    let cookies: Vec<String> =
        chunked.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert!(cookies.len() > 1, "long enough for chunks");
    let plain = format!("sb-ref-auth-token=[\"{token}\",\"r\",null]");
    let forms = [("chunked", cookies.join("; ")), ("array", plain)];
    let creations: Vec<_> = forms.iter().map(|(name, _)| creation(name)).collect();
    let (claim, claim_call) = creation("claimed");
    let exchanges = creations.iter().map(|(exchange, _)| exchange.clone()).chain([claim]).collect();
    let scene = Scene::start(&keys, exchanges, Setup::default()).await;

    for ((_, cookie), (_, call)) in forms.iter().zip(&creations) {
        scene.app(&call.clone().header("cookie", cookie.clone())).await;
    }
    let bob = "22222222-2222-4222-8222-222222222222";
    scene.app(&Call { ..claim_call }.header("x-user-id", bob)).await;
    let events = scene.at_least(3, SOON).await;
    let of = |name: &str| events.iter().find(|event| event["entity"]["name"] == name).expect("recorded");
    for (name, _) in forms {
        assert_eq!(
            (&of(name)["trust"], &of(name)["actor"]["email"]),
            (&"verified".into(), &"alice@example.com".into())
        );
    }
    let claimed = of("claimed");
    assert_eq!((&claimed["trust"], &claimed["actor"]), (&"anonymous".into(), &serde_json::Value::Null));
    assert_eq!(claimed["claimed_user"], serde_json::json!({"id": bob, "source": "header:x-user-id"}));
}
