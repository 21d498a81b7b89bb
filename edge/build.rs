//! The packs that are compiled in, prepared: an isolate answers the later the more there is to read. A pack with a mistake is
//! not built.

use std::path::Path;
use std::{env, fs};

use shared::policy::prepare;

fn main() {
    let out = env::var("OUT_DIR").expect("cargo names it");
    for name in ["app", "supabase"] {
        let path = format!("packs/{name}.json");
        println!("cargo::rerun-if-changed={path}");
        let text = fs::read_to_string(&path).expect("the pack is there");
        let prepared = prepare(&text).unwrap_or_else(|error| {
            let (line, column) = error.place(&text);
            panic!("edge/{path}:{line}:{column}: {}", error.reason())
        });
        fs::write(Path::new(&out).join(format!("{name}.pack")), prepared).expect("cargo's own folder");
    }
}
