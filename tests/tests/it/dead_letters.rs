//! A refused batch ends as a dead letter, and can be replayed once the cause is gone.

use std::time::Duration;

use tests::keys::Keys;
use tests::stack::QueueOptions;

use crate::scene::{Scene, Setup, created, creation};

#[tokio::test]
async fn dead_letters_are_kept_and_replayed_by_an_operator() {
    let keys = Keys::generate();
    let (exchange, call) = creation("late");
    let queue = QueueOptions { max_batch_timeout: 1, max_retries: 1, ..QueueOptions::default() };
    let setup = Setup { registered: false, queue, ..Setup::default() };
    let mut scene = Scene::start(&keys, vec![exchange], setup).await;
    assert_eq!(scene.app(&call).await.status, 201, "the app does not suffer from a key that nobody knows");

    let deadline = std::time::Instant::now() + Duration::from_secs(90);
    while scene.worker.backlog(tests::stack::DEAD_LETTERS).await.expect("a count") == 0 {
        assert!(std::time::Instant::now() < deadline, "it is not dead yet");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(scene.events().await.len(), 0);

    // The operator registers the key and attaches the worker to the dead letters.
    scene.register_signer();
    scene.replay_dead_letters().await;
    let events = scene.at_least(1, Duration::from_secs(60)).await;
    assert_eq!(created(&events), ["late"]);
}
