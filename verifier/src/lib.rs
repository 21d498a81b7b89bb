//! The verification of `edgetrail verify` for a browser: the same core over a file that the page may read in slices.
//!
//! The page is one HTML file that works from a disk without a network. A worker of it hands in a function that reads
//! bytes of the dropped file; nothing else is asked of it, and its content policy allows no connection.

mod archive;

use js_sys::{Function, Uint8Array};
use serde::Deserialize;
use serde_json::json;
use shared::bundle::{Kind, MANIFEST, MAX_MANIFEST_LEN, Manifest};
use shared::verify::{self, KnownHead, Source as _, Trust};
use wasm_bindgen::prelude::*;

use crate::archive::{Archive, ArchiveError, Bytes};

/// What the reader trusts besides the bundle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trusted {
    /// Verifier keys, `name+id+key`, one each.
    keys: Vec<String>,
    /// Signed checkpoints that were kept.
    heads: Vec<String>,
}

/// Bytes of the dropped file, as JavaScript gives them.
struct File<'f> {
    read: &'f Function,
    size: u64,
}

impl Bytes for File<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    #[expect(clippy::cast_precision_loss, reason = "no file is that large")]
    fn read(&self, from: u64, len: usize) -> Result<Vec<u8>, ArchiveError> {
        let read = self.read.call2(&JsValue::NULL, &(from as f64).into(), &(len as f64).into());
        let bytes = read.ok().and_then(|value| value.dyn_into::<Uint8Array>().ok());
        bytes.map(|bytes| bytes.to_vec()).filter(|bytes| bytes.len() == len).ok_or(ArchiveError::Unread(from))
    }
}

/// Verifies the bundle in a tar of `size` bytes; `read(from, length)` gives a `Uint8Array` of it, `progress(done, of)` hears of
/// entries. `trust` is `{"keys": […], "heads": […]}`. Gives the report as JSON.
///
/// # Errors
/// One line, if the file is no bundle or the trust is malformed.
#[wasm_bindgen]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a file's size is whole and positive"
)]
pub fn verify_bundle(
    read: &Function,
    size: f64,
    trust: &str,
    progress: &Function,
) -> Result<String, JsError> {
    let refused = |error: String| JsError::new(&error);
    let trust = trusted(trust).map_err(refused)?;
    let file = File { read, size: size as u64 };
    let mut heard = |done: u64, of: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a share of a bar")]
        let told = progress.call2(&JsValue::NULL, &(done as f64).into(), &(of as f64).into());
        // A page that does not listen is no reason to stop.
        drop(told);
    };
    report(file, trust, &mut heard).map_err(refused)
}

fn trusted(text: &str) -> Result<Trust, String> {
    let Trusted { keys, heads } =
        serde_json::from_str(text).map_err(|error| format!("what you trust: {error}"))?;
    let keys = keys.iter().map(|key| key.parse().map_err(|error| format!("key {key:?}: {error}")));
    let heads = heads.iter().zip(1..).map(|(head, n)| {
        KnownHead::read(&format!("the head you gave ({n})"), head.as_bytes())
            .map_err(|error| format!("the head you gave ({n}): {error}"))
    });
    Ok(Trust { keys: keys.collect::<Result<_, _>>()?, heads: heads.collect::<Result<_, _>>()? })
}

fn report<B: Bytes>(bytes: B, trust: Trust, progress: &mut dyn FnMut(u64, u64)) -> Result<String, String> {
    let mut archive = Archive::open(bytes).map_err(|error| error.to_string())?;
    let manifest = archive.file(MANIFEST, MAX_MANIFEST_LEN + 1).map_err(|error| error.to_string())?;
    let manifest = manifest.ok_or("this is no bundle: it has no manifest.json")?;
    let manifest = Manifest::parse(&manifest).map_err(|error| error.to_string())?;
    if manifest.kind == Kind::Archive {
        return Err("this is an archive; `edgetrail verify` reads it, this page does not".to_owned());
    }
    let without_keys = trust.keys.is_empty() && trust.heads.is_empty();
    let report =
        verify::verify(&mut archive, &manifest, trust, progress).map_err(|error| error.to_string())?;
    let logs: Vec<_> = manifest
        .logs
        .iter()
        .map(|log| json!({"log": log.log_id, "origin": log.origin, "key": log.key.to_string()}))
        .collect();
    let first = report.first().map(ToString::to_string);
    Ok(json!({
        "tenant": manifest.tenant, "made_at": manifest.made_at, "kind": manifest.kind, "logs": logs,
        "verdict": report.verdict(), "wrong": report.wrong(), "first": first,
        "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "on_its_own_word": without_keys, "report": report,
    })
    .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bundle_is_told_in_one_line() {
        let ask =
            |bytes: &[u8]| report(bytes.to_vec(), Trust::default(), &mut |_, _| {}).expect_err("refused");
        assert_eq!(ask(b""), "this is no bundle: it has no manifest.json");
        assert_eq!(ask(&[7; 700]), "this is no tar: a header's checksum is wrong");
        assert_eq!(ask(&[7; 70]), "the file ends inside a header");
    }

    #[test]
    fn a_key_or_head_that_is_none_is_named() {
        let ask = |text: &str| trusted(text).expect_err("refused");
        assert!(ask(r#"{"keys":["nope"],"heads":[]}"#).starts_with("key \"nope\": "));
        assert!(ask(r#"{"keys":[],"heads":["x"]}"#).starts_with("the head you gave (1): "));
        assert!(ask("").starts_with("what you trust: "));
    }
}
