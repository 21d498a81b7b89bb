//! End to end: the real Worker in workerd, the real backend, the real PostgreSQL.
#![expect(unreachable_pub, reason = "a test binary has no readers of its interface")]

mod bundle;
mod capture;
mod chaos;
mod coverage;
mod crashes;
mod dead_letters;
mod delivery;
mod detections;
mod dev;
mod doctor;
mod documented_commands;
mod faults;
mod floods;
mod intent_kills;
mod intents;
mod kills;
mod me;
mod old_sides;
mod open_mode;
mod policy_pickup;
mod preread;
mod replay;
mod scene;
mod settings;
mod six_paths;
mod stage;
mod streams;
mod threat_model;
mod trust;
mod verify_page;
mod web;
mod web_trail;
