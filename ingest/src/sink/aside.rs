//! Threads that give way.
//!
//! What streams are told costs more to write than events cost to store. Where there is not enough of the machine for both, batches
//! go first: a stream that is behind catches up, an application that waits does not. So this work has threads of its own, which the
//! system lets run when nobody else wants to; on a machine with time to spare it takes as long as elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use tokio::sync::oneshot;

/// A tenth of the share of a thread that does not give way.
const NICENESS: i32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// The threads; they end with the last of their callers.
#[derive(Debug)]
pub(super) struct Aside(Sender<Work>);

impl Aside {
    /// As many threads as the machine has processors.
    ///
    /// # Errors
    /// If the system starts none.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..thread::available_parallelism()?.get() {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new().name("streams".to_owned()).spawn(move || follow(&receiver))?;
        }
        Ok(Self(sender))
    }

    /// Does something there.
    ///
    /// # Panics
    /// If that panics.
    pub(super) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = oneshot::channel();
        let work = Box::new(move || {
            // Nobody waits any more where the sink's task was stopped.
            let _ = done.send(work());
        });
        self.0.send(work).expect("the threads live as long as this does");
        result.await.expect("work does not panic")
    }
}

fn follow(receiver: &Mutex<Receiver<Work>>) {
    // Elsewhere it would be the whole process that gives way.
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(NICENESS)
    {
        tracing::warn!(%error, "streams do not give way to batches");
    }
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            // Whoever waits for it is told.
            Ok(work) => drop(catch_unwind(AssertUnwindSafe(work))),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_done_aside_gives_way_and_its_caller_does_not() {
        let nice = || rustix::process::nice(0).expect("a priority");
        let before = nice();
        let aside = Aside::start().expect("threads");
        // The system has none above 19.
        assert_eq!(aside.run(nice).await, (before + NICENESS).min(19));
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn what_panics_takes_no_thread_with_it() {
        let aside = Arc::new(Aside::start().expect("threads"));
        for _ in 0..2 * thread::available_parallelism().expect("a number").get() {
            let aside = Arc::clone(&aside);
            let failed = tokio::spawn(async move { aside.run(|| panic!("on purpose")).await }).await;
            assert!(failed.is_err_and(|error| error.is_panic()));
        }
        assert_eq!(aside.run(|| 3).await, 3);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_stops_nothing() {
        let aside = Aside::start().expect("threads");
        drop(tokio::time::timeout(std::time::Duration::ZERO, aside.run(|| 1)).await);
        assert_eq!(aside.run(|| 2).await, 2);
    }
}
