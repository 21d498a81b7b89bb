//! The campaign's result: what was done, what became of it, and whether anything is not accounted for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What became of the acts of one lane. Of those that the application saw:
/// `seen = stored + unknown + tail + restored + dropped + lost`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Asked for by clients.
    pub sent: u64,
    /// Answered by the application's own bytes.
    pub answered: u64,
    /// Refused by the Worker, since there was no trail: never seen by the application.
    pub refused: u64,
    /// Without an answer: the connection broke, by a kill or by the application.
    pub unanswered: u64,
    /// Answered otherwise than the application did.
    pub changed: u64,
    /// Seen by the application.
    pub seen: u64,
    /// Stored, once each.
    pub stored: u64,
    /// Of those that are stored, with an unknown outcome: a stream that broke off.
    pub cut: u64,
    /// Announced, and recorded as of unknown outcome.
    pub unknown: u64,
    /// In the memory of a Worker that was killed, accepted by nobody: the tail of its stream, which is told as unknown.
    pub tail: u64,
    /// Stored, gone with a restored backup, and told as lost.
    pub restored: u64,
    /// Given up by the Worker, and declared.
    pub dropped: u64,
    /// Accounted for by nothing.
    pub lost: u64,
    /// Stored more than once, or done more than once.
    pub twice: u64,
    /// Stored as done and never seen by the application.
    pub invented: u64,
}

impl Account {
    fn add(&mut self, other: &Self) {
        for (sum, value) in self.fields_mut().into_iter().zip(other.fields()) {
            *sum += value.1;
        }
    }

    fn fields(&self) -> [(&'static str, u64); 15] {
        [
            ("sent", self.sent),
            ("answered", self.answered),
            ("refused", self.refused),
            ("no answer", self.unanswered),
            ("changed", self.changed),
            ("seen", self.seen),
            ("stored", self.stored),
            ("(cut)", self.cut),
            ("unknown", self.unknown),
            ("tail", self.tail),
            ("restored", self.restored),
            ("dropped", self.dropped),
            ("lost", self.lost),
            ("twice", self.twice),
            ("invented", self.invented),
        ]
    }

    fn fields_mut(&mut self) -> [&mut u64; 15] {
        [
            &mut self.sent,
            &mut self.answered,
            &mut self.refused,
            &mut self.unanswered,
            &mut self.changed,
            &mut self.seen,
            &mut self.stored,
            &mut self.cut,
            &mut self.unknown,
            &mut self.tail,
            &mut self.restored,
            &mut self.dropped,
            &mut self.lost,
            &mut self.twice,
            &mut self.invented,
        ]
    }
}

/// What became of batches, of which acts know nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Batches {
    /// Accepted by the queue.
    pub queued: u64,
    /// Acknowledged by the backend, each counted once.
    pub acknowledged: u64,
    /// Acknowledged again: sent twice, or again after a lost answer.
    pub repeated: u64,
    /// Refused by the backend for the moment.
    pub refused: u64,
    /// Accepted or acknowledged, and not there.
    pub lost: u64,
    /// Gone with a restored backup: shown as a hole in their stream.
    pub restored_gap: u64,
    /// The same, as the unknown tail of a stream that ended.
    pub restored_tail: u64,
    /// The same, and their whole stream with them: only the log tells of them.
    pub restored_stream: u64,
    /// The same, and told by nothing.
    pub restored_untold: u64,
    /// Holes in streams that nothing explains.
    pub gaps_unexplained: u64,
}

/// The whole of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    /// The seed that repeats its faults.
    pub seed: u64,
    /// How long it took, in seconds.
    pub seconds: u64,
    /// Rounds.
    pub rounds: u64,
    /// Faults by kind, and how often each was there.
    pub faults: BTreeMap<String, u64>,
    /// Requests on the wire that met a trouble.
    pub met: BTreeMap<String, u64>,
    /// What this machine could not do.
    pub left_out: Vec<String>,
    /// Acts by lane.
    pub acts: BTreeMap<String, Account>,
    /// Batches.
    pub batches: Batches,
    /// Streams of the Workers that are told as ended, with an unknown tail.
    pub streams_ended: u64,
    /// Streams of the Workers that are not.
    pub streams_open: u64,
    /// The longest time from an answer to the kill that took the act's event with it, in milliseconds.
    pub longest_tail_ms: u64,
    /// Announced acts that never came and are told by nothing.
    pub intents_untold: u64,
    /// Announced acts that were told as of unknown outcome, and came after all: the clock had jumped.
    pub intents_early: u64,
    /// Entries that restores took, as counted in the database.
    pub entries_restored: u64,
    /// The same, as the verifier tells it.
    pub entries_told: u64,
    /// How often the logs were verified, and how often that failed.
    pub verifications: u64,
    /// What was wrong with them.
    pub proofs_wrong: Vec<String>,
    /// Oddities, of which there must be none.
    pub odd: BTreeMap<String, u64>,
    /// A few of what must not be, in words.
    pub complaints: Vec<String>,
}

