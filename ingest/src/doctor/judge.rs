//! What was seen, judged: pure functions from facts to findings.

use std::net::IpAddr;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use shared::event::TenantId;

use super::Finding;
use crate::store::replica::NoReplica;
use crate::store::vitals::{Edges, Follower, MountTraffic, ServerFacts, Verification};

/// The oldest PostgreSQL that has what the schema needs.
const OLDEST_POSTGRES: i32 = 150_000;
/// `Date` has a second's precision and an answer takes its time.
const CLOCK_WARNS: f64 = 5.0;
/// Tokens are good for a minute more or less, and events are filed by time.
const CLOCK_FAILS: f64 = 60.0;
/// A route that carries people's work is never that quiet.
const QUIET_FOR: TimeDelta = TimeDelta::hours(24);
/// The Worker sends its counts every 25 s while it has requests.
const SILENT_FOR: f64 = 15.0 * 60.0;
/// A key that ends within this time is replaced now.
const ENDS_WITHIN: TimeDelta = TimeDelta::days(14);
/// Entries get into a log within a second.
const SEQUENCER_WARNS: f64 = 10.0;
const SEQUENCER_FAILS: f64 = 60.0;
/// Tasks look every second.
const FOLLOWER_WARNS: f64 = 300.0;

/// The database by itself, against our clock.
pub fn database(server: &ServerFacts, now: DateTime<Utc>) -> Vec<Finding> {
    let version = format!("PostgreSQL {}.{}", server.version / 10_000, server.version % 10_000);
    let mut findings = vec![if server.version < OLDEST_POSTGRES {
        Finding::failed("database", version, "upgrade it to 15 or newer")
    } else if server.is_standby {
        Finding::failed("database", format!("{version}, a standby"), "let database.url name the primary")
    } else {
        Finding::ok("database", version)
    }];
    findings.push(clock("the database", server.now, now));
    findings
}

/// A clock against ours.
pub fn clock(whose: &str, theirs: DateTime<Utc>, ours: DateTime<Utc>) -> Finding {
    let apart = (theirs - ours).num_milliseconds() as f64 / 1000.0;
    let (check, seen) = (format!("clock of {whose}"), format!("{apart:+.1} s from ours"));
    let advice = "let NTP set both clocks";
    match apart.abs() {
        apart if apart > CLOCK_FAILS => Finding::failed(check, seen, advice),
        apart if apart > CLOCK_WARNS => Finding::warning(check, seen, advice),
        _ => Finding::ok(check, seen),
    }
}

/// The newest migration of the database, and of this program.
pub fn schema(found: i64, wanted: i64) -> Finding {
    let seen = format!("migration {found} of {wanted}");
    match found.cmp(&wanted) {
        std::cmp::Ordering::Less => Finding::failed("schema", seen, "run `edgetrail migrate`"),
        std::cmp::Ordering::Equal => Finding::ok("schema", seen),
        std::cmp::Ordering::Greater => {
            Finding::warning("schema", seen, "a newer edgetrail migrated it; upgrade this one")
        }
    }
}

/// The narrow roles that are missing.
pub fn roles(missing: &[&str]) -> Finding {
    if missing.is_empty() {
        return Finding::ok("roles", "statements run under edgetrail_app and edgetrail_keeper");
    }
    let advice = "let a role that may create roles run `edgetrail migrate` once, or create them by hand and grant them";
    Finding::warning("roles", format!("{} is missing", missing.join(", ")), advice)
}

/// A key's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFile {
    /// It is there and holds a key; its permissions.
    There {
        /// Permission bits, such as 0o600.
        mode: u32,
    },
    /// There is none.
    Missing,
    /// It cannot be read, or holds something else.
    Unreadable(String),
}

/// A key's file, and whether it is one that the first start makes.
pub fn key_file(setting: &str, path: &Path, file: &KeyFile) -> Finding {
    let (check, shown) = (format!("key {setting}"), path.display());
    match file {
        KeyFile::There { mode } if mode & 0o077 != 0 => Finding::failed(
            check,
            format!("{shown} can be read by others (mode {mode:o})"),
            format!("chmod 600 {shown}, and rotate the key if others had access to this machine"),
        ),
        KeyFile::There { .. } => Finding::ok(check, format!("{shown}, for its owner alone")),
        KeyFile::Missing => Finding::failed(
            check,
            format!("{shown} is not there"),
            "start `edgetrail serve` once, which makes it, or bring it back from its backup: a new key is another log's",
        ),
        KeyFile::Unreadable(reason) => Finding::failed(
            check,
            format!("{shown}: {reason}"),
            "let the user that runs this own it, or bring it back from its backup",
        ),
    }
}

