//! Looks for secrets in what came out: as they are, and as they look once somebody encoded them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ingest::clock::random;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

/// Everything that came out, and what must not be in it.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) secrets: Needles,
    places: Vec<Place>,
}

struct Place {
    kind: &'static str,
    name: String,
    bytes: Vec<u8>,
}

impl Scan {
    /// Takes down what a place held; what is packed is looked at unpacked as well.
    pub(crate) fn saw(&mut self, kind: &'static str, name: &str, bytes: &[u8]) {
        for bytes in [Some(bytes.to_vec()), unpacked(bytes)].into_iter().flatten() {
            self.places.push(Place { kind, name: name.to_owned(), bytes });
        }
    }

    /// Asserts that no place holds a secret. Of each kind of place something harmless is named that one of them holds: it is looked
    /// for in the same way, so that nothing passes by being empty.
    pub(crate) fn finds_nothing_but(mut self, harmless: &[(&'static str, &str)]) {
        harmless.iter().for_each(|(_, text)| self.secrets.add(text, text.as_bytes()));
        let (mut leaks, mut proven) = (Vec::new(), BTreeSet::new());
        for place in &self.places {
            let (kind, name) = (place.kind, &place.name);
            assert!(harmless.iter().any(|(known, _)| *known == kind), "{kind}: nothing is known to be there");
            for (found, at) in self.secrets.in_bytes(&place.bytes) {
                if harmless.iter().any(|(_, text)| *text == found) {
                    proven.insert((kind, found));
                } else {
                    let around = &place.bytes[at.saturating_sub(80)..place.bytes.len().min(at + 80)];
                    let around = String::from_utf8_lossy(around).escape_debug().to_string();
                    leaks.push(format!("{found} is in {kind}: {name}: …{around}…"));
                }
            }
        }
        assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n"));
        for (kind, text) in harmless {
            assert!(proven.contains(&(*kind, *text)), "the scan does not find {text} in any {kind}");
        }
    }
}

/// What gzip or Parquet holds.
fn unpacked(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
        return Some(plain);
    }
    let table = bytes.starts_with(b"PAR1").then(|| bytes::Bytes::copy_from_slice(bytes))?;
    let reader = SerializedFileReader::new(table).expect("a Parquet file");
    let rows = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row").to_string());
    Some(rows.collect::<Vec<_>>().join("\n").into_bytes())
}

/// Texts and bytes that are looked for, each under a name.
pub(crate) struct Needles {
    names: Vec<String>,
    /// What stands for the name of that number.
    forms: Vec<(usize, Vec<u8>)>,
    /// Forms by their first four bytes.
    heads: HashMap<[u8; 4], Vec<usize>>,
    /// Whether a form begins with two bytes: nearly every place of a file is passed over by these.
    starts: Vec<bool>,
}

impl Default for Needles {
    fn default() -> Self {
        let starts = vec![false; 1 << 16];
        Self { names: Vec::new(), forms: Vec::new(), heads: HashMap::new(), starts }
    }
}

impl Needles {
    /// A new secret of letters alone: nothing masks it for its shape, and nothing else is like it.
    pub(crate) fn mint(&mut self, name: &str) -> String {
        let letter = |nibble: u8| char::from(b'a' + nibble);
        let text: String =
            random::<16>().into_iter().flat_map(|byte| [letter(byte >> 4), letter(byte & 15)]).collect();
        self.add(name, text.as_bytes());
        text
    }

    /// A secret that somebody else made.
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        for form in forms(secret) {
            self.insert(name, form);
        }
    }

    fn insert(&mut self, name: &str, form: Vec<u8>) {
        let number = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        let head: [u8; 4] = *form.first_chunk().expect("nothing is so short");
        self.starts[pair(head[0], head[1])] = true;
        self.heads.entry(head).or_default().push(self.forms.len());
        self.forms.push((number, form));
    }

