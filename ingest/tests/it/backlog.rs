//! A database that stands still while everybody goes on sending: who finds no room is told when to come again, memory stays
//! what it is, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared::batch::CONTENT_TYPE;
use sqlx::{Connection as _, Executor as _};

use crate::support::{Server, Sibling, call, sample};
use crate::witness_log::superuser;

const SENDERS: u64 = 16;
const BATCHES: u64 = 16;
const EVENTS: u64 = 100;
const MB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stands_still_bounds_memory_and_loses_nothing() {
    let server = Server::start().await;
    let sibling = Sibling::start(
        &server,
        &[
            ("EDGETRAIL__HTTP__MAX_BACKLOG_BYTES", "2097152"),
            ("EDGETRAIL__HTTP__MAX_REQUEST_BYTES", "1048576"),
        ],
    )
    .await;
    let mut frames = Vec::new();
    for sender in 0..SENDERS {
        let mut producer = server.producer().await;
        for batch in 0..BATCHES {
            let first = (sender * BATCHES + batch) * EVENTS;
            let events: Vec<_> = (first..first + EVENTS).map(sample).collect();
            frames.push(producer.seal(&events).frame());
        }
    }
    let offered: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
    assert!(offered > 6 * MB, "{offered} bytes are no flood");
    let before = sibling.resident();

    let mut database = superuser(&server).await;
    let mut lock = database.begin().await.expect("begun");
    lock.execute("lock table events in access exclusive mode").await.expect("locked");
    let refused = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = frames
        .into_iter()
        .map(|frame| {
            let (address, refused) = (sibling.address.clone(), Arc::clone(&refused));
            tokio::spawn(async move {
                loop {
                    let headers = [("content-type", CONTENT_TYPE)];
                    let answer = call(&address, "POST", "/v1/batches", &headers, &frame).await;
                    if answer.status == 200 {
                        return;
                    }
                    assert_eq!(answer.status, 429, "{}", answer.text());
                    let wait = answer.head.split("retry-after: ").nth(1).expect("when to come again");
                    let wait: u64 = wait.lines().next().and_then(|word| word.parse().ok()).expect("seconds");
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(wait)).await;
                }
            })
        })
        .collect();
    let mut most = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        most = most.max(sibling.resident());
    }
    let (told, grown) = (refused.load(Ordering::Relaxed), most.saturating_sub(before));
    println!(
        "{} MB were offered, memory grew by {} MB, {told} requests were told to wait",
        offered / MB,
        grown / MB
    );
    assert!(told > 0, "nobody was told to wait");
    // What is under way is held as it came, as events and as what is written: 2 MiB several times, and never what was offered.
    assert!(grown < 64 * MB, "memory grew by {} MB", grown / MB);
    lock.rollback().await.expect("let go");

    for sender in senders {
        tokio::time::timeout(Duration::from_secs(120), sender).await.expect("in time").expect("no refusal");
    }
    let (events, ids): (i64, i64) = sqlx::query_as("select count(*), count(distinct id) from events")
        .fetch_one(&mut database)
        .await
        .expect("read");
    let all = (SENDERS * BATCHES * EVENTS) as i64;
    assert_eq!((events, ids), (all, all));
    drop(sibling);
    server.stop().await;
}