/// Whether what holds people's data or secrets is for its owner alone; `mode` has its permission bits.
pub fn private(what: &str, path: &Path, mode: u32) -> Finding {
    let (check, shown) = (format!("permissions of {what}"), path.display());
    if mode & 0o077 == 0 {
        Finding::ok(check, format!("{shown}, for its owner alone"))
    } else {
        Finding::warning(
            check,
            format!("{shown} is open to others (mode {mode:o})"),
            format!("chmod -R go= {shown}"),
        )
    }
}

/// Whether producers' keys are registered for a tenant. `signers` are the keys of producers, without the backend's own.
pub fn signers(tenant: &TenantId, signers: usize) -> Finding {
    let check = format!("signers of {tenant}");
    match signers {
        0 => Finding::failed(
            check,
            "no producer may sign for this tenant",
            format!(
                "run `edgetrail signer new --name edge/NAME --tenant {tenant}` and give the key to the Worker"
            ),
        ),
        known => Finding::ok(check, format!("{known} known")),
    }
}

/// An API key that was not revoked.
pub fn api_key(id: &str, name: &str, ends: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Finding> {
    let ends = ends.filter(|ends| *ends - now < ENDS_WITHIN)?;
    let check = format!("API key {id} ({name})");
    let advice = format!("run `edgetrail keys rotate {id} --expires TIME`, or revoke it");
    let word = if ends <= now { "ended" } else { "ends" };
    Some(Finding::warning(check, format!("{word} {}", crate::view::time(ends)), advice))
}

/// What a name resolves to.
pub fn dns(host: &str, found: &Result<Vec<IpAddr>, String>) -> Finding {
    let check = format!("DNS of {host}");
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let shown: Vec<_> = addresses.iter().take(3).map(ToString::to_string).collect();
            Finding::ok(check, shown.join(", "))
        }
        Ok(_) => Finding::failed(check, "it has no address", "add the host's record, proxied by Cloudflare"),
        Err(reason) => {
            Finding::failed(check, reason.as_str(), "add the host's record, proxied by Cloudflare")
        }
    }
}

/// How a backend answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// With this status, and the first line of what it said.
    Status(u16, String),
    /// Not at all.
    Nothing(String),
}

/// The backend's readiness, from some place.
pub fn backend(place: &str, answered: &Answered) -> Finding {
    let check = format!("backend at {place}");
    match answered {
        Answered::Status(200, _) => Finding::ok(check, "ready"),
        Answered::Status(503, said) => {
            Finding::failed(check, format!("not ready: {said}"), "see docs/runbook.md, EdgetrailNotReady")
        }
        Answered::Status(status, _) => Finding::failed(
            check,
            format!("it answers {status} to /readyz"),
            "is something else listening there, or a proxy in front of it?",
        ),
        Answered::Nothing(reason) => Finding::failed(
            check,
            format!("no answer: {reason}"),
            "start `edgetrail serve`, and look at the proxy, the certificate and the firewall before it",
        ),
    }
}

/// Whether the Worker ever counted a request on a mount, and when last.
pub fn mount(host: &str, traffic: Option<&MountTraffic>, now: DateTime<Utc>) -> Finding {
    let check = format!("mount {host}");
    let Some(traffic) = traffic else {
        return Finding::failed(
            check,
            "no request on it was ever counted",
            "is the host under `routes` in wrangler.toml, its record proxied, and the app built with its address?",
        );
    };
    let all = traffic.named + traffic.unnamed;
    let ago = now - traffic.last_seen;
    let seen =
        format!("{all} requests counted, {} named by rules, the newest {} ago", traffic.named, words(ago));
    if ago > QUIET_FOR {
        let advice =
            "does the traffic go around the Worker? look at the host's route and at the app's addresses";
        return Finding::warning(check, seen, advice);
    }
    Finding::ok(check, seen)
}

/// What became of a request of our own that the Worker must count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It was counted after so many seconds.
    Counted(u64),
    /// It was answered with this status, and in so many seconds not counted.
    Uncounted {
        /// The answer's status.
        status: u16,
        /// How long was waited.
        seconds: u64,
    },
    /// There was no answer.
    Unanswered(String),
}

