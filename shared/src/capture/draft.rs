//! The event as far as it can be told before signatures are checked.

use serde_json::{Map, Value, json};

use super::exchange::{Exchange, Reading};
use super::{Headers, Mount, changes, extract};
use crate::batch::MAX_TEXT_LEN;
use crate::event::{
    Action, Actor, BodyState, ChangeSet, ClaimedUser, ComplianceFlag, Context, Entity, EntityType, Event,
    EventId, JsonText, Outcome, Place, Quality, RequestFacts, RetentionClass, Severity, TenantId, Timestamp,
    Trust,
};
use crate::identity::{self, Algorithm, Check, Claims, Identity, Issuer, Jwt, Verdict};
use crate::policy::{ActsForRule, FailMode, OutcomeRule, Prepared, Router, Rule, fold_path, is_mutating};
use crate::redact;

/// A token of the exchange, without the token.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    claims: Claims,
    algorithm: Algorithm,
    /// Whether a verdict is awaited.
    checkable: bool,
    /// A keyed hash that stands for the session of a token without one.
    session: Option<String>,
    /// What is to be checked, until it is taken.
    check: Option<Check>,
}

impl Token {
    fn read(text: &str, reading: &Reading<'_>) -> Option<Self> {
        let jwt = Jwt::parse(text)?;
        let nameless = jwt.claims.session_id.is_none() && jwt.claims.sub.is_some();
        Some(Self {
            session: nameless.then(|| reading.fingerprint_of(text)).flatten(),
            claims: jwt.claims,
            algorithm: jwt.algorithm,
            checkable: jwt.check.is_some(),
            check: jwt.check,
        })
    }
}

/// Who acts where no token names anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    Nobody,
    Edge,
    Cron,
    Webhook,
    Queue,
    /// Whoever holds a secret key of the project, which the origin took.
    SecretKey,
    /// Whoever showed something like one, which the origin did not take.
    ClaimedKey,
}

/// What it is called that the request names another user than its token.
#[derive(Debug, Clone, PartialEq)]
struct ActsFor {
    action: Action,
    severity: Severity,
    entity: EntityType,
}

impl From<&ActsForRule> for ActsFor {
    fn from(rule: &ActsForRule) -> Self {
        Self { action: rule.action.clone(), severity: rule.severity, entity: rule.entity.clone() }
    }
}

/// What the crypto engine said, in the order of [`Draft::take_checks`].
pub type Verdicts = Vec<Verdict>;

/// An event that waits for verdicts, time and random bytes. Already redacted.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    tenant: TenantId,
    action: Action,
    severity: Severity,
    outcome: Outcome,
    reason: Option<String>,
    claimed_user: Option<ClaimedUser>,
    entity: Option<Entity>,
    host: String,
    method: String,
    route: String,
    rule: String,
    status: Option<u16>,
    request_body: BodyState,
    response_body: BodyState,
    ip: Option<core::net::IpAddr>,
    user_agent: Option<String>,
    place: Option<Place>,
    details: Option<Value>,
    changes: Option<(Quality, Value)>,
    compliance: Vec<ComplianceFlag>,
    arrived: Timestamp,
    duration_ms: Option<u32>,
    request_token: Option<Token>,
    actor_token: Option<Token>,
    unnamed: Unnamed,
    acts_for: Option<ActsFor>,
    echo: bool,
}

impl Draft {
    /// Looks at an exchange; none if it is not audited. A mutating request that no rule names is.
    pub fn from_exchange(router: &Router, exchange: &Exchange<'_>) -> Option<Self> {
        let routed = router.route(exchange.method, exchange.path, exchange.query);
        let mut reading = Reading::new(exchange, None);
        let token = request_token(&reading);
        reading.claims = token.as_ref().map(|token| token.claims.clone());
        for (pack, rule) in routed.iter().flat_map(|routed| routed.rules.iter().copied()) {
            reading.seen_by(rule);
            if rule.when.as_ref().is_none_or(|when| when.holds(&reading)) {
                let route = routed.as_ref().map_or("", |routed| routed.path);
                return (rule.level > crate::policy::Level::None)
                    .then(|| Self::of_rule(pack, rule, route, &mut reading, token));
            }
        }
        is_mutating(exchange.method).then(|| Self::unmapped(&reading, token))
    }

