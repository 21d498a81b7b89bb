//! What holds of everything that reads bytes from outside, whatever the bytes: one function for each door.
//!
//! The fuzzer calls them for as long as it is let, and `shared/tests/it/properties.rs` calls them on every build with what the
//! fuzzer found worth keeping and with damage of it.

use core::convert::Infallible;
use std::sync::LazyLock;

use serde_json::Value;
use shared::absence::AbsenceList;
use shared::batch::{self, Framed, Header, events_hash, unframe};
use shared::bundle::{Kind, LogId, LogItem, Manifest, OpeningLine, ProofFile, entries_of, tar};
use shared::capture::{Body, Draft, Exchange, Headers, Mount, Scanner};
use shared::event::{Event, Timestamp, Trust};
use shared::identity::{Algorithm, Issuer, Jwt, Verdict, judge, select_key, session_token};
use shared::json::{self, Ending};
use shared::leaf::{Glance, Opening, Seed, StoredOpening, digest};
use shared::note::{
    Checkpoint, Cosignature, CosignerKey, KeyName, Note, SignerKey, VerifierKey, signature_line,
};
use shared::policy::served::{Bounds, Document, Served, check};
use shared::policy::{Pack, Router, fold_path, normalise_path};
use shared::recording::{Exchange as Recorded, parse_any};
use shared::search::{MAX_TEXT_LEN, add, complete, parse, remove};
use shared::tree::{TILE_WIDTH, TileRef};
use shared::verify::{KnownHead, Source, Trust as Trusted, verify};
use shared::{diff, redact};

/// A door by its name, and what holds of it.
pub type Property = (&'static str, fn(&[u8]));

/// Every door.
pub const ALL: [Property; 14] = [
    ("opening", opening),
    ("batch_request", batch_request),
    ("tile_path", tile_path),
    ("recording", recording),
    ("bundle", bundle),
    ("tlog_proof", tlog_proof),
    ("verify", verifier),
    ("search", search),
    ("policy", policy),
    ("identity", identity),
    ("exchange", exchange),
    ("event_stream", event_stream),
    ("note", note),
    ("json", cut_json),
];

/// What parts the pieces of an input: it stands in no text.
const BETWEEN: u8 = 0xff;

/// An input's pieces, as many as are asked for.
fn pieces<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut split = bytes.split(|byte| *byte == BETWEEN);
    core::array::from_fn(|_| split.next().unwrap_or_default())
}

fn texts<const N: usize>(bytes: &[u8]) -> Option<[&str; N]> {
    let pieces = pieces::<N>(bytes).map(|piece| core::str::from_utf8(piece).ok());
    pieces.iter().all(Option::is_some).then(|| pieces.map(Option::unwrap_or_default))
}

/// Bytes as an opening, and the opening as an event.
pub fn opening(bytes: &[u8]) {
    if let Ok(stored) = StoredOpening::decode(bytes) {
        assert_eq!(stored.encode(), bytes, "one encoding of what is stored");
    }
    let Ok(opening) = Opening::decode(bytes) else {
        return;
    };
    assert_eq!(opening.encode(), bytes, "one encoding per opening");
    digest(&opening);
    if let Ok(event) = Event::from_opening(&opening) {
        let again = event.to_opening(*opening.seed());
        assert_eq!(Event::from_opening(&again), Ok(event), "an event survives its opening");
    }
}

/// The body of a request to the backend, read down to its events.
pub fn batch_request(bytes: &[u8]) {
    for framed in unframe(bytes).into_iter().flatten() {
        batch(framed);
    }
}

fn batch(framed: Framed<'_>) {
    framed.is_oversized();
    if let Ok(note) = Note::parse(framed.note) {
        assert!(note.text().ends_with('\n') && !note.signatures().is_empty());
        if let Ok(header) = note.text().parse::<Header>() {
            assert_eq!(header.to_string(), note.text(), "one text per header");
            header.hash();
        }
    }
    let Ok(body) = batch::Body::parse(framed.body) else {
        return;
    };
    assert_eq!(body.digests.len(), body.events.len());
    events_hash(&body.digests);
    for event in body.events.into_iter().flatten() {
        let Ok(opening) = Opening::decode(event) else {
            continue;
        };
        let fields = opening.fields().iter().rev().cloned().collect();
        let held_otherwise = Opening::new(*opening.seed(), fields);
        assert_eq!(digest(&held_otherwise), digest(&opening));
        let _ = Event::from_opening(&opening);
    }
}

