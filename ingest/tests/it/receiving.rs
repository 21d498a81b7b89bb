//! What becomes of batches.

use ingest::clock::random;
use ingest::receive::examine::{Horizon, prepare};
use ingest::receive::verify::Verified;
use ingest::receive::write::{Outcome, write};
use serde_json::json;
use shared::batch::{Body, MAX_BATCH_LEN, encode_body};
use shared::event::Timestamp;
use shared::leaf::{self, Seed};
use shared::note::Note;

use crate::support::{Producer, Sealed, Server, counted, sample, tenant};

#[tokio::test]
async fn a_repeated_batch_is_answered_and_stored_once() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let sealed = producer.seal(&[sample(1), sample(2), sample(3)]);
    let first = server.send(&sealed).await;
    assert_eq!(
        first,
        json!({"status": 200, "stream": producer.stream.to_string(), "seq": 0, "stored": 3,
               "quarantined": [], "duplicate": false})
    );
    // Twice in one request as well.
    let twice = [sealed.frame(), sealed.frame()].concat();
    for item in server.post(&twice).await.json().as_array().expect("a list") {
        assert_eq!((&item["stored"], &item["duplicate"]), (&json!(0), &json!(true)));
    }
    assert_eq!(server.all("").await.len(), 3);
    server.stop().await;
}

#[tokio::test]
async fn the_same_events_in_two_streams_are_stored_once() {
    let server = Server::start().await;
    let mut producers = [server.producer().await, server.producer().await];
    // They are of different lanes of the writer.
    for (producer, lane) in producers.iter_mut().zip(0..) {
        producer.stream.0[15] = lane;
    }
    for round in 0..10 {
        let mut events: Vec<_> = (0..100).map(|n| sample(round * 100 + n)).collect();
        let one = producers[0].seal(&events).frame();
        events.reverse();
        let other = producers[1].seal(&events).frame();
        let (one, other) = tokio::join!(server.post(&one), server.post(&other));
        let [one, other] = [one.json()[0].clone(), other.json()[0].clone()];
        let stored = |item: &serde_json::Value| item["stored"].as_u64().expect("a number");
        assert_eq!(stored(&one) + stored(&other), 100, "{one} {other}");
        let quarantined = |item: &serde_json::Value| item["quarantined"].as_array().map_or(0, Vec::len);
        assert_eq!(quarantined(&one) + quarantined(&other), 100);
    }
    assert_eq!(server.all("").await.len(), 1000);
    server.stop().await;
}

