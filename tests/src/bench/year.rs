//! A year of made-up events, seeded: the same numbers give the same people, entities, words and order of events.
//!
//! Openings are whole ones, in the bytes that a Worker commits to, so that every answer about them is a real one; the columns
//! are those that the backend would have read out of them. Who acts, on what, and which words are used follows Zipf's law.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use shared::event::{
    Action, Actor, BodyState, ChangeSet, Context, Entity, EntityType, Event, EventId, JsonText, Outcome,
    Place, Quality, RequestFacts, RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use shared::leaf::Seed;

/// Words that names and notes are made of.
const WORDS: usize = 20_000;
/// The part of all events that is the first tenant's, if there are others.
const LARGEST: f64 = 0.2;
const HOST: &str = "app.example.com";
const BATCH: usize = 60;
/// 1970-01-01 to 2000-01-01, where PostgreSQL's time begins.
const EPOCH_2000_MICROS: i64 = 946_684_800_000_000;
const TEXT_OID: i32 = 25;

const COUNTRIES: [&str; 12] = ["DE", "US", "FR", "GB", "NL", "AT", "CH", "PL", "ES", "IT", "SE", "JP"];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "python-requests/2.32.5",
];

/// Action, severity, entity, method, route, rule; the more frequent first.
type Kind = (&'static str, Severity, &'static str, &'static str, &'static str, &'static str);

const KINDS: [Kind; 16] = [
    ("AGENT_EXECUTED", Severity::Info, "agent", "POST", "/api/agents/{id}/execute", "app/agent-execute"),
    ("USER_LOGIN", Severity::Info, "user", "POST", "/auth/v1/token", "supabase/login"),
    ("AGENT_UPDATED", Severity::Info, "agent", "PUT", "/api/agents/{id}", "app/agent-update"),
    ("PLUGIN_EXECUTED", Severity::Info, "plugin", "POST", "/api/plugins/{id}/run", "app/plugin-run"),
    ("USER_LOGOUT", Severity::Info, "user", "POST", "/auth/v1/logout", "supabase/logout"),
    ("AGENT_CREATED", Severity::Info, "agent", "POST", "/api/agents", "app/agent-create"),
    ("USER_LOGIN_FAILED", Severity::Warning, "user", "POST", "/auth/v1/token", "supabase/login-failed"),
    ("PROFILE_UPDATED", Severity::Info, "profile", "PATCH", "/rest/v1/profiles", "supabase/profile"),
    ("MEMORY_UPDATED", Severity::Info, "memory", "PATCH", "/api/memory/{id}", "app/memory-update"),
    ("AGENT_DELETED", Severity::Warning, "agent", "DELETE", "/api/agents/{id}", "app/agent-delete"),
    ("UNMAPPED_MUTATION", Severity::Info, "route", "POST", "/api/internal/{*}", "unmapped"),
    ("SETTINGS_UPDATED", Severity::Warning, "settings", "PUT", "/api/settings", "app/settings"),
    ("DATA_EXPORTED", Severity::Warning, "export", "GET", "/api/exports/{id}", "app/export"),
    ("MFA_ENROLLED", Severity::Warning, "user", "POST", "/auth/v1/factors", "supabase/mfa"),
    ("ROLE_GRANTED", Severity::Critical, "user", "POST", "/api/admin/roles", "app/role-grant"),
    (
        "USER_DELETED",
        Severity::Critical,
        "user",
        "DELETE",
        "/auth/v1/admin/users/{id}",
        "supabase/user-delete",
    ),
];

/// Numbers that only look random (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count.max(1) as u64).unwrap_or(0)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }
}

/// Ranks, each as frequent as its place from one on is high.
#[derive(Debug, Clone)]
struct Zipf(Vec<f64>);

impl Zipf {
    fn of(count: usize) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        sums.iter_mut().for_each(|at| *at /= sum);
        Self(sums)
    }

    fn rank(&self, dice: &mut Dice) -> usize {
        let share = dice.share();
        self.0.partition_point(|sum| *sum < share).min(self.0.len() - 1)
    }
}

/// Everybody and everything that the events are about.
#[derive(Debug)]
pub(super) struct Year {
    dice: Dice,
    tenants: Vec<TenantId>,
    people: Zipf,
    entities: Zipf,
    kinds: Zipf,
    ranks: Zipf,
    words: Vec<String>,
    countries: Zipf,
}

