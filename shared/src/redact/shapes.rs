//! Shapes of secrets inside texts: tokens, keys, basic auth, card numbers, random strings.

use std::borrow::Cow;

use super::names::is_secret_name;

/// Beginnings of well-known keys, each with the length from which it counts as one.
const PREFIXES: &[(&str, usize)] = &[
    ("sk-", 20),
    ("sk_", 20),
    ("rk_", 20),
    ("pk_live_", 20),
    ("whsec_", 16),
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("xoxb-", 16),
    ("xoxp-", 16),
    ("xoxa-", 16),
    ("nf_live_", 16),
    ("etk_", 16),
    ("sb_secret_", 12),
    ("sbp_", 20),
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("ya29.", 20),
    ("SG.", 20),
    ("base64-eyJ", 20),
    ("eyJ", 40),
    ("PRIVATE+KEY+", 14),
];

/// The shortest string without a known shape that can count as random.
const MIN_RANDOM_LEN: usize = 24;

/// Bits for each character from which a mixed string counts as random. English words stay below 3.6 at this length.
const MIN_RANDOM_BITS: f64 = 3.9;

/// Layers of percent-encoding that are seen through.
const MAX_LAYERS: usize = 3;

/// The text with everything secret-shaped masked; where a secret hides behind percent-encoding, the decoded text.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut scrubbed = scrub_layer(text);
    for _ in 0..MAX_LAYERS {
        let Some(decoded) = percent_decoded(&scrubbed) else { break };
        match scrub_layer(&decoded) {
            Cow::Owned(masked) => scrubbed = Cow::Owned(masked),
            // Another layer may follow, which only shows once this one is undone.
            Cow::Borrowed(plain) => match percent_decoded(plain).as_deref().map(scrub_layer) {
                Some(Cow::Owned(masked)) => scrubbed = Cow::Owned(masked),
                _ => break,
            },
        }
    }
    scrubbed
}

/// The text without its escapes; none if it has none.
fn percent_decoded(text: &str) -> Option<String> {
    text.contains('%').then(|| crate::identity::percent_decode(text)).and_then(|bytes| {
        let decoded = String::from_utf8_lossy(&bytes).into_owned();
        (decoded != text).then_some(decoded)
    })
}

fn scrub_layer(text: &str) -> Cow<'_, str> {
    let signs = Signs::of(text);
    let mut masked = Cow::Borrowed(text);
    if signs.equals || signs.colon && text.contains("://") {
        masked = replace(masked, mask_queries);
        masked = replace(masked, mask_userinfo);
    }
    if signs.quote {
        masked = replace(masked, mask_quoted);
    }
    if signs.colon && text.contains("data:") {
        masked = replace(masked, mask_data_urls);
    }
    if signs.longest_word >= MIN_PEM_LEN && text.contains(PEM) {
        masked = Cow::Owned("[masked:pem]".to_owned());
    }
    if signs.space {
        masked = replace(masked, mask_schemes);
    }
    if signs.longest_word >= MIN_SECRET_LEN {
        masked = replace(masked, mask_words);
    }
    if signs.digits >= MIN_CARD_DIGITS {
        masked = replace(masked, mask_cards);
    }
    masked
}

/// What one look at a text tells: most texts hold nothing that any of the closer looks could find.
#[derive(Default)]
struct Signs {
    equals: bool,
    colon: bool,
    quote: bool,
    space: bool,
    digits: usize,
    /// Bytes of the longest run of [`is_word`].
    longest_word: usize,
}

impl Signs {
    fn of(text: &str) -> Self {
        let mut signs = Self::default();
        let mut word = 0;
        for byte in text.bytes() {
            match byte {
                b'=' => signs.equals = true,
                b':' => signs.colon = true,
                b'"' | b'\'' => signs.quote = true,
                b' ' => signs.space = true,
                b'0'..=b'9' => signs.digits += 1,
                _ => {}
            }
            word = if is_word(char::from(byte)) { word + 1 } else { 0 };
            signs.longest_word = signs.longest_word.max(word);
        }
        signs
    }
}

