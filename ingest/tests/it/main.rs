//! The backend over HTTP, with a real PostgreSQL started by its own launcher.

mod configuration;
mod crash;
mod ledger;
mod reading;
mod receiving;
mod support;
mod witness;
