//! What exchanges mean: packs of rules, matched by method and path, first match wins.
//!
//! A [`Pack`] is a JSON document; [`Router`] compiles the packs of one mount. Routing looks only at what is known
//! before the request is forwarded and does not grow with the number of rules; a rule's own condition (`when`) is
//! evaluated afterwards, on the captured exchange.

mod document;
mod expression;
mod function;
mod pack;
mod place;
mod prepared;
mod route;
mod router;
pub mod served;

pub use expression::{Expr, ExprError, Facts, Source};
pub use function::{Function, creation_score};
pub use pack::{
    ActionRule, ActsForRule, BeforeRule, ChangeKind, ChangeRule, EntityRule, FailMode, FailureRule, Level,
    MatchRule, OutcomeRule, Pack, PackError, ReadExpr, Rule, SeverityRule, SystemActor,
};
pub use prepared::{Headers, Prepared, prepare};
pub use route::{fold_path, is_mutating, normalise_path};
pub(crate) use route::{query_pairs, query_value};
pub(crate) use router::parameters;
pub use router::{Look, Plan, Routed, Router, RouterError};