/// How a private key begins.
const PEM: &str = "-----BEGIN";

/// The least that [`PEM`] is of characters of words.
const MIN_PEM_LEN: usize = PEM.len();

/// The shortest word of any secret's shape.
const MIN_SECRET_LEN: usize = 12;

/// The fewest digits of a card's number.
const MIN_CARD_DIGITS: usize = 13;

/// The characters of keys, tokens and random strings.
fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '+' | '/' | '_' | '=' | '-' | '.')
}

fn replace<'a>(text: Cow<'a, str>, step: impl Fn(&str) -> Option<String>) -> Cow<'a, str> {
    match step(&text) {
        Some(changed) => Cow::Owned(changed),
        None => text,
    }
}

/// `name=value` with a secret name, in URLs, forms and cookies.
fn mask_queries(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('=') {
        let name_start = rest[..at].rfind(|char: char| !(char.is_alphanumeric() || "_-.[]%".contains(char)));
        let name = &rest[name_start.map_or(0, |start| start + next_char_len(rest, start))..at];
        let secret = is_secret_name(name) || matches!(name, "code" | "state" | "key" | "sig");
        out.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        if secret {
            let end = rest.find(|char: char| char.is_whitespace() || "&#;,\"'<>)".contains(char));
            let end = end.unwrap_or(rest.len());
            if end > 0 {
                out.push_str("[masked]");
                rest = &rest[end..];
                changed = true;
            }
        }
    }
    out.push_str(rest);
    changed.then_some(out)
}

fn next_char_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

