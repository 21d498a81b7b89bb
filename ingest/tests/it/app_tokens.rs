//! Tokens of the application, checked with the keys that its issuer publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use chrono::Utc;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Response, Server, call};

/// A key that is in the repository and secret nowhere.
const PEM: &str = include_str!("../../../tests/fixtures/rs256-test-key.pem");
const ISSUER: &str = "https://ref.example/auth/v1";

/// An issuer with one key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    url: String,
    /// How often its keys were read.
    reads: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        let from_begin = PEM.lines().skip_while(|line| !line.starts_with('-')).skip(1);
        let body: String = from_begin.take_while(|line| !line.starts_with('-')).collect();
        let rsa = RsaKeyPair::from_pkcs8(&STANDARD.decode(body).expect("base64")).expect("a key");
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random);
        let ec = ec.expect("a key");
        let public = PublicKeyComponents::<Vec<u8>>::from(rsa.public());
        let (x, y) = ec.public_key().as_ref()[1..].split_at(32);
        let keys = json!({"keys": [
            {"kty": "RSA", "kid": "r1", "use": "sig", "n": BASE64.encode(public.n), "e": BASE64.encode(public.e)},
            {"kty": "EC", "crv": "P-256", "kid": "e1", "use": "sig", "x": BASE64.encode(x), "y": BASE64.encode(y)},
        ]});
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let router = Router::new().route(
            "/keys",
            get(async move || {
                counted.fetch_add(1, Ordering::Relaxed);
                Json(keys)
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { rsa, ec, url, reads }
    }

    fn rs256(&self, header: &Value, claims: &Value) -> String {
        let data = data(header, claims);
        let mut signature = vec![0; self.rsa.public().modulus_len()];
        self.rsa
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data.as_bytes(), &mut signature)
            .expect("signed");
        format!("{data}.{}", BASE64.encode(signature))
    }

    fn es256(&self, header: &Value, claims: &Value) -> String {
        let data = data(header, claims);
        let signature = self.ec.sign(&SystemRandom::new(), data.as_bytes()).expect("signed");
        format!("{data}.{}", BASE64.encode(signature))
    }
}

fn data(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn hs256(secret: &[u8], claims: &Value) -> String {
    let data = data(&json!({"alg": "HS256", "kid": "r1"}), claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    mac.update(data.as_bytes());
    format!("{data}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

fn claims(email: &str) -> Value {
    json!({
        "iss": ISSUER, "aud": "authenticated", "sub": format!("sub-of-{email}"), "email": email,
        "role": "authenticated", "exp": Utc::now().timestamp() + 3_600,
    })
}

async fn with(issuer: &Issuer) -> Server {
    let toml = format!("[access.app]\nissuer = '{ISSUER}'\njwks_url = '{}'\n", issuer.url);
    Server::configured(&toml, &[("EDGETRAIL__LOG__INTERVAL_MS", "20")]).await
}

async fn sign_in(server: &Server, token: &str) -> Response {
    let body = json!({"credential": token}).to_string();
    let headers = [("origin", "http://test"), ("content-type", "application/json")];
    call(&server.address, "POST", "/sign-in", &headers, body.as_bytes()).await
}

async fn grant(server: &Server, who: &str) {
    let body = json!({"who": who, "role": "investigator"}).to_string();
    assert_eq!(server.post_as_admin("/v1/access", &body).await.status, 200);
}

#[tokio::test]
async fn a_token_that_a_published_key_signed_signs_in_by_either_algorithm() {
    let issuer = Issuer::start().await;
    let server = with(&issuer).await;
    grant(&server, "alice@example.com").await;
    let alice = claims("alice@example.com");
    for token in [
        issuer.rs256(&json!({"alg": "RS256", "kid": "r1"}), &alice),
        issuer.es256(&json!({"alg": "ES256", "kid": "e1"}), &alice),
        issuer.es256(&json!({"alg": "ES256"}), &alice),
    ] {
        let answer = sign_in(&server, &token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["who"], "alice@example.com");
    }
    assert_eq!(issuer.reads.load(Ordering::Relaxed), 1, "the keys are kept");
    server.stop().await;
}

#[tokio::test]
async fn a_token_of_another_key_algorithm_time_or_place_signs_nobody_in() {
    let issuer = Issuer::start().await;
    let other = Issuer::start().await;
    let server = with(&issuer).await;
    let rs256 = json!({"alg": "RS256", "kid": "r1"});
    let public = PublicKeyComponents::<Vec<u8>>::from(issuer.rsa.public());
    // An account of its own for each, since five failures lock one out.
    let whose = |n: usize| format!("user{n}@example.com");
    let with_claim = |n: usize, name: &str, value: Value| {
        let mut changed = claims(&whose(n));
        changed[name] = value;
        issuer.rs256(&rs256, &changed)
    };
    let spoiled = {
        let token = issuer.rs256(&rs256, &claims(&whose(0)));
        let end = if token.ends_with('A') { "B" } else { "A" };
        format!("{}{end}", &token[..token.len() - 1])
    };
    let (head, body) = (json!({"alg": "none"}), claims(&whose(4)));
    let tokens = [
        ("the signature", spoiled),
        ("another's key", other.es256(&json!({"alg": "ES256", "kid": "e1"}), &claims(&whose(1)))),
        ("the public key as a secret", hs256(PEM.as_bytes(), &claims(&whose(2)))),
        ("the modulus as a secret", hs256(&public.n, &claims(&whose(3)))),
        ("no algorithm", format!("{}.", data(&head, &body))),
        ("a key of the other kind", issuer.rs256(&json!({"alg": "RS256", "kid": "e1"}), &claims(&whose(5)))),
        ("another algorithm's name", issuer.es256(&json!({"alg": "RS256", "kid": "r1"}), &claims(&whose(6)))),
        ("an unknown key", issuer.rs256(&json!({"alg": "RS256", "kid": "r2"}), &claims(&whose(7)))),
        ("expired", with_claim(8, "exp", json!(Utc::now().timestamp() - 1))),
        ("another audience", with_claim(9, "aud", json!("anon"))),
        ("another issuer", with_claim(10, "iss", json!("https://evil.example"))),
        ("a service's", with_claim(11, "role", json!("service_role"))),
    ];
    for n in 0..tokens.len() {
        grant(&server, &whose(n)).await;
    }
    for (what, token) in &tokens {
        let answer = sign_in(&server, token).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        assert!(!answer.raw_head.to_lowercase().contains("set-cookie"), "{what}");
    }
    let good = sign_in(&server, &issuer.rs256(&rs256, &claims(&whose(12)))).await;
    assert_eq!(good.status, 403, "the key is good, and nothing was granted: {}", good.text());
    assert_eq!(issuer.reads.load(Ordering::Relaxed), 1, "unknown keys do not make us ask at will");
    server.stop().await;
}
