//! The whole verifier over a bundle whose every file is made up: a verdict, whatever it is.
#![no_main]

use core::convert::Infallible;

use libfuzzer_sys::fuzz_target;
use shared::bundle::{Kind, LogId, LogItem, Manifest};
use shared::note::{KeyName, VerifierKey};
use shared::verify::{Source, Trust, verify};

/// Each file that is asked for is the next piece of the input.
struct Pieces<'a>(core::slice::Split<'a, u8, fn(&u8) -> bool>, usize);

impl Source for Pieces<'_> {
    type Error = Infallible;

    fn file(&mut self, _: &str, _: usize) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.next().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec))
    }

    fn absences(&mut self) -> Result<Vec<uuid::Uuid>, Infallible> {
        Ok((0..2).map(uuid::Uuid::from_u128).collect())
    }

    fn has_openings(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, Infallible> {
        self.1 += 1;
        Ok(self.0.next().filter(|_| self.1 < 600).map(<[u8]>::to_vec))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let split: fn(&u8) -> bool = |byte| *byte == 0xff;
    let log = |byte: u8, previous: Option<LogId>| {
        let log_id = LogId([byte; 16]);
        let origin = format!("log.example/log/{log_id}");
        let name = KeyName::try_from(origin.clone()).expect("a name");
        let key = VerifierKey { name, public: [3; 32] };
        LogItem { log_id, origin, key, others: Vec::new(), size: 9, previous }
    };
    for kind in [Kind::Log, Kind::Selection] {
        let manifest = Manifest {
            kind,
            tenant: "acme".parse().expect("a slug"),
            made_at: String::new(),
            logs: vec![log(7, None), log(8, Some(LogId([7; 16])))],
        };
        let mut pieces = Pieces(bytes.split(split), 0);
        let Ok(report) = verify(&mut pieces, &manifest, Trust::default(), &mut |_, _| {});
        assert_eq!(report.first().is_none(), report.is_valid(), "what is wrong is named");
    }
});
