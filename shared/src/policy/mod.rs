//! What exchanges mean: packs of rules, matched by method and path, first match wins.
//!
//! A [`Pack`] is a JSON document; [`Router`] compiles the packs of one mount. Routing looks only at what is known
//! before the request is forwarded and does not grow with the number of rules; a rule's own condition (`when`) is
//! evaluated afterwards, on the captured exchange.

mod expression;
mod pack;
mod router;

pub use expression::{Expr, ExprError, Facts, Function, Source};
pub use pack::{
    ChangeRule, EntityRule, FailureRule, Level, MatchRule, OutcomeRule, Pack, PackError, Rule, SeverityRule,
};
pub(crate) use router::query_value;
pub use router::{Plan, Routed, Router, RouterError, normalise_path};
