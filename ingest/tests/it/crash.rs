//! `kill -9` on either side.

use std::process::Command;
use std::time::Duration;

use crate::support::{Server, sample};

fn kill_9(pid: u32) {
    let done = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(done.expect("kill runs").success());
}

#[tokio::test]
async fn a_killed_postgres_comes_back_and_no_acknowledged_batch_is_lost() {
    let server = Server::start().await;
    let Some(postgres) = server.postgres else {
        eprintln!("SKIPPED: the database is not ours to kill");
        return server.stop().await;
    };
    let mut producer = server.producer().await;
    let mut acknowledged = 0;
    for n in 0..60 {
        if n == 20 {
            kill_9(postgres);
        }
        let sealed = producer.seal(&[sample(n * 2), sample(n * 2 + 1)]);
        // As the queue does: the same bytes again until they are taken.
        for _ in 0..40 {
            let item = server.send(&sealed).await;
            if item["status"] == 200 {
                acknowledged += 2;
                break;
            }
            assert_eq!(item["status"], 503, "{item}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
    assert_eq!(acknowledged, 120);
    assert_eq!(server.all("").await.len(), 120);
    let metrics = server.call("GET", "/metrics").await.text();
    assert!(metrics.contains("edgetrail_postgres_restarts_total 1"), "{metrics}");
    assert_eq!(server.call("GET", "/readyz").await.status, 200);
    server.stop().await;
}
