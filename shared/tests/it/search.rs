//! The search grammar: what people write is understood as they mean it, and nothing they write breaks it.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use shared::event::{Outcome, Quality, RetentionClass, Severity, Timestamp, Trust};
use shared::search::{
    EntityPattern, Expr, Facet, MAX_DEPTH, MAX_TERMS, MAX_TEXT_LEN, Moment, Network, NumberField, OneOf,
    Part, Pattern, Query, Range, Span, Term, TextField, Unit, When, add, complete, parse, remove,
};
use uuid::Uuid;

/// The canonical text of a text that is understood as a whole.
fn canonical(text: &str) -> String {
    let parsed = parse(text);
    assert_eq!(parsed.diagnostics, [], "{text}");
    parsed.query.to_string()
}

/// The parts of a text that are refused, each with what is said.
fn refused(text: &str) -> Vec<(String, String)> {
    let parsed = parse(text);
    parsed.diagnostics.into_iter().map(|it| (text[it.start..it.end].to_owned(), it.message)).collect()
}

#[test]
fn every_way_of_writing_has_one_canonical_form() {
    for (text, expected) in [
        ("", ""),
        ("  \t ", ""),
        // Names of fields and words of closed sets in any case; actions in the application's spelling.
        ("ACTION:agent_created Severity:WARNING", "action:AGENT_CREATED severity:warning"),
        ("action:AGENT_*", "action:AGENT_*"),
        ("action:*_deleted,user_*_failed", "action:*_DELETED,USER_*_FAILED"),
        ("action:(A OR B)", "action:A,B"),
        ("action:(A B, C)", "action:A,B,C"),
        ("-action:A NOT outcome:failure NOT NOT x", "-action:A -outcome:failure x"),
        ("NOT (a OR b)", "-(a OR b)"),
        ("(a b)", "a b"),
        ("a AND b", "a b"),
        // OR binds tighter than what stands beside it.
        ("a b OR c d", "a b OR c d"),
        ("a (b OR c) d", "a b OR c d"),
        ("(a b) OR c", "(a b) OR c"),
        ("a OR (b OR c)", "a OR b OR c"),
        ("severity:>=warning", "severity:>=warning"),
        ("severity:>info", "severity:>=warning"),
        ("severity:info..warning", "severity:info..warning"),
        ("status:4xx", "status:400..499"),
        ("status:>499", "status:>=500"),
        ("status:400..*", "status:>=400"),
        ("status:404,409", "status:404,409"),
        ("duration:>500", "duration:>=501"),
        ("duration:1s..2s", "duration:1000..2000"),
        ("duration:<=250ms", "duration:<=250"),
        ("ip:203.0.113.9/24", "ip:203.0.113.0/24"),
        ("ip:203.0.113.9/32 ip:2001:DB8::1/32", "ip:203.0.113.9 ip:2001:db8::/32"),
        (
            "entity:Agent/123 entity:agent/* entity:agent entity:*/7",
            "entity:agent/123 entity:agent/* entity:agent entity:*/7",
        ),
        ("entity:agent/a/b", "entity:agent/a/b"),
        ("entity.name:\"Invoice bot\"", "name:\"Invoice bot\""),
        ("name:\"Invoice \"*", "name:\"Invoice \"*"),
        (r"name:Invoice\ bot name:a\*b", r#"name:"Invoice bot" name:"a*b""#),
        ("path:/api/agents/{id}", "route:/api/agents/{id}"),
        ("changes:exact is:FAILED has:changes", "quality:exact is:failed has:changes"),
        (
            "country:de method:post compliance:soc2 host:APP.example.com",
            "country:DE method:POST compliance:SOC2 host:app.example.com",
        ),
        (r#"free "two words" "OR" "a:b" "say \"hi\"""#, r#"free "two words" "OR" "a:b" "say \"hi\"""#),
        ("inv*bot", r#""inv"*"bot""#),
        ("naïve 日本", "naïve 日本"),
        ("id:019A0000-0000-7000-8000-000000000000", "id:019a0000-0000-7000-8000-000000000000"),
        ("batch:17", "batch:17"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn times_are_utc_unless_an_offset_stands_there_and_a_date_at_the_end_of_a_range_is_within() {
    for (text, expected) in [
        ("after:2026-01-01", "after:2026-01-01"),
        ("since:2026-01-01T12:00", "after:2026-01-01T12:00:00.000Z"),
        ("before:2026-01-01T00:30+01:00", "before:2025-12-31T23:30:00.000Z"),
        ("before:2026-01-01T01:00:00.250-0530", "before:2026-01-01T06:30:00.250Z"),
        ("on:2026-01-31", "on:2026-01-31"),
        ("on:2026-02", "at:2026-02-01..2026-02-28"),
        ("on:2028", "at:2028-01-01..2028-12-31"),
        ("at:2026-01-01..2026-02-01", "at:2026-01-01..2026-02-01"),
        ("at:2026-01-01..2026-01-01", "on:2026-01-01"),
        ("at:2026-01-01T10:00", "at:2026-01-01T10:00:00.000Z..2026-01-01T10:01:00.000Z"),
        ("at:2026-01-01..2026-01-02T10:00Z", "at:2026-01-01..2026-01-02T10:00:00.000Z"),
        ("at:2026-01-01..", "after:2026-01-01"),
        ("at:..2026-01-31", "before:2026-02-01"),
        ("after:-7d before:now", "last:7d before:now"),
        ("last:24H", "last:24h"),
        ("at:-2w..-1w", "at:-2w..-1w"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
}

#[test]
fn the_window_is_what_all_times_leave_at_a_time_that_is_passed_in() {
    let at =
        |text: &str| Timestamp::from(chrono::DateTime::parse_from_rfc3339(text).expect("a time").to_utc());
    let now = at("2026-03-10T12:00:00Z");
    for (text, from, to) in [
        ("x", None, None),
        ("last:24h", Some("2026-03-09T12:00:00Z"), None),
        ("last:24h after:2026-03-10", Some("2026-03-10T00:00:00Z"), None),
        ("on:2026-03-01", Some("2026-03-01T00:00:00Z"), Some("2026-03-02T00:00:00Z")),
        ("before:-1d before:2026-01-01", None, Some("2026-01-01T00:00:00Z")),
        ("last:60000w", Some("1970-01-01T00:00:00Z"), None),
        // Neither bounds the whole.
        ("after:2026-03-01 OR x", None, None),
        ("-before:2026-03-01", None, None),
    ] {
        let window = parse(text).query.window(now);
        assert_eq!((window.from, window.to), (from.map(at), to.map(at)), "{text}");
    }
}

#[test]
fn what_is_not_understood_is_shown_in_its_place_and_the_rest_still_runs() {
    for (text, rest, part, message) in [
        ("severty:warning x", "x", "severty", "there is no field severty; did you mean severity?"),
        ("colour:red x", "x", "colour", "there is no field colour"),
        (
            "outcome:failed x",
            "x",
            "failed",
            "outcome is one of success, failure, unknown; did you mean failure?",
        ),
        ("outcome:(failed OR unknown)", "outcome:unknown", "failed", "outcome is one of"),
        ("severity:>critical x", "x", ">critical", "nothing lies there"),
        ("status:5oo x", "x", "5oo", "a status is a number"),
        ("status:70000", "", "70000", "a status is a number"),
        ("status:500..400", "", "500..400", "this range ends before it begins"),
        ("duration:fast", "", "fast", "a duration is"),
        ("ip:1.2.3 x", "x", "1.2.3", "an address is such as"),
        ("ip:1.2.3.4/33", "", "1.2.3.4/33", "an address is such as"),
        ("action:agent.created x", "x", "agent.created", "an action is made of"),
        ("entity:äpfel/1", "", "äpfel/1", "an entity is type/id"),
        ("name:>x y", "y", ">x", "this field has no order"),
        ("after:yesterday x", "x", "yesterday", "a time is such as"),
        ("on:2026-02-30", "", "2026-02-30", "a time is such as"),
        ("after:1969-12-31", "", "1969-12-31", "a time is such as"),
        ("at:2026-02-01..2026-01-01", "", "2026-02-01..2026-01-01", "this range ends before it begins"),
        ("on:2026-01-01,2026-01-02", "on:2026-01-01", "2026-01-02", "a time takes one value"),
        ("last:-7d", "", "-7d", "a span is such as"),
        ("id:7 x", "x", "7", "an id is a UUID"),
        ("action: x", "x", "action:", "action needs a value"),
        ("action:() x", "x", "action:()", "action needs a value"),
        ("action:\"\" x", "x", "\"\"", "a value is not empty"),
        ("name:a\0b x", "x", "a\0b", "a value is not empty and holds no NUL"),
        ("\"\" x", "x", "\"\"", "there is nothing to look for"),
        ("x \"open end", "x \"open end\"", "\"open end", "nothing closes this quote"),
        ("(a OR b", "a OR b", "(", "nothing closes this"),
        ("action:(a b", "action:A,B", "(", "nothing closes this"),
        ("a) b", "a b", ")", "nothing is open that this closes"),
        ("OR a", "a", "OR", "OR stands between two terms"),
        ("a OR", "a", "OR", "OR stands between two terms"),
        ("a OR severty:x", "a", "severty", "there is no field"),
        ("a -", "a", "-", "nothing follows that this negates"),
        ("a - b", "a b", "-", "nothing follows that this negates"),
        ("a NOT", "a", "NOT", "nothing follows that this negates"),
        ("action:(a (b) c)", "action:A,C", "(b)", "a list of values holds no other list"),
    ] {
        let found = refused(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert_eq!(found[0].0, part, "{text}");
        assert!(found[0].1.starts_with(message), "{text}: {}", found[0].1);
        assert_eq!(parse(text).query.to_string(), rest, "{text}");
    }
    let suggestion = parse("severty:x").diagnostics[0].suggestion.clone();
    assert_eq!(suggestion.as_deref(), Some("severity"), "it can take the refused part's place");
}

#[test]
fn limits_are_reported_and_what_is_within_them_runs() {
    let long = format!("first {}", "word ".repeat(MAX_TEXT_LEN));
    let parsed = parse(&long);
    assert_eq!(parsed.diagnostics.last().map(|it| it.end), Some(long.len()));
    assert!(parsed.query.to_string().starts_with("first word"));
    let unbroken = "é".repeat(MAX_TEXT_LEN);
    assert_eq!(parse(&unbroken).query, Query::default(), "half a word is not looked for");

    let many: Vec<String> = (0..=MAX_TERMS).map(|n| format!("w{n}")).collect();
    let parsed = parse(&many.join(" "));
    assert_eq!((parsed.query.conjuncts().len(), parsed.diagnostics.len()), (MAX_TERMS, 1));
    let listed = parse(&format!("action:{}", "A,".repeat(MAX_TERMS + 9)));
    assert_eq!(listed.diagnostics.len(), 1);

    let nested = |depth: usize| format!("x {}y{}", "-(".repeat(depth), ")".repeat(depth));
    assert_eq!(canonical(&nested(MAX_DEPTH)), "x y");
    let parsed = parse(&nested(MAX_DEPTH + 1));
    assert_eq!((parsed.query.to_string().as_str(), parsed.diagnostics.len()), ("x", 1));
    assert_eq!(parse(&"(".repeat(MAX_TEXT_LEN)).query, Query::default());
    assert_eq!(parse(&"-".repeat(MAX_TEXT_LEN)).query, Query::default());
}

#[test]
fn names_of_fields_are_offered_and_then_their_words() {
    for (text, words, written) in [
        ("sev", vec!["severity:"], "sev"),
        ("x -ou", vec!["outcome:"], "ou"),
        ("outcome:f", vec!["failure"], "f"),
        ("severity:>=w", vec!["warning"], "w"),
        ("outcome:failure,u", vec!["unknown"], "u"),
        ("is:(failed OR unm", vec!["unmapped"], "unm"),
        ("x (tru", vec!["trust:"], "tru"),
        ("actor:al", vec![], "al"),
        ("\"sev", vec![], ""),
    ] {
        let found = complete(text, text.len());
        assert_eq!(found.words, words, "{text}");
        assert_eq!(&text[found.start..found.end], written, "{text}");
    }
    assert!(complete("", 0).words.contains(&"action:".to_owned()));
    assert_eq!(complete("sev x", 3).words, ["severity:"]);
}

#[test]
fn conditions_are_put_into_a_text_and_taken_out_of_it_and_the_rest_stays_as_written() {
    let one = |text: &str| parse(text).query.conjuncts()[0].clone();
    let failed = one("outcome:failure");
    assert_eq!(add("Actor:Alice   last:24H", &failed), "Actor:Alice   last:24H outcome:failure");
    assert_eq!(add("", &failed), "outcome:failure");
    assert_eq!(add("OUTCOME:failure x", &failed), "OUTCOME:failure x", "it is there already");
    assert_eq!(add("x -outcome:failure", &failed), "x outcome:failure", "the contrary goes");
    assert_eq!(add("x \"open", &failed), "x open outcome:failure", "nothing swallows it");
    assert_eq!(add("a OR", &failed), "a outcome:failure");
    assert_eq!(remove("Actor:Alice  OUTCOME:failure  x", &failed), "Actor:Alice x");
    assert_eq!(remove("outcome:failure", &failed), "");
    assert_eq!(remove("a OR outcome:failure", &failed), "a OR outcome:failure");
    assert_eq!(remove("x a OR b y", &one("a OR b")), "x y");
    let chips: Vec<_> = parse("a b OR c -d").chips.iter().map(|chip| (chip.start, chip.end)).collect();
    assert_eq!(chips, [(0, 1), (2, 8), (9, 11)]);
}

/// Found by the fuzzer: what was left out for its place is within the limit once something before it is gone.
#[test]
fn a_condition_that_is_taken_out_does_not_come_back_from_beyond_the_limit() {
    let text = format!("wanted {} wanted", "x ".repeat(MAX_TERMS - 1));
    assert_eq!(parse(&text).chips.len(), MAX_TERMS);
    let wanted = parse("wanted").query.conjuncts()[0].clone();
    assert!(!remove(&text, &wanted).contains("wanted"));
}

fn text() -> impl Strategy<Value = String> {
    let signs = r#"[ -~äß日]{0,12}"#;
    prop_oneof![signs, "[a-z]{1,6}", Just("OR".to_owned()), Just("a:b*c\\\"d".to_owned())]
}

fn pattern(text: impl Strategy<Value = String>) -> impl Strategy<Value = Pattern> {
    vec(text, 1..4).prop_filter_map("not empty", Pattern::of)
}

fn some<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = OneOf<T>> {
    vec(value, 1..3).prop_map(|values| OneOf::of(values).expect("not empty"))
}

fn range<T: Copy + Ord + std::fmt::Debug>(
    value: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Range<T>> {
    prop_oneof![
        value.clone().prop_map(Range::Exactly),
        value.clone().prop_map(Range::AtLeast),
        value.clone().prop_map(Range::AtMost),
        (value.clone(), value)
            .prop_filter_map("ascending", |(one, other)| (one < other).then_some(Range::Between(one, other))),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    const DAY: u64 = 86_400_000;
    let units = vec![Unit::Second, Unit::Minute, Unit::Hour, Unit::Day, Unit::Week];
    let at = |millis: u64| Moment::At(Timestamp::try_from(millis).expect("before the year 10000"));
    prop_oneof![
        (1_u16.., select(units)).prop_map(|(count, unit)| Moment::Ago(Span { count, unit })),
        Just(Moment::Ago(Span { count: 0, unit: Unit::Minute })),
        (0..253_402_300_800_000_u64).prop_map(at),
        (0..2_932_896_u64).prop_map(move |day| at(day * DAY)),
    ]
}

fn when() -> impl Strategy<Value = When> {
    let between = (moment(), moment()).prop_filter_map("in order", |(from, to)| match (from, to) {
        (Moment::At(one), Moment::At(other)) if one >= other => None,
        _ => Some(When::Between(from, to)),
    });
    prop_oneof![moment().prop_map(When::After), moment().prop_map(When::Before), between]
}

fn term() -> impl Strategy<Value = Term> {
    use TextField as F;
    let free = select(vec![F::Actor, F::User, F::Name, F::Session, F::Route, F::Rule, F::Reason]);
    let upper = select(vec![F::Action, F::Compliance, F::Method, F::Country]);
    let network = (any::<IpAddr>(), 0..=32_u8)
        .prop_filter_map("fits", |(address, prefix)| Network::of(address, prefix));
    let entity =
        (pattern("[a-z0-9_]{1,4}"), of(pattern(text()))).prop_map(|(kind, id)| EntityPattern { kind, id });
    let named = prop_oneof![
        (free, some(pattern(text()))).prop_map(|(field, values)| Term::Text(field, values)),
        (upper, some(pattern("[A-Z0-9]{0,4}"))).prop_map(|(field, values)| Term::Text(field, values)),
        some(entity).prop_map(Term::Entity),
        some(network).prop_map(Term::Ip),
        some(any::<u128>().prop_map(Uuid::from_u128)).prop_map(Term::Id),
        some(0..=i64::MAX).prop_map(Term::Batch),
        pattern(text()).prop_map(Term::Words),
        when().prop_map(Term::When),
    ];
    let closed = prop_oneof![
        some(range(select(Severity::ALL))).prop_map(Term::Severity),
        some(range(0..=u32::from(u16::MAX))).prop_map(|it| Term::Number(NumberField::Status, it)),
        some(range(any::<u32>())).prop_map(|it| Term::Number(NumberField::Duration, it)),
        some(select(Outcome::ALL)).prop_map(Term::Outcome),
        some(select(Trust::ALL)).prop_map(Term::Trust),
        some(select(RetentionClass::ALL)).prop_map(Term::Class),
        some(select(Quality::ALL)).prop_map(Term::Quality),
        some(select(Facet::ALL)).prop_map(Term::Is),
        some(select(Part::ALL)).prop_map(Term::Has),
    ];
    prop_oneof![named, closed]
}

fn query() -> impl Strategy<Value = Query> {
    let expr = term().prop_map(Expr::Term).prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_filter_map("not empty", Expr::all),
            vec(inner.clone(), 1..4).prop_filter_map("not empty", Expr::any),
            inner.prop_map(Expr::negated),
        ]
    });
    vec(expr, 0..4).prop_map(Query::of)
}

/// Texts that look like searches, and pieces of them anywhere.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(vec![
            "action:",
            "severity:>=",
            "ip:",
            "at:",
            "entity:",
            "(",
            ")",
            "\"",
            "\\",
            "-",
            "NOT ",
            " OR ",
            "*",
            "..",
            ",",
            ":",
            ">",
            "<=",
            "/",
            "last:7d",
            "2026-01-01",
            "is:failed",
            "\0",
            "é",
            "\u{202e}",
            "'; --",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,6}",
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_query_reads_back_from_what_it_prints(query in query()) {
        let printed = query.to_string();
        prop_assume!(printed.len() <= MAX_TEXT_LEN);
        let parsed = parse(&printed);
        prop_assume!(!parsed.diagnostics.iter().any(|it| it.message.starts_with("a search has at most")));
        prop_assert_eq!(&parsed.diagnostics, &[], "{}", printed);
        prop_assert_eq!(&parsed.query, &query, "{}", printed);
    }

    #[test]
    fn any_text_is_survived_and_every_place_lies_within_it(text in hostile(), cursor in any::<prop::sample::Index>()) {
        let parsed = parse(&text);
        for it in &parsed.diagnostics {
            prop_assert!(it.start < it.end && text.get(it.start..it.end).is_some(), "{:?}", it);
        }
        let mut end = 0;
        for chip in &parsed.chips {
            prop_assert!(end <= chip.start && chip.start < chip.end);
            if !parsed.diagnostics.iter().any(|it| it.message.starts_with("a search has at most")) {
                let alone = parse(&text[chip.start..chip.end]);
                prop_assert_eq!(&alone.query, &Query::of(vec![chip.expr.clone()]), "a chip stands for itself");
            }
            end = chip.end;
        }
        let printed = parsed.query.to_string();
        prop_assert_eq!(parse(&printed).query, parsed.query);
        let completion = complete(&text, cursor.index(text.len() + 1));
        prop_assert!(text.get(completion.start..completion.end).is_some());
    }

    #[test]
    fn what_was_added_is_found_and_what_was_removed_is_not(text in hostile(), term in term()) {
        let wanted = Expr::Term(term);
        let added = add(&text, &wanted);
        prop_assert!(parse(&added).query.conjuncts().contains(&wanted), "{}", added);
        prop_assert!(parse(&remove(&added, &wanted)).chips.iter().all(|chip| chip.expr != wanted));
    }
}