    fn of_rule(
        pack: &Prepared,
        rule: &Rule,
        route: &str,
        reading: &mut Reading<'_>,
        request_token: Option<Token>,
    ) -> Self {
        let outcome = extract::outcome(&rule.outcome, reading);
        let changes = changes::changes(rule, outcome, reading);
        let quality = changes.map(|(quality, fields)| {
            reading.changed = fields;
            quality
        });
        let told = Self::told(pack, rule, route, reading, request_token, outcome);
        let changed = std::mem::take(&mut reading.changed);
        Self { changes: quality.map(|quality| (quality, Value::Object(changed))), ..told }
    }

    /// What the rule says of the exchange, but for what changed.
    fn told(
        pack: &Prepared,
        rule: &Rule,
        route: &str,
        reading: &Reading<'_>,
        request_token: Option<Token>,
        outcome: Outcome,
    ) -> Self {
        let exchange = reading.exchange;
        let named = rule.actions.iter().find(|action| action.when.holds(reading));
        let failure = rule.on_failure.as_ref().filter(|_| outcome == Outcome::Failure);
        let by_change = || rule.severities.iter().find(|severity| severity.when.holds(reading));
        let severity = match (failure, named.and_then(|action| action.severity)) {
            (_, Some(severity)) => severity,
            (Some(failure), None) => failure.severity,
            (None, None) => by_change().map_or(rule.severity, |severity| severity.is),
        };
        let action = named.map_or(&rule.action, |named| &named.is);
        let action = match (failure.and_then(|failure| failure.action.as_ref()), named) {
            (Some(failed), None) => failed,
            _ => action,
        };
        let actor_token = rule
            .actor_token
            .as_ref()
            .and_then(|expression| expression.text(reading))
            .and_then(|token| Token::read(&token, reading));
        let claimed = rule.claimed_user.as_ref().unwrap_or(&pack.claimed_user);
        let accepted = exchange.status.is_some_and(|status| !matches!(status, 401 | 403));
        // A webhook with a wrong signature is refused with 400: no 4xx shows that it was who it should be.
        let served = exchange.status.is_some_and(|status| !matches!(status, 400..=499));
        let unnamed = match (rule.system, holds_secret_key(exchange.request_headers)) {
            (Some(system), _) if served => Unnamed::from(system),
            (_, true) if accepted => Unnamed::SecretKey,
            (_, true) => Unnamed::ClaimedKey,
            _ => Unnamed::Nobody,
        };
        let mut details = extract::details(rule.details.iter(), reading);
        if let Some(intent) = exchange.intent {
            let members = details.get_or_insert_with(|| Value::Object(Map::new())).as_object_mut();
            let members = members.expect("details are an object");
            members.insert("intent".to_owned(), Value::from(intent.id));
            if !intent.durable {
                members.insert("intent_durable".to_owned(), Value::from(false));
            }
        }
        Self {
            action: action.clone(),
            severity,
            outcome,
            reason: extract::reason(&rule.outcome, outcome, reading),
            claimed_user: extract::claimed_user(claimed, reading),
            entity: Some(extract::entity(&rule.entity, reading)),
            request_body: reading.request_state,
            response_body: reading.response_state,
            details,
            compliance: rule.compliance.clone(),
            request_token,
            actor_token,
            unnamed,
            acts_for: rule.acts_for.as_ref().map(ActsFor::from),
            echo: rule.echo,
            ..Self::bare(exchange, route, &format!("{}/{}", pack.name, rule.id), rule.action.clone())
        }
    }