impl Ledger {
    /// All lanes together.
    pub fn total(&self) -> Account {
        self.acts.values().fold(Account::default(), |mut total, account| {
            total.add(account);
            total
        })
    }

    /// What must not be, in words; nothing if all is well.
    pub fn wrong(&self) -> Vec<String> {
        let total = self.total();
        let (batches, odd) = (&self.batches, self.odd.values().sum::<u64>());
        let untold = self.entries_restored.abs_diff(self.entries_told);
        let must_be_none = [
            ("acts are lost", total.lost),
            ("acts are there twice", total.twice),
            ("acts are stored that never were", total.invented),
            ("answers are not the application's", total.changed),
            ("batches that were acknowledged are lost", batches.lost),
            ("batches went with a restore and nothing tells so", batches.restored_untold),
            ("holes in streams are unexplained", batches.gaps_unexplained),
            ("streams that ended are not told as such", self.streams_open),
            ("announced acts never came and nothing tells so", self.intents_untold),
            ("entries differ between what a restore took and what is told", untold),
            ("verifications failed", self.proofs_wrong.len() as u64),
            ("oddities", odd),
        ];
        let found = must_be_none.into_iter().filter(|(_, count)| *count > 0);
        found.map(|(what, count)| format!("{count} {what}")).collect()
    }

    /// The whole as JSON.
    pub fn json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        value["total"] = serde_json::to_value(self.total()).unwrap_or_default();
        value["wrong"] = self.wrong().into();
        format!("{value:#}\n")
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} rounds, {} s\n", self.seed, self.rounds, self.seconds)?;
        for (title, counts) in [("fault", &self.faults), ("requests that met it", &self.met)] {
            writeln!(f, "{title}")?;
            for (kind, count) in counts {
                writeln!(f, "  {kind:42} {count:6}")?;
            }
        }
        for left_out in &self.left_out {
            writeln!(f, "LEFT OUT: {left_out}")?;
        }
        writeln!(f)?;
        let width = self.acts.keys().map(String::len).max().unwrap_or(0).max(5);
        write!(f, "{:width$}", "acts")?;
        for (name, _) in Account::default().fields() {
            write!(f, " {name:>9}")?;
        }
        writeln!(f)?;
        let total = self.total();
        let rows =
            self.acts.iter().map(|(lane, account)| (lane.as_str(), account)).chain([("total", &total)]);
        for (lane, account) in rows {
            write!(f, "{lane:width$}")?;
            for (_, value) in account.fields() {
                write!(f, " {value:9}")?;
            }
            writeln!(f)?;
        }
        let batches = &self.batches;
        let rows = [
            ("batches accepted by the queue", batches.queued),
            ("batches acknowledged by the backend", batches.acknowledged),
            ("acknowledged again (duplicates)", batches.repeated),
            ("refused for the moment", batches.refused),
            ("accepted or acknowledged, and lost", batches.lost),
            ("gone with a restore, shown as a hole", batches.restored_gap),
            ("gone with a restore, in an unknown tail", batches.restored_tail),
            ("gone with a restore, stream and all", batches.restored_stream),
            ("gone with a restore, untold", batches.restored_untold),
            ("holes that nothing explains", batches.gaps_unexplained),
            ("log entries that restores took", self.entries_restored),
            ("the same as the verifier tells it", self.entries_told),
            ("streams told as ended, tail unknown", self.streams_ended),
            ("longest tail, ms from answer to kill", self.longest_tail_ms),
            ("told as of unknown outcome, came later", self.intents_early),
            ("verifications", self.verifications),
        ];
        writeln!(f)?;
        for (what, count) in rows {
            writeln!(f, "{what:44} {count:9}")?;
        }
        for complaint in self.proofs_wrong.iter().chain(&self.complaints) {
            writeln!(f, "! {complaint}")?;
        }
        match self.wrong().as_slice() {
            [] => writeln!(f, "\nnothing lost, nothing twice, every proof holds"),
            wrong => wrong.iter().try_for_each(|what| writeln!(f, "\nWRONG: {what}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_well_only_without_loss_repetition_invention_and_a_wrong_proof() {
        let account = Account { sent: 3, answered: 3, seen: 3, stored: 2, tail: 1, ..Account::default() };
        let well = Ledger { acts: [("lane".to_owned(), account)].into(), ..Ledger::default() };
        assert_eq!(well.wrong(), Vec::<String>::new());
        for spoil in [
            |account: &mut Account| account.lost = 1,
            |account: &mut Account| account.twice = 1,
            |account: &mut Account| account.invented = 1,
            |account: &mut Account| account.changed = 1,
        ] {
            let mut ledger = well.clone();
            ledger.acts.values_mut().for_each(spoil);
            assert_eq!(ledger.wrong().len(), 1);
        }
        let mut ledger = well.clone();
        ledger.proofs_wrong.push("edited".to_owned());
        ledger.entries_restored = 5;
        assert_eq!(ledger.wrong().len(), 2);
    }
}
