//! The smallest pieces of a text, read from left to right.

/// A character of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    /// As it stands there.
    Bare(char),
    /// In quotes or behind a backslash: never a sign of the grammar.
    Quoted(char),
}

/// One value as it is written.
#[derive(Debug, Clone)]
pub(super) struct Atom {
    pub(super) letters: Vec<Letter>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Where a quote begins that nothing closes.
    pub(super) open_quote: Option<usize>,
}

impl Atom {
    pub(super) fn place(&self) -> (usize, usize) {
        (self.start, self.end)
    }

    /// The characters, however they are written.
    pub(super) fn text(&self) -> String {
        self.letters.iter().map(|(Letter::Bare(it) | Letter::Quoted(it))| *it).collect()
    }

    /// The pieces between bare wildcards.
    pub(super) fn parts(&self) -> Vec<String> {
        let mut parts = vec![String::new()];
        for letter in &self.letters {
            match letter {
                Letter::Bare('*') => parts.push(String::new()),
                Letter::Bare(it) | Letter::Quoted(it) => {
                    if let Some(last) = parts.last_mut() {
                        last.push(*it);
                    }
                }
            }
        }
        parts
    }

    /// The parts before and after the first of a bare sign.
    pub(super) fn split(&self, sign: char) -> Option<(Self, Self)> {
        let at = self.letters.iter().position(|letter| *letter == Letter::Bare(sign))?;
        let with = |letters: &[Letter]| Self { letters: letters.to_vec(), ..self.clone() };
        Some((with(&self.letters[..at]), with(&self.letters[at + 1..])))
    }
}

/// A place in a text.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Steps over a character, if it is the next one.
    pub(super) fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    pub(super) fn skip_space(&mut self) {
        while let Some(space) = self.peek().filter(|it| it.is_whitespace()) {
            self.at += space.len_utf8();
        }
    }

    /// Steps over a word of the grammar, if it stands here by itself.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let Some(rest) = self.text[self.at..].strip_prefix(word) else { return false };
        let is_whole = rest.chars().next().is_none_or(|next| next.is_whitespace() || "()".contains(next));
        if is_whole {
            self.at += word.len();
        }
        is_whole
    }

    /// Steps over a name and its colon, if one stands here.
    pub(super) fn field(&mut self) -> Option<&'a str> {
        let rest = &self.text[self.at..];
        let len = rest.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)))?;
        if len == 0 || rest.as_bytes()[len] != b':' {
            return None;
        }
        self.at += len + 1;
        Some(&rest[..len])
    }

    /// A value, up to a space, a parenthesis, or one of some signs. It is empty where none stands.
    pub(super) fn atom(&mut self, stops: &str) -> Atom {
        let start = self.at;
        let mut atom = Atom { letters: Vec::new(), start, end: start, open_quote: None };
        while let Some(next) = self.peek() {
            match next {
                '"' => self.quoted(&mut atom),
                '\\' => {
                    self.at += 1;
                    // At the very end it stands for itself.
                    let escaped = self.peek().unwrap_or('\\');
                    self.take(escaped);
                    atom.letters.push(Letter::Quoted(escaped));
                }
                _ if next.is_whitespace() || "()".contains(next) || stops.contains(next) => break,
                _ => {
                    self.at += next.len_utf8();
                    atom.letters.push(Letter::Bare(next));
                }
            }
        }
        atom.end = self.at;
        atom
    }

    fn quoted(&mut self, atom: &mut Atom) {
        let opened = self.at;
        self.take('"');
        while let Some(next) = self.peek() {
            self.take(next);
            match (next, self.peek()) {
                ('"', _) => return,
                ('\\', Some(escaped)) => {
                    self.take(escaped);
                    atom.letters.push(Letter::Quoted(escaped));
                }
                _ => atom.letters.push(Letter::Quoted(next)),
            }
        }
        atom.open_quote = Some(opened);
    }

    /// Steps over what a parenthesis encloses, up to the one that closes it.
    pub(super) fn skip_group(&mut self) {
        let mut depth = 1_usize;
        while depth > 0 {
            self.skip_space();
            match self.peek() {
                None => return,
                Some('(') => {
                    depth += 1;
                    self.take('(');
                }
                Some(')') => {
                    depth -= 1;
                    self.take(')');
                }
                Some(_) => {
                    self.atom("");
                }
            }
        }
    }
}