/// A path below a log's prefix.
pub fn tile_path(bytes: &[u8]) {
    let Some([path]) = texts(bytes) else { return };
    let Ok(tile) = path.parse::<TileRef>() else {
        return;
    };
    assert_eq!(tile.to_string(), path, "one spelling per tile");
    assert!(tile.level.is_none_or(|level| level <= 63));
    assert!((1..=TILE_WIDTH).contains(&u64::from(tile.width)));
    tile.first_leaf();
    for size in [0, 1, 256, u64::from(u32::MAX), u64::MAX] {
        assert!(u64::from(tile.width_at(size)) <= TILE_WIDTH);
    }
}

/// A recording as a user hands it to the command line: lines, or a browser's archive.
pub fn recording(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    match parse_any(text) {
        Ok(exchanges) => {
            for exchange in exchanges {
                let line = serde_json::to_string(&exchange).expect("texts and numbers are JSON");
                let again: Recorded = serde_json::from_str(&line).expect("its own text");
                assert_eq!(again, exchange);
                assert!(!line.contains('\n'), "one exchange a line");
            }
        }
        Err(error) => {
            assert!((1..=text.split('\n').count()).contains(&error.line));
            assert!(error.column >= 1);
        }
    }
}

/// The files of a bundle: manifest, lines, entry bundles, tar headers, lists of absences.
pub fn bundle(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let again = Manifest::parse(manifest.to_json().as_bytes());
        assert_eq!(again, Ok(manifest), "what was read is written alike");
    }
    if let Ok(line) = OpeningLine::parse(bytes) {
        let again = OpeningLine::parse(line.to_json().trim_end().as_bytes());
        assert_eq!(again, Ok(line), "what was read is written alike");
    }
    if let Ok(list) = AbsenceList::decode(bytes) {
        assert_eq!(list.encode(), bytes, "one encoding per list");
        assert!(list.leaves() >= list.runs().len() as u64);
    }
    let read = StoredOpening::decode(bytes).map(|stored| stored.digest());
    assert_eq!(Glance::at(bytes).map(|glance| glance.digest), read, "a glance shows what reading shows");
    let _ = entries_of(bytes);
    let _ = KnownHead::read("kept", bytes);
    if let Some(header) = bytes.first_chunk::<{ tar::BLOCK }>() {
        let _ = tar::read(header);
    }
}

/// A proof file (c2sp.org/tlog-proof).
pub fn tlog_proof(bytes: &[u8]) {
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    let Ok(proof) = text.parse::<ProofFile>() else {
        return;
    };
    assert_eq!(proof.to_string(), text, "one spelling per proof");
    let note = proof.note().expect("read before");
    let head: Checkpoint = note.text().parse().expect("read before");
    let _ = proof.verify(&[0; 42], &head);
}

/// Each file that a verifier asks for is the next piece of the input.
struct Files<'a>(core::slice::Split<'a, u8, fn(&u8) -> bool>, usize);

impl Source for Files<'_> {
    type Error = Infallible;

    fn file(&mut self, _: &str, _: usize) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.next().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec))
    }

    fn absences(&mut self) -> Result<Vec<uuid::Uuid>, Infallible> {
        Ok((0..2).map(uuid::Uuid::from_u128).collect())
    }

    fn has_openings(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, Infallible> {
        self.1 += 1;
        Ok(self.0.next().filter(|_| self.1 < 600).map(<[u8]>::to_vec))
    }
}

