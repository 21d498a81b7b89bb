//! Kills without warning: who, and when, is drawn from a sequence that is the same in every run.

use std::time::Instant;

use tests::chaos::Dice;

use crate::scene::Scene;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    Ingest,
    /// The runtime, and in it the Worker and its queue.
    Worker,
    Both,
}

/// A kill of some part, and from when to when the Worker may have been hit by it.
#[derive(Debug)]
pub struct Kill {
    pub victim: Victim,
    pub before: Instant,
    pub after: Instant,
}

impl Kill {
    pub fn hit_the_worker(&self) -> bool {
        self.victim != Victim::Ingest
    }
}

/// Kills the backend, the Worker's runtime or both, and starts again what was killed; a backend only after a while, in
/// which others miss it.
pub async fn strike(scene: &mut Scene, dice: &mut Dice) -> Kill {
    let victim = match dice.below(3) {
        0 => Victim::Ingest,
        1 => Victim::Worker,
        _ => Victim::Both,
    };
    let before = Instant::now();
    if victim != Victim::Worker {
        scene.ingest.kill9();
    }
    if victim != Victim::Ingest {
        scene.worker.kill9();
    }
    let after = Instant::now();
    if victim != Victim::Ingest {
        scene.worker.restart().await.expect("it starts after a kill");
    }
    if victim != Victim::Worker {
        dice.pause(0, 1_000).await;
        scene.ingest.restart().await.expect("it starts after a kill");
    }
    Kill { victim, before, after }
}

/// Every kind of kill was among these.
pub fn hit_everything(kills: &[Kill]) -> bool {
    [Victim::Ingest, Victim::Worker, Victim::Both]
        .iter()
        .all(|victim| kills.iter().any(|kill| kill.victim == *victim))
}
