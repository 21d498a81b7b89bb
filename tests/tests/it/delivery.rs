//! What the queue accepted is stored exactly once, whatever stops in between.

use std::time::Duration;

use tests::keys::Keys;
use tests::stack::DeliveryMode;
use tests::wire::{Call, send};

use crate::scene::{SOON, Scene, Setup, alices_token, created, creation};

/// Creates agents `from..to` one after the other; each is answered 201 whatever the backend does.
async fn create(scene: &Scene, keys: &Keys, calls: &[(String, Call)]) {
    let token = alices_token(keys);
    for (name, call) in calls {
        let answer = scene.app(&call.clone().header("authorization", format!("Bearer {token}"))).await;
        assert_eq!(answer.status, 201, "{name}");
    }
}

async fn scene_with(keys: &Keys, count: usize, setup: Setup) -> (Scene, Vec<(String, Call)>) {
    let names: Vec<String> = (0..count).map(|at| format!("agent-{at:04}")).collect();
    let creations: Vec<_> = names.iter().map(|name| creation(name)).collect();
    let exchanges = creations.iter().map(|(exchange, _)| exchange.clone()).collect();
    let calls = names.into_iter().zip(creations).map(|(name, (_, call))| (name, call)).collect();
    (Scene::start(keys, exchanges, setup).await, calls)
}

fn names(calls: &[(String, Call)]) -> Vec<String> {
    calls.iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn c34_a_backend_that_is_down_for_a_minute_loses_nothing_and_stores_nothing_twice() {
    let keys = Keys::generate();
    let (mut scene, calls) = scene_with(&keys, 90, Setup::default()).await;
    create(&scene, &keys, &calls[..30]).await;
    scene.ingest.stop();
    create(&scene, &keys, &calls[30..60]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    scene.ingest.restart().await.expect("it starts again");
    create(&scene, &keys, &calls[60..]).await;
    let events = scene.at_least(90, Duration::from_secs(150)).await;
    assert_eq!(created(&events), names(&calls));
}

#[tokio::test]
async fn killing_the_backend_its_database_and_the_worker_loses_nothing_that_the_queue_accepted() {
    let keys = Keys::generate();
    let (mut scene, calls) = scene_with(&keys, 80, Setup::default()).await;
    create(&scene, &keys, &calls[..20]).await;
    scene.ingest.kill9();
    create(&scene, &keys, &calls[20..40]).await;
    scene.ingest.restart().await.expect("it starts after a kill");
    create(&scene, &keys, &calls[40..50]).await;
    let postgres = scene.ingest.postgres_pid().expect("a database");
    let killed = std::process::Command::new("kill").args(["-9", &postgres.to_string()]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    create(&scene, &keys, &calls[50..70]).await;
    // The queue holds what it accepted: an event is accepted once the linger and one send are over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.worker.kill9();
    scene.worker.restart().await.expect("it starts after a kill");
    create(&scene, &keys, &calls[70..]).await;
    let events = scene.at_least(80, Duration::from_secs(150)).await;
    assert_eq!(created(&events), names(&calls));
}

#[tokio::test]
async fn without_a_queue_the_same_batches_go_straight_to_the_backend() {
    let keys = Keys::generate();
    let setup = Setup { mode: DeliveryMode::Direct, ..Setup::default() };
    let (mut scene, calls) = scene_with(&keys, 40, setup).await;
    create(&scene, &keys, &calls[..20]).await;
    scene.at_least(20, SOON).await;
    scene.ingest.kill9();
    create(&scene, &keys, &calls[20..30]).await;
    scene.ingest.restart().await.expect("it starts after a kill");
    create(&scene, &keys, &calls[30..]).await;
    let events = scene.at_least(40, SOON).await;
    assert_eq!(created(&events), names(&calls));
}

#[tokio::test]
async fn concurrent_requests_gather_into_batches_and_each_event_comes_once() {
    let keys = Keys::generate();
    let (scene, calls) = scene_with(&keys, 400, Setup::default()).await;
    let token = alices_token(&keys);
    let (address, host) = (scene.worker.address(), scene.config.app_host());
    let sent: Vec<_> = calls
        .chunks(50)
        .map(|chunk| {
            let (chunk, host, token) = (chunk.to_vec(), host.clone(), token.clone());
            tokio::spawn(async move {
                for (_, call) in chunk {
                    let call = call.header("authorization", format!("Bearer {token}"));
                    assert_eq!(send(address, &host, &call).await.expect("an answer").status, 201);
                }
            })
        })
        .collect();
    for task in sent {
        task.await.expect("every request is answered");
    }
    let events = scene.at_least(400, SOON).await;
    assert_eq!(created(&events), names(&calls));
    let mut database = scene.database().await;
    let (batches, gaps): (i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where seq > 0 and not exists (select from batches b
           where b.tenant_id = batches.tenant_id and b.stream = batches.stream and b.seq = batches.seq - 1))
         from batches",
    )
    .fetch_one(&mut database)
    .await
    .expect("the batches");
    assert!(batches < 200, "{batches} batches of 400 events: they gather");
    assert_eq!(gaps, 0, "a stream has no gap");
}

#[tokio::test]
async fn two_workers_with_a_queue_each_serve_as_one_edge_and_the_loss_of_one_loses_nothing() {
    let keys = Keys::generate();
    let (mut scene, calls) = scene_with(&keys, 60, Setup::default()).await;
    let mut other = scene.another_worker().await;
    let token = alices_token(&keys);
    let send_to = async |address, calls: &[(String, Call)]| {
        for (name, call) in calls {
            let call = call.clone().header("authorization", format!("Bearer {token}"));
            let answer = crate::scene::ask(address, &scene.config.app_host(), &call).await;
            assert_eq!(answer.status, 201, "{name}");
        }
    };
    send_to(scene.worker.address(), &calls[..20]).await;
    send_to(other.address(), &calls[20..40]).await;
    // What was sent is in the queue once the linger and one send are over; then one of them is lost.
    tokio::time::sleep(Duration::from_secs(2)).await;
    other.kill9();
    send_to(scene.worker.address(), &calls[40..]).await;
    let served: Vec<_> = [&calls[..20], &calls[40..]].concat();
    let events = scene.at_least(40, SOON).await;
    assert_eq!(created(&events), names(&served), "the other's lie in its queue");
    // Its queue's folder is all that is needed to have the rest.
    other.restart().await.expect("it starts after a kill");
    let events = scene.at_least(60, SOON).await;
    assert_eq!(created(&events), names(&calls));
    scene.worker.stop();
}
