//! Places for connections, as many as there are, and who gives one up when all are taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Seats(Arc<Mutex<Table>>);

#[derive(Debug)]
struct Table {
    free: usize,
    /// Rises with each turn, so that the first of those who wait has waited longest.
    turns: u64,
    /// Who has no request under way, by their turn.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Seats {
    /// So many free places.
    pub(super) fn new(free: usize) -> Self {
        Self(Arc::new(Mutex::new(Table { free, turns: 0, waiting: BTreeMap::new() })))
    }

    /// A place: a free one, or the one of whoever has waited longest, who is told. None if everybody is busy.
    pub(super) fn take(&self) -> Option<Seat> {
        let mut table = self.table();
        if table.free > 0 {
            table.free -= 1;
        } else {
            let (_, longest) = table.waiting.pop_first()?;
            longest.notify_one();
        }
        let wanted = Arc::new(Notify::new());
        let turn = table.begin_waiting(&wanted);
        Some(Seat(Arc::new(Holder { seats: self.clone(), wanted, turn: Mutex::new(Turn::Waiting(turn)) })))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn begin_waiting(&mut self, wanted: &Arc<Notify>) -> u64 {
        self.turns += 1;
        self.waiting.insert(self.turns, Arc::clone(wanted));
        metrics::gauge!("edgetrail_http_idle_connections").set(self.waiting.len() as f64);
        self.turns
    }

    /// Whether it was still waiting; else somebody else has its place.
    fn end_waiting(&mut self, turn: u64) -> bool {
        let was_waiting = self.waiting.remove(&turn).is_some();
        metrics::gauge!("edgetrail_http_idle_connections").set(self.waiting.len() as f64);
        was_waiting
    }
}

/// A connection's place. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Seat(Arc<Holder>);

#[derive(Debug)]
struct Holder {
    seats: Seats,
    wanted: Arc<Notify>,
    turn: Mutex<Turn>,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    Waiting(u64),
    Busy,
}

impl Seat {
    /// Done when somebody else has the place.
    pub(super) async fn is_wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Nobody else gets the place until the guard is gone.
    pub(super) fn occupy(&self) -> Occupied {
        let mut turn = self.0.turn();
        if let Turn::Waiting(number) = *turn
            && self.0.seats.table().end_waiting(number)
        {
            *turn = Turn::Busy;
        }
        Occupied(self.clone())
    }
}

impl Holder {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let turn = *self.turn();
        let mut table = self.seats.table();
        let has_it = match turn {
            Turn::Waiting(number) => table.end_waiting(number),
            Turn::Busy => true,
        };
        table.free += usize::from(has_it);
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Occupied(Seat);

impl Drop for Occupied {
    fn drop(&mut self) {
        let mut turn = self.0.0.turn();
        if let Turn::Busy = *turn {
            *turn = Turn::Waiting(self.0.0.seats.table().begin_waiting(&self.0.0.wanted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_told(seat: &Seat) -> bool {
        use std::future::Future as _;
        let mut told = Box::pin(seat.is_wanted());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        told.as_mut().poll(&mut cx).is_ready()
    }

    #[test]
    fn whoever_has_waited_longest_gives_up_the_place_and_who_is_busy_keeps_it() {
        let seats = Seats::new(3);
        let [first, second, third] = [(); 3].map(|()| seats.take().expect("free"));
        let busy = first.occupy();
        let fourth = seats.take().expect("the second's");
        assert_eq!([&first, &second, &third, &fourth].map(is_told), [false, true, false, false]);
        // What was displaced frees nothing when it goes.
        drop(second);
        let fifth = seats.take().expect("the third's");
        assert_eq!([&first, &third, &fourth, &fifth].map(is_told), [false, true, false, false]);
        // It waits again from now on, so others have waited longer.
        drop(busy);
        let _sixth = seats.take().expect("the fourth's");
        assert_eq!([&first, &fourth, &fifth].map(is_told), [false, true, false]);
    }

    #[test]
    fn where_everybody_is_busy_nobody_is_displaced_and_who_goes_leaves_one_place() {
        let seats = Seats::new(2);
        let taken = [(); 2].map(|()| seats.take().expect("free"));
        let busy = taken.each_ref().map(Seat::occupy);
        assert!(seats.take().is_none());
        let [one, _other] = busy;
        drop(one);
        let [one, other] = taken;
        drop(one);
        let third = seats.take().expect("the place that was left");
        let _busy = third.occupy();
        assert!(seats.take().is_none());
        drop(other);
    }

    #[test]
    fn a_request_that_comes_as_its_place_is_given_away_does_not_get_it_back() {
        let seats = Seats::new(1);
        let first = seats.take().expect("free");
        let second = seats.take().expect("the first's");
        let late = first.occupy();
        drop(late);
        drop(first);
        let _busy = second.occupy();
        assert!(seats.take().is_none(), "there is one place");
    }
}
