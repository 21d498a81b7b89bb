//! What the Worker passes is what would pass without it: each exchange is played straight to an origin and again
//! through the real Worker, on a path that no rule names and on an audited one, and compared byte by byte.
//!
//! The backend is a stand-in that takes every batch: what is tested is the way of requests and responses. It counts
//! events, so each test also shows that auditing was on. Where a proxy made of `fetch` has to differ,
//! [`differences`] holds it to exactly the difference that the Worker's README names.

mod answers;
mod bodies;
mod broken;
mod differences;
mod memory;
mod origin;
mod raw;
mod scene;
mod streams;
mod websocket;
