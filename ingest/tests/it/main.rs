//! The backend over HTTP, with a real PostgreSQL started by its own launcher.

mod accounting;
mod configuration;
mod coverage;
mod crash;
mod inbox;
mod inference;
mod intents;
mod ledger;
mod limits;
mod links;
mod own;
mod policy;
mod reading;
mod receiving;
mod reconcile;
mod support;
mod tamper;
mod trial;
mod verify;
mod witness;
