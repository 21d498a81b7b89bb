//! The event as far as it can be told before signatures are checked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exchange::{Exchange, Reading};
use super::extract;
use crate::batch::MAX_TEXT_LEN;
use crate::event::{
    Action, BodyState, ChangeSet, ClaimedUser, ComplianceFlag, Context, Entity, Event, EventId, JsonText,
    Outcome, Place, Quality, RequestFacts, RetentionClass, Severity, TenantId, Timestamp, Trust,
};
use crate::identity::{self, Algorithm, Check, Claims, Identity, Issuer, Jwt, Verdict};
use crate::policy::{OutcomeRule, Pack, Router, Rule};
use crate::redact;

/// A token of the exchange, without the token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Token {
    claims: Claims,
    algorithm: Algorithm,
    /// Whether a verdict is awaited.
    checkable: bool,
    /// What is to be checked, until it is taken; it never travels with the draft.
    #[serde(skip)]
    check: Option<Check>,
}

impl From<Jwt> for Token {
    fn from(jwt: Jwt) -> Self {
        Self {
            claims: jwt.claims,
            algorithm: jwt.algorithm,
            checkable: jwt.check.is_some(),
            check: jwt.check,
        }
    }
}

/// What the crypto engine said, in the order of [`Draft::take_checks`].
pub type Verdicts = Vec<Verdict>;

/// An event that waits for verdicts, time and random bytes. Already redacted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

impl Draft {
    /// Looks at an exchange; none if no rule is about it.
    pub fn from_exchange(router: &Router, exchange: &Exchange<'_>) -> Option<Self> {
        let routed = router.route(exchange.method, exchange.path, exchange.query)?;
        let token = request_token(exchange);
        let claims = token.as_ref().map(|token| token.claims.clone());
        let reading = Reading::new(exchange, routed.parameters, claims);
        let (pack, rule) = routed
            .rules
            .into_iter()
            .find(|(_, rule)| rule.when.as_ref().is_none_or(|when| when.holds(&reading)))?;
        (rule.level > crate::policy::Level::None)
            .then(|| Self::of_rule(pack, rule, routed.path, &reading, token))
    }

    fn of_rule(
        pack: &Pack,
        rule: &Rule,
        route: &str,
        reading: &Reading<'_>,
        request_token: Option<Token>,
    ) -> Self {
        let exchange = reading.exchange;
        let outcome = extract::outcome(&rule.outcome, reading);
        let failure = rule.on_failure.as_ref().filter(|_| outcome == Outcome::Failure);
        let severity = match failure {
            Some(failure) => failure.severity,
            None => rule
                .severities
                .iter()
                .find(|severity| severity.when.holds(reading))
                .map_or(rule.severity, |severity| severity.is),
        };
        let actor_token = rule
            .actor_token
            .as_ref()
            .and_then(|expression| expression.text(reading))
            .and_then(|token| Jwt::parse(&token))
            .map(Token::from);
        let claimed = rule.claimed_user.as_ref().unwrap_or(&pack.claimed_user);
        Self {
            action: failure.and_then(|failure| failure.action.clone()).unwrap_or_else(|| rule.action.clone()),
            severity,
            outcome,
            reason: extract::reason(&rule.outcome, outcome, reading),
            claimed_user: extract::claimed_user(claimed, reading),
            entity: Some(extract::entity(&rule.entity, reading)),
            request_body: reading.request_state,
            response_body: reading.response_state,
            details: extract::details(rule.details.iter(), reading),
            changes: rule.changes.as_ref().and_then(|changes| extract::changes(changes, outcome, reading)),
            compliance: rule.compliance.clone(),
            request_token,
            actor_token,
            ..Self::bare(exchange, route, &format!("{}/{}", pack.name, rule.id), rule.action.clone())
        }
    }

    /// What stands in for an event whose exchange could not be looked at: that it happened, and when.
    pub fn fallback(exchange: &Exchange<'_>, route: &str) -> Self {
        let action = Action::try_from("CAPTURE_FAILED".to_owned()).expect("an action's shape");
        Self {
            severity: Severity::Warning,
            outcome: Outcome::Unknown,
            reason: Some("capture_failed".to_owned()),
            ..Self::bare(exchange, route, "edge/fallback", action)
        }
    }

    fn bare(exchange: &Exchange<'_>, route: &str, rule: &str, action: Action) -> Self {
        let short = |text: &str, max| redact::shorten_bytes(&redact::clean(text), max);
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
        }
    }

    /// The signatures to check, at most two. The draft does not keep them: they hold what was signed.
    pub fn take_checks(&mut self) -> Vec<Check> {
        let tokens = self.request_token.iter_mut().chain(&mut self.actor_token);
        tokens.filter_map(|token| token.check.take()).collect()
    }

    /// The event. `verdicts` answer [`Draft::take_checks`] in order; a missing one counts as unavailable.
    ///
    /// The id carries the request's arrival and ten random bytes.
    pub fn into_event(self, verdicts: &[Verdict], issuer: &Issuer, random: &[u8; 10]) -> Event {
        let identity = self.identity(verdicts, issuer);
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
        }
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
            identity::judge(&token.claims, token.algorithm, verdict, issuer, self.arrived)
        });
        let first = judged.next().unwrap_or_else(Identity::anonymous);
        match (first.trust, judged.next()) {
            (Trust::Anonymous, Some(issued)) => issued,
            _ => first,
        }
    }
}

/// The token that the request goes by: the session cookie, else the bearer token.
fn request_token(exchange: &Exchange<'_>) -> Option<Token> {
    let headers = exchange.request_headers;
    let cookie = headers
        .get("cookie")
        .and_then(|cookie| identity::session_token(cookie, exchange.mount.session_cookie.as_deref()));
    let bearer = || {
        let (scheme, token) = headers.get("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
    };
    cookie.as_deref().and_then(Jwt::parse).or_else(|| Jwt::parse(&bearer()?)).map(Token::from)
}