    /// A mutating request that no rule names: that it happened, by whom and where, and nothing of its contents.
    fn unmapped(reading: &Reading<'_>, request_token: Option<Token>) -> Self {
        let exchange = reading.exchange;
        let route = fold_path(exchange.path);
        let outcome = OutcomeRule::by_status(exchange.status);
        let kind = EntityType::try_from("route".to_owned()).expect("an entity type's shape");
        Self {
            severity: if outcome == Outcome::Failure { Severity::Warning } else { Severity::Info },
            outcome,
            reason: extract::reason(&OutcomeRule::default(), outcome, reading),
            entity: Some(Entity { kind, id: Some(redact::text(&route, MAX_TEXT_LEN)), name: None }),
            request_token,
            ..Self::bare(exchange, &route, UNMAPPED, word("UNMAPPED_MUTATION"))
        }
    }

    /// The record that an act is intended, before the origin sees it; none if no rule asks for one.
    pub fn intent(router: &Router, exchange: &Exchange<'_>) -> Option<Self> {
        let routed = router.route(exchange.method, exchange.path, exchange.query)?;
        let (pack, rule) = routed.rules.iter().copied().find(|(_, rule)| rule.fail > FailMode::Open)?;
        let mut reading = Reading::new(exchange, None);
        let token = request_token(&reading);
        reading.claims = token.as_ref().map(|token| token.claims.clone());
        reading.seen_by(rule);
        Some(Self {
            severity: rule.severity,
            outcome: Outcome::Unknown,
            reason: Some("intent".to_owned()),
            entity: Some(extract::entity(&rule.entity, &reading)),
            details: Some(json!({"action": rule.action})),
            compliance: rule.compliance.clone(),
            request_token: token,
            ..Self::bare(
                exchange,
                routed.path,
                &format!("{}/{}", pack.name, rule.id),
                word("INTENT_RECORDED"),
            )
        })
    }

    /// The record of how many requests each route of a mount had.
    pub(super) fn of_traffic(mount: &Mount, until: Timestamp, details: Value) -> Self {
        let nothing = Headers::default();
        let exchange = Exchange {
            mount,
            method: "-",
            path: "",
            query: "",
            request_headers: &nothing,
            request_body: super::Body::default(),
            status: None,
            response_headers: &nothing,
            response_body: super::Body::default(),
            before: None,
            intent: None,
            hash_key: None,
            platform: &Value::Null,
            arrived: until,
            duration_ms: None,
        };
        let kind = EntityType::try_from("coverage".to_owned()).expect("an entity type's shape");
        Self {
            outcome: Outcome::Success,
            entity: Some(Entity { kind, id: Some(mount.host.clone()), name: None }),
            details: Some(details),
            unnamed: Unnamed::Edge,
            ..Self::bare(&exchange, "-", "edge/coverage", word("COVERAGE_RECORDED"))
        }
    }

    /// What stands in for an event whose exchange could not be looked at: that it happened, and when.
    pub fn fallback(exchange: &Exchange<'_>, route: &str) -> Self {
        Self {
            severity: Severity::Warning,
            outcome: Outcome::Unknown,
            reason: Some("capture_failed".to_owned()),
            ..Self::bare(exchange, route, "edge/fallback", word("CAPTURE_FAILED"))
        }
    }

    fn bare(exchange: &Exchange<'_>, route: &str, rule: &str, action: Action) -> Self {
        let short = |text: &str, max| redact::shorten_bytes(redact::clean(text), max);
        Self {
            tenant: exchange.mount.tenant.clone(),
            action,
            severity: Severity::Info,
            outcome: OutcomeRule::by_status(exchange.status),
            reason: None,
            claimed_user: None,
            entity: None,
            host: short(&exchange.mount.host, 255),
            method: short(exchange.method, 16),
            route: short(route, 300),
            rule: short(rule, 128),
            status: exchange.status,
            request_body: BodyState::Absent,
            response_body: BodyState::Absent,
            ip: exchange.mount.client_ip(exchange.request_headers, exchange.platform),
            user_agent: exchange
                .request_headers
                .get("user-agent")
                .map(|agent| redact::text(agent, MAX_TEXT_LEN))
                .filter(|agent| !agent.is_empty()),
            place: exchange.mount.place(exchange.request_headers, exchange.platform),
            details: None,
            changes: None,
            compliance: Vec::new(),
            arrived: exchange.arrived,
            duration_ms: exchange.duration_ms,
            request_token: None,
            actor_token: None,
            unnamed: Unnamed::Nobody,
            acts_for: None,
            echo: false,
        }
    }