/// The whole verifier over a bundle whose every file is made up: a verdict, whatever it is.
pub fn verifier(bytes: &[u8]) {
    let split: fn(&u8) -> bool = |byte| *byte == BETWEEN;
    let log = |byte: u8, previous: Option<LogId>| {
        let log_id = LogId([byte; 16]);
        let origin = format!("log.example/log/{log_id}");
        let name = KeyName::try_from(origin.clone()).expect("a name");
        let key = VerifierKey { name, public: [3; 32] };
        LogItem { log_id, origin, key, others: Vec::new(), size: 9, previous }
    };
    for kind in [Kind::Log, Kind::Selection] {
        let manifest = Manifest {
            kind,
            tenant: "acme".parse().expect("a slug"),
            made_at: String::new(),
            logs: vec![log(7, None), log(8, Some(LogId([7; 16])))],
        };
        let mut files = Files(bytes.split(split), 0);
        let Ok(report) = verify(&mut files, &manifest, Trusted::default(), &mut |_, _| {});
        assert_eq!(report.first().is_none(), report.is_valid(), "what is wrong is named");
    }
}

/// A search as a person types it; the first byte is where the cursor stands.
pub fn search(bytes: &[u8]) {
    let Some((cursor, text)) = bytes.split_first() else { return };
    let Ok(text) = core::str::from_utf8(text) else { return };
    let parsed = parse(text);
    for it in &parsed.diagnostics {
        assert!(it.start < it.end && text.get(it.start..it.end).is_some(), "a place in the text");
    }
    let printed = parsed.query.to_string();
    if printed.len() <= MAX_TEXT_LEN {
        let again = parse(&printed);
        assert_eq!(again.query, parsed.query, "one meaning per canonical text");
        assert!(again.diagnostics.is_empty(), "it is understood as a whole");
    }
    let completion = complete(text, usize::from(*cursor));
    assert!(text.get(completion.start..completion.end).is_some());
    if let Some(chip) = parsed.chips.first() {
        let without = remove(text, &chip.expr);
        assert!(parse(&without).chips.iter().all(|it| it.expr != chip.expr), "what was removed is gone");
        add(&without, &chip.expr);
    }
}

/// A policy as an admin uploads it and as an edge picks it up: a document of packs, then a request line to route.
pub fn policy(bytes: &[u8]) {
    let Some([text, method, path, query]) = texts(bytes) else { return };
    if let Ok(served) = text.parse::<Served>() {
        let again: Served = served.to_string().parse().expect("a served policy reads itself again");
        assert_eq!((again.tenant, again.version), (served.tenant, served.version));
        assert_eq!(again.document.packs(), served.document.packs(), "one meaning in one line");
    }
    let in_text = |line: usize, column: usize| {
        assert!((1..=text.split('\n').count()).contains(&line), "a line of the text: {line}");
        assert!(column <= text.len() + 1, "a column of the text: {column}");
    };
    if let Err(error) = Pack::parse(text) {
        let (line, column) = error.place(text);
        in_text(line, column);
    }
    match Document::parse(text) {
        Err(error) => in_text(error.line, error.column),
        Ok(document) => {
            let again = Document::parse(&document.to_line());
            assert_eq!(again.as_ref().map(Document::packs), Ok(document.packs()), "one meaning in one line");
            if let Err(error) = check(&document, Bounds::default()) {
                in_text(error.line, error.column);
            }
            if let Ok(router) = Router::compile(document.packs().to_vec()) {
                let look = router.look(method, path, query);
                assert!(look.plan.is_none_or(|plan| plan < router.plans().count()), "a plan that is there");
                router.route(method, path, query);
            }
        }
    }
    let normal = normalise_path(path).into_owned();
    assert_eq!(normalise_path(&normal), normal, "one spelling per path");
    fold_path(path);
}

