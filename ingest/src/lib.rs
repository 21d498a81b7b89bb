//! The backend of the audit trail: receives signed batches, stores and sequences them, and answers readers.
//!
//! The modules follow a batch: [`receive`] believes and examines it, [`store`] keeps it, [`ledger`] puts it into the
//! tenant's Merkle log, [`account`] notices what is missing, [`api`] shows it to programs and `web` to people. [`serve`] starts all of it; [`command`] is everything else an operator does.

pub mod account;
pub mod api;
pub mod archive;
pub mod auth;
pub mod clock;
pub mod command;
pub mod compliance;
pub mod config;
pub mod correlate;
pub mod detect;
pub mod doctor;
pub mod evidence;
pub mod execution;
pub mod export;
mod followers;
pub mod integrity;
pub mod ledger;
pub mod limits;
pub mod listen;
pub mod own;
pub mod own_activity;
pub mod policy;
pub mod postgres;
pub mod privacy;
pub mod private;
pub mod readiness;
pub mod receive;
pub mod retention;
pub mod serve;
pub mod sink;
pub mod storage;
pub mod store;
pub mod table;
pub mod tally;
pub mod telemetry;
pub mod tls;
pub mod unquoted;
pub mod view;
mod web;
pub mod webhook;
