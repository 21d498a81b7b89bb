//! `/sign-in…` and `/sign-out`: how a person gets a session, and ends it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Query, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;
use shared::event::{Severity, TenantId, Timestamp};
use shared::identity::Jwt;
use shared::problem::Problem;
use uuid::Uuid;

use super::reader::Reader;
use super::{Answer, Shared, State, body, origin, session};
use crate::auth::{
    ApiKeyText, Attempts, JOURNEY, Means, Notice, OidcError, Origin, Provider, SessionToken, TokenError,
    Verifier, person,
};
use crate::clock::random;
use crate::store::access::{self, Ground, NewSession};
use crate::store::{self, StoreError, api_keys};
use crate::web::SignInForm;

/// The ways in, as far as they are configured.
#[derive(Debug)]
pub struct SignIn {
    /// Who failed how often.
    pub attempts: Attempts,
    /// Of the application's own tokens.
    pub app_tokens: Option<Verifier>,
    /// The organisation's identity provider.
    pub oidc: Option<Provider>,
}

/// What somebody brings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brought {
    /// An API key, or a token of the application.
    credential: String,
    /// Where, for people of several tenants.
    tenant: Option<String>,
    /// Where a browser goes on.
    #[serde(default)]
    next: String,
}

/// A browser's request, which is answered with a page.
#[derive(Clone, Copy)]
struct Form<'f> {
    headers: &'f HeaderMap,
    next: &'f str,
}

/// Somebody who has proven who they are.
struct Proven {
    tenant: TenantId,
    who: String,
    ground: Ground,
    /// Every name they proved; what a key's person is stands with the key.
    names: Vec<String>,
    means: Means,
}

/// Why nobody is signed in.
enum Refusal {
    /// It proves nothing.
    Unproven,
    /// Proven, and nobody has granted anything.
    NoGrant,
    /// Proven, and one of several tenants has to be named.
    WhichTenant(Vec<TenantId>),
    /// Something is not there at the moment.
    Unavailable(Answer),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}

/// The form.
pub(super) async fn form(state: Shared, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    page(&state, &headers, StatusCode::OK, &asked.next, None)
}

#[derive(Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
}