/// Whether the Worker stands in front of a host and what it counts arrives.
pub fn route(host: &str, probed: &Probed) -> Finding {
    let check = format!("route {host}");
    match probed {
        Probed::Counted(seconds) => {
            Finding::ok(check, format!("a request was counted here {seconds} s later"))
        }
        Probed::Uncounted { status, seconds } => Finding::failed(
            check,
            format!("answered with {status}, and not counted in {seconds} s"),
            "the Worker is not in front of this host, or what it sends does not arrive: look at `wrangler tail`, the route, \
             EDGETRAIL_SIGNING_KEY and the queue",
        ),
        Probed::Unanswered(reason) => Finding::failed(
            check,
            format!("no answer: {reason}"),
            "look at the host's record and certificate, then at the Worker",
        ),
    }
}

/// Whether an origin answers whoever goes around the Worker.
pub fn origin(upstream: &str, answered: &Answered) -> Finding {
    let check = format!("origin {upstream}");
    match answered {
        Answered::Status(status @ (401 | 403), _) => {
            Finding::ok(check, format!("closed to others ({status})"))
        }
        Answered::Status(status, _) => Finding::warning(
            check,
            format!("answers everybody directly ({status})"),
            "close it, or see what goes around the Worker: docs/deployment.md",
        ),
        Answered::Nothing(reason) => Finding::warning(
            check,
            format!("no answer from here: {reason}"),
            "if it is closed to others, good; if it is down, so is the app",
        ),
    }
}

/// What a tenant's edges sent lately.
pub fn edges(it: &Edges) -> Vec<Finding> {
    let Edges { tenant, .. } = it;
    let advice = "dead letters? attach the Worker to audit-dlq (ingest/README.md, dead letters), then `edgetrail tail action:EDGE_GAP`";
    let seen = format!("newest batch {} ago, {} streams active", words(seconds(it.silence)), it.active);
    let newest = if it.silence > SILENT_FOR {
        let advice = "if the app has traffic: look at `wrangler tail` and the queue's backlog";
        Finding::warning(format!("queue of {tenant}"), seen, advice)
    } else {
        Finding::ok(format!("queue of {tenant}"), seen)
    };
    let missing = match it.missing {
        0 => Finding::ok(format!("gaps of {tenant}"), "none open"),
        missing => {
            Finding::failed(format!("gaps of {tenant}"), format!("{missing} batches are missing"), advice)
        }
    };
    let dropped = match it.dropped {
        0 => Finding::ok(format!("drops of {tenant}"), "none in 24 hours"),
        dropped => Finding::warning(
            format!("drops of {tenant}"),
            format!("the edge dropped {dropped} events in 24 hours"),
            "the queue refused batches or a Worker ran out of time: look at `wrangler tail`",
        ),
    };
    vec![newest, missing, dropped]
}

/// Entries that are not in a log: how many, and the age of the oldest in seconds.
pub fn sequencer(pending: i64, age: f64) -> Finding {
    let seen = format!("{pending} entries wait, the oldest for {age:.1} s");
    let advice = "see docs/runbook.md, EdgetrailSequencerLags";
    if age > SEQUENCER_FAILS {
        Finding::failed("sequencer", seen, advice)
    } else if age > SEQUENCER_WARNS {
        Finding::warning("sequencer", seen, advice)
    } else {
        Finding::ok("sequencer", seen)
    }
}

/// A schedule of verification of a tenant, and how often it looks.
pub fn verification(it: &Verification, every: std::time::Duration) -> Finding {
    let check = format!("verification of {} by {}", it.tenant, it.kind);
    if let Some(finding) = &it.finding {
        return Finding::failed(
            check,
            finding.as_str(),
            "keep everything as it is, copy the database, and run `edgetrail verify URL`",
        );
    }
    let seen = format!("whole, {} ago", words(seconds(it.age)));
    // A look at heads is noted hourly while nothing changes.
    let late = 2.0 * every.as_secs_f64() + 2.0 * 3600.0;
    if it.age > late {
        return Finding::warning(
            check,
            seen,
            "does `edgetrail serve` run, and does its log say why it does not verify?",
        );
    }
    Finding::ok(check, seen)
}

/// The tasks that follow the stored events.
pub fn follower(it: &Follower) -> Finding {
    let check = format!("task {}", it.task);
    if it.lag > FOLLOWER_WARNS {
        let seen = format!("{} behind", words(seconds(it.lag)));
        return Finding::warning(
            check,
            seen,
            "does `edgetrail serve` run? a slow database shows in pg_stat_activity",
        );
    }
    Finding::ok(check, if it.lag > 0.0 { format!("{:.1} s behind", it.lag) } else { "up to date".to_owned() })
}