#[tokio::test]
async fn a_second_header_for_one_place_is_409_and_stays_as_evidence() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let first = producer.seal(&[sample(1)]);
    producer.seq = 0;
    producer.prev = [0; 32];
    let second = producer.seal(&[sample(2)]);
    assert_eq!(server.send(&first).await["status"], 200);
    let item = server.send(&second).await;
    assert_eq!(item["status"], 409);
    assert_eq!(item["problem"]["type"], "/problems/equivocation");
    assert_eq!(server.all("").await.len(), 1);
    let mut transaction = server.store.begin().await.expect("begun");
    let header: String = sqlx::query_scalar("select header from equivocations")
        .fetch_one(&mut *transaction)
        .await
        .expect("one row");
    assert_eq!(header, second.note);
    drop(transaction);
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_believed_is_refused_with_its_reason() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let sealed = producer.seal(&[sample(1)]);

    let forged = Sealed { note: sealed.note.replace("count 1", "count 2"), ..sealed.clone() };
    assert_eq!(server.send(&forged).await["status"], 401);
    let mut stranger = Producer::new("edge/stranger");
    assert_eq!(server.send(&stranger.seal(&[sample(1)])).await["status"], 401);

    let opening = sample(1).to_opening(Seed(random())).encode();
    let foreign = producer.seal_openings("other", &[opening]);
    assert_eq!(server.send(&foreign).await["status"], 403);

    let unreadable =
        Sealed { note: producer.sign("audit-batch/v1\ntenant demo\n"), body: sealed.body.clone() };
    assert_eq!(server.send(&unreadable).await["status"], 400);
    let no_note = Sealed { note: "nonsense".to_owned(), body: Vec::new() };
    assert_eq!(server.send(&no_note).await["status"], 400);

    let other_body = Sealed { body: producer.seal(&[sample(2)]).body, ..sealed.clone() };
    let item = server.send(&other_body).await;
    assert_eq!(item["problem"]["type"], "/problems/digests-do-not-match");

    let mut large = sealed.clone();
    large.body.resize(MAX_BATCH_LEN, 0);
    let item = server.send(&large).await;
    assert_eq!((&item["status"], &item["problem"]["limit"]), (&json!(413), &json!(MAX_BATCH_LEN)));

    // One good batch among bad ones is still taken.
    let mixed = [forged.frame(), sealed.frame(), large.frame()].concat();
    let reply = server.post(&mixed).await;
    assert_eq!(reply.status, 200);
    let reply = reply.json();
    let statuses: Vec<_> = (0..3).map(|at| reply[at]["status"].clone()).collect();
    assert_eq!(statuses, [401, 200, 413]);
    assert_eq!(server.all("").await.len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_is_no_batches_is_a_problem() {
    let server = Server::with(&[("EDGETRAIL__HTTP__MAX_REQUEST_BYTES", "1000")]).await;
    server.post(b"\0\0\0\xffcut").await.problem(400);
    server.post(b"").await.problem(400);
    let too_large = server.post(&[0; 2000]).await.problem(413);
    assert_eq!(too_large["limit"], 1000);
    server.call("POST", "/v1/batches").await.problem(415);
    server.call("GET", "/v1/batches").await.problem(405);
    server.call("GET", "/nowhere").await.problem(404);
    server.stop().await;
}

#[tokio::test]
async fn one_bad_event_of_a_hundred_costs_one_event() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..100).map(sample).collect();
    let mut sealed = producer.seal(&events);
    // The last byte belongs to the last event: its digest no longer fits.
    *sealed.body.last_mut().expect("a byte") ^= 1;
    let item = server.send(&sealed).await;
    assert_eq!((&item["status"], &item["stored"]), (&json!(200), &json!(99)));
    assert_eq!(item["quarantined"][0]["position"], 99);

    server.get_with("/v1/quarantine", server.viewer_key()).await.problem(403);
    let kept = server.get_as_admin("/v1/quarantine").await.json();
    let kept = kept["quarantine"].as_array().expect("a list").clone();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["reason"], "it does not hash to the digest that was signed");
    let digest = kept[0]["claimed_digest"].as_str().expect("hex");
    let entry = kept[0]["entry"].as_str().expect("hex");
    // Version 1, class critical, then the time, then the digest that was signed.
    assert!(entry.starts_with("0101") && entry.ends_with(digest), "{entry}");
    assert_eq!(server.all("").await.len(), 99);
    let metrics = server.call("GET", "/metrics").await.text();
    let line = "edgetrail_quarantined_events_total{reason=\"digest\"}";
    assert_eq!(counted(&metrics, line), 1);
    server.stop().await;
}

#[tokio::test]
async fn events_of_another_tenant_time_or_id_go_to_quarantine() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let good = sample(1);
    let mut foreign = sample(2);
    foreign.tenant = tenant("other");
    let mut ancient = sample(3);
    ancient.occurred_at = Timestamp::try_from(1_000).expect("a time");
    let item = server.send(&producer.seal(&[good.clone(), foreign, ancient, good.clone()])).await;
    assert_eq!(item["stored"], 1);
    let reasons: Vec<_> = (0..3).map(|at| item["quarantined"][at]["reason"].to_string()).collect();
    assert!(reasons[0].contains("tenant other"), "{reasons:?}");
    assert!(reasons[1].contains("out of range"), "{reasons:?}");
    assert!(reasons[2].contains("stored already"), "{reasons:?}");
    server.stop().await;
}

