//! Request lines as text: the path in one spelling, the query's values, and the shape of a path without its ids.

use std::borrow::Cow;

/// Whether the method changes things, by its definition (RFC 9110, section 9.2.1).
pub fn is_mutating(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH" | "DELETE")
}

/// Segments of a folded path; what lies deeper is one `{rest}`.
const MAX_SEGMENTS: usize = 8;

/// Bytes of one folded segment; a longer one is an id.
const MAX_SEGMENT: usize = 48;

/// The path with every segment that looks like an id replaced by `{id}`: what is left names a route, and nobody.
///
/// Ids are UUIDs, numbers, addresses, and whatever is long or mixes letters with digits as no word does.
pub fn fold_path(path: &str) -> String {
    let path = normalise_path(path);
    let mut folded = String::with_capacity(path.len().min(128));
    for (at, segment) in path.split('/').skip(1).enumerate() {
        folded.push('/');
        if at == MAX_SEGMENTS {
            folded.push_str("{rest}");
            break;
        }
        folded.push_str(if is_id(segment) { "{id}" } else { segment });
    }
    if folded.is_empty() { "/".to_owned() } else { folded }
}

fn is_id(segment: &str) -> bool {
    if segment.is_empty() {
        return false;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if segment.len() > MAX_SEGMENT || !segment.bytes().all(plain) {
        return true;
    }
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let letters = segment.bytes().filter(u8::is_ascii_alphabetic).count();
    let version = segment.strip_prefix('v').is_some_and(|rest| rest.len() <= 2 && rest.len() == digits);
    // `v2`, `oauth2` and `gpt-4` are words; `a8f3c2d1`, `42` and `inv_2024_0001` are not.
    let mixed = digits > 2 || (digits == 2 && letters < 5);
    let shouting = segment.len() >= 20 && segment.bytes().any(|byte| byte.is_ascii_uppercase());
    !version && (letters == 0 || mixed || shouting || (segment.len() >= 32 && !segment.contains(['-', '_'])))
}

/// The first value of a query parameter, decoded.
pub(crate) fn query_value(query: &str, name: &str) -> Option<String> {
    query_pairs(query).find_map(|(key, value)| (key == name).then_some(value))
}

/// The names and values of a query or a form, decoded.
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    let query = query.strip_prefix('?').unwrap_or(query);
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode_form(key), decode_form(value))
    })
}

fn decode_form(text: &str) -> String {
    if !text.contains(['%', '+']) {
        return text.to_owned();
    }
    let bytes = crate::identity::percent_decode(&text.replace('+', " "));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The path as servers understand it: escapes of plain characters undone (RFC 3986, section 6.2.2.2), slashes single
/// and none at the end. Otherwise `/api/%61gents` would pass by a rule and still reach the agents.
pub fn normalise_path(path: &str) -> Cow<'_, str> {
    let odd = path.contains('%') || path.contains("//") || (path.len() > 1 && path.ends_with('/'));
    if !odd {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    // Where in `out` the last percent sign stands that begins no escape.
    let mut stray = None;
    let mut at = 0;
    while at < bytes.len() {
        let escaped = crate::identity::escaped(&bytes[at..]);
        let plain = escaped.filter(|byte| {
            (byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) && !makes_an_escape(*byte, &out, stray)
        });
        if bytes[at] == b'%' && escaped.is_none() {
            stray = Some(out.len());
        }
        let byte = plain.unwrap_or(bytes[at]);
        if !(byte == b'/' && out.last() == Some(&b'/')) {
            out.push(byte);
        }
        at += if plain.is_some() { 3 } else { 1 };
    }
    if out.len() > 1 && out.last() == Some(&b'/') {
        out.pop();
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Whether a digit would make an escape of a stray percent sign, which whoever reads the path next would undo as well.
fn makes_an_escape(byte: u8, before: &[u8], stray: Option<usize>) -> bool {
    let after = stray.and_then(|at| before.get(at + 1..));
    byte.is_ascii_hexdigit()
        && after.is_some_and(|after| after.len() < 2 && after.iter().all(u8::is_ascii_hexdigit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folded_path_keeps_its_words_and_loses_its_ids() {
        for (path, want) in [
            ("/api/agents/5ba8ba17-8d50-47a2-bd72-bd422cb8acb4/status", "/api/agents/{id}/status"),
            ("/api/v2/groups/42", "/api/v2/groups/{id}"),
            ("/rest/v1/agent_intensity_metrics", "/rest/v1/agent_intensity_metrics"),
            ("/rest/v1/rpc/increment_agent_stats", "/rest/v1/rpc/increment_agent_stats"),
            ("/api/generate-agent-v2-sdk", "/api/generate-agent-v2-sdk"),
            ("/auth/v1/oauth2/token", "/auth/v1/oauth2/token"),
            ("/u/alice@example.com/x", "/u/{id}/x"),
            ("/t/eyJhbGciOiJIUzI1NiJ9", "/t/{id}"),
            ("/book/manage/a8f3c2d1", "/book/manage/{id}"),
            ("/f/%D0%BF", "/f/{id}"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/{rest}"),
            ("/", "/"),
            ("", "/"),
        ] {
            assert_eq!(fold_path(path), want, "{path}");
        }
    }

    #[test]
    fn only_plain_characters_are_unescaped() {
        assert_eq!(normalise_path("/a%2Fb%"), "/a%2Fb%");
        assert_eq!(normalise_path("/"), "/");
        assert_eq!(normalise_path("//"), "/");
    }

    #[test]
    fn what_is_unescaped_makes_no_new_escape() {
        for path in ["/%%34%31", "/%4%31", "/%%%34%31", "/%%%%%%3333333.3e333"] {
            let normal = normalise_path(path).into_owned();
            assert_eq!(normalise_path(&normal), normal, "{path}");
        }
        assert_eq!(normalise_path("/%%34%31"), "/%%341");
        assert_eq!(normalise_path("/%-%34"), "/%-4");
    }
}