/// The copy that searches are read from: how far it is behind, and how far it may be.
pub fn replica(lag: Result<std::time::Duration, NoReplica>, most: std::time::Duration) -> Finding {
    let check = "database copy";
    match lag {
        Err(error) => Finding::failed(
            check,
            error.to_string(),
            "is database.read_url right, and is it a streaming standby of database.url?",
        ),
        Ok(lag) if lag > most => Finding::warning(
            check,
            format!("{} behind, so searches go to the primary", words(seconds(lag.as_secs_f64()))),
            "does the standby replay? a long query there may hold it up: max_standby_streaming_delay",
        ),
        Ok(lag) => Finding::ok(check, format!("at most {:.1} s behind", lag.as_secs_f64())),
    }
}

/// Heads that wait for witnesses or copies: how many, and the age of the oldest in seconds.
pub fn publication(waiting: usize, age: f64) -> Finding {
    let seen = format!("{waiting} heads wait, the oldest for {age:.0} s");
    if age > 600.0 {
        return Finding::failed(
            "publication",
            seen,
            "are the witnesses and the bucket of `worm` reachable from here?",
        );
    }
    Finding::ok("publication", seen)
}

/// Something of the operator's that must be reachable: storage, a watched database.
pub fn reachable(what: &str, reached: &Result<(), String>) -> Finding {
    match reached {
        Ok(()) => Finding::ok(what, "reachable"),
        Err(reason) => Finding::failed(
            what,
            reason.as_str(),
            "look at its address, its credentials and the network from here",
        ),
    }
}

fn seconds(seconds: f64) -> TimeDelta {
    TimeDelta::milliseconds((seconds * 1000.0) as i64)
}

