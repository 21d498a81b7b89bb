//! Which event tells why something was written.
//!
//! An event and a write belong together if they lie within the window and name the same row (entity type and id), or
//! the event names the table, with `details.rows` as the number of rows it may tell. It names a table by
//! `details.table`, or by having gone to a Supabase project's route of it; then it tells nothing of any other. One act
//! is one transaction, so an event explains rows of a single one: otherwise any act on a row would cover up every other
//! write to it nearby. Two people on both sides do not belong together. Of several pairs the surest goes first.
//!
//! An act of which the application's server sent echoes through the edge is seen as many times more. Together they
//! explain as many transactions on a row as there are echoes that name it, and one more if the server also called a
//! function of the database, which may write what it likes.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::event::{JsonText, Trust};
use uuid::Uuid;

use crate::store::events;
use crate::store::writes::{Candidate, PendingWrite, Settled, Spent};

/// Routes of a Supabase project: its tables, its functions, and its users.
const TABLES: &str = "/rest/v1/";
const FUNCTIONS: &str = "/rest/v1/rpc/";
const USERS: (&str, &str) = ("/auth/v1/", "auth.");
/// The entity of an event that knows which row it is about and not what that is.
const ANY_TYPE: &str = "row";

/// An event as far as writes are concerned.
#[derive(Debug, Clone)]
pub struct Act {
    id: Uuid,
    /// The act that it is an echo of.
    echo_of: Option<Uuid>,
    at: DateTime<Utc>,
    by_system: bool,
    reads: bool,
    calls: bool,
    people: Vec<String>,
    entity: Option<(String, String)>,
    place: Option<Place>,
    rows: Option<i64>,
}

/// Where an event says that it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Table(String),
    /// Some table of the schema of users.
    Users,
}

impl Place {
    fn of(named: Option<&str>, route: &str) -> Option<Self> {
        let literal = |table: &&str| !table.contains(['/', '{']);
        if let Some(table) = named.or_else(|| route.strip_prefix(TABLES).filter(literal)) {
            return Some(Self::Table(table.to_owned()));
        }
        route.starts_with(USERS.0).then_some(Self::Users)
    }

    fn holds(&self, table: &str) -> bool {
        match self {
            Self::Table(name) => name == table,
            Self::Users => table.starts_with(USERS.1),
        }
    }
}

impl Act {
    /// Reads a candidate; none if it names neither a row nor a table, or reads a project's table.
    pub fn read(candidate: Candidate) -> Option<Self> {
        let details = events::read(&candidate.opening)
            .and_then(|event| event.details)
            .as_ref()
            .map(JsonText::value)
            .unwrap_or_default();
        let reads = matches!(candidate.method.as_str(), "GET" | "HEAD");
        if reads && candidate.route.starts_with(TABLES) {
            return None;
        }
        let place = Place::of(details["table"].as_str(), &candidate.route);
        let entity = candidate.entity_type.zip(candidate.entity_id);
        if entity.is_none() && !matches!(place, Some(Place::Table(_))) {
            return None;
        }
        let trusts = [Trust::System, Trust::Service].map(|trust| i16::from(trust.byte()));
        Some(Self {
            id: candidate.id,
            echo_of: candidate.act_id,
            at: candidate.occurred_at,
            by_system: trusts.contains(&candidate.trust),
            reads,
            calls: candidate.route.starts_with(FUNCTIONS),
            people: candidate.actor_id.into_iter().chain(candidate.claimed_user).collect(),
            entity,
            place,
            rows: details["rows"].as_i64(),
        })
    }

    /// Its event, and the one that it is an echo of.
    pub fn ids(&self) -> impl Iterator<Item = Uuid> {
        [self.id].into_iter().chain(self.echo_of)
    }

    /// Whether it has anything to say about these writes.
    pub fn concerns(&self, writes: &[PendingWrite]) -> bool {
        self.calls || writes.iter().any(|write| self.names(write))
    }

    fn names(&self, write: &PendingWrite) -> bool {
        let here = self.place.as_ref().map(|place| place.holds(&write.table_name));
        if here == Some(false) {
            return false;
        }
        let table = matches!(self.place, Some(Place::Table(_)));
        let Some((kind, id)) = &self.entity else { return table };
        let same_type = write.entity_type.as_ref() == Some(kind);
        if write.key.as_ref() == Some(id) {
            return here.is_some() || same_type;
        }
        // What the act was on lies in another table, such as the agent of a log's line.
        table && write.entity_type.is_some() && !same_type && kind != ANY_TYPE
    }

    fn is_by(&self, uid: &str) -> bool {
        self.people.iter().any(|person| person == uid)
    }
}

