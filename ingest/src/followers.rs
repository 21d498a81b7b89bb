//! Where those who follow the events run: on threads that give way.
//!
//! What follows an event costs more than storing it does, and some of it is long stretches of work on one thread. Beside the tasks
//! that take batches, such a stretch would keep them waiting whenever as many of them are under way as there are threads. So
//! followers have a runtime of their own, and where there is not enough of the machine for both, batches and readers go first.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A tenth of the share of a thread or process that does not give way.
pub(crate) const NICENESS: i32 = 10;

/// The threads; what still runs on them ends with this.
#[derive(Debug)]
pub(crate) struct Followers(Option<Runtime>);

impl Followers {
    /// As many threads as the machine has processors.
    ///
    /// # Errors
    /// If the system starts none.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("followers")
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Starts a task there.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let runtime = self.0.as_ref().expect("it is there until it is dropped");
        runtime.spawn(task)
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        // A runtime may not wait for its tasks where it is dropped by a task of another.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn give_way() {
    // Elsewhere it would be the whole process that gives way.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(NICENESS)
    {
        tracing::warn!(%error, "followers do not give way to batches");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_follows_gives_way_and_others_do_not() {
        let nice = || rustix::process::nice(0).expect("a priority");
        let before = nice();
        let followers = Followers::start().expect("threads");
        // The system has none above 19.
        let after = followers.spawn(async move { nice() }).await.expect("no panic");
        assert_eq!((after, nice()), ((before + NICENESS).min(19), before));
    }

    #[tokio::test]
    async fn long_work_of_followers_keeps_no_other_task_waiting() {
        let followers = Followers::start().expect("threads");
        let busy = Duration::from_millis(400);
        let work = move || async move { std::thread::sleep(busy) };
        let tasks: Vec<_> = (0..64).map(|_| followers.spawn(work())).collect();
        let asked = Instant::now();
        tokio::task::yield_now().await;
        assert!(asked.elapsed() < busy, "{:?}", asked.elapsed());
        drop(followers);
        assert!(asked.elapsed() < busy, "nobody waits for them at the end: {:?}", asked.elapsed());
        drop(tasks);
    }
}