/// Cookies, tokens and sets of keys, as anybody sends them.
pub fn identity(bytes: &[u8]) {
    let Some([cookies, token, keys]) = texts(bytes) else { return };
    let found = session_token(cookies, None);
    let issuer = Issuer { issuer: Some("https://i.example".to_owned()), ..Issuer::default() };
    let now = Timestamp::try_from(1_795_400_000_000).expect("a time");
    for token in [token, found.as_deref().unwrap_or_default()] {
        let Some(jwt) = Jwt::parse(token) else { continue };
        for verdict in [Verdict::Invalid, Verdict::Unavailable] {
            let judged = judge(&jwt.claims, jwt.algorithm, verdict, &issuer, now);
            assert!(
                matches!(judged.trust, Trust::Anonymous | Trust::Asserted),
                "nothing without a signature"
            );
        }
        if let Some(check) = &jwt.check {
            assert_ne!(check.alg, Algorithm::Other, "only what can be checked is given out to be checked");
            assert_eq!(format!("{}.{}", check.data, check.signature), token, "all of the token is checked");
        }
        let current = jwt.claims.is_current(now) && jwt.claims.is_from(issuer.issuer.as_deref());
        let judged = judge(&jwt.claims, jwt.algorithm, Verdict::Valid, &issuer, now);
        assert!(
            judged.trust != Trust::Verified || current,
            "nobody is believed after the end of their token"
        );
    }
    for algorithm in [Algorithm::Es256, Algorithm::Rs256, Algorithm::Hs256, Algorithm::Other] {
        let key = select_key(keys, algorithm, None).or_else(|| select_key(keys, algorithm, Some("k")));
        if let Some(key) = key {
            let key: Value = serde_json::from_str(&key).expect("a key is JSON");
            let members = key.as_object().expect("of members");
            assert!(members.keys().all(|name| ["kty", "crv", "x", "y", "n", "e"].contains(&name.as_str())));
        }
    }
}

/// The rules that are compiled in.
static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let packs = [include_str!("../../edge/packs/app.json"), include_str!("../../edge/packs/supabase.json")];
    let packs = packs.map(|text| Pack::parse(text).expect("a pack")).to_vec();
    Router::compile(packs).expect("routable")
});

/// A credential that no event may hold.
const SECRET: &str = "Zq9-not-for-the-record";

