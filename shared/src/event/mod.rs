//! The audit event: one act, with who, what, on which entity, from where, with which outcome and what it changed.
//!
//! An [`Event`] is the reading of an [`Opening`](crate::leaf::Opening); the opening's bytes are what is committed to,
//! so [`record`] turns one into the other and back without loss for every field this version knows.

mod actor;
mod change;
mod context;
mod ids;
mod outcome;
mod record;
mod words;

pub use actor::{Actor, ClaimedUser, Entity, Trust};
pub use change::{ChangeSet, Quality};
pub use context::{BodyState, Context, Place, RequestFacts};
pub use ids::{EventId, IdError, TenantId, Timestamp};
pub(crate) use outcome::closed_set;
pub use outcome::{Outcome, RetentionClass, Severity};
pub use record::EventError;
pub use words::{Action, ComplianceFlag, EntityType, JsonText, WordError};

/// One recorded act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Whose log it belongs to.
    pub tenant: TenantId,
    /// Minted once by the producer, the same on every retry.
    pub id: EventId,
    /// When the request arrived at the edge.
    pub occurred_at: Timestamp,
    /// How long it is kept.
    pub class: RetentionClass,
    /// The application's own name of the act, such as `AGENT_CREATED`.
    pub action: Action,
    /// How much it matters.
    pub severity: Severity,
    /// Whether the act succeeded; the HTTP status alone does not say.
    pub outcome: Outcome,
    /// A short machine code for an outcome that is not a success, such as `invalid_credentials`.
    pub reason: Option<String>,
    /// How sure we are of `actor`.
    pub trust: Trust,
    /// Who did it, as far as a token says.
    pub actor: Option<Actor>,
    /// Whom a header or a body named, whatever the token says.
    pub claimed_user: Option<ClaimedUser>,
    /// What it was done to.
    pub entity: Option<Entity>,
    /// The exchange it was seen in.
    pub request: RequestFacts,
    /// From where.
    pub context: Context,
    /// What the rule named, as JSON text serialised once at the edge.
    pub details: Option<JsonText>,
    /// What changed from what to what.
    pub changes: Option<ChangeSet>,
    /// Compliance regimes that ask for this event; sorted, without repeats.
    pub compliance: Vec<ComplianceFlag>,
    /// Milliseconds from the request's arrival to the origin's response head.
    pub duration_ms: Option<u32>,
    /// A write by the application's own server, of which another event tells the act.
    pub echo: bool,
}