#[tokio::test]
async fn an_event_the_store_refuses_costs_neither_its_batch_nor_the_others() {
    let server = Server::without_sequencer().await;
    let mut producer = server.producer().await;
    let mut batches = Vec::new();
    for start in [0, 10, 20] {
        let events: Vec<_> = (start..start + 10).map(sample).collect();
        batches.push(producer.seal(&events));
    }
    let now = Timestamp::from(chrono::Utc::now());
    let mut prepared: Vec<_> = batches
        .iter()
        .map(|sealed| {
            let note = Note::parse(sealed.note.as_bytes()).expect("a note");
            let verified = Verified {
                header: note.text().parse().expect("a header"),
                note: sealed.note.clone(),
                body: Body::parse(&sealed.body).expect("a body"),
            };
            let oldest = now.to_utc() - chrono::TimeDelta::days(300);
            prepare(&verified, Horizon { now, oldest })
        })
        .collect();
    // No month covers it: the database refuses the whole statement.
    prepared[1].good[4].filed_at += chrono::TimeDelta::days(4000);
    let outcomes = write(&server.store, &prepared.iter().collect::<Vec<_>>()).await;
    let all = Outcome::Stored { stored: 10, quarantined: Vec::new() };
    assert_eq!((&outcomes[0], &outcomes[2]), (&all, &all));
    let Outcome::Stored { stored: 9, quarantined } = &outcomes[1] else {
        panic!("{outcomes:?}");
    };
    assert_eq!(quarantined[0].0, 4);
    assert!(quarantined[0].1.starts_with("refused by the store"), "{quarantined:?}");
    assert_eq!(server.all("").await.len(), 29);
    server.stop().await;
}

#[tokio::test]
async fn a_header_that_does_not_name_the_one_before_is_marked() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    assert_eq!(server.send(&producer.seal(&[sample(1)])).await["status"], 200);
    assert_eq!(server.send(&producer.seal(&[sample(2)])).await["status"], 200);
    producer.prev = [7; 32];
    assert_eq!(server.send(&producer.seal(&[sample(3)])).await["status"], 200);
    let mut transaction = server.store.begin().await.expect("begun");
    let holds: Vec<Option<bool>> = sqlx::query_scalar("select prev_ok from batches order by seq")
        .fetch_all(&mut *transaction)
        .await
        .expect("rows");
    assert_eq!(holds, [None, Some(true), Some(false)]);
    drop(transaction);
    server.stop().await;
}

#[tokio::test]
async fn stored_rows_cannot_be_changed_by_the_application() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    server.send(&producer.seal(&[sample(1)])).await;
    for sql in [
        "update events set action = 'X'",
        "delete from events",
        "delete from batches",
        "update log_checkpoints set size = 0",
        "truncate quarantine",
    ] {
        let mut transaction = server.store.begin().await.expect("begun");
        let refused = sqlx::query(sql).execute(&mut *transaction).await;
        let error = refused.expect_err(sql).to_string();
        assert!(error.contains("permission denied"), "{sql}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_ends_early_costs_only_what_is_missing() {
    let server = Server::start().await;
    let mut producer = server.producer().await;
    let mut sealed = producer.seal(&[sample(1), sample(2)]);
    sealed.body.truncate(sealed.body.len() - 10);
    let item = server.send(&sealed).await;
    assert_eq!((&item["stored"], &item["quarantined"][0]["position"]), (&json!(1), &json!(1)));

    // Bytes that are no opening at all, under a digest that was signed.
    let digests = [[9; 32]];
    let body = encode_body(digests.iter().zip([&b"junk"[..]]).collect::<Vec<_>>().into_iter());
    assert!(Body::parse(&body).is_ok() && leaf::Opening::decode(b"junk").is_err());
    let junk = producer.seal_openings("demo", &[b"junk".to_vec()]);
    assert_eq!(junk.body, body);
    assert_eq!(server.send(&junk).await["stored"], 0);
    server.stop().await;
}
