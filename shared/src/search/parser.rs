//! From text to query: reads on whatever stands there.

use super::chip::Chip;
use super::diagnostic::Diagnostic;
use super::field::Field;
use super::lexer::{Atom, Lexer};
use super::pattern::Pattern;
use super::query::{Expr, Query, Term};
use super::read::{Reason, term_of};
use super::{MAX_DEPTH, MAX_TERMS, MAX_TEXT_LEN};

/// What a text says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// All of it that was understood.
    pub query: Query,
    /// The rest, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The conditions that must all hold, each with its place in the text.
    pub chips: Vec<Chip>,
}

/// Reads a text. Whatever it is, what can be understood of it is a query.
pub fn parse(text: &str) -> Parsed {
    let (read, mut diagnostics) = within_limit(text);
    let mut parser = Parser { lexer: Lexer::new(read), diagnostics: Vec::new(), values: 0 };
    let chips = parser.chips();
    diagnostics.append(&mut parser.diagnostics);
    diagnostics.sort_by_key(|diagnostic| (diagnostic.start, diagnostic.end));
    let query = Query::of(chips.iter().map(|chip| chip.expr.clone()).collect());
    Parsed { query, diagnostics, chips }
}

/// The text, cut at a space if it is too long.
fn within_limit(text: &str) -> (&str, Vec<Diagnostic>) {
    if text.len() <= MAX_TEXT_LEN {
        return (text, Vec::new());
    }
    let most = text.floor_char_boundary(MAX_TEXT_LEN);
    let cut = text[..most].rfind(char::is_whitespace).unwrap_or(0);
    let message = format!("a search is at most {MAX_TEXT_LEN} bytes long; the rest is left out");
    (&text[..cut], vec![Diagnostic::new((cut, text.len()), message)])
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    diagnostics: Vec<Diagnostic>,
    values: usize,
}

