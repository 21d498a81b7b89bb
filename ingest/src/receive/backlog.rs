//! How much may be under way at one time: bytes of requests, from their arrival until their batches are written or refused.
//!
//! While the store stands still, senders go on. What finds no room is told to come again, so a backlog waits where it is
//! safe, in the queues of the edge, and the memory here stays what it is.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in pieces of so many: the counter has 32 bits.
const PIECE: usize = 1024;

/// The room. Clones share it.
#[derive(Debug, Clone)]
pub struct Backlog {
    room: Arc<Semaphore>,
    pieces: usize,
}

/// Room that is taken until the last clone of this goes.
#[derive(Debug, Clone)]
pub struct Held {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Room that is taken piece by piece while a request arrives.
#[derive(Debug)]
pub struct Arriving {
    backlog: Backlog,
    bytes: usize,
    permit: OwnedSemaphorePermit,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Backlog {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let pieces = bytes.div_ceil(PIECE).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(pieces)), pieces }
    }

    /// A request that has not brought anything yet.
    pub fn begin(&self) -> Arriving {
        let nothing = Arc::clone(&self.room).try_acquire_many_owned(0);
        let permit = nothing.expect("the room is never closed, and no piece of it always free");
        Arriving { backlog: self.clone(), bytes: 0, permit }
    }

    /// Bytes that are taken, to the next KiB of each request.
    pub fn taken(&self) -> usize {
        (self.pieces - self.room.available_permits()) * PIECE
    }
}

impl Arriving {
    /// Takes room for more bytes of the request.
    ///
    /// # Errors
    /// If there is none; what was taken before stays taken.
    pub fn take(&mut self, bytes: usize) -> Result<(), Full> {
        let wanted = (self.bytes + bytes).div_ceil(PIECE);
        let missing = u32::try_from(wanted - self.permit.num_permits()).map_err(|_| Full)?;
        let more = Arc::clone(&self.backlog.room).try_acquire_many_owned(missing).map_err(|_| Full)?;
        self.permit.merge(more);
        self.bytes += bytes;
        Ok(())
    }

    /// The request is whole: from here on whoever works on a part of it holds all of its room.
    pub fn hold(self) -> Held {
        Held { _permit: Arc::new(self.permit) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_refused_until_the_last_who_holds_some_lets_go() {
        let backlog = Backlog::new(10 * PIECE);
        let mut first = backlog.begin();
        assert_eq!(first.take(6 * PIECE), Ok(()));
        let mut second = backlog.begin();
        assert_eq!(second.take(5 * PIECE), Err(Full));
        assert_eq!(second.take(4 * PIECE), Ok(()));
        let (held, shared) = (first.hold(), second.hold());
        assert_eq!(backlog.taken(), 10 * PIECE);
        let also = held.clone();
        drop(held);
        assert_eq!(backlog.begin().take(1), Err(Full));
        drop((also, shared));
        assert_eq!(backlog.taken(), 0);
    }

    #[test]
    fn small_pieces_of_one_request_are_counted_together() {
        let backlog = Backlog::new(2 * PIECE);
        let mut request = backlog.begin();
        for _ in 0..2 * PIECE {
            assert_eq!(request.take(1), Ok(()));
        }
        assert_eq!(request.take(1), Err(Full));
        drop(request);
        assert_eq!(backlog.taken(), 0);
    }
}