/// Acts with their echoes.
struct Deeds<'a> {
    calls: Vec<&'a Act>,
    echoes: HashMap<Uuid, Vec<&'a Act>>,
}

impl<'a> Deeds<'a> {
    fn of(acts: &'a [Act]) -> Self {
        let mut echoes: HashMap<Uuid, Vec<&Act>> = HashMap::new();
        for act in acts {
            if let Some(of) = act.echo_of {
                echoes.entry(of).or_default().push(act);
            }
        }
        Self { calls: acts.iter().filter(|act| act.calls).collect(), echoes }
    }

    /// Whether the act, and what goes with it, may explain this write beside what they explain already.
    fn have_room(
        &self,
        act: &Act,
        write: &PendingWrite,
        used: &HashMap<Uuid, (i64, i64)>,
        window: Duration,
    ) -> bool {
        let deed = act.echo_of.unwrap_or(act.id);
        let echoes: Vec<_> =
            self.echoes.get(&deed).into_iter().flatten().filter(|echo| echo.names(write)).collect();
        if echoes.is_empty() {
            return true;
        }
        // The server wrote under the service key, so what was written for a user is not its doing.
        if write.uid.is_some() && echoes.iter().all(|echo| echo.by_system) {
            return false;
        }
        let members = echoes.iter().map(|echo| echo.id).chain([deed]);
        let explained: HashSet<i64> = members.filter_map(|id| used.get(&id)).map(|(txid, _)| *txid).collect();
        let meanwhile = |call: &Act| (call.at - act.at).abs().to_std().is_ok_and(|apart| apart <= window);
        let calls = self.calls.iter().any(|call| meanwhile(call));
        explained.contains(&write.txid) || explained.len() < echoes.len() + usize::from(calls)
    }
}

/// How long a write may wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How far apart a write and its event may be.
    pub window: Duration,
    /// After which a write without one counts as nobody's.
    pub hold: Duration,
}

