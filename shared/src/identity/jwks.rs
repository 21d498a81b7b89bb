//! Choosing a key from a JSON Web Key Set (RFC 7517).

use serde_json::Value;

use super::Algorithm;
use crate::gather::gathered;

/// The key to check a token with, as JWK text; none if the set has no key of the algorithm's kind under that id.
///
/// A token without `kid` is only checked if the set has exactly one key of the kind: a guess would make the verdict
/// depend on the order of the set.
pub fn select_key(jwks: &str, algorithm: Algorithm, kid: Option<&str>) -> Option<String> {
    let set: Value = serde_json::from_str(jwks).ok()?;
    let mut fitting = set.get("keys")?.as_array()?.iter().filter(|key| {
        let is = |name: &str, wanted: &str| key.get(name).and_then(Value::as_str) == Some(wanted);
        let of_kind = match algorithm {
            Algorithm::Es256 => is("kty", "EC") && is("crv", "P-256"),
            Algorithm::Rs256 => is("kty", "RSA"),
            Algorithm::Hs256 | Algorithm::Other => false,
        };
        of_kind && key.get("use").is_none_or(|used| used == "sig") && kid.is_none_or(|kid| is("kid", kid))
    });
    let key = fitting.next()?;
    if kid.is_none() && fitting.next().is_some() {
        return None;
    }
    public_part(key)
}

/// Only what makes the public key: `alg`, `key_ops` and `ext` of a set can keep an engine from importing it.
fn public_part(key: &Value) -> Option<String> {
    let names = ["kty", "crv", "x", "y", "n", "e"].iter();
    let members: serde_json::Map<String, Value> =
        gathered(names.filter_map(|name| key.get(*name).map(|value| ((*name).to_owned(), value.clone()))));
    (!members.is_empty()).then(|| Value::Object(members).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = r#"{"keys":[
        {"kty":"EC","crv":"P-256","kid":"e1","x":"X","y":"Y","use":"sig","alg":"ES256","key_ops":["verify"]},
        {"kty":"EC","crv":"P-384","kid":"e2","x":"X","y":"Y"},
        {"kty":"RSA","kid":"r1","n":"N","e":"AQAB"},
        {"kty":"RSA","kid":"r2","n":"M","e":"AQAB"}]}"#;

    #[test]
    fn the_key_has_the_id_and_the_kind_that_the_token_needs() {
        assert_eq!(
            select_key(SET, Algorithm::Es256, Some("e1")).as_deref(),
            Some(r#"{"crv":"P-256","kty":"EC","x":"X","y":"Y"}"#)
        );
        assert!(select_key(SET, Algorithm::Rs256, Some("r2")).is_some_and(|key| key.contains("\"M\"")));
        for (algorithm, kid) in [
            (Algorithm::Es256, Some("e2")),
            (Algorithm::Es256, Some("r1")),
            (Algorithm::Rs256, Some("e1")),
            (Algorithm::Rs256, Some("nope")),
            (Algorithm::Hs256, Some("e1")),
        ] {
            assert_eq!(select_key(SET, algorithm, kid), None, "{algorithm:?} {kid:?}");
        }
    }

    #[test]
    fn without_an_id_the_choice_must_be_the_only_one() {
        assert!(select_key(SET, Algorithm::Es256, None).is_some());
        assert_eq!(select_key(SET, Algorithm::Rs256, None), None);
        assert_eq!(select_key("not json", Algorithm::Es256, None), None);
        assert_eq!(select_key("{\"keys\":[]}", Algorithm::Es256, None), None);
    }
}