impl Year {
    /// With some tenants, of which the first is `demo`.
    pub(super) fn of(tenants: usize) -> Self {
        let slug = |at: usize| if at == 0 { "demo".to_owned() } else { format!("tenant-{at}") };
        let tenants = (0..tenants).map(|at| slug(at).parse().expect("a slug")).collect();
        let mut dice = Dice::of(20_261_127);
        let words = (0..WORDS).map(|_| word(&mut dice)).collect();
        Self {
            dice,
            tenants,
            people: Zipf::of(5_000),
            entities: Zipf::of(20_000),
            kinds: Zipf::of(KINDS.len()),
            ranks: Zipf::of(WORDS),
            words,
            countries: Zipf::of(COUNTRIES.len()),
        }
    }

    /// Somebody's id; the lower, the busier.
    pub(super) fn person(at: usize) -> String {
        named(1, at)
    }

    /// The id of a thing of a kind; the lower, the busier.
    pub(super) fn entity(at: usize) -> String {
        named(2, at)
    }

    /// A word; the lower, the more frequent.
    pub(super) fn word(&self, rank: usize) -> &str {
        &self.words[rank % WORDS]
    }

    /// The row of the next event as binary COPY takes it. `number` counts all events.
    pub(super) fn row(&mut self, at_ms: u64, number: usize, out: &mut Vec<u8>) {
        let event = self.event(at_ms);
        let seed = Seed(self.dice.bytes());
        let opening = event.to_opening(seed).encode();
        row(&event, number, &opening, out);
    }

    fn event(&mut self, at_ms: u64) -> Event {
        let dice = &mut self.dice;
        let tenant = match self.tenants.len() {
            1 => 0,
            _ if dice.share() < LARGEST => 0,
            several => 1 + dice.below(several - 1),
        };
        let at = Timestamp::try_from(at_ms).expect("a time of this year");
        let (action, severity, kind, method, route, rule) = KINDS[self.kinds.rank(dice)];
        let person = self.people.rank(dice);
        let entity = self.entities.rank(dice);
        let failed = action.ends_with("_FAILED") || dice.below(30) == 0;
        let status = if failed { [400, 401, 403, 404, 500][dice.below(5)] } else { 200 };
        let note = |dice: &mut Dice| self.words[self.ranks.rank(dice)].as_str();
        let name = format!("{} {} {entity}", note(dice), note(dice));
        let details = json!({"note": format!("{} {} {}", note(dice), note(dice), note(dice)), "version": dice.below(9)});
        let changes = matches!(method, "PUT" | "PATCH").then(|| ChangeSet {
            quality: Quality::Exact,
            fields: JsonText::from(&json!({"title": {"from": note(dice), "to": note(dice)}})),
        });
        let critical = severity == Severity::Critical;
        Event {
            tenant: self.tenants[tenant].clone(),
            id: EventId::mint(at, &dice.bytes()),
            occurred_at: at,
            class: RetentionClass::from(severity),
            action: Action::try_from(action.to_owned()).expect("an action"),
            severity,
            outcome: if failed { Outcome::Failure } else { Outcome::Success },
            reason: failed.then(|| "refused".to_owned()),
            trust: if action.ends_with("_FAILED") { Trust::Anonymous } else { Trust::Verified },
            actor: (!action.ends_with("_FAILED")).then(|| Actor {
                id: Self::person(person),
                email: Some(format!("person{person}@example.com")),
                role: Some("authenticated".to_owned()),
                aal: critical.then(|| "aal2".to_owned()),
                method: Some("password".to_owned()),
            }),
            claimed_user: None,
            entity: Some(Entity {
                kind: EntityType::try_from(kind.to_owned()).expect("a type"),
                id: Some(Self::entity(entity)),
                name: Some(name),
            }),
            request: RequestFacts {
                host: HOST.to_owned(),
                method: method.to_owned(),
                route: route.to_owned(),
                rule: rule.to_owned(),
                status: Some(status),
                request_body: BodyState::Complete,
                response_body: BodyState::Complete,
            },
            context: Context {
                ip: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, dice.bytes::<1>()[0]))),
                user_agent: Some(AGENTS[dice.below(AGENTS.len())].to_owned()),
                session: Some(named(3, person)),
                place: Some(Place {
                    country: Some(COUNTRIES[self.countries.rank(dice)].to_owned()),
                    colo: Some("FRA".to_owned()),
                    ray: None,
                    tls: Some("TLSv1.3".to_owned()),
                    asn: None,
                }),
            },
            details: Some(JsonText::from(&details)),
            changes,
            compliance: Vec::new(),
            duration_ms: Some(u32::from(dice.bytes::<1>()[0])),
            echo: false,
        }
    }
}

