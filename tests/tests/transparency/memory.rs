//! What a large answer to a slow client costs: the audited copy ends at its cap, and the rest waits at the origin.

use std::time::Duration;

use crate::raw::{Raw, message};
use crate::scene::{AUDITED, Request, Scene, UNAUDITED, noise};

const LARGE: usize = 60_000_000;
const STALL: Duration = Duration::from_secs(1);
const SAMPLE: Duration = Duration::from_millis(20);
const WARM_UP: usize = 300;
const ROUNDS: usize = 3;
const MAX_EXTRA_KB: u64 = 5_000;

/// The memory that a process holds, in kB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number of kB")
}

/// The peak while a client begins to read, stops for a while and then takes the rest.
async fn peak_of_a_slow_download(scene: &Scene, path: &str) -> u64 {
    let pid = scene.worker.pid().expect("it runs");
    let mut raw = Raw::connect(scene.worker.address()).await.expect("it listens");
    raw.write(Request::new("PUT").body("").head(&scene.host(), path)).await.expect("it reads");
    let head = raw.head().await.expect("it answers").expect("it answers");
    let mut rest = head.response_body("PUT");
    let mut received = raw.part(&mut rest).await.expect("it begins").expect("it begins").len();
    let mut peak = 0;
    for _ in 0..STALL.as_millis() / SAMPLE.as_millis() {
        peak = peak.max(resident(pid));
        tokio::time::sleep(SAMPLE).await;
    }
    while let Some(part) = raw.part(&mut rest).await.expect("it goes on") {
        received += part.len();
        peak = peak.max(resident(pid));
    }
    assert_eq!(received, LARGE);
    peak
}

/// The least of several peaks in a Worker of its own, since memory once taken is not given back, and a collection of
/// garbage that comes late adds to single ones. Auditing itself has its memory already, from short answers.
async fn least_peak(path: &str) -> u64 {
    let scene = Scene::start_as_deployed().await;
    scene.origin.answers(message("HTTP/1.1 200 OK\r\nContent-Type: application/json", "{\"success\":true}"));
    for _ in 0..WARM_UP {
        let answer =
            Request::new("PUT").body("{}").send(scene.worker.address(), &scene.host(), AUDITED).await;
        assert!(answer.is_some_and(|answer| answer.whole));
        scene.audits_one_more();
    }
    scene.audited_everything().await;
    scene.origin.answers(message("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream", noise(LARGE)));
    let mut least = u64::MAX;
    for round in 0..ROUNDS {
        let peak = peak_of_a_slow_download(&scene, path).await;
        println!("{path}, round {round}: {peak} kB");
        least = least.min(peak);
        if path == AUDITED {
            scene.audits_one_more();
        }
    }
    scene.audited_everything().await;
    least
}

#[tokio::test]
async fn a_slow_client_of_an_audited_answer_costs_no_memory() {
    let (unaudited, audited) = (least_peak(UNAUDITED).await, least_peak(AUDITED).await);
    assert!(audited < unaudited + MAX_EXTRA_KB, "{audited} kB audited, {unaudited} kB not");
}