/// `scheme://user:password@host`.
fn mask_userinfo(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find("://") {
        let authority = &rest[at + 3..];
        let end = authority
            .find(|char: char| char.is_whitespace() || "/?#\"'<>".contains(char))
            .unwrap_or(authority.len());
        out.push_str(&rest[..at + 3]);
        match authority[..end].rfind('@') {
            Some(sign) => {
                out.push_str("[masked]");
                rest = &authority[sign..];
                changed = true;
            }
            None => rest = authority,
        }
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// A quoted value after a secret name: `"password": "…"` in the middle of a text, also with its quotes escaped, and
/// `PASSWORD '…'` as in SQL.
fn mask_quoted(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    let mut changed = false;
    while let Some(quote) = text[done..].find(['"', '\'']).map(|found| done + found) {
        // The quote with the backslashes before it: the same closes the value.
        let open = text[..quote].trim_end_matches('\\').len();
        let delimiter = &text[open..=quote];
        out.push_str(&text[done..=quote]);
        done = quote + 1;
        if name_before(&text[..open]).is_some_and(is_secret_name) {
            let end = text[done..].find(delimiter).map_or(text.len(), |found| done + found);
            if end > done {
                out.push_str("[masked]");
                changed |= &text[done..end] != "[masked]";
            }
            // What closes the value opens none.
            done = text.len().min(end + delimiter.len());
            out.push_str(&text[end..done]);
        }
    }
    out.push_str(&text[done..]);
    changed.then_some(out)
}

/// The name that ends a text: before a colon, with or without quotes of its own, or before spaces alone.
fn name_before(text: &str) -> Option<&str> {
    let spaced = text.trim_end();
    let text = match spaced.strip_suffix(':') {
        Some(name) => name.trim_end().trim_end_matches(['"', '\'', '\\']),
        None if spaced.len() < text.len() => spaced,
        None => return None,
    };
    let start = text.rfind(|char: char| !(char.is_alphanumeric() || "_-".contains(char)));
    let name = &text[start.map_or(0, |start| start + next_char_len(text, start))..];
    (!name.is_empty()).then_some(name)
}

fn mask_data_urls(text: &str) -> Option<String> {
    let start = text.find("data:")?;
    let marker = text[start..].find(";base64,")? + start;
    let end = text[marker..].find(|char: char| char.is_whitespace() || "\"')".contains(char));
    let end = end.map_or(text.len(), |end| marker + end);
    Some(format!("{}[masked:data-url]{}", &text[..start], &text[end..]))
}

/// `Bearer …` and `Basic …`.
fn mask_schemes(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    for scheme in ["bearer ", "basic "] {
        if let Some(at) = lower.find(scheme) {
            let start = at + scheme.len();
            let end = text[start..].find(|char: char| char.is_whitespace() || "\"',".contains(char));
            let end = end.map_or(text.len(), |end| start + end);
            let credential = &text[start..end];
            let credential_like = credential.len() >= 8
                && credential.bytes().any(|byte| byte.is_ascii_digit() || byte == b'=' || byte == b'.');
            if credential_like && credential != "[masked]" {
                return Some(format!("{}[masked]{}", &text[..start], &text[end..]));
            }
        }
    }
    None
}

fn mask_words(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|char| !is_word(char)).map_or(rest.len(), |end| start + end);
        out.push_str(&rest[..start]);
        match secret_shape(&rest[start..end]) {
            Some(shape) => {
                out.push_str("[masked:");
                out.push_str(shape);
                out.push(']');
                changed = true;
            }
            None => out.push_str(&rest[start..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

fn secret_shape(word: &str) -> Option<&'static str> {
    if is_jwt(word) {
        return Some("jwt");
    }
    if PREFIXES.iter().any(|(prefix, min)| word.len() >= *min && word.starts_with(prefix)) {
        return Some("key");
    }
    word.split(['/', '=', '.']).any(is_random).then_some("random")
}

fn is_jwt(word: &str) -> bool {
    let mut parts = word.split('.');
    let header = parts.next().unwrap_or_default();
    header.len() >= 10 && header.starts_with("eyJ") && parts.next().is_some_and(|claims| claims.len() >= 10)
}

fn is_random(word: &str) -> bool {
    if word.len() < MIN_RANDOM_LEN || is_uuid(word) {
        return false;
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return word.len() >= 40 && digits > 0 && digits < word.len();
    }
    let upper = word.bytes().any(|byte| byte.is_ascii_uppercase());
    let lower = word.bytes().any(|byte| byte.is_ascii_lowercase());
    let mixed = digits >= 2 && lower && (upper || digits * 5 > word.len());
    mixed && bits_per_char(word) >= MIN_RANDOM_BITS
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36
        && word.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn bits_per_char(word: &str) -> f64 {
    let mut counts = [0_u32; 128];
    for byte in word.bytes() {
        counts[usize::from(byte & 127)] += 1;
    }
    let len = f64::from(u32::try_from(word.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / len;
            -share * share.log2()
        })
        .sum()
}

/// Thirteen to nineteen digits, with single spaces or dashes between, whose Luhn sum holds.
fn mask_cards(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(start) = rest.find(|char: char| char.is_ascii_digit()) {
        let run = rest[start..]
            .find(|char: char| !(char.is_ascii_digit() || char == ' ' || char == '-'))
            .map_or(rest.len(), |end| start + end);
        let run = start + rest[start..run].trim_end_matches([' ', '-']).len();
        let preceded =
            rest[..start].chars().next_back().is_some_and(|char| char.is_alphanumeric() || char == '-');
        let followed = rest[run..].chars().next().is_some_and(char::is_alphanumeric);
        out.push_str(&rest[..start]);
        let digits = &rest[start..run];
        match card_within(digits).filter(|_| !preceded && !followed) {
            Some((from, to)) => {
                out.push_str(&digits[..from]);
                out.push_str("[masked:card]");
                rest = &rest[start + to..];
                changed = true;
                continue;
            }
            None => out.push_str(digits),
        }
        rest = &rest[run..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// Where in a run of digits, spaces and dashes a card number is: some groups of it, or all.
fn card_within(run: &str) -> Option<(usize, usize)> {
    let ends = |from: usize| {
        let groups = run[from..].split_inclusive([' ', '-']);
        groups.scan(from, |at, group| {
            *at += group.len();
            Some(*at)
        })
    };
    core::iter::once(0).chain(ends(0)).filter(|from| *from < run.len()).find_map(|from| {
        let within = |to: &usize| run[from..*to].len() <= MAX_CARD_LEN;
        let longest = ends(from).take_while(within).filter(|to| is_card(&run[from..*to])).last()?;
        Some((from, from + run[from..longest].trim_end_matches([' ', '-']).len()))
    })
}

/// Nineteen digits with a space or dash after each.
const MAX_CARD_LEN: usize = 38;

/// Whether a number, written out, is a card's.
pub(super) fn is_card_number(number: &serde_json::Number) -> bool {
    let long = number.as_u64().is_none_or(|number| number >= 1_000_000_000_000);
    long && is_card(&number.to_string())
}

/// Whether a text is a card's number.
fn is_card(run: &str) -> bool {
    let digits: Vec<u32> = run.chars().filter_map(|char| char.to_digit(10)).collect();
    // Issuer numbers begin with 2 to 6; times in milliseconds begin with 1.
    let issued = digits.first().is_some_and(|first| (2..=6).contains(first));
    if !issued || !(MIN_CARD_DIGITS..=19).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_masked_wherever_they_stand_in_a_text() {
        for (text, want) in [
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln ok", "token [masked:jwt] ok"),
            ("key nf_live_0123456789abcdef0123456789abcdef", "key [masked:key]"),
            ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [masked]"),
            ("postgres://bob:hunter2@db/x", "postgres://[masked]@db/x"),
            (
                "https://a.example/cb?code=abc&x=1&access_token=q#f",
                "https://a.example/cb?code=[masked]&x=1&access_token=[masked]#f",
            ),
            ("card 4111 1111 1111 1111 please", "card [masked:card] please"),
            ("Zk3v9QpX7rT1wLm8Yb2Ns6Hc4Jd0Fg5A", "[masked:random]"),
            ("see data:application/pdf;base64,JVBERi0x end", "see [masked:data-url] end"),
            ("Mozilla/5.0 4111 1111 1111 1111-12", "Mozilla/5.0 [masked:card]-12"),
            (
                r#"bad body: {"password":"hunter2","mode":"on"}"#,
                r#"bad body: {"password":"[masked]","mode":"on"}"#,
            ),
            (r#"{"raw":"{\"api_key\": \"short\"}"#, r#"{"raw":"{\"api_key\": \"[masked]\"}"#),
            ("ALTER ROLE bob PASSWORD 'hunter2' VALID", "ALTER ROLE bob PASSWORD '[masked]' VALID"),
            ("https%3A%2F%2Fbob%3Ahunter2%40db%2Fx", "https://[masked]@db/x"),
            ("a%2520b%3Fx%3D1%26token%3Dabc", "a b?x=1&token=[masked]"),
            ("-----BEGIN PRIVATE KEY-----\nMIIB", "[masked:pem]"),
        ] {
            assert_eq!(scrub(text), want);
        }
    }

    #[test]
    fn ordinary_values_stay_as_they_are() {
        for text in [
            "Invoice chaser v2",
            "822ea53d-eb27-4f01-948b-dbaa0680b6f6",
            "2026-11-23T03:21:57.319Z",
            "30 7 * * 1-5",
            "Europe/Zurich",
            "supabase-ssr/0.6.1 createBrowserClient",
            "alice@example.com",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            "basic plan for everyone",
            "Order 1234567890123 shipped",
            "the password isn't right, and 'it' is \"new\"",
            "100%25 of /a%20b",
            "internationalization-of-user-preferences",
        ] {
            assert_eq!(scrub(text), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it_and_scrubbing_twice_changes_nothing(text in "\\PC{0,120}") {
            let once = scrub(&text).into_owned();
            prop_assert_eq!(scrub(&once).into_owned(), once);
        }

        #[test]
        fn a_planted_token_is_never_left(before in "[ -~]{0,20} ", after in " [ -~]{0,20}") {
            let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMTExIn0.kN0t4rEalS1gnature";
            let text = format!("{before}{token}{after}");
            prop_assert!(!scrub(&text).contains("kN0t4rEalS1gnature"));
        }
    }
}
