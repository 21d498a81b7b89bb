//! How large things may be. Each limit shows its arithmetic.

/// One framed batch in bytes. A queue message holds 128,000; the platform's own envelope and the retry metadata are
/// left 18,000.
pub const MAX_BATCH_LEN: usize = 110_000;

/// Events in one batch: one queue delivery of the platform is 100 messages, and a hundred events of the usual 1 kB
/// fill [`MAX_BATCH_LEN`].
pub const MAX_EVENTS_PER_BATCH: usize = 100;

/// One event's opening in bytes: two of the largest still fit into a batch.
pub const MAX_EVENT_LEN: usize = 48_000;

/// Batches in one request: one queue delivery.
pub const MAX_BATCHES_PER_REQUEST: usize = 100;

/// One request in bytes: a full queue delivery of the largest batches.
pub const MAX_REQUEST_LEN: usize = MAX_BATCHES_PER_REQUEST * MAX_BATCH_LEN;

/// One text of an event (a name, an id, a user agent) in bytes. PostgreSQL's B-tree entries end at 2,704 bytes and an
/// index holds up to three texts.
pub const MAX_TEXT_LEN: usize = 768;