impl Parser<'_> {
    fn chips(&mut self) -> Vec<Chip> {
        let mut chips = Vec::new();
        loop {
            self.lexer.skip_space();
            let start = self.lexer.at();
            match self.lexer.peek() {
                None => return chips,
                Some(')') => {
                    self.lexer.take(')');
                    self.complain((start, start + 1), "nothing is open that this closes");
                }
                Some(_) => {
                    if let Some(expr) = self.alternatives(0) {
                        chips.push(Chip { start, end: self.lexer.at(), expr });
                    }
                }
            }
        }
    }

    /// Conditions that must all hold, up to what closes them.
    fn conjunction(&mut self, depth: usize) -> Option<Expr> {
        let mut list = Vec::new();
        loop {
            self.lexer.skip_space();
            match self.lexer.peek() {
                None | Some(')') => return Expr::all(list),
                Some(_) => list.extend(self.alternatives(depth)),
            }
        }
    }

    /// `a OR b OR c`, or one of them. Always steps on.
    fn alternatives(&mut self, depth: usize) -> Option<Expr> {
        let start = self.lexer.at();
        if self.lexer.keyword("OR") {
            self.complain((start, start + 2), "OR stands between two terms; quote it to look for the word");
            return None;
        }
        if self.lexer.keyword("AND") {
            return None;
        }
        let mut list: Vec<Expr> = self.unit(depth).into_iter().collect();
        loop {
            // What follows no `OR` stays where it is, so that a chip ends with its text.
            let before = self.lexer.clone();
            self.lexer.skip_space();
            let start = self.lexer.at();
            if !self.lexer.keyword("OR") {
                self.lexer = before;
                return Expr::any(list);
            }
            self.lexer.skip_space();
            if matches!(self.lexer.peek(), None | Some(')')) {
                self.complain(
                    (start, start + 2),
                    "OR stands between two terms; quote it to look for the word",
                );
                return Expr::any(list);
            }
            list.extend(self.unit(depth));
        }
    }

    /// A term or a group, with what negates it.
    fn unit(&mut self, depth: usize) -> Option<Expr> {
        let start = self.lexer.at();
        let mut negated = false;
        loop {
            if self.lexer.keyword("NOT") {
                self.lexer.skip_space();
            } else if !self.lexer.take('-') {
                break;
            }
            negated = !negated;
        }
        let expr = match self.lexer.peek() {
            None | Some(')') => {
                self.complain((start, self.lexer.at()), "nothing follows that this negates");
                None
            }
            // A dash by itself.
            Some(space) if space.is_whitespace() => {
                self.complain((start, self.lexer.at()), "nothing follows that this negates");
                None
            }
            Some('(') => self.group(depth),
            Some(_) => self.term(),
        };
        expr.map(|expr| if negated { expr.negated() } else { expr })
    }

    fn group(&mut self, depth: usize) -> Option<Expr> {
        let start = self.lexer.at();
        self.lexer.take('(');
        if depth >= MAX_DEPTH {
            self.lexer.skip_group();
            let message = format!("parentheses are nested at most {MAX_DEPTH} deep; this is left out");
            self.complain((start, self.lexer.at()), &message);
            return None;
        }
        let inner = self.conjunction(depth + 1);
        if !self.lexer.take(')') {
            self.complain((start, start + 1), "nothing closes this");
        }
        inner
    }

    fn term(&mut self) -> Option<Expr> {
        let start = self.lexer.at();
        match self.lexer.field() {
            Some(name) => self.field_term(name, start),
            None => self.words(),
        }
    }

    /// A word or a phrase that may stand anywhere.
    fn words(&mut self) -> Option<Expr> {
        let atom = self.lexer.atom("");
        self.check_quote(&atom);
        let pattern = Pattern::of(atom.parts());
        if pattern.is_none() {
            self.complain(atom.place(), "there is nothing to look for in this");
        }
        pattern.filter(|_| self.count(atom.place())).map(|it| Expr::Term(Term::Words(it)))
    }

    fn field_term(&mut self, name: &str, start: usize) -> Option<Expr> {
        let values = self.values();
        let place = (start, start + name.len());
        let Some(field) = Field::named(name) else {
            let message = format!("there is no field {}", name.to_lowercase());
            self.diagnostics.push(Diagnostic::new(place, message).near(name, Field::names()));
            return None;
        };
        if values.is_empty() {
            self.complain((start, self.lexer.at()), &format!("{} needs a value", field.name()));
            return None;
        }
        let counted = values.into_iter().filter(|atom| self.count(atom.place())).collect();
        let (term, reasons) = term_of(field, counted);
        for Reason { place, message, near } in reasons {
            let diagnostic = Diagnostic::new(place, message);
            self.diagnostics.push(match near {
                Some(word) => diagnostic.near(&word, field.words()),
                None => diagnostic,
            });
        }
        term.map(Expr::Term)
    }

    /// `value`, `value,value` or `(value OR value)`.
    fn values(&mut self) -> Vec<Atom> {
        let mut atoms = Vec::new();
        let opened = self.lexer.at();
        let is_group = self.lexer.take('(');
        loop {
            if is_group {
                self.lexer.skip_space();
                if self.lexer.keyword("OR") || self.lexer.take(',') {
                    continue;
                }
            }
            let inner = self.lexer.at();
            if is_group && self.lexer.take('(') {
                self.lexer.skip_group();
                self.complain((inner, self.lexer.at()), "a list of values holds no other list");
                continue;
            }
            let atom = self.lexer.atom(",");
            if atom.start < atom.end {
                self.check_quote(&atom);
                atoms.push(atom);
            }
            if is_group {
                match self.lexer.peek() {
                    None => {
                        self.complain((opened, opened + 1), "nothing closes this");
                        return atoms;
                    }
                    Some(')') => {
                        self.lexer.take(')');
                        return atoms;
                    }
                    Some(_) => {}
                }
            } else if !self.lexer.take(',') {
                return atoms;
            }
        }
    }

    fn check_quote(&mut self, atom: &Atom) {
        if let Some(start) = atom.open_quote {
            self.complain((start, atom.end), "nothing closes this quote");
        }
    }

    /// Whether one more value is within the limit.
    fn count(&mut self, place: (usize, usize)) -> bool {
        self.values += 1;
        if self.values == MAX_TERMS + 1 {
            let message =
                format!("a search has at most {MAX_TERMS} values; this one and those after it are left out");
            self.complain(place, &message);
        }
        self.values <= MAX_TERMS
    }

    fn complain(&mut self, place: (usize, usize), message: &str) {
        self.diagnostics.push(Diagnostic::new(place, message));
    }
}
