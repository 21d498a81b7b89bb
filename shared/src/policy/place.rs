//! Where in a pack's text a mistake is.
//!
//! The JSON parser names the place where it noticed, which for a wrong value is its end, and what is checked after
//! parsing has no place at all. Here the text is read once more, only for where each member stands.

use super::Expr;
use super::pack::PackError;

/// Nesting that is followed, as deep as the parser itself goes.
const MAX_DEPTH: usize = 128;

/// The line and column, both from 1, of what `error` is about in the pack's text; columns count characters.
pub(super) fn of(text: &str, error: &PackError) -> (usize, usize) {
    let members = Members::of(text);
    let offset = match error {
        PackError::Document { line, column, reason } => {
            let end = offset(text, *line, *column);
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            is_json.then(|| members.noticed(text, end, reason)).flatten().unwrap_or(end.saturating_sub(1))
        }
        PackError::Rule { rule, member, .. } => members.of_rule(text, rule, member).unwrap_or(0),
        PackError::Empty => members.value("/rules").map_or(0, |rules| rules.start),
    };
    let before = &text[..floor(text, offset)];
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The byte offset after the character that the parser had read at its line and column; its columns count bytes.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    (lines.map(str::len).sum::<usize>() + column).min(text.len())
}

fn floor(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The text that a member is, where it is one.
fn string(text: &str, member: &Member) -> Option<String> {
    serde_json::from_str(text.get(member.start..member.end)?).ok()
}

/// A value, or the name of one, by its JSON pointer.
struct Member {
    pointer: String,
    start: usize,
    end: usize,
    /// Whether it is the name.
    key: bool,
}

/// Every value of a text and every name, in the order of their beginnings; as far as it is JSON.
struct Members(Vec<Member>);

impl Members {
    fn of(text: &str) -> Self {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0, found: Vec::new() };
        let _ = reader.value(String::new(), 0);
        Self(reader.found)
    }

    fn value(&self, pointer: &str) -> Option<&Member> {
        self.0.iter().find(|member| !member.key && member.pointer == pointer)
    }

    /// The beginning of what the parser's `reason` is about, given that it had read up to `end`: a few characters
    /// past a wrong value, and past the end of an object whose last value is wrong. In an expression, the character.
    fn noticed(&self, text: &str, end: usize, reason: &str) -> Option<usize> {
        let mut read = self.0.iter().rev().filter(|member| member.start < end);
        if reason.starts_with("expression ") {
            return read.filter(|member| !member.key).find_map(|member| {
                let error = string(text, member)?.parse::<Expr>().err()?;
                reason.starts_with(&error.to_string()).then(|| member.start + error.at())
            });
        }
        if reason.contains(" field `") {
            let whole = |member: &&Member| !member.key && member.end == end;
            let named = |member: &&Member| member.key && member.end <= end;
            let missing = reason.starts_with("missing ");
            return read
                .find(|member| if missing { whole(member) } else { named(member) })
                .map(|it| it.start);
        }
        let open = |member: &&Member| !member.key && member.start + 1 == end && member.end > end;
        let closed = |member: &&Member| !member.key && member.end <= end;
        let begun = self.0.iter().find(open);
        begun.or_else(|| read.find(closed)).map(|member| member.start)
    }

    /// The member of the last rule with this id, or the rule itself.
    fn of_rule(&self, text: &str, id: &str, member: &str) -> Option<usize> {
        let is_id = |member: &&Member| {
            let number = member.pointer.strip_prefix("/rules/").and_then(|rest| rest.strip_suffix("/id"));
            number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
                && string(text, member).is_some_and(|own| own == id)
        };
        let own = self.0.iter().rev().filter(|member| !member.key).find(is_id)?;
        let rule = own.pointer.strip_suffix("/id")?;
        let named = self.value(&format!("{rule}{member}")).or_else(|| self.value(rule))?;
        Some(named.start)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    found: Vec<Member>,
}

impl Reader<'_> {
    /// Reads one value; none where the text is not JSON any more.
    fn value(&mut self, pointer: String, depth: usize) -> Option<()> {
        self.skip_spaces();
        let number = self.found.len();
        let start = self.at;
        self.found.push(Member { pointer: pointer.clone(), start, end: usize::MAX, key: false });
        match self.peek()? {
            _ if depth > MAX_DEPTH => return None,
            b'{' => self.members(&pointer, depth)?,
            b'[' => self.items(&pointer, depth)?,
            b'"' => self.string()?,
            _ => {
                let scalar = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                let length = self.bytes[start..].iter().take_while(|byte| scalar(byte)).count();
                self.at += length;
                (length > 0).then_some(())?;
            }
        }
        self.found[number].end = self.at;
        Some(())
    }

    fn members(&mut self, pointer: &str, depth: usize) -> Option<()> {
        self.at += 1;
        loop {
            self.skip_spaces();
            if self.peek()? == b'}' {
                break;
            }
            let start = self.at;
            (self.peek()? == b'"').then_some(())?;
            self.string()?;
            let name = core::str::from_utf8(&self.bytes[start..self.at]).ok()?;
            let name: String = serde_json::from_str(name).ok()?;
            let own = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            self.found.push(Member { pointer: own.clone(), start, end: self.at, key: true });
            self.skip_spaces();
            (self.peek()? == b':').then(|| self.at += 1)?;
            self.value(own, depth + 1)?;
            self.skip_spaces();
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    fn items(&mut self, pointer: &str, depth: usize) -> Option<()> {
        self.at += 1;
        for number in 0_usize.. {
            self.skip_spaces();
            if self.peek()? == b']' {
                break;
            }
            self.value(format!("{pointer}/{number}"), depth + 1)?;
            self.skip_spaces();
            if self.peek()? == b',' {
                self.at += 1;
            }
        }
        self.at += 1;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Pack;
    use super::*;

    const PACK: &str = r#"{
  "name": "p", "version": 1,
  "rules": [
    {"id": "a", "match": {"method": "PUT", "path": "/a"}, "level": "full", "action": "A", "severity": "info",
     "entity": {"type": "x", "id": "path:id"}, "compliance": ["GDPR", "SOC2"],
     "details": {"n": "count(first(request:/n, 'ä'))"}},
    {"id": "b", "match": {"method": "PUT", "path": "/b"}, "level": "full", "action": "B", "severity": "info",
     "entity": {"type": "x"}, "capture_bytes": 1000}
  ]
}"#;

    fn place(from: &str, to: &str) -> (usize, usize) {
        assert!(PACK.contains(from), "{from}");
        let text = PACK.replacen(from, to, 1);
        let error = Pack::parse(&text).expect_err("refused");
        error.place(&text)
    }

    fn at(line: usize, needle: &str, more: usize) -> (usize, usize) {
        let text = PACK.lines().nth(line - 1).expect("a line");
        (line, text[..text.find(needle).expect("there")].chars().count() + 1 + more)
    }

    #[test]
    fn a_wrong_expression_is_shown_at_its_wrong_character() {
        assert_eq!(place("count(first(", "count(nope("), at(6, "count(", "count(nope".len()));
        assert_eq!(place("\"path:id\"", "\"path:\""), at(5, "path:id", "path:".len()));
    }

    #[test]
    fn a_wrong_member_or_value_is_shown_at_its_beginning() {
        assert_eq!(
            place("\"level\": \"full\", \"action\": \"B\"", "\"levle\": \"full\", \"action\": \"B\"").0,
            7
        );
        assert_eq!(place("\"capture_bytes\"", "\"capture\""), at(8, "\"capture_bytes\"", 0));
        assert_eq!(place("1000", "-1"), at(8, "1000", 0));
        assert_eq!(
            place(
                "\"severity\": \"info\",\n     \"entity\": {\"type\": \"x\", ",
                "\"severity\": \"blue\",\n     \"entity\": {\"type\": \"x\", "
            ),
            at(4, "\"info\"", 0)
        );
    }

    #[test]
    fn what_is_found_after_parsing_is_shown_at_its_member() {
        assert_eq!(place("\"id\": \"b\"", "\"id\": \"a\""), at(7, "\"b\"", 0));
        assert_eq!(place("[\"GDPR\", \"SOC2\"]", "[\"SOC2\", \"GDPR\"]"), at(5, "[\"GDPR\"", 0));
        assert_eq!(place("\"path\": \"/b\"", "\"path\": \"b\""), at(7, "\"/b\"", 0));
        assert_eq!(place("1000", "10000000"), at(8, "1000", 0));
        assert_eq!(
            place("\"level\": \"full\", \"action\": \"B\",", "\"action\": \"B\","),
            at(7, "{\"id\": \"b\"", 0)
        );
    }

    #[test]
    fn broken_json_is_shown_where_it_breaks() {
        assert_eq!(place("\"entity\": {\"type\": \"x\"}, ", "\"entity\" {\"type\": \"x\"}, ").0, 8);
        let error = Pack::parse("").expect_err("refused");
        assert_eq!(error.place(""), (1, 1));
    }

    proptest! {
        #[test]
        fn any_text_has_a_place_for_any_mistake(text in "(\\PC|\n|\"|\\{|\\}|\\[|\\]|:|,){0,60}", line in 0..9_usize, column in 0..99_usize) {
            if let Err(error) = Pack::parse(&text) {
                let (line, _) = error.place(&text);
                prop_assert!(line <= text.matches('\n').count() + 1);
            }
            let error = PackError::Document { line, column, reason: String::new() };
            let _ = error.place(&text);
            let error = PackError::Rule { rule: "a".to_owned(), member: "/id", reason: String::new() };
            let _ = error.place(&text);
        }

        #[test]
        fn any_cut_of_a_pack_has_a_place(cut in 0..PACK.len()) {
            if let Some(text) = PACK.get(..cut) {
                let error = Pack::parse(text).expect_err("cut");
                let (line, _) = error.place(text);
                prop_assert!(line <= text.matches('\n').count() + 1);
            }
        }
    }
}
