//! Where the parts are: binaries, the Worker's bundle, the workspace.

use std::path::{Path, PathBuf};

use super::StackError;

/// The root of the workspace.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The `edgetrail` binary: `EDGETRAIL_BIN`, or beside the running executable, or in `target/debug`.
///
/// # Errors
/// [`StackError::Missing`].
pub fn edgetrail_bin() -> Result<PathBuf, StackError> {
    let mut places: Vec<PathBuf> = std::env::var_os("EDGETRAIL_BIN").map(PathBuf::from).into_iter().collect();
    if let Ok(exe) = std::env::current_exe() {
        // A test runs in target/debug/deps, a binary in target/debug.
        places.extend(exe.ancestors().skip(1).take(2).map(|dir| dir.join("edgetrail")));
    }
    places.push(workspace_root().join("target/debug/edgetrail"));
    first("edgetrail", places, "run `cargo build -p ingest`")
}

/// The `workerd` executable, not its Node wrapper: `WORKERD_BIN`, or that of the npm package, up the tree.
///
/// # Errors
/// [`StackError::Missing`].
pub fn workerd_bin() -> Result<PathBuf, StackError> {
    let mut places: Vec<PathBuf> = std::env::var_os("WORKERD_BIN").map(PathBuf::from).into_iter().collect();
    let root = workspace_root();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "64" };
    places.extend(
        root.ancestors()
            .map(|dir| dir.join(format!("node_modules/@cloudflare/workerd-linux-{arch}/bin/workerd"))),
    );
    first("workerd", places, "run `npm ci`, or set WORKERD_BIN")
}

/// The directory with the Worker's modules and `modules.json`.
///
/// # Errors
/// [`StackError::Missing`].
pub fn edge_bundle() -> Result<PathBuf, StackError> {
    let mut places: Vec<PathBuf> =
        std::env::var_os("EDGETRAIL_BUNDLE").map(PathBuf::from).into_iter().collect();
    places.push(workspace_root().join("target/edge"));
    let list = places.into_iter().map(|dir| dir.join("modules.json"));
    let list = first("the Worker's bundle", list.collect(), "run `cargo xtask build-edge`")?;
    Ok(list.parent().map(Path::to_path_buf).unwrap_or_default())
}

/// The page that verifies bundles.
///
/// # Errors
/// [`StackError::Missing`].
pub fn verifier_page() -> Result<PathBuf, StackError> {
    let places = vec![workspace_root().join("target/verifier/verify.html")];
    first("the page that verifies bundles", places, "run `cargo xtask build-verifier`")
}

/// The browser for tests: `EDGETRAIL_CHROMIUM`, or the first Chromium on the path.
pub fn chromium_bin() -> Option<PathBuf> {
    let named = std::env::var_os("EDGETRAIL_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|dir| ["chromium", "chromium-browser", "google-chrome"].map(|name| dir.join(name)));
    named.into_iter().chain(found).find(|place| place.is_file())
}

fn first(what: &'static str, places: Vec<PathBuf>, hint: &str) -> Result<PathBuf, StackError> {
    places
        .into_iter()
        .find(|place| place.is_file())
        .ok_or_else(|| StackError::Missing { what, hint: hint.to_owned() })
}
