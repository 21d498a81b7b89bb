//! The packs that are compiled in, without the whitespace that makes them readable: an isolate starts the slower the more
//! there is to load.

use std::path::Path;
use std::{env, fs};

fn main() {
    let out = env::var("OUT_DIR").expect("cargo names it");
    for name in ["app", "supabase"] {
        let path = format!("packs/{name}.json");
        println!("cargo::rerun-if-changed={path}");
        let text = fs::read_to_string(&path).expect("the pack is there");
        // A pack that is not JSON is passed on as it is: the tests say what is wrong with it, and where.
        let dense = serde_json::from_str::<serde_json::Value>(&text).map_or(text, |pack| pack.to_string());
        fs::write(Path::new(&out).join(format!("{name}.json")), dense).expect("cargo's own folder");
    }
}