/// What is decided about `writes` at `now`; the rest stays pending.
///
/// A pair that rests on time and place alone waits until the window has passed, so that a better one can still arrive;
/// one that also names the same person is taken at once, if the event says where it wrote: an act of the application
/// may have left the writing to its server.
pub fn settle(
    writes: &[PendingWrite],
    acts: &[Act],
    spent: &[Spent],
    patience: Patience,
    now: DateTime<Utc>,
) -> Vec<Settled> {
    let mut pairs = Vec::new();
    for (w, write) in writes.iter().enumerate() {
        let waited = now - write.received_at;
        let window_passed = waited.to_std().is_ok_and(|waited| waited >= patience.window);
        for (a, act) in acts.iter().enumerate() {
            let apart = (write.at - act.at).abs();
            if apart.to_std().is_ok_and(|apart| apart > patience.window) || !act.names(write) {
                continue;
            }
            let by_same = match &write.uid {
                // A project's tables are written for nobody under the service key, whomever the body names.
                Some(_) if act.by_system && act.place.is_some() => continue,
                Some(uid) if act.is_by(uid) => true,
                Some(_) if !act.people.is_empty() => continue,
                _ => false,
            };
            let sure = by_same && act.place.is_some() && !act.by_system && !act.reads;
            if sure || window_passed {
                // An act comes before what it writes, as far as two clocks can tell.
                let late = act.at > write.at;
                pairs.push(((act.by_system, Reverse(by_same), act.reads, late, apart), w, a));
            }
        }
    }
    pairs.sort_by_key(|(order, w, a)| (*order, *w, *a));

    let mut used: HashMap<Uuid, (i64, i64)> =
        spent.iter().map(|it| (it.event_id, (it.txid, it.rows))).collect();
    let deeds = Deeds::of(acts);
    let mut told: HashMap<usize, &Act> = HashMap::new();
    for (_, w, a) in pairs {
        let (write, act) = (&writes[w], &acts[a]);
        if told.contains_key(&w) || !deeds.have_room(act, write, &used, patience.window) {
            continue;
        }
        let (txid, rows) = used.entry(act.id).or_insert((write.txid, 0));
        if *txid == write.txid && act.rows.is_none_or(|most| *rows < most) {
            *rows += 1;
            told.insert(w, act);
        }
    }

    let settled = |(w, write): (usize, &PendingWrite)| {
        let (state, event_id) = match told.get(&w) {
            Some(act) => (if act.by_system { "system" } else { "explained" }, Some(act.id)),
            None if (now - write.received_at).to_std().is_ok_and(|waited| waited >= patience.hold) => {
                ("unattributed", None)
            }
            None => return None,
        };
        Some(Settled { at: write.at, seq: write.seq, state, event_id })
    };
    writes.iter().enumerate().filter_map(settled).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const PATIENCE: Patience = Patience { window: Duration::from_secs(10), hold: Duration::from_secs(30) };
    const LATER: TimeDelta = TimeDelta::seconds(30);

    fn write(seq: i64, table: &str, kind: &str, key: &str) -> PendingWrite {
        let at = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1000 * seq);
        PendingWrite {
            at,
            seq,
            table_name: table.to_owned(),
            entity_type: Some(kind.to_owned()),
            key: Some(key.to_owned()),
            txid: seq,
            uid: None,
            received_at: at,
        }
    }

    /// An act on an agent, at a route, some milliseconds after the start.
    fn act(id: u128, ms: i64, route: &str, agent: &str) -> Act {
        Act {
            id: Uuid::from_u128(id),
            echo_of: None,
            at: DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms),
            by_system: false,
            reads: false,
            calls: route.starts_with(FUNCTIONS),
            people: vec!["alice".to_owned()],
            entity: Some(("agent".to_owned(), agent.to_owned())),
            place: Place::of(None, route),
            rows: None,
        }
    }

    /// A write by the application's server, for an act.
    fn echo(id: u128, ms: i64, of: u128) -> Act {
        let people = vec!["service_role".to_owned()];
        Act {
            echo_of: Some(Uuid::from_u128(of)),
            by_system: true,
            people,
            ..act(id, ms, "/rest/v1/agents", "a")
        }
    }

    fn states(writes: &[PendingWrite], acts: &[Act], spent: &[Spent]) -> Vec<(i64, &'static str)> {
        let now = writes.last().expect("a write").at + LATER;
        settle(writes, acts, spent, PATIENCE, now).iter().map(|it| (it.seq, it.state)).collect()
    }

    #[test]
    fn an_act_and_its_echo_do_not_cover_up_a_second_write() {
        let writes = [write(1, "agents", "agent", "a"), write(2, "agents", "agent", "a")];
        let acts = [act(1, 990, "/api/agents/{id}", "a"), echo(2, 995, 1)];
        assert_eq!(states(&writes, &acts, &[]), [(1, "explained"), (2, "unattributed")]);
        let spent = [Spent { event_id: Uuid::from_u128(1), txid: 1, rows: 1 }];
        assert_eq!(states(&writes[1..], &acts, &spent), [(2, "unattributed")], "in another pass");

        let [one, mut other] = writes;
        other.uid = Some("alice".to_owned());
        let acts = [act(1, 990, "/api/agents/{id}", "a"), echo(2, 995, 1)];
        let found = states(&[one, other], &acts, &[]);
        assert_eq!(found, [(1, "explained"), (2, "unattributed")], "the server did not write for alice");
    }

    #[test]
    fn an_act_explains_as_many_writes_as_it_has_echoes_and_one_by_a_function() {
        let writes = [1, 2, 3].map(|seq| write(seq, "agents", "agent", "a"));
        let mut acts = vec![act(1, 990, "/api/agents/{id}", "a"), echo(2, 995, 1), echo(3, 1990, 1)];
        let two = [(1, "explained"), (2, "system"), (3, "unattributed")];
        assert_eq!(states(&writes, &acts, &[]), two);
        acts.push(Act { entity: None, ..act(4, 1000, "/rest/v1/rpc/{function}", "") });
        assert_eq!(states(&writes, &acts, &[]), [(1, "explained"), (2, "system"), (3, "system")]);
    }

    #[test]
    fn an_event_of_one_table_tells_nothing_of_another() {
        let writes = [write(1, "public_agents", "agent", "a"), write(2, "agents", "agent", "a")];
        let acts = [act(1, 1500, "/rest/v1/agents", "a")];
        assert_eq!(states(&writes, &acts, &[]), [(1, "unattributed"), (2, "explained")]);
        let users = [write(1, "profiles", "user", "u"), write(2, "auth.users", "user", "u")];
        let entity = Some(("user".to_owned(), "u".to_owned()));
        let acts = [Act { entity, ..act(1, 1500, "/auth/v1/user", "") }];
        assert_eq!(states(&users, &acts, &[]), [(1, "unattributed"), (2, "explained")]);
    }

    #[test]
    fn an_event_on_an_agent_tells_of_the_line_that_it_wrote_in_another_table() {
        let writes = [write(1, "agent_logs", "log", "x"), write(2, "agent_logs", "log", "y")];
        let acts = [act(1, 1990, "/rest/v1/agent_logs", "a")];
        // It came after the first, however near.
        assert_eq!(states(&writes, &acts, &[]), [(1, "unattributed"), (2, "explained")]);
        let acts = [act(1, 1990, "/api/agents/{id}", "a")];
        assert_eq!(states(&writes, &acts, &[]), [(1, "unattributed"), (2, "unattributed")]);
    }
}