fn word(dice: &mut Dice) -> String {
    const FIRST: &[u8] = b"bdfgklmnprstvz";
    const SECOND: &[u8] = b"aeiou";
    let mut word = String::new();
    for _ in 0..3 + dice.below(2) {
        word.push(char::from(FIRST[dice.below(FIRST.len())]));
        word.push(char::from(SECOND[dice.below(SECOND.len())]));
    }
    word.push(char::from(FIRST[dice.below(FIRST.len())]));
    word
}

fn named(kind: u8, of: usize) -> String {
    let mut bytes = [kind; 16];
    bytes[..8].copy_from_slice(&(of as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// What stands before the first row of a binary COPY: signature, no flags, no extension.
pub(super) const COPY_HEAD: [u8; 19] = *b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What stands behind the last one.
pub(super) const COPY_END: [u8; 2] = [0xff; 2];

/// The columns of `events`, in their order.
fn row(event: &Event, number: usize, opening: &[u8], out: &mut Vec<u8>) {
    let mut row = Row(out);
    let at = event.occurred_at.to_utc().timestamp_micros() - EPOCH_2000_MICROS;
    row.0.extend_from_slice(&31_i16.to_be_bytes());
    row.text(event.tenant.as_str());
    row.put(&at.to_be_bytes());
    row.put(event.id.uuid().as_bytes());
    row.put(&at.to_be_bytes());
    row.put(&(at + 1_000_000).to_be_bytes());
    row.code(event.class.byte());
    row.code(event.severity.byte());
    row.code(event.outcome.byte());
    row.code(event.trust.byte());
    row.text(event.action.as_str());
    row.perhaps(event.actor.as_ref().map(|actor| actor.id.as_str()));
    row.perhaps(event.actor.as_ref().and_then(|actor| actor.email.as_deref()));
    row.perhaps(event.claimed_user.as_ref().map(|claimed| claimed.id.as_str()));
    row.perhaps(event.entity.as_ref().map(|entity| entity.kind.as_str()));
    row.perhaps(event.entity.as_ref().and_then(|entity| entity.id.as_deref()));
    row.perhaps(event.entity.as_ref().and_then(|entity| entity.name.as_deref()));
    row.address(event.context.ip);
    row.perhaps(event.context.session.as_deref());
    row.perhaps(event.context.place.as_ref().and_then(|place| place.country.as_deref()));
    row.text(&event.request.host);
    row.text(&event.request.method);
    row.text(&event.request.route);
    row.text(&event.request.rule);
    match event.request.status {
        Some(status) => row.put(&i32::from(status).to_be_bytes()),
        None => row.null(),
    }
    row.perhaps(event.reason.as_deref());
    match event.duration_ms {
        Some(duration) => row.put(&i64::from(duration).to_be_bytes()),
        None => row.null(),
    }
    match &event.changes {
        Some(changes) => row.code(changes.quality.byte()),
        None => row.null(),
    }
    // An array without dimensions, flags or elements.
    row.put(&[[0; 4], [0; 4], TEXT_OID.to_be_bytes()].concat());
    row.put(&i64::try_from(number / BATCH).unwrap_or(0).to_be_bytes());
    row.put(&i16::try_from(number % BATCH).unwrap_or(0).to_be_bytes());
    row.put(opening);
}

struct Row<'a>(&'a mut Vec<u8>);

impl Row<'_> {
    fn put(&mut self, value: &[u8]) {
        let len = i32::try_from(value.len()).expect("a value is small");
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn null(&mut self) {
        self.0.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn text(&mut self, value: &str) {
        self.put(value.as_bytes());
    }

    fn perhaps(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    fn code(&mut self, byte: u8) {
        self.put(&i16::from(byte).to_be_bytes());
    }

    fn address(&mut self, ip: Option<IpAddr>) {
        match ip {
            // Family, bits of the network, not a CIDR, length.
            Some(IpAddr::V4(ip)) => self.put(&[&[2, 32, 0, 4][..], &ip.octets()].concat()),
            Some(IpAddr::V6(ip)) => self.put(&[&[3, 128, 0, 16][..], &ip.octets()].concat()),
            None => self.null(),
        }
    }
}