/// A span in the largest unit that says something.
fn words(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doctor::Verdict;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    fn advice(finding: &Finding) -> &str {
        match &finding.verdict {
            Verdict::Ok => panic!("{finding:?} is well"),
            Verdict::Warning { advice } | Verdict::Failed { advice } => advice,
        }
    }

    fn is_warning(finding: &Finding) -> bool {
        matches!(finding.verdict, Verdict::Warning { .. })
    }

    fn server(version: i32) -> ServerFacts {
        ServerFacts { version, now: now(), is_standby: false }
    }

    #[test]
    fn a_database_is_new_enough_writable_and_on_time() {
        assert!(database(&server(170_004), now()).iter().all(|finding| finding.verdict == Verdict::Ok));
        assert!(advice(&database(&server(140_009), now())[0]).contains("15 or newer"));
        let standby = ServerFacts { is_standby: true, ..server(170_004) };
        assert!(advice(&database(&standby, now())[0]).contains("primary"));
        let late = ServerFacts { now: now() - TimeDelta::minutes(2), ..server(170_004) };
        assert!(database(&late, now())[1].is_failed());
        assert!(is_warning(&clock("the app", now() + TimeDelta::seconds(20), now())));
    }

    #[test]
    fn a_schema_that_is_behind_is_migrated_and_a_newer_one_is_only_told() {
        assert!(advice(&schema(20, 26)).contains("edgetrail migrate"));
        assert_eq!(schema(26, 26).verdict, Verdict::Ok);
        assert!(is_warning(&schema(27, 26)));
    }

    #[test]
    fn a_key_that_others_can_read_is_named_with_what_to_type() {
        let path = Path::new("/var/lib/edgetrail/log.key");
        let finding = key_file("log.key_file", path, &KeyFile::There { mode: 0o644 });
        assert!(
            finding.seen.contains("mode 644") && advice(&finding).starts_with("chmod 600 /var/lib"),
            "{finding:?}"
        );
        assert_eq!(key_file("log.key_file", path, &KeyFile::There { mode: 0o600 }).verdict, Verdict::Ok);
        assert!(key_file("log.key_file", path, &KeyFile::Missing).is_failed());
        assert!(key_file("log.key_file", path, &KeyFile::Unreadable("no key".to_owned())).is_failed());
    }

    #[test]
    fn what_is_open_to_others_is_told_with_what_to_type() {
        let path = Path::new("/srv/archive");
        for (mode, is_open) in [(0o700, false), (0o600, false), (0o750, true), (0o701, true), (0o644, true)] {
            assert_eq!(is_warning(&private("archive", path, mode)), is_open, "{mode:o}");
        }
        let finding = private("archive", path, 0o755);
        assert!(finding.seen.contains("mode 755") && advice(&finding) == "chmod -R go= /srv/archive");
    }

    #[test]
    fn keys_that_end_soon_are_told_and_others_are_not() {
        let ends = |days| api_key("abc", "siem", Some(now() + TimeDelta::days(days)), now());
        assert!(ends(3).expect("a finding").seen.starts_with("ends "));
        assert!(ends(-1).expect("a finding").seen.starts_with("ended "));
        assert!(ends(90).is_none() && api_key("abc", "siem", None, now()).is_none());
    }

    #[test]
    fn a_mount_without_requests_and_a_quiet_one_are_told_apart() {
        let traffic = |hours| MountTraffic {
            tenant: "acme".to_owned(),
            host: "app.example.com".to_owned(),
            named: 3,
            unnamed: 4,
            last_seen: now() - TimeDelta::hours(hours),
        };
        assert!(mount("app.example.com", None, now()).is_failed());
        assert!(is_warning(&mount("app.example.com", Some(&traffic(30)), now())));
        let busy = mount("app.example.com", Some(&traffic(1)), now());
        assert_eq!((busy.verdict, busy.seen.split(',').next()), (Verdict::Ok, Some("7 requests counted")));
    }

    #[test]
    fn what_does_not_arrive_is_a_failure_and_what_was_dropped_a_warning() {
        let well = Edges {
            tenant: "acme".to_owned(),
            events: 10,
            dropped: 0,
            active: 1,
            ended: 0,
            missing: 0,
            silence: 4.0,
        };
        assert!(edges(&well).iter().all(|finding| finding.verdict == Verdict::Ok));
        let ill = Edges { dropped: 2, missing: 3, silence: 4000.0, ..well };
        let [silent, gaps, drops] = edges(&ill).try_into().expect("three");
        assert!(is_warning(&silent) && gaps.is_failed() && is_warning(&drops));
        assert!(silent.seen.contains("66 min") && gaps.seen.contains('3') && drops.seen.contains('2'));
    }

    #[test]
    fn a_verification_that_found_something_or_is_overdue_is_told() {
        let row = |age, finding: Option<&str>| Verification {
            tenant: "acme".to_owned(),
            kind: "tree".to_owned(),
            age,
            finding: finding.map(str::to_owned),
        };
        let daily = Duration::from_hours(24);
        assert_eq!(verification(&row(80_000.0, None), daily).verdict, Verdict::Ok);
        assert!(is_warning(&verification(&row(300_000.0, None), daily)));
        assert!(verification(&row(1.0, Some("leaf 3 is another")), daily).is_failed());
    }

    #[test]
    fn a_copy_that_is_behind_is_told_and_one_that_is_none_is_a_failure() {
        let most = Duration::from_secs(10);
        assert_eq!(replica(Ok(Duration::from_secs(1)), most).verdict, Verdict::Ok);
        assert!(is_warning(&replica(Ok(Duration::from_secs(11)), most)));
        assert!(replica(Err(NoReplica), most).is_failed());
    }

    #[test]
    fn a_request_that_is_not_counted_says_where_to_look() {
        assert_eq!(route("app.example.com", &Probed::Counted(7)).verdict, Verdict::Ok);
        let finding = route("app.example.com", &Probed::Uncounted { status: 404, seconds: 40 });
        assert!(finding.seen.contains("404") && advice(&finding).contains("wrangler tail"));
        assert!(route("app.example.com", &Probed::Unanswered("refused".to_owned())).is_failed());
        assert!(is_warning(&origin("https://x.vercel.app", &Answered::Status(200, String::new()))));
        assert_eq!(
            origin("https://x.vercel.app", &Answered::Status(401, String::new())).verdict,
            Verdict::Ok
        );
    }

    #[test]
    fn every_line_of_a_finding_that_is_not_well_says_what_to_do() {
        let findings = [
            signers(&"acme".parse().expect("a slug"), 0),
            sequencer(5, 90.0),
            sequencer(5, 20.0),
            publication(1, 700.0),
            follower(&Follower { task: "detection".to_owned(), lag: 900.0 }),
            reachable("archive", &Err("access denied".to_owned())),
            roles(&["edgetrail_app"]),
            dns("app.example.com", &Err("no such name".to_owned())),
            backend(
                "http://127.0.0.1:9200",
                &Answered::Status(503, "the database does not answer".to_owned()),
            ),
            backend("http://127.0.0.1:9200", &Answered::Nothing("refused".to_owned())),
        ];
        for finding in findings {
            let line = finding.line();
            assert!(line.contains(&format!("; {}", advice(&finding))) && !line.contains('\n'), "{line}");
            assert_eq!(finding.to_json()["advice"], advice(&finding));
        }
    }
}