    /// The series that the event belongs to, if a flood of its like may be told as one event with a count: failures,
    /// and what no rule names. Events of one series are of one rule, from one address, with one outcome.
    pub fn series(&self) -> Option<String> {
        let ip = self.ip.map(|ip| ip.to_string()).unwrap_or_default();
        let many = self.outcome == Outcome::Failure || self.rule == UNMAPPED;
        many.then(|| format!("{} {} {} {} {ip}", self.tenant, self.rule, self.action, self.outcome))
    }

    /// The user that the request names, as the event will name them.
    pub fn claimed(&self) -> Option<&str> {
        self.claimed_user.as_ref().map(|claimed| claimed.id.as_str())
    }

    /// The signatures to check, at most two. The draft does not keep them: they hold what was signed.
    pub fn take_checks(&mut self) -> Vec<Check> {
        let tokens = self.request_token.iter_mut().chain(&mut self.actor_token);
        tokens.filter_map(|token| token.check.take()).collect()
    }

    /// The event, and beside it one more where the request names another user than its token proves. `verdicts` answer
    /// [`Draft::take_checks`] in order; a missing one counts as unavailable.
    ///
    /// Ids carry the request's arrival and ten random bytes each.
    pub fn into_events(self, verdicts: &[Verdict], issuer: &Issuer, random: &[[u8; 10]; 2]) -> Vec<Event> {
        let identity = self.identity(verdicts, issuer);
        let differs = self.names_another(&identity);
        let acts_for = self.acts_for.clone();
        let event = self.into_event(identity, &random[0]);
        let beside = differs.then(|| beside(&event, acts_for, &random[1]));
        core::iter::once(event).chain(beside).collect()
    }

    fn into_event(self, identity: Identity, random: &[u8; 10]) -> Event {
        Event {
            id: EventId::mint(self.arrived, random),
            tenant: self.tenant,
            occurred_at: self.arrived,
            class: RetentionClass::from(self.severity),
            action: self.action,
            severity: self.severity,
            outcome: self.outcome,
            reason: self.reason,
            trust: identity.trust,
            actor: identity.actor,
            claimed_user: self.claimed_user,
            entity: self.entity,
            request: RequestFacts {
                host: self.host,
                method: self.method,
                route: self.route,
                rule: self.rule,
                status: self.status,
                request_body: self.request_body,
                response_body: self.response_body,
            },
            context: Context {
                ip: self.ip,
                user_agent: self.user_agent,
                session: identity.session,
                place: self.place,
            },
            details: self.details.as_ref().map(JsonText::from),
            changes: self
                .changes
                .map(|(quality, fields)| ChangeSet { quality, fields: JsonText::from(&fields) }),
            compliance: self.compliance,
            duration_ms: self.duration_ms,
            echo: self.echo,
        }
    }

    /// Whether the request names a user who is not the one that its token proves. A service acts for everybody.
    fn names_another(&self, identity: &Identity) -> bool {
        let (Trust::Verified, Some(actor), Some(claimed)) =
            (identity.trust, &identity.actor, &self.claimed_user)
        else {
            return false;
        };
        let same = |known: &str| known.eq_ignore_ascii_case(&claimed.id);
        // A token's telephone number is not read, so one that is named says nothing.
        let comparable = extract::is_identifier(&claimed.id)
            && !claimed.id.starts_with('+')
            && (!claimed.id.contains('@') || actor.email.is_some());
        comparable && !same(&actor.id) && !actor.email.as_deref().is_some_and(same)
    }

    fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.request_token.iter().chain(&self.actor_token)
    }

    /// The request's own identity, or, where it names nobody, that of the token the origin issued for it.
    fn identity(&self, verdicts: &[Verdict], issuer: &Issuer) -> Identity {
        let mut verdicts = verdicts.iter().copied();
        let mut judged = self.tokens().map(|token| {
            let answered = token.checkable.then(|| verdicts.next()).flatten();
            let verdict = answered.unwrap_or(Verdict::Unavailable);
            let judged = identity::judge(&token.claims, token.algorithm, verdict, issuer, self.arrived);
            Identity { session: judged.session.or_else(|| token.session.clone()), ..judged }
        });
        let first = judged.next().unwrap_or_else(Identity::anonymous);
        match (first.trust, judged.next()) {
            (Trust::Anonymous, Some(issued)) => issued,
            (Trust::Anonymous, None) => self.unnamed.identity(),
            _ => first,
        }
    }
}

/// The rule of a mutating request that no rule names.
const UNMAPPED: &str = "edge/unmapped";

fn word(action: &str) -> Action {
    Action::try_from(action.to_owned()).expect("an action's shape")
}

/// The event that says that a request named another user than its token proves: both people are in it.
fn beside(event: &Event, acts_for: Option<ActsFor>, random: &[u8; 10]) -> Event {
    let kind = || EntityType::try_from("user".to_owned()).expect("an entity type's shape");
    let ActsFor { action, severity, entity } = acts_for.unwrap_or_else(|| ActsFor {
        action: word("IDENTITY_MISMATCH"),
        severity: Severity::Warning,
        entity: kind(),
    });
    let claimed = event.claimed_user.as_ref();
    let details = json!({
        "event": event.id, "action": event.action, "source": claimed.map(|claimed| claimed.source.as_str()),
    });
    Event {
        id: EventId::mint(event.occurred_at, random),
        class: RetentionClass::from(severity),
        action,
        severity,
        entity: Some(Entity { kind: entity, id: claimed.map(|claimed| claimed.id.clone()), name: None }),
        details: Some(JsonText::from(&details)),
        changes: None,
        echo: false,
        ..event.clone()
    }
}

impl From<crate::policy::SystemActor> for Unnamed {
    fn from(system: crate::policy::SystemActor) -> Self {
        use crate::policy::SystemActor::{Cron, Queue, Webhook};
        match system {
            Cron => Self::Cron,
            Webhook => Self::Webhook,
            Queue => Self::Queue,
        }
    }
}

impl Unnamed {
    fn identity(self) -> Identity {
        let (trust, id) = match self {
            Self::Nobody => return Identity::anonymous(),
            Self::Edge => (Trust::System, "edge"),
            Self::Cron => (Trust::System, "cron"),
            Self::Webhook => (Trust::System, "webhook"),
            Self::Queue => (Trust::System, "queue"),
            Self::SecretKey => (Trust::Service, "service_role"),
            Self::ClaimedKey => (Trust::Asserted, "service_role"),
        };
        Identity { trust, actor: Some(Actor { id: id.to_owned(), ..Actor::default() }), session: None }
    }
}

/// The token that the request goes by: the session cookie, else the bearer token.
fn request_token(reading: &Reading<'_>) -> Option<Token> {
    let headers = reading.exchange.request_headers;
    let cookie = headers
        .get("cookie")
        .and_then(|cookie| identity::session_token(cookie, reading.exchange.mount.session_cookie.as_deref()));
    cookie.and_then(|token| Token::read(&token, reading)).or_else(|| Token::read(bearer(headers)?, reading))
}

/// The bearer token (RFC 6750, section 2.1).
pub(super) fn bearer(headers: &Headers) -> Option<&str> {
    let (scheme, token) = headers.get("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether the request shows a secret key of the project: those are opaque, so only the origin can tell a real one.
fn holds_secret_key(headers: &Headers) -> bool {
    let shown = [bearer(headers), headers.get("apikey")];
    shown.into_iter().flatten().any(|key| key.starts_with("sb_secret_"))
}
