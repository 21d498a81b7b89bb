//! The backend over HTTP, with a real PostgreSQL started by its own launcher.

mod accounting;
mod configuration;
mod coverage;
mod crash;
mod erasure;
mod holds;
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
mod retention;
mod roles;
mod subjects;
mod support;
mod trial;
mod witness;
