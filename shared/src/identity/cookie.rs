//! The session that `@supabase/ssr` and its predecessors keep in cookies.
//!
//! One cookie `sb-<ref>-auth-token`, or chunks `.0`, `.1`, … where it is long; the value is `base64-` and base64url of
//! a JSON session, or that JSON URI-encoded; older libraries keep a JSON array with the access token first.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Chunks that are read; a session of over 30 chunks would be 95 KB, above what servers take as headers.
const MAX_CHUNKS: usize = 30;

/// The access token of the session in a `Cookie` header; `name` is the cookie's name where the mount gives it,
/// otherwise the first that looks like a Supabase session counts.
pub fn session_token(header: &str, name: Option<&str>) -> Option<String> {
    let cookies: Vec<(&str, &str)> = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
        .collect();
    let name = match name {
        Some(name) => name,
        None => cookies.iter().map(|(name, _)| base_name(name)).find(|name| is_session_name(name))?,
    };
    access_token(&session_text(&cookies, name)?)
}

fn base_name(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((base, chunk)) if !chunk.is_empty() && chunk.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => name,
    }
}

fn is_session_name(name: &str) -> bool {
    name.starts_with("sb-") && name.ends_with("-auth-token")
}

/// The whole value, unchunked first.
fn session_text(cookies: &[(&str, &str)], name: &str) -> Option<String> {
    let find = |name: &str| cookies.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    if let Some(whole) = find(name).filter(|value| !value.is_empty()) {
        return Some(whole.to_owned());
    }
    let chunks: Vec<&str> = (0..MAX_CHUNKS).map_while(|at| find(&format!("{name}.{at}"))).collect();
    (!chunks.is_empty()).then(|| chunks.concat())
}

fn access_token(text: &str) -> Option<String> {
    let json = match text.strip_prefix("base64-") {
        Some(encoded) => URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?,
        None => percent_decode(text),
    };
    match serde_json::from_slice::<Value>(&json).ok()? {
        Value::Object(session) => session.get("access_token")?.as_str().map(str::to_owned),
        Value::Array(parts) => parts.first()?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// The byte of the escape that a text begins with: a percent sign and two digits.
pub(crate) fn escaped(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"%")?.get(..2)?;
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok().map(|()| byte[0])
}

/// Percent-decoding (RFC 3986, section 2.1); a malformed escape stays as it is.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escaped(&bytes[at..]) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(json: &str) -> String {
        format!("base64-{}", URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn an_escape_is_two_digits_and_nothing_else() {
        assert_eq!(percent_decode("a%2f%+5%4%%41%"), b"a/%+5%4%A%");
    }

    #[test]
    fn every_form_of_the_session_gives_its_access_token() {
        let value = encoded(r#"{"access_token":"a.b.c","refresh_token":"r"}"#);
        let (head, tail) = value.split_at(20);
        for header in [
            format!("theme=dark; sb-ref-auth-token={value}"),
            format!("sb-ref-auth-token.0={head}; x=1; sb-ref-auth-token.1={tail}"),
            format!("sb-ref-auth-token.1={tail}; sb-ref-auth-token.0={head}"),
            "sb-ref-auth-token=%7B%22access_token%22%3A%22a.b.c%22%7D".to_owned(),
            r#"sb-ref-auth-token={"access_token":"a.b.c"}"#.to_owned(),
            "sb-ref-auth-token=%5B%22a.b.c%22%2C%22r%22%2Cnull%5D".to_owned(),
            format!("sb-ref-auth-token-code-verifier=zzz; sb-ref-auth-token={value}"),
        ] {
            assert_eq!(session_token(&header, None).as_deref(), Some("a.b.c"), "{header}");
        }
    }

    #[test]
    fn the_unchunked_value_wins_over_stale_chunks() {
        let header = format!(
            "sb-r-auth-token.0={}; sb-r-auth-token={}",
            encoded(r#"{"access_token":"old"}"#),
            encoded(r#"{"access_token":"new"}"#)
        );
        assert_eq!(session_token(&header, None).as_deref(), Some("new"));
    }

    #[test]
    fn a_mount_that_names_its_cookie_reads_no_other() {
        let header = format!("sb-x-auth-token={}", encoded(r#"{"access_token":"t"}"#));
        assert_eq!(session_token(&header, Some("sb-ref-auth-token")), None);
        assert_eq!(session_token(&header, Some("sb-x-auth-token")).as_deref(), Some("t"));
    }

    #[test]
    fn hostile_cookies_give_nothing() {
        let chunks: String = (0..500).map(|at| format!("sb-r-auth-token.{at}=AAAA;")).collect();
        for header in
            ["", "=;=;", "sb-r-auth-token=base64-%%%", "sb-r-auth-token=[", &chunks, &"x=1;".repeat(20_000)]
        {
            assert_eq!(session_token(header, None), None);
        }
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_reader(header in "\\PC{0,200}") {
            let _ = session_token(&header, None);
            let _ = session_token(&format!("sb-r-auth-token={header}"), None);
        }
    }
}
