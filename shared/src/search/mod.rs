//! The search grammar: one language for the API, the command line, saved searches and the search field.
//!
//! ```text
//! action:AGENT_* actor:alice@example.com severity:>=warning -ip:10.0.0.0/8 last:7d "free text"
//! ```
//!
//! [`parse`] never fails: what it does not understand is a [`Diagnostic`] with its place in the text, and the rest still
//! runs. A [`Query`] prints itself in one canonical form that reads back as the same query. The types hold only what a
//! store can answer, so that whoever compiles a query has no error left to report. Nothing here knows the time of day:
//! `last:7d` stays what it is until somebody asks for its [`Window`] at a time.
//!
//! Terms beside each other must all hold. `OR` binds tighter than that, as people write it: `a b OR c` is `a (b OR c)`.

mod chip;
mod complete;
mod diagnostic;
mod field;
mod lexer;
mod parser;
mod pattern;
mod print;
mod query;
mod read;
mod time;

pub use chip::{Chip, add, remove};
pub use complete::{Completion, complete};
pub use diagnostic::Diagnostic;
pub use field::{Facet, NumberField, Part, TextField};
pub use parser::{Parsed, parse};
pub use pattern::Pattern;
pub use query::{EntityPattern, Expr, Network, OneOf, Query, Range, Term};
pub use time::{Moment, Span, Unit, When, Window};

/// Bytes of a text that are read; what is beyond is reported and left out.
pub const MAX_TEXT_LEN: usize = 4096;

/// Values in one query, each item of a list counted; the rest are reported and left out.
pub const MAX_TERMS: usize = 64;

/// Parentheses inside parentheses; a group below that is reported and left out.
pub const MAX_DEPTH: usize = 8;
