//! Everything the end-to-end tests and the development command stand on, all of it real: processes, sockets,
//! signatures, recorded traffic.
//!
//! - [`chaos`]: everything goes wrong, and what became of each act is counted.
//! - [`keys`]: an issuer like Supabase's, and the forgeries it must not accept.
//! - [`replay`]: recorded traffic with fresh tokens, an origin that answers from it, a client that plays it.
//! - [`demo`]: a small application and its Supabase, and a story to play through them.
//! - [`stack`]: `edgetrail serve` and the Worker in workerd as child processes.
//! - [`standin`]: PostgREST, GoTrue and the application's server over a real PostgreSQL, as far as tests need them.
//! - [`table`]: events for people at a terminal.
//! - [`wire`]: the plain HTTP/1.1 client and server under the others.
//!
//! It starts nothing that it does not stop, and stops nothing that it did not start.

pub mod bench;
pub mod chaos;
pub mod clock;
pub mod demo;
pub mod keys;
pub mod replay;
pub mod stack;
pub mod standin;
pub mod table;
pub mod wire;