/// Signs in with an API key or a token of the application.
pub(super) async fn with_credential(state: Shared, request: Request) -> Result<Response, Answer> {
    // Somebody else's page must not sign a browser in as somebody else.
    origin::check(&state, request.headers())?;
    let address = address(&state, &request);
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let headers = request.headers().clone();
    let brought = brought(&body::text(&state, request).await?, is_form)?;
    let form = is_form.then_some(Form { headers: &headers, next: &brought.next });
    let account = account(&brought.credential);
    let now = state.clock.now();
    let origins: Vec<Origin> =
        address.map(Origin::address).into_iter().chain(account.clone().map(Origin::Account)).collect();
    if let Some(seconds) = state.sign_in.attempts.wait(&origins, now) {
        return Ok(locked_out(&state, form, seconds));
    }
    match prove(&state, &brought, now).await {
        Ok(proven) => {
            account.iter().for_each(|account| state.sign_in.attempts.succeeded(account));
            let token = begin(&state, &proven, address, now).await?;
            let (status, body) = if is_form {
                (StatusCode::SEE_OTHER, String::new())
            } else {
                let body = json!({"tenant": proven.tenant, "who": proven.who, "csrf": token.csrf()});
                (StatusCode::OK, body.to_string())
            };
            Ok(signed_in(status, &token, &brought.next, body))
        }
        Err(Refusal::Unavailable(answer)) => Err(answer),
        Err(refusal) => {
            let locked = state.sign_in.attempts.failed(&origins, now);
            let (reason, answer) = explained(refusal);
            note_failure(&state, account.as_deref(), reason, address, locked, now).await?;
            Ok(refused(&state, form, answer))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    tenant: Option<String>,
}

/// Sends the browser to the identity provider.
pub(super) async fn at_provider(state: Shared, Query(start): Query<Start>) -> Result<Response, Answer> {
    let missing = || Answer::not_found("no identity provider is configured");
    let provider = state.sign_in.oidc.as_ref().ok_or_else(missing)?;
    let tenant = start.tenant.filter(|tenant| !tenant.is_empty());
    let (url, cookie) = provider.begin(tenant, state.clock.now()).await?;
    let headers = [
        (header::LOCATION, url.to_string()),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

#[derive(Deserialize)]
pub(super) struct Back {
    state: Option<String>,
    code: Option<String>,
}

/// Takes the browser back from the identity provider.
pub(super) async fn callback(
    state: Shared,
    Query(back): Query<Back>,
    request: Request,
) -> Result<Response, Answer> {
    let missing = || Answer::not_found("no identity provider is configured");
    let provider = state.sign_in.oidc.as_ref().ok_or_else(missing)?;
    let address = address(&state, &request);
    let now = state.clock.now();
    let form = Some(Form { headers: request.headers(), next: "" });
    let origins: Vec<Origin> = address.map(Origin::address).into_iter().collect();
    if let Some(seconds) = state.sign_in.attempts.wait(&origins, now) {
        return Ok(locked_out(&state, form, seconds));
    }
    let journey = journey(request.headers()).unwrap_or_default();
    let (code, word) = (back.code.unwrap_or_default(), back.state.unwrap_or_default());
    let named = match provider.finish(&journey, &word, &code, now).await {
        Ok(named) => named,
        Err(OidcError::Provider(reason)) => return Err(OidcError::Provider(reason).into()),
        Err(error) => {
            state.sign_in.attempts.failed(&origins, now);
            tracing::warn!(%error, "a sign-in at the identity provider failed");
            return Ok(refused(&state, form, unproven()));
        }
    };
    let mut names = vec![named.subject];
    names.extend(named.email);
    let account = names.last().cloned();
    match granted(&state, &names, named.tenant.as_deref(), Means::Oidc, now).await {
        Ok(proven) => {
            let token = begin(&state, &proven, address, now).await?;
            Ok(signed_in(StatusCode::SEE_OTHER, &token, "", String::new()))
        }
        Err(Refusal::Unavailable(answer)) => Err(answer),
        Err(refusal) => {
            let locked = state.sign_in.attempts.failed(&origins, now);
            let (reason, answer) = explained(refusal);
            note_failure(&state, account.as_deref(), reason, address, locked, now).await?;
            Ok(refused(&state, form, answer))
        }
    }
}

/// Ends the session that asks.
pub(super) async fn out(state: Shared, reader: Reader) -> Result<Response, Answer> {
    if let Some(id) = reader.session {
        session::end(&state, &reader, id, "ADMIN_SIGNED_OUT").await?;
    }
    let headers =
        [(header::LOCATION, "/sign-in".to_owned()), (header::SET_COOKIE, SessionToken::cookie_gone())];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

fn brought(text: &str, is_form: bool) -> Result<Brought, Answer> {
    let unreadable = || Problem::new(400, "unreadable-request", "The request is not what it should be");
    let mut brought: Brought = if is_form {
        let uri = format!("/?{}", text.trim()).parse().map_err(|_| Answer(unreadable()))?;
        let Query(brought) =
            Query::try_from_uri(&uri).map_err(|error| Answer(unreadable().detail(error.body_text())))?;
        brought
    } else {
        body::read(text, unreadable())?
    };
    brought.tenant = brought.tenant.filter(|tenant| !tenant.is_empty());
    Ok(brought)
}

/// Whom a credential claims to be, before anything of it is checked.
fn account(credential: &str) -> Option<String> {
    match credential.trim().parse::<ApiKeyText>() {
        Ok(key) => Some(key.id().to_owned()),
        Err(()) => {
            let claims = Jwt::parse(credential.trim())?.claims;
            person(&claims.email.or(claims.sub)?).ok()
        }
    }
}

async fn prove(state: &State, brought: &Brought, now: Timestamp) -> Result<Proven, Refusal> {
    let credential = brought.credential.trim();
    if let Ok(key) = credential.parse::<ApiKeyText>() {
        let reader = Reader::of_key(state, &key).await?.ok_or(Refusal::Unproven)?;
        let is_there = brought.tenant.as_ref().is_none_or(|tenant| *tenant == reader.tenant.to_string());
        return if is_there {
            let ground = Ground::Key(reader.key.clone());
            let (tenant, names, means) = (reader.tenant, Vec::new(), Means::ApiKey);
            Ok(Proven { tenant, who: reader.key, ground, names, means })
        } else {
            Err(Refusal::NoGrant)
        };
    }
    let verifier = state.sign_in.app_tokens.as_ref().ok_or(Refusal::Unproven)?;
    let claims = match verifier.verify(credential, now).await {
        Ok(claims) => claims,
        Err(error @ TokenError::Keys(_)) => return Err(Refusal::Unavailable(error.into())),
        Err(TokenError::Form | TokenError::Invalid) => return Err(Refusal::Unproven),
    };
    let names: Vec<String> = claims.sub.into_iter().chain(claims.email).collect();
    granted(state, &names, brought.tenant.as_deref(), Means::AppToken, now).await
}

/// What a person of some names was granted, in the tenant that they name or in the only one.
async fn granted(
    state: &State,
    names: &[String],
    tenant: Option<&str>,
    means: Means,
    now: Timestamp,
) -> Result<Proven, Refusal> {
    let names: Vec<String> = names.iter().filter_map(|name| person(name).ok()).collect();
    let mut grants = access::grants_of(&state.store, &names, now.to_utc()).await?;
    grants.retain(|grant| tenant.is_none_or(|tenant| tenant == grant.tenant.as_str()));
    // A person may have a grant by address and one by subject: the more powerful counts.
    grants.sort_by(|a, b| a.tenant.cmp(&b.tenant).then(b.tenure.role().cmp(&a.tenure.role())));
    grants.dedup_by(|next, first| next.tenant == first.tenant);
    match <[_; 1]>::try_from(grants) {
        Ok([grant]) => {
            let ground = Ground::Grant(grant.grant_id);
            Ok(Proven { tenant: grant.tenant, who: grant.who, ground, names, means })
        }
        Err(grants) if grants.is_empty() => Err(Refusal::NoGrant),
        Err(grants) => Err(Refusal::WhichTenant(grants.into_iter().map(|grant| grant.tenant).collect())),
    }
}

/// Begins a session, with the event of it.
async fn begin(
    state: &State,
    proven: &Proven,
    address: Option<IpAddr>,
    now: Timestamp,
) -> Result<SessionToken, Answer> {
    let token = SessionToken::mint(random());
    let id = Uuid::from_bytes(random());
    let new = NewSession {
        id,
        sha256: token.sha256(),
        tenant: proven.tenant.as_str(),
        ground: proven.ground.clone(),
        means: proven.means.word(),
        names: &proven.names,
        address: address.map(Into::into),
        at: now.to_utc(),
    };
    let details = json!({"means": proven.means.word(), "ip": address});
    let mut transaction = state.store.begin().await?;
    access::begin_session(&mut transaction, &new).await?;
    Notice::new(&proven.tenant, "ADMIN_SIGNED_IN", &proven.who, ("session", id.to_string()), now)
        .with(Severity::Info, details)
        .keep(&mut transaction)
        .await?;
    store::commit(transaction).await?;
    Ok(token)
}

/// Keeps the event of a failure in the log of each tenant that the account has to do with. Nobody proved to be that account.
async fn note_failure(
    state: &State,
    account: Option<&str>,
    reason: &str,
    address: Option<IpAddr>,
    locked: bool,
    now: Timestamp,
) -> Result<(), Answer> {
    metrics::counter!("edgetrail_sign_in_failures_total", "reason" => reason.to_owned()).increment(1);
    let Some(account) = account else { return Ok(()) };
    let mut tenants: Vec<TenantId> =
        api_keys::find(&state.store, account).await?.map(|key| key.tenant).into_iter().collect();
    let grants = access::grants_of(&state.store, &[account.to_owned()], now.to_utc()).await?;
    tenants.extend(grants.into_iter().map(|grant| grant.tenant));
    tenants.dedup();
    let mut transaction = state.store.begin().await?;
    for tenant in &tenants {
        let what = ("account", account.to_owned());
        let details = json!({"reason": reason, "ip": address, "locked_out": locked});
        let severity = if locked { Severity::Critical } else { Severity::Warning };
        let notice = Notice::new(tenant, "ADMIN_SIGN_IN_FAILED", "", what, now).with(severity, details);
        Notice { by: None, refused: true, ..notice }.keep(&mut transaction).await?;
    }
    store::commit(transaction).await?;
    Ok(())
}

fn explained(refusal: Refusal) -> (&'static str, Answer) {
    match refusal {
        Refusal::Unproven => ("unproven", unproven()),
        Refusal::NoGrant => {
            let problem = Problem::new(403, "no-access", "You have no access here");
            ("no_grant", Answer(problem.detail("an admin has to grant it")))
        }
        Refusal::WhichTenant(tenants) => {
            let tenants: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
            let problem = Problem::new(409, "which-tenant", "You have access to several tenants");
            ("which_tenant", Answer(problem.detail(format_args!("name one of {}", tenants.join(", ")))))
        }
        Refusal::Unavailable(answer) => ("unavailable", answer),
    }
}

fn unproven() -> Answer {
    let problem = Problem::new(401, "not-signed-in", "This does not prove who you are");
    Answer(problem.detail("the key or token is unknown, revoked, over or wrong"))
}

fn locked_out(state: &State, form: Option<Form<'_>>, seconds: u64) -> Response {
    let problem = Problem::new(429, "locked-out", "Too many attempts failed");
    let answer = Answer(problem.detail(format_args!("try again in {seconds} seconds")));
    let mut response = refused(state, form, answer);
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

impl From<TokenError> for Answer {
    fn from(error: TokenError) -> Self {
        tracing::warn!(%error, "a token cannot be checked");
        Self(Problem::new(503, "keys-unavailable", "Tokens cannot be checked at the moment"))
    }
}

impl From<OidcError> for Answer {
    fn from(error: OidcError) -> Self {
        tracing::warn!(%error, "nobody can sign in at the identity provider");
        Self(Problem::new(503, "provider-unavailable", "The identity provider does not answer as it should"))
    }
}

fn signed_in(status: StatusCode, token: &SessionToken, next: &str, body: String) -> Response {
    let mut headers = HeaderMap::new();
    let cookie = HeaderValue::try_from(token.cookie()).expect("a cookie is ASCII");
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SEE_OTHER {
        let next = HeaderValue::try_from(own(next)).expect("graphic ASCII");
        headers.insert(header::LOCATION, next);
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    (status, headers, body).into_response()
}

fn refused(state: &State, form: Option<Form<'_>>, answer: Answer) -> Response {
    let Some(Form { headers, next }) = form else {
        return answer.into_response();
    };
    let status = StatusCode::from_u16(answer.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let said = match &answer.0.detail {
        Some(detail) => format!("{}: {detail}", answer.0.title),
        None => answer.0.title.to_string(),
    };
    page(state, headers, status, next, Some(&said))
}

/// The form, with what was wrong.
fn page(state: &State, headers: &HeaderMap, status: StatusCode, next: &str, wrong: Option<&str>) -> Response {
    let (has_provider, takes_tokens) = (state.sign_in.oidc.is_some(), state.sign_in.app_tokens.is_some());
    SignInForm { has_provider, takes_tokens, next, wrong }.show(headers, status)
}

/// A page of ours, never an address elsewhere: browsers take `//` and `/\` for the beginning of a host.
fn own(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next[1..].starts_with(['/', '\\']);
    if is_path && next.bytes().all(|byte| byte.is_ascii_graphic()) { next } else { "/" }
}

/// The client's address: the peer's, or what the configured proxy says.
fn address(state: &State, request: &Request) -> Option<IpAddr> {
    match &state.access.address_header {
        // What the proxy itself saw is the last of a list.
        Some(name) => request.headers().get(name)?.to_str().ok()?.rsplit(',').next()?.trim().parse().ok(),
        None => request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()),
    }
}

/// The cookie of a sign-in under way.
fn journey(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(header::COOKIE)?.to_str().ok()?;
    let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == JOURNEY).map(|(_, value)| value.to_owned()).next()
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn signing_in_leads_to_no_other_host() {
        assert_eq!(own("/?q=a%20b"), "/?q=a%20b");
        for bad in ["", "https://example.com", "//example.com", "/\\example.com", "/a\nb", "/\t/example.com"]
        {
            assert_eq!(own(bad), "/", "{bad:?}");
        }
    }
}
