//! What a request waits for longer than through a bare pass-through while nobody is in a hurry: one connection, a
//! request every 20 ms, so that what is done behind a response is over before the next.

use std::sync::Arc;
use std::time::Duration;

use super::super::load::{End, Load};
use super::super::report::median;
use super::super::{BenchError, Extent, Report};
use super::io;
use super::stage::{Part, Peers, Requests, Variant};

const EVERY: Duration = Duration::from_millis(20);

pub(super) fn run(variants: &[Variant], peers: Peers<'_>, extent: Extent) -> Result<Report, BenchError> {
    let (rounds, requests) = match extent {
        Extent::Quick => (4, 60),
        Extent::Full => (9, 200),
    };
    let find = |part| variants.iter().find(|variant| variant.part == part);
    let mut report = Report::default();
    let (Some(bare), Some(direct)) = (find(Part::Bare), find(Part::Direct)) else { return Ok(report) };
    for (name, figure, audited) in [
        ("unhurried, unaudited", "edge.low_load_unaudited_added_p50_ms", false),
        ("unhurried, audited", "edge.low_load_added_p50_ms", true),
    ] {
        let p50 = |variant: &Variant| {
            let known = Requests::to(variant, peers.keys);
            let request = Arc::clone(if audited { &known.audited } else { &known.unaudited });
            let end = End::Requests(requests);
            let load = Load { requests: vec![request], connections: 1, end, every: Some(EVERY) };
            load.send(variant.address).map(|found| found.p50).map_err(io("sending requests"))
        };
        let mut pairs = Vec::new();
        for round in 0..rounds {
            pairs.push(if round % 2 == 0 {
                let bare = p50(bare)?;
                (bare, p50(direct)?)
            } else {
                let direct = p50(direct)?;
                (p50(bare)?, direct)
            });
        }
        let of = |pick: fn(&(f64, f64)) -> f64| median(&pairs.iter().map(pick).collect::<Vec<_>>());
        report.figure(figure, of(|(bare, direct)| direct - bare));
        report.row(
            name,
            format!("p50 {:.2} ms, bare JS {:.2} ms", of(|(_, direct)| *direct), of(|(bare, _)| *bare)),
        );
    }
    Ok(report)
}
