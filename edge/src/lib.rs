//! The Worker's core: everything that is decided, none of the waiting.
//!
//! JavaScript (`js/edge.mjs`) owns the sockets, the timers and the platform's crypto; each export here is one
//! synchronous call from plain data to plain data. A panic therefore never takes another request's response with it:
//! the module is reset, configured again, and everything that must survive lives in JavaScript. Off the response path,
//! the queue consumer is an ordinary handler of the crate `worker`.

pub mod capture;
mod config;
mod consumer;
#[cfg(feature = "faults")]
mod faults;
pub mod sealing;
