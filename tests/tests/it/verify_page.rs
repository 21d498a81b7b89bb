//! The page that verifies bundles, in a real browser, on a bundle of a running log.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::keys::Keys;
use tests::stack::{chromium_bin, edgetrail_bin, verifier_page, workspace_root};

use crate::scene::{Scene, Setup, creating_application, creation};

/// Makes a bundle of everything as an admin does.
fn bundle(scene: &Scene, out: &Path) {
    let output = Command::new(edgetrail_bin().expect("it is built"))
        .args(["bundle", &format!("http://{}", scene.ingest.address()), "--quiet", "--out"])
        .arg(out)
        .env("EDGETRAIL_API_KEY", scene.ingest.api_key())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the page says of bundles; `#key` after a path is a key that the reader trusts.
fn ask(chromium: &Path, bundles: &[String]) -> Value {
    let node = workspace_root().join("tests/npm/node_modules/.bin/node");
    let output = Command::new(node)
        .arg(workspace_root().join("tests/npm/browser/verify.mjs"))
        .arg(chromium)
        .arg(verifier_page().expect("run `cargo xtask build-verifier`"))
        .args(bundles)
        .output()
        .expect("Node runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn a_dropped_bundle_is_verified_in_the_browser_and_nothing_leaves_it() {
    let Some(chromium) = chromium_bin() else {
        println!("there is no Chromium here: the page was not tried");
        return;
    };
    let keys = Keys::generate();
    let (application, upstream) = creating_application().await;
    let adjust = Box::new(move |config: &mut tests::stack::EdgeConfig| config.mounts[0].upstream = upstream);
    let scene = Scene::start(&keys, Vec::new(), Setup { adjust, ..Setup::default() }).await;
    for name in ["one", "two", "three"] {
        assert_eq!(scene.app(&creation(name).1).await.status, 201);
    }
    scene.of_action("AGENT_CREATED", 3).await;
    let folder = tempfile::tempdir().expect("a folder");
    let [good, bad, none] = ["good.tar", "bad.tar", "none.tar"].map(|name| folder.path().join(name));
    bundle_when_sequenced(&scene, &good).await;
    tampered(&good, &bad);
    fs::write(&none, "no tar at all").expect("our own folder");

    let manifest = manifest(&good);
    let key = manifest["logs"][0]["verifier_key"].as_str().expect("a key").to_owned();
    let foreign = shared::note::VerifierKey { public: [7; 32], ..key.parse().expect("a key") };
    let said = ask(
        &chromium,
        &[
            shown(&good),
            shown(&bad),
            shown(&none),
            format!("{}#{key}", shown(&good)),
            format!("{}#{foreign}", shown(&good)),
        ],
    );
    let told = |at: usize, what: &str| said["said"][at][what].as_str().unwrap_or_default().to_owned();
    assert!(told(0, "verdict").starts_with("good.tar verifies: "), "{said:#}");
    assert!(told(0, "word").starts_with("Checked against the keys in the bundle itself."));
    assert!(
        told(0, "logs").contains("signature\tpassed") && told(0, "logs").contains("openings\tpassed"),
        "{said:#}"
    );
    assert!(told(1, "verdict").starts_with("bad.tar does not verify: "), "{said:#}");
    assert!(told(1, "first").starts_with("First: edited: "), "{said:#}");
    assert_eq!(told(2, "verdict"), "none.tar could not be verified");
    assert_eq!(told(2, "first"), "the file ends inside a header");
    assert_eq!((told(3, "kind"), told(3, "word")), ("good".to_owned(), String::new()));
    assert!(told(4, "first").contains("unknown key"), "{said:#}");
    assert_eq!(said["errors"], serde_json::json!([]));
    let requests = said["requests"].as_array().expect("a list");
    let own =
        |url: &Value| url.as_str().is_some_and(|url| url.starts_with("file:") || url.starts_with("blob:"));
    assert!(requests.iter().all(own), "{requests:?}");
    drop(application);
}

/// Waits until the head covers everything, and makes the bundle.
async fn bundle_when_sequenced(scene: &Scene, out: &Path) {
    for _ in 0..50 {
        bundle(scene, out);
        let lines = file_of(out, "openings.ndjson").iter().filter(|byte| **byte == b'\n').count();
        if lines >= 3 && manifest(out)["logs"][0]["size"].as_u64() >= Some(lines as u64) {
            return;
        }
        fs::remove_file(out).expect("our own file");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("the head does not come to cover the events");
}

/// The same bundle with another byte in the middle of the first opening.
fn tampered(from: &Path, to: &Path) {
    let mut bytes = fs::read(from).expect("a bundle");
    let marker = b"\"opening\":\"";
    let at =
        bytes.windows(marker.len()).position(|part| part == marker).expect("an opening") + marker.len() + 120;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    fs::write(to, bytes).expect("our own folder");
}

fn manifest(bundle: &Path) -> Value {
    serde_json::from_slice(&file_of(bundle, "manifest.json")).expect("JSON")
}

/// A file of a tar.
fn file_of(bundle: &Path, wanted: &str) -> Vec<u8> {
    use shared::bundle::tar::{BLOCK, Member, padding, read};
    let bytes = fs::read(bundle).expect("a bundle");
    let mut rest = bytes.as_slice();
    while let Some((header, after)) = rest.split_first_chunk::<BLOCK>() {
        let (name, size) = match read(header).expect("a header") {
            Member::File(name, size) => (name, size),
            Member::Other(size) => (String::new(), size),
            Member::End => break,
        };
        let len = usize::try_from(size).expect("small");
        if name == wanted {
            return after[..len].to_vec();
        }
        rest = &after[len + padding(size)..];
    }
    panic!("{wanted} is not in it");
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