    /// The names of what some bytes hold, and where it begins.
    pub(crate) fn in_bytes(&self, bytes: &[u8]) -> BTreeMap<&str, usize> {
        let mut found = BTreeMap::new();
        let starts = self.starts.as_slice();
        // Files of a database are nothing for long stretches.
        for block in (0..bytes.len()).step_by(NOTHING.len()) {
            let end = bytes.len().min(block + NOTHING.len());
            if bytes[block..end] == NOTHING[..end - block] {
                continue;
            }
            let last = bytes.len().saturating_sub(1).min(end);
            let mut at = block;
            while at < last {
                if starts[pair(bytes[at], bytes[at + 1])] {
                    self.at(&bytes[at..], |name| {
                        found.entry(name).or_insert(at);
                    });
                }
                at += 1;
            }
        }
        found
    }

    /// Tells the names of what some bytes begin with.
    fn at<'n>(&'n self, bytes: &[u8], mut tell: impl FnMut(&'n str)) {
        let here = bytes.first_chunk::<4>().and_then(|head| self.heads.get(head));
        for (name, form) in here.into_iter().flatten().map(|form| &self.forms[*form]) {
            if bytes.starts_with(form) {
                tell(&self.names[*name]);
            }
        }
    }
}

const NOTHING: [u8; 1024] = [0; 1024];

fn pair(first: u8, second: u8) -> usize {
    (usize::from(first) << 8) | usize::from(second)
}

/// A secret as it is and as it is written elsewhere: in base64 wherever it stands in what is encoded, in hex, in the escapes of
/// URLs and of JSON, and as the list of numbers that bytes are for a debugger.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let written = |write: &dyn Fn(&mut String, u8)| {
        secret.iter().fold(String::new(), |mut text, byte| {
            write(&mut text, *byte);
            text
        })
    };
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    let mut texts = vec![
        hex::encode(secret),
        hex::encode_upper(secret),
        written(&|text, byte| write!(text, "%{byte:02X}").expect("a string")),
        written(&|text, byte| write!(text, "%{byte:02x}").expect("a string")),
        written(&|text, byte| write!(text, "\\u{byte:04x}").expect("a string")),
        numbers.join(","),
        numbers.join(", "),
    ];
    for before in 0..3 {
        let encoded = [&vec![0; before], secret].concat();
        // Characters that come of the secret's bits alone.
        let (first, last) = ((before * 8).div_ceil(6), encoded.len() * 8 / 6);
        texts.push(STANDARD_NO_PAD.encode(&encoded)[first..last].to_owned());
        texts.push(URL_SAFE_NO_PAD.encode(&encoded)[first..last].to_owned());
    }
    texts.into_iter().map(String::into_bytes).chain([secret.to_vec()]).collect()
}

#[test]
fn a_secret_is_found_as_it_is_and_in_every_encoding_wherever_it_stands() {
    let mut needles = Needles::default();
    let secret = needles.mint("the secret");
    needles.add("the key", &[7, 0, 255, 254, 253, 62, 63, 251, 9, 1, 2, 3, 4, 5, 6, 8]);
    let found = |bytes: &[u8]| needles.in_bytes(bytes).into_keys().map(str::to_owned).collect::<Vec<_>>();
    let written = serde_json::json!({"token": format!("é\n{secret}\"")}).to_string();
    let escaped: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for text in [
        secret.clone(),
        format!("a line with {secret} in it"),
        format!("https://user:{secret}@example.com/?q={secret}"),
        written,
        escaped,
        hex::encode(format!("x{secret}")),
        hex::encode_upper(format!("xy{secret}z")),
        STANDARD_NO_PAD.encode(format!("{secret}?")),
        STANDARD_NO_PAD.encode(format!("user:{secret}")),
        URL_SAFE_NO_PAD.encode(format!("ab{secret}>>")),
        format!("{:?}", format!("ab{secret}").as_bytes()),
    ] {
        assert_eq!(found(text.as_bytes()), ["the secret"], "{text}");
    }
    let key = [1, 7, 0, 255, 254, 253, 62, 63, 251, 9, 1, 2, 3, 4, 5, 6, 8, 9];
    for text in [hex::encode(key), STANDARD_NO_PAD.encode(key), URL_SAFE_NO_PAD.encode(key)] {
        assert_eq!(found(text.as_bytes()), ["the key"], "{text}");
    }
    assert_eq!(found(&key), ["the key"]);
    let almost = &secret[..secret.len() - 1];
    assert!(found(almost.as_bytes()).is_empty(), "less than the whole is another text");
}
