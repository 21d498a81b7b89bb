//! Several processes behind one address, replaced one after the other while batches arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::batch::CONTENT_TYPE;

use crate::support::audit::verify;
use crate::support::{Balancer, Producer, Server, Sibling, call, sample};
use crate::witness_log::superuser;

const EVENTS: u64 = 5;

/// Sends batches until it is told to stop; gives how many were taken. Each must be, at the first attempt.
async fn send(address: String, mut producer: Producer, done: Arc<AtomicBool>) -> u64 {
    let mut taken = 0;
    while !done.load(Ordering::Acquire) {
        let events: Vec<_> = (taken * EVENTS..(taken + 1) * EVENTS).map(sample).collect();
        let frame = producer.seal(&events).frame();
        let headers = [("content-type", CONTENT_TYPE)];
        let answer = call(&address, "POST", "/v1/batches", &headers, &frame).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let item = answer.json()[0].clone();
        assert_eq!((&item["status"], &item["stored"]), (&200.into(), &EVENTS.into()), "{item}");
        taken += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_replaced_one_by_one_and_no_batch_fails() {
    let server = Server::start().await;
    let variables = [("EDGETRAIL__HTTP__DRAIN_MS", "500")];
    let mut siblings = Vec::new();
    for _ in 0..3 {
        siblings.push(Sibling::start(&server, &variables).await);
    }
    let balancer = Balancer::start(siblings.iter().map(|it| it.address.clone()).collect()).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut producers = Vec::new();
    for _ in 0..4 {
        producers.push(server.producer().await);
    }
    let mut senders = Vec::new();
    for producer in producers {
        senders.push(tokio::spawn(send(balancer.address.clone(), producer, Arc::clone(&done))));
    }
    for _ in 0..3 {
        let old = siblings.remove(0);
        let address = old.address.clone();
        old.terminate();
        assert!(old.ended().await.success());
        let new = Sibling::start(&server, &variables).await;
        balancer.replace(&address, &new.address);
        siblings.push(new);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    done.store(true, Ordering::Release);
    let mut taken = 0;
    for sender in senders {
        taken += sender.await.expect("no batch fails");
    }
    assert!(taken > 50, "{taken} batches meanwhile");
    let (events, ids): (i64, i64) =
        sqlx::query_as("select count(*), count(distinct id) from events where host = 'app.example.com'")
            .fetch_one(&mut superuser(&server).await)
            .await
            .expect("read");
    assert_eq!((events, ids), ((taken * EVENTS) as i64, (taken * EVENTS) as i64));
    drop(siblings);
    let all: i64 = sqlx::query_scalar("select sum(count)::bigint from batches")
        .fetch_one(&mut superuser(&server).await)
        .await
        .expect("read");
    server.sequenced(all as u64).await;
    let url = format!("http://{}", server.address);
    verify(&url, server.admin_key(), &[]).await.holds();
    server.stop().await;
}

#[tokio::test]
async fn a_process_that_is_told_to_stop_says_so_and_takes_what_still_comes() {
    let server = Server::start().await;
    let sibling = Sibling::start(&server, &[("EDGETRAIL__HTTP__DRAIN_MS", "2000")]).await;
    let mut producer = server.producer().await;
    assert_eq!(call(&sibling.address, "GET", "/readyz", &[], &[]).await.status, 200);
    sibling.terminate();
    crate::support::eventually(async || {
        call(&sibling.address, "GET", "/readyz", &[], &[]).await.status == 503
    })
    .await;
    let told = call(&sibling.address, "GET", "/readyz", &[], &[]).await.problem(503);
    assert_eq!(told["detail"], "this process is stopping");
    assert_eq!(Server::send_to(&sibling.address, &producer.seal(&[sample(0)])).await, 200);
    assert!(sibling.ended().await.success());
    assert_eq!(server.all("").await.len(), 1);
    server.stop().await;
}
