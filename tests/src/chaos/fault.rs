//! What goes wrong, and in which order: a round is every fault once, shuffled by the seed, most of them beside a trouble
//! of the network.

use std::fmt;

use super::dice::Dice;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// The backend's process.
    Ingest,
    /// The postmaster of its PostgreSQL.
    Postgres,
    /// The runtime of the Worker with the durable queue, and the queue in it.
    QueueWorker,
    /// The runtime of the Worker that posts its batches.
    DirectWorker,
}

impl Victim {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ingest, Self::Postgres, Self::QueueWorker, Self::DirectWorker];
}

/// What the network between the Workers and the backend does to requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The connection is reset in the middle of the request.
    CutRequest,
    /// The backend has the request and has answered; the connection is reset before the answer comes through.
    CutAnswer,
    /// Request and answer trickle.
    Slow,
    /// Connections are accepted, and nothing ever comes back.
    HalfOpen,
    /// A request is held for seconds, while those after it pass.
    Late,
    /// A request comes a second time, seconds later.
    Twice,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::CutRequest, Self::CutAnswer, Self::Slow, Self::HalfOpen, Self::Late, Self::Twice];
}

/// Whose clock jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timekeeper {
    /// That of both runtimes.
    Edge,
    /// The backend's.
    Ingest,
    /// PostgreSQL's.
    Postgres,
}

impl Timekeeper {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Edge, Self::Ingest, Self::Postgres];
}

/// A thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Processes end without warning, all at once, and are started again after a while.
    Kill(Vec<Victim>),
    /// Clocks jump by an hour, and back after a while.
    Jump {
        /// Whose.
        of: Vec<Timekeeper>,
        /// Into the future first, or into the past.
        ahead: bool,
    },
    /// The disk under the database, the backend's keys and its log is full for a while.
    FullDisk,
    /// The database is put back to a backup that was made a moment before.
    Restore,
}

/// A fault, and the trouble of the network beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The fault.
    pub fault: Fault,
    /// The trouble.
    pub trouble: Option<Trouble>,
}

/// A round: each part killed alone and several at once, each trouble, jumps in both directions, a full disk, a restore.
pub fn round(dice: &mut Dice) -> Vec<Step> {
    let mut alone: Vec<Fault> = Victim::ALL.into_iter().map(|victim| Fault::Kill(vec![victim])).collect();
    dice.shuffle(&mut alone);
    let mut faults = alone;
    faults.push(Fault::Kill(some(dice, Victim::ALL.to_vec(), 2)));
    for ahead in [true, false] {
        faults.push(Fault::Jump { of: some(dice, Timekeeper::ALL.to_vec(), 1), ahead });
    }
    let mut troubles: Vec<Option<Trouble>> = Trouble::ALL.into_iter().map(Some).collect();
    troubles.resize(faults.len(), None);
    dice.shuffle(&mut troubles);
    let mut steps: Vec<Step> =
        faults.into_iter().zip(troubles).map(|(fault, trouble)| Step { fault, trouble }).collect();
    // These two have a condition of the network of their own.
    steps.push(Step { fault: Fault::FullDisk, trouble: None });
    steps.push(Step { fault: Fault::Restore, trouble: None });
    dice.shuffle(&mut steps);
    steps
}

/// At least so many of a list, in its order.
fn some<T: Ord>(dice: &mut Dice, mut list: Vec<T>, least: u64) -> Vec<T> {
    let most = list.len() as u64;
    let wanted = least + dice.below(most - least + 1);
    dice.shuffle(&mut list);
    list.truncate(usize::try_from(wanted).unwrap_or(list.len()));
    list.sort();
    list
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingest => "ingest",
            Self::Postgres => "PostgreSQL",
            Self::QueueWorker => "workerd (queue)",
            Self::DirectWorker => "workerd (direct)",
        })
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CutRequest => "reset in the request",
            Self::CutAnswer => "reset before the answer",
            Self::Slow => "slow",
            Self::HalfOpen => "half open",
            Self::Late => "late, out of order",
            Self::Twice => "sent twice",
        })
    }
}

impl fmt::Display for Timekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "workerd",
            Self::Ingest => "ingest",
            Self::Postgres => "PostgreSQL",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victims) => write!(f, "kill -9 of {}", listed(victims)),
            Self::Jump { of, ahead } => {
                write!(f, "clock of {} an hour {}", listed(of), if *ahead { "ahead" } else { "back" })
            }
            Self::FullDisk => f.write_str("disk full"),
            Self::Restore => f.write_str("restore from backup"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.trouble {
            Some(trouble) => write!(f, "{}; network: {trouble}", self.fault),
            None => write!(f, "{}", self.fault),
        }
    }
}

fn listed(list: &[impl fmt::Display]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_has_every_fault_and_every_trouble_whatever_the_seed() {
        for seed in 0..200 {
            let steps = round(&mut Dice::of_run(seed));
            let killed = |victim| steps.iter().any(|step| step.fault == Fault::Kill(vec![victim]));
            assert!(Victim::ALL.into_iter().all(killed), "{seed}");
            let several = |step: &Step| matches!(&step.fault, Fault::Kill(victims) if victims.len() > 1);
            assert!(steps.iter().any(several), "{seed}");
            for trouble in Trouble::ALL {
                assert!(steps.iter().any(|step| step.trouble == Some(trouble)), "{seed}: {trouble}");
            }
            for wanted in [true, false] {
                let jumps = |step: &Step| matches!(&step.fault, Fault::Jump { ahead, of } if *ahead == wanted && !of.is_empty());
                assert!(steps.iter().any(jumps), "{seed}");
            }
            for fault in [Fault::FullDisk, Fault::Restore] {
                assert!(steps.contains(&Step { fault, trouble: None }), "{seed}");
            }
        }
    }

    #[test]
    fn a_seed_gives_its_rounds_again_and_another_gives_others() {
        let rounds = |seed| {
            let mut dice = Dice::of_run(seed);
            [round(&mut dice), round(&mut dice)]
        };
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
        let [first, second] = rounds(7);
        assert_ne!(first, second);
    }
}
