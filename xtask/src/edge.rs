//! Building the worker: cargo, wasm-bindgen as a library, and the hand-written modules beside it.

use std::fs;
use std::path::{Path, PathBuf};

use wasm_bindgen_cli_support::Bindgen;

use crate::command::{Failure, cargo, root, run, step, target};

/// Classes of the crate `worker`, as the names of their exports have them, that nothing in the Worker uses.
const UNUSED: [&str; 6] = [
    "containerstartupoptions",
    "intounderlyingbytesource",
    "intounderlyingsink",
    "intounderlyingsource",
    "minifyconfig",
    "r2range",
];

/// Which worker is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// The one that is deployed, into `target/edge`.
    Deployed,
    /// One in which tests can plant a stop of the core, into `target/edge-faults`.
    Faults,
}

/// Builds the worker: the modules, and `modules.json` with their names and kinds, entry first.
pub(crate) fn build(which: Build) -> Result<(), Failure> {
    let (words, folder, features) = match which {
        Build::Deployed => ("building the worker (wasm)", "edge", [].as_slice()),
        Build::Faults => {
            ("building the worker for tests of faults", "edge-faults", ["--features", "faults"].as_slice())
        }
    };
    step(words);
    let profile = ["--profile", "worker", "--target", "wasm32-unknown-unknown"];
    let mut build = cargo(&["build", "--quiet", "-p", "edge"]);
    run(build
        .args(profile)
        .args(features)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", wasm_flags()))?;
    let wasm = target().join("wasm32-unknown-unknown/worker/edge.wasm");
    let out = target().join(folder);
    if out.exists() {
        fs::remove_dir_all(&out).map_err(|error| at(&out, &error))?;
    }
    bind(&wasm, &out).map_err(|error| Failure(format!("wasm-bindgen: {error:#}")))?;
    drop_unused(&out.join("index_bg.wasm")).map_err(|error| Failure(format!("walrus: {error:#}")))?;
    // The glue imports the wasm in the source phase, which runtimes do not know yet.
    let glue = out.join("index.js");
    let text = fs::read_to_string(&glue).map_err(|error| at(&glue, &error))?;
    fs::write(&glue, text.replace("import source ", "import ")).map_err(|error| at(&glue, &error))?;
    let own = root().join("edge/js");
    for entry in fs::read_dir(&own).map_err(|error| at(&own, &error))? {
        let path = entry.map_err(|error| at(&own, &error))?.path();
        let name = path.file_name().expect("an entry of a folder has a name");
        fs::copy(&path, out.join(name)).map_err(|error| at(&path, &error))?;
    }
    list(&out)
}

/// How wasm is compiled.
pub(crate) fn wasm_flags() -> String {
    // Places of panics are told from the sources' own folders on: the machine's are nobody's business, and weigh something.
    let sources =
        std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let remap =
        sources.map_or_else(|_| String::new(), |home| format!("--remap-path-prefix={home}/registry/src/= "));
    // Inlining into every caller makes a tenth more code and nothing that could be measured faster.
    format!("{remap}-Cllvm-args=-inline-threshold=5")
}

fn bind(wasm: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name("index").typescript(false).reset_state_function(true);
    bindgen.force_enable_abort_handler(true).remove_name_section(true).remove_producers_section(true);
    bindgen.module(true)?.generate(out)?;
    Ok(())
}

/// Takes the classes out that the crate `worker` exports and nobody here makes, with all that only they need.
fn drop_unused(wasm: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut config = walrus::ModuleConfig::new();
    let mut module =
        config.generate_name_section(false).generate_producers_section(false).parse_file(wasm)?;
    let is_unused = |name: &str| UNUSED.iter().any(|class| name.contains(class));
    let unused: Vec<_> =
        module.exports.iter().filter(|export| is_unused(&export.name)).map(walrus::Export::id).collect();
    for export in unused {
        module.exports.delete(export);
    }
    walrus::passes::gc::run(&mut module);
    // What makes one of them from within would be missed only when it is dropped.
    if let Some(import) = module.imports.iter().find(|import| is_unused(&import.name)) {
        return Err(format!("the worker makes a class that is taken out: {}", import.name).into());
    }
    module.emit_wasm_file(wasm)?;
    Ok(())
}

fn list(out: &Path) -> Result<(), Failure> {
    let mut files = Vec::new();
    collect(out, out, &mut files)?;
    files.sort_by_key(|name| (name != "edge.mjs", name.clone()));
    let modules: Vec<String> = files
        .iter()
        .filter_map(|name| {
            let kind = match Path::new(name).extension()?.to_str()? {
                "wasm" => "wasm",
                "js" | "mjs" => "esModule",
                _ => return None,
            };
            Some(format!("  {{\"name\": \"{name}\", \"kind\": \"{kind}\"}}"))
        })
        .collect();
    let path = out.join("modules.json");
    fs::write(&path, format!("[\n{}\n]\n", modules.join(",\n"))).map_err(|error| at(&path, &error))
}

fn collect(base: &Path, folder: &Path, names: &mut Vec<String>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder).map_err(|error| at(folder, &error))? {
        let path: PathBuf = entry.map_err(|error| at(folder, &error))?.path();
        if path.is_dir() {
            collect(base, &path, names)?;
        } else if let Ok(name) = path.strip_prefix(base) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure(format!("{}: {error}", path.display()))
}
