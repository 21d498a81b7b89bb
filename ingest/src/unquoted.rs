//! What readers of JSON and TOML say of a document, without what they quote of it: it may be a secret in the wrong place, or
//! stand on its line.

/// Why a JSON document cannot be read.
pub fn json(error: &serde_json::Error) -> String {
    words(&error.to_string())
}

/// What a reader of any document says. Of texts in it nothing is repeated, of other words and names what does not look like a secret.
pub fn words(said: &str) -> String {
    let said = without(said, "string \"", "\", expected", "a text, expected");
    let said = without(&said, "unknown variant `", "`, expected", "unknown variant, expected");
    shared::redact::scrub(&said).into_owned()
}

/// Why a single value is refused, without the value before it.
pub fn reason(said: &str) -> String {
    let after = said.strip_prefix('"').and_then(|quoted| quoted.rsplit_once("\" is "));
    words(&after.map_or_else(|| said.to_owned(), |(_, rest)| format!("is {rest}")))
}

/// Where and why a text is no TOML.
pub fn toml(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| text.floor_char_boundary(span.start));
    let line = text[..at].matches('\n').count() + 1;
    let column = text[..at].rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {}", error.message().trim())
}

/// What is said, with other words in place of a quotation and what encloses it.
fn without(said: &str, before: &str, after: &str, instead: &str) -> String {
    let quotation = said.find(before).zip(said.rfind(after)).filter(|(start, end)| start < end);
    match quotation {
        Some((start, end)) => format!("{}{instead}{}", &said[..start], &said[end + after.len()..]),
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[serde(rename = "count")]
        _count: Option<u32>,
        #[serde(rename = "word")]
        _word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    enum Word {
        #[serde(rename = "yes")]
        Yes,
    }

    #[test]
    fn what_is_wrong_in_json_is_told_without_its_texts() {
        let said = |text: &str| json(&serde_json::from_str::<Document>(text).expect_err(text));
        for (text, words) in [
            (r#"{"count": "hunter2\", expected"}"#, "invalid type: a text, expected u32 at line 1 column 31"),
            (r#"{"word": "hunter2"}"#, "unknown variant, expected `yes` at line 1 column 18"),
            (r#""hunter2""#, "invalid type: a text, expected struct Document at line 1 column 9"),
            (
                r#"{"etk_ops_hunter2hunter2": 1}"#,
                "unknown field `[masked:key]`, expected `count` or `word` at line 1 column 25",
            ),
            (r#"{"cuont": 1}"#, "unknown field `cuont`, expected `count` or `word` at line 1 column 8"),
        ] {
            assert_eq!(said(text), words);
        }
    }

    #[test]
    fn a_value_that_is_refused_is_not_repeated() {
        let said = reason("\"hunter\\\" is 2\" is not one of info, warning");
        assert_eq!(said, "is not one of info, warning");
        assert_eq!(reason("is given twice"), "is given twice");
    }

    #[test]
    fn what_is_wrong_in_toml_is_told_without_its_line() {
        for text in ["a = 1\nurl = 'postgres://ops:hunter2@db", "a = 1\nurl = postgres://ops:hunter2@db"] {
            let said = toml(text, &text.parse::<toml::Table>().expect_err(text));
            assert!(said.starts_with("line 2, column ") && !said.contains("hunter2"), "{said}");
        }
    }
}