/// An exchange at the edge, under the rule that the first two bytes name: bodies, query, cookies and headers as they come.
pub fn exchange(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first_chunk::<3>() else { return };
    if holds(rest, SECRET.as_bytes()) {
        return;
    }
    let [request, response, before, query, cookie, headers] = pieces(rest);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let rules = ROUTER.rules();
    let which = usize::from(u16::from_be_bytes([choice[0], choice[1]]));
    let Some(rule) = rules.clone().nth(which % rules.count()) else { return };
    let parts = rule.matches.path.split('/').map(|part| if part.starts_with('{') { "7" } else { part });
    let path = parts.collect::<Vec<_>>().join("/");
    let mount: Mount = serde_json::from_value(serde_json::json!({
        "host": "app.example.com", "upstream": "https://o.example", "tenant": "acme", "platform": "workerd", "packs": [],
    }))
    .expect("a mount");
    let mut request_headers = format!("authorization: Bearer {SECRET}\ncookie: {}\n", text(cookie));
    request_headers.push_str(&text(headers));
    let [kind, status] = [choice[2] & 3, choice[2] >> 2];
    if kind == 1 {
        request_headers.push_str("\ncontent-type: application/x-www-form-urlencoded");
    }
    let (request_headers, response_headers) =
        (Headers::from_lines(&request_headers), Headers::from_lines(&text(headers)));
    let query = text(query);
    let query: String =
        rule.matches.query.iter().map(|(name, value)| format!("{name}={value}&")).chain([query]).collect();
    let draft = Draft::from_exchange(
        &ROUTER,
        &Exchange {
            mount: &mount,
            method: rule.matches.methods.first().map_or("POST", String::as_str),
            path: &path,
            query: &query,
            request_headers: &request_headers,
            request_body: Body { bytes: request, cut: kind == 2 },
            status: (status != 63).then_some(200 + u16::from(status) * 5),
            response_headers: &response_headers,
            response_body: Body { bytes: response, cut: kind == 3 },
            before: (!before.is_empty()).then_some(Body { bytes: before, cut: false }),
            intent: None,
            hash_key: Some(b"0123456789abcdef0123456789abcdef"),
            platform: &Value::Null,
            arrived: Timestamp::try_from(1_795_400_000_000).expect("a time"),
            duration_ms: Some(12),
        },
    );
    let Some(mut draft) = draft else { return };
    let verdicts = vec![Verdict::Invalid; draft.take_checks().len()];
    for event in draft.into_events(&verdicts, &mount.auth, &[[7; 10], [8; 10]]) {
        assert_ne!(event.trust, Trust::Verified, "nobody is proven by a bad signature");
        let opening = event.to_opening(Seed([1; 32]));
        let encoded = opening.encode();
        assert!(!holds(&encoded, SECRET.as_bytes()), "a credential is in the event");
        assert_eq!(Opening::decode(&encoded).as_ref(), Ok(&opening));
        assert_eq!(Event::from_opening(&opening), Ok(event), "an event survives its opening");
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Server-sent events, cut anywhere: what is found does not depend on where.
pub fn event_stream(bytes: &[u8]) {
    let Some((size, stream)) = bytes.split_first() else { return };
    let read = |chunks: &mut dyn Iterator<Item = &[u8]>| {
        let mut scanner = Scanner::new();
        chunks.for_each(|chunk| scanner.feed(chunk));
        scanner.finish()
    };
    let whole = read(&mut core::iter::once(stream));
    assert_eq!(read(&mut stream.chunks(usize::from(*size).max(1))), whole, "cuts change nothing");
    let found: Value = serde_json::from_slice(&whole).expect("JSON");
    assert!(found.as_object().is_some_and(|kinds| kinds.len() <= 17), "kinds are bounded");
}

/// Signed notes, checkpoints, cosignatures and keys.
pub fn note(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        let lines = note.signatures().iter().map(|it| signature_line(&it.name, it.key_id, &it.bytes));
        let again: String = core::iter::once(format!("{}\n", note.text())).chain(lines).collect();
        assert_eq!(Note::parse(again.as_bytes()).as_ref(), Ok(&note), "a note reads itself again");
        for cosignature in note.signatures().iter().filter_map(Cosignature::of) {
            assert!(cosignature.timestamp > 0 && cosignature.message(note.text()).ends_with(note.text()));
        }
        if let Ok(head) = note.text().parse::<Checkpoint>() {
            assert_eq!(head.to_string().parse(), Ok(head), "a head reads itself again");
        }
    }
    let Ok(text) = core::str::from_utf8(bytes) else { return };
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text.trim(), "one spelling per key");
    }
    if let Ok(key) = text.parse::<CosignerKey>() {
        assert_eq!(key.to_string(), text.trim(), "one spelling per key");
    }
    if let Ok(key) = text.parse::<SignerKey>() {
        // Unless somebody named it so.
        let seed = hex::encode(key.seed);
        assert!(
            key.name.as_str().contains(&seed) || !format!("{key:?}").contains(&seed),
            "a private key is not shown"
        );
        assert_eq!(key.reveal().parse(), Ok(key), "a key reads itself again");
    }
}

/// JSON that may be cut off, what is left of it after masking, and what changed between two of it.
pub fn cut_json(bytes: &[u8]) {
    let [first, second] = pieces(bytes);
    let (whole, ending) = json::read(first, false);
    let strictly: Result<Value, _> = serde_json::from_slice(first);
    if ending == Ending::Complete {
        assert_eq!(strictly.ok().as_ref(), Some(&whole), "what is whole is what any reader reads");
        let (cut, ending) = json::read(first, true);
        assert_eq!((cut, ending), (whole.clone(), Ending::Truncated));
    }
    for end in 0..first.len().min(64) {
        json::read(&first[..end], true);
    }
    redact::value("details", &whole);
    let (other, _) = json::read(second, true);
    for (name, change) in diff::between(&whole, &other, &[]) {
        if let (Some(from), Some(to)) = (whole.get(&name), other.get(&name)) {
            assert_ne!(from, to, "{name} did not change: {change}");
        }
    }
    if let Ok(text) = core::str::from_utf8(second) {
        let kept = redact::text(text, 200);
        assert!(kept.len() <= 200 && !kept.contains('\0'), "short and clean");
    }
}
