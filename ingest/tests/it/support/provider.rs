//! An identity provider that says what a test tells it: discovery, keys and a token endpoint that checks PKCE.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use reqwest::Url;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A provider on a port of its own.
pub(crate) struct IdentityProvider {
    issuer: String,
    shared: Arc<Shared>,
}

struct Shared {
    key: EcdsaKeyPair,
    /// The claims and the PKCE challenge of each code.
    codes: Mutex<HashMap<String, (Value, String)>>,
}

impl IdentityProvider {
    pub(crate) async fn start() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        let shared = Arc::new(Shared { key: key.expect("a key"), codes: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = format!("http://{}", listener.local_addr().expect("an address"));
        let discovery = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || Json(discovery)))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, shared }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What happens in the browser: Alice agrees, and comes back with a code and the state.
    pub(crate) fn consent(&self, location: &str, change: impl Fn(&mut Value)) -> (String, String) {
        let url: Url = location.parse().expect("a URL");
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["redirect_uri"], "http://localhost:9/sign-in/callback");
        assert_eq!(
            (asked["response_type"].as_str(), asked["code_challenge_method"].as_str()),
            ("code", "S256")
        );
        let mut claims = json!({
            "iss": self.issuer, "aud": asked["client_id"], "sub": "248289761001", "nonce": asked["nonce"],
            "email": "alice@example.com", "email_verified": true, "exp": chrono::Utc::now().timestamp() + 300,
        });
        change(&mut claims);
        let code = hex::encode(ingest::clock::random::<8>());
        let challenge = asked["code_challenge"].clone();
        self.shared.codes.lock().expect("no panic").insert(code.clone(), (claims, challenge));
        (code, asked["state"].clone())
    }
}

async fn keys(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let point = shared.key.public_key().as_ref();
    let (x, y) = point[1..].split_at(32);
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "k1", "use": "sig",
        "x": BASE64.encode(x), "y": BASE64.encode(y)});
    Json(json!({"keys": [key]}))
}

async fn token(State(shared): State<Arc<Shared>>, body: String) -> Result<Json<Value>, StatusCode> {
    let form: Url = format!("http://form/?{body}").parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    let form: HashMap<String, String> = form.query_pairs().into_owned().collect();
    let (claims, challenge) = shared
        .codes
        .lock()
        .expect("no panic")
        .remove(form.get("code").map_or("", String::as_str))
        .ok_or(StatusCode::BAD_REQUEST)?;
    if BASE64.encode(Sha256::digest(&form["code_verifier"])) != challenge {
        return Err(StatusCode::BAD_REQUEST);
    }
    let header = BASE64.encode(r#"{"alg":"ES256","kid":"k1"}"#);
    let data = format!("{header}.{}", BASE64.encode(claims.to_string()));
    let signature = shared.key.sign(&SystemRandom::new(), data.as_bytes()).expect("signed");
    let token = format!("{data}.{}", BASE64.encode(signature));
    Ok(Json(json!({"token_type": "Bearer", "access_token": "x", "id_token": token})))
}
