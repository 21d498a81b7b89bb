//! Cosignatures of witnesses on checkpoints (c2sp.org/tlog-cosignature), the Ed25519 kind.
//!
//! ```text
//! message   = "cosignature/v1\n" | "time <seconds>\n" | note text
//! signature = timestamp u64be | ed25519[64]
//! key id    = SHA-256(name | 0x0A | 0x04 | public key)[..4]
//! ```

use core::fmt;
use core::str::FromStr;

use super::key::{decode_key, encode_key, key_id};
use super::{KeyError, KeyId, KeyName, Signature};

const COSIGNATURE: u8 = 4;
const FORM: &str = "name+id+base64";

/// A witness's public key: `name+hex(id)+base64(0x04 | key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignerKey {
    /// The witness's name.
    pub name: KeyName,
    /// The public key.
    pub public: [u8; 32],
}

impl CosignerKey {
    /// The key's id.
    pub fn id(&self) -> KeyId {
        key_id(&self.name, COSIGNATURE, &self.public)
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id(), encode_key(COSIGNATURE, &self.public))
    }
}

impl FromStr for CosignerKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form(FORM));
        };
        let public = decode_key(COSIGNATURE, key, FORM)?;
        let key = Self { name: KeyName::try_from(name.to_owned())?, public };
        if id == key.id().to_string() { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// A cosignature as a signature line carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cosignature {
    /// When the witness cosigned, in seconds since 1970; never zero.
    pub timestamp: u64,
    /// Its Ed25519 signature over [`Self::message`].
    pub signature: [u8; 64],
}

impl Cosignature {
    /// The cosignature in a signature line; none if it is something else.
    pub fn of(signature: &Signature) -> Option<Self> {
        let (timestamp, signature) = signature.bytes.split_first_chunk::<8>()?;
        let timestamp = u64::from_be_bytes(*timestamp);
        let signature = signature.try_into().ok()?;
        (1..=i64::MAX.unsigned_abs()).contains(&timestamp).then_some(Self { timestamp, signature })
    }

    /// What the signature is over, for a note's text with its last newline.
    pub fn message(&self, text: &str) -> String {
        format!("cosignature/v1\ntime {}\n{text}", self.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::Note;

    /// The example of c2sp.org/tlog-cosignature.
    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
         \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
         \u{2014} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    #[test]
    fn the_time_of_a_cosignature_is_read_and_signed() {
        let note = Note::parse(EXAMPLE.as_bytes()).expect("a note");
        let cosignature = Cosignature::of(&note.signatures()[1]).expect("a cosignature");
        assert_eq!(cosignature.timestamp, 1_679_315_147);
        let message = cosignature.message(note.text());
        assert!(
            message.starts_with("cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n")
        );
        assert_eq!(Cosignature::of(&note.signatures()[0]), None, "a log's own signature is none");
    }

    #[test]
    fn a_witness_key_is_told_from_a_logs_key() {
        let name = KeyName::try_from("witness.example/w1".to_owned()).expect("a name");
        let key = CosignerKey { name, public: [7; 32] };
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(text.parse::<crate::note::VerifierKey>(), Err(KeyError::Algorithm(COSIGNATURE, 1)));
        for broken in ["", "a+b", "w+00000000+BAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", "w+00000000+!!"]
        {
            assert!(broken.parse::<CosignerKey>().is_err(), "{broken}");
        }
    }
}
