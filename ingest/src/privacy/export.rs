//! A person's data as they get it: every event that is theirs, by the same look that erasure takes, each with the bytes that
//! were committed to and the proof that they are in the log; in the memory of one page, however many there are.
//!
//! Where somebody else acted on the person, that somebody's own fields (who, from where) are withheld. The bytes that are
//! handed out hold their commitments instead, so the proof holds all the same.
//!
//! Who asks for their own data gets the same lines of fewer events: what [`crate::own_activity::tie`] calls theirs, found by their id
//! alone. An admin looks at what a name finds; nobody looks when somebody downloads their own, and names can be chosen.

use serde_json::{Value, json};
use shared::event::{Event, RetentionClass, Severity, TenantId};
use shared::leaf::{StoredOpening, Tag};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::erase::theirs;
use super::find::{Extent, Found, Page, Pages, open};
use super::person::{Relation, Who, judge, of_the_other};
use super::{Privacy, PrivacyError};
use crate::auth::Admin;
use crate::execution::Execution;
use crate::ledger::key;
use crate::ledger::prover::Prover;
use crate::own::OwnEvent;
use crate::own_activity::{ACCOUNTS, TOLD, Tie, tie};
use crate::store::events::StoredEvent;
use crate::store::executions::Whose;
use crate::store::own_activity::{self, Theirs};
use crate::store::subjects::PlacedEvent;
use crate::store::{self, absences, alerts, executions, log, saved, sinks};
use crate::view::{field, time, view};

/// Pieces on their way to a slow reader.
const AHEAD: usize = 4;

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A line for each event, between one that opens and one that sums up.
    Ndjson,
    /// One document.
    Json,
}

impl Format {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Json => "json",
        }
    }
}

/// A piece of an export; an error cuts it off, so that half of one is never taken for the whole.
pub type Piece = Result<String, std::io::Error>;

/// Events of one page of somebody's own data.
const OWN_PAGE: i64 = 500;
/// Runs of one page.
const RUNS_PAGE: i64 = 500;

/// An event on its way to the person.
struct Handed {
    placed: PlacedEvent,
    opening: StoredOpening,
    event: Event,
    withheld: Vec<Tag>,
    relation: Relation,
}

/// What an export goes through.
struct Writer {
    format: Format,
    out: mpsc::Sender<Piece>,
    events: u64,
    runs: u64,
    proven: u64,
    first: Option<String>,
    last: Option<String>,
}

impl Privacy {
    /// Begins an export and gives its pieces. That it was made is an event, recorded before the first of them.
    ///
    /// # Errors
    /// [`PrivacyError`]; of an unknown subject nothing is recorded.
    pub async fn export(
        self: std::sync::Arc<Self>,
        admin: Admin<'_>,
        subject: &str,
        emails: &[String],
        format: Format,
    ) -> Result<mpsc::Receiver<Piece>, PrivacyError> {
        let tenant = admin.tenant.clone();
        let names = self.names(&tenant, subject, emails).await?;
        let known: Vec<String> = names.iter().map(str::to_owned).collect();
        let who = Who::Named(names);
        let until = std::time::Instant::now() + super::LOOK_FOR;
        let found = self.search(&tenant, &who, &[], Extent::First(until)).await?;
        if found.complete && found.losses.is_empty() {
            return Err(PrivacyError::Unknown);
        }
        self.tell_export(&tenant, admin.key, subject, json!({"format": format.word()})).await?;
        let head = json!({
            "tenant": tenant,
            "subject": subject,
            "known_by": known,
            "made_at": time(self.clock.now().to_utc()),
            "logs": self.logs(&tenant).await?,
            "saved_searches": self.saved_searches(&tenant, &who).await?,
            "alerts": self.alerts(&tenant, &who).await?,
            "sinks": self.sinks(&tenant, &who).await?,
        });
        let (out, pieces) = mpsc::channel(AHEAD);
        let privacy = std::sync::Arc::clone(&self);
        tokio::spawn(async move {
            let writer = Writer::new(format, out.clone());
            if let Err(error) = privacy.write(&tenant, &who, head, writer).await {
                tracing::warn!(%error, "an export was cut off");
                // Whoever reads may be gone.
                let _ = out.send(Err(std::io::Error::other("the export was cut off"))).await;
            }
        });
        Ok(pieces)
    }

    /// Begins an export of what a person may see of themselves, for themselves: their acts and what may be told of what others did
    /// to their account, as far as it is in the database, and the runs that they provably asked for. That it was made is an event, recorded before the first piece.
    ///
    /// # Errors
    /// [`PrivacyError`]; of somebody of whom there is nothing, nothing is recorded.
    pub async fn export_own(
        self: std::sync::Arc<Self>,
        tenant: &TenantId,
        subject: &str,
        format: Format,
    ) -> Result<mpsc::Receiver<Piece>, PrivacyError> {
        let newest = (self.clock.now().to_utc() + chrono::TimeDelta::days(2), Uuid::nil());
        let first = own_activity::page(&self.store, &visible_to(tenant, subject, newest), 1).await?;
        if first.is_empty() {
            return Err(PrivacyError::Unknown);
        }
        let details = json!({"format": format.word(), "by": "themselves"});
        self.tell_export(tenant, subject, subject, details).await?;
        let head = json!({
            "tenant": tenant,
            "subject": subject,
            "made_at": time(self.clock.now().to_utc()),
            "of": "your own acts, and what others did to your account; older events may be in an archive that an administrator reads",
            "logs": self.logs(tenant).await?,
        });
        let (out, pieces) = mpsc::channel(AHEAD);
        let (tenant, subject) = (tenant.clone(), subject.to_owned());
        tokio::spawn(async move {
            let writer = Writer::new(format, out.clone());
            if let Err(error) = self.write_own(&tenant, &subject, &head, newest, writer).await {
                tracing::warn!(%error, "an export was cut off");
                let _ = out.send(Err(std::io::Error::other("the export was cut off"))).await;
            }
        });
        Ok(pieces)
    }

    async fn write_own(
        &self,
        tenant: &TenantId,
        subject: &str,
        head: &Value,
        mut before: (chrono::DateTime<chrono::Utc>, Uuid),
        mut writer: Writer,
    ) -> Result<(), PrivacyError> {
        if !writer.open(head).await {
            return Ok(());
        }
        let mut sums = Found::default();
        let mut prover = Prover::new(self.store.clone());
        loop {
            let page =
                own_activity::page(&self.store, &visible_to(tenant, subject, before), OWN_PAGE).await?;
            let Some(last) = page.last() else { break };
            before = (last.filed_at, last.id);
            let mut handed = Vec::with_capacity(page.len());
            for placed in page {
                let (opening, event) = open(&placed.opening)?;
                let Some(tie) = tie(&event, subject) else { continue };
                let relation = match tie {
                    Tie::Actor => Relation::Actor,
                    Tie::Account => Relation::Subject,
                };
                *sums.relations.entry(relation.word()).or_default() += 1;
                let withheld = tie.withheld(&event, subject);
                handed.push(Handed { placed, opening, event, withheld, relation });
            }
            if !self.hand_out(tenant, handed, &mut prover, &mut writer).await? {
                return Ok(());
            }
        }
        if !self.hand_out_runs(tenant, Whose::Proven(subject), &mut writer).await? {
            return Ok(());
        }
        writer.close(&sums).await;
        Ok(())
    }

    async fn tell_export(
        &self,
        tenant: &TenantId,
        by: &str,
        subject: &str,
        details: Value,
    ) -> Result<(), PrivacyError> {
        let now = self.clock.now();
        let event = OwnEvent::new(tenant, "SUBJECT_EXPORTED", "ingest/privacy", now, "user", subject);
        let event = OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Critical,
            details: Some(details),
            ..event.by(by)
        };
        self.recorder.record(vec![event]).await?;
        Ok(())
    }

    /// Searches that the person saved, and those of others that name them, without the others.
    async fn saved_searches(&self, tenant: &TenantId, who: &Who) -> Result<Vec<Value>, PrivacyError> {
        let mut transaction = self.store.begin().await?;
        let found = saved::of_person(&mut transaction, tenant.as_str(), |texts| theirs(who, texts)).await?;
        store::commit(transaction).await?;
        let described = found.iter().map(|search| {
            json!({
                "as": if who.is(&search.owner) { "owner" } else { "named" },
                "name": search.name,
                "query": search.query,
                "saved_at": time(search.saved_at),
            })
        });
        Ok(described.collect())
    }

    /// Alerts that name the person. What they have in common with others is told as far as it is theirs.
    async fn alerts(&self, tenant: &TenantId, who: &Who) -> Result<Vec<Value>, PrivacyError> {
        let mut transaction = self.store.begin().await?;
        let found = alerts::of_person(&mut transaction, tenant.as_str(), |texts| theirs(who, texts)).await?;
        store::commit(transaction).await?;
        let described = found.iter().map(|alert| {
            let values = alert.alike_in.iter().zip(alert.alike.iter().flatten());
            let alike: serde_json::Map<_, _> = values
                .filter(|(_, value)| theirs(who, &[Some(value.as_str())]))
                .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                .collect();
            json!({
                "id": alert.alert_id,
                "rule": alert.rule,
                "title": alert.title,
                "alike": alike,
                "events": alert.events,
                "first_at": time(alert.first_at),
                "last_at": time(alert.last_at),
                "raised_at": time(alert.raised_at),
                "state": alert.state,
                "note": alert.note.as_deref().filter(|note| theirs(who, &[Some(note)])),
            })
        });
        Ok(described.collect())
    }

    /// Sinks whose name or filter names the person.
    async fn sinks(&self, tenant: &TenantId, who: &Who) -> Result<Vec<Value>, PrivacyError> {
        let mut transaction = self.store.begin().await?;
        let found = sinks::of_person(&mut transaction, tenant.as_str(), |texts| theirs(who, texts)).await?;
        store::commit(transaction).await?;
        Ok(found.iter().map(|sink| json!({"name": sink.name, "query": sink.query})).collect())
    }

    async fn logs(&self, tenant: &TenantId) -> Result<Vec<Value>, PrivacyError> {
        let logs = log::list(&self.store, Some(tenant.as_str())).await?;
        let described = logs.iter().map(|log| {
            json!({
                "log_id": log.log_id,
                "origin": log.origin,
                "verifier_key": key::verifier(&log.origin, &log.public_key).map(|key| key.to_string()),
            })
        });
        Ok(described.collect())
    }

    async fn write(
        &self,
        tenant: &TenantId,
        who: &Who,
        head: Value,
        mut writer: Writer,
    ) -> Result<(), PrivacyError> {
        if !writer.open(&head).await {
            return Ok(());
        }
        let mut sums = Found::default();
        let mut prover = Prover::new(self.store.clone());
        let mut pages = Pages::new(&self.store, self.archive.as_ref(), tenant);
        while let Some(Page { events, part }) = pages.next().await? {
            let mut theirs = Vec::new();
            for placed in events {
                let (opening, event) = open(&placed.opening)?;
                if let Some(finding) = judge(&event, who) {
                    sums.add(&placed, part.as_ref(), &finding);
                    let (withheld, relation) = (of_the_other(&finding), finding.relation);
                    theirs.push(Handed { placed, opening, event, withheld, relation });
                }
            }
            // Only the counts are wanted, not a list that grows.
            sums.losses.clear();
            sums.spreads.clear();
            if !self.hand_out(tenant, theirs, &mut prover, &mut writer).await? {
                return Ok(());
            }
        }
        if let Who::Named(names) = who {
            let names: Vec<String> = names.iter().map(str::to_owned).collect();
            if !self.hand_out_runs(tenant, Whose::Named(&names), &mut writer).await? {
                return Ok(());
            }
        }
        writer.close(&sums).await;
        Ok(())
    }

    /// Writes the runs that were for a person. False if nobody reads any more.
    async fn hand_out_runs(
        &self,
        tenant: &TenantId,
        whose: Whose<'_>,
        writer: &mut Writer,
    ) -> Result<bool, PrivacyError> {
        let mut after = None;
        loop {
            let runs = executions::of_users(&self.store, tenant.as_str(), whose, after, RUNS_PAGE).await?;
            let Some(last) = runs.last() else { return Ok(true) };
            after = Some((last.started_at, last.first_event));
            for run in &runs {
                if !writer.run(&described(run)).await {
                    return Ok(false);
                }
            }
        }
    }

    /// Writes events with their proofs, without what is withheld. False if nobody reads any more.
    async fn hand_out(
        &self,
        tenant: &TenantId,
        events: Vec<Handed>,
        prover: &mut Prover,
        writer: &mut Writer,
    ) -> Result<bool, PrivacyError> {
        let mut transaction = self.store.begin().await?;
        let batches = events.iter().map(|handed| handed.placed.batch_id).collect();
        let starts = absences::starts_of(&mut transaction, tenant.as_str(), batches).await?;
        store::commit(transaction).await?;
        for Handed { placed, opening, event, mut withheld, relation } in events {
            withheld.retain(|tag| opening.fields().iter().any(|field| field.tag == *tag));
            let shown = match opening.erase(&withheld) {
                Some(remnant) => StoredOpening::Remnant(remnant),
                None => opening.clone(),
            };
            let mut line = view(&stored(&placed, &shown))?;
            line["erased"] = opening.erased().into_iter().map(field).collect();
            line["withheld"] = withheld.into_iter().map(field).collect();
            line["as"] = Value::from(relation.word());
            let leaf = starts
                .get(&placed.batch_id)
                .map(|(log, first)| (*log, first + u64::try_from(placed.position).unwrap_or(0)));
            let evidence = prover.evidence(event.class, placed.received_at, &shown, leaf).await?;
            writer.proven += u64::from(evidence.is_proven());
            evidence.attach(&mut line);
            if !writer.event(&line, event.occurred_at.to_utc()).await {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A run as the person gets it. Its events stand in the export themselves.
fn described(run: &Execution) -> Value {
    json!({
        "id": run.execution_key,
        "agent": {"id": run.agent_id, "name": run.agent_name},
        "user": run.user_id,
        "status": run.status,
        "trigger": run.trigger,
        "type": run.execution_type,
        "started_at": time(run.started_at),
        "ended_at": run.ended_at.map(time),
        "duration_ms": run.duration_ms,
        "tokens": {"input": run.tokens_in, "output": run.tokens_out, "total": run.tokens_total},
        "error": run.error,
        "events": run.events,
    })
}

/// What a person may see of themselves, from a place on.
fn visible_to<'a>(
    tenant: &'a TenantId,
    subject: &'a str,
    before: (chrono::DateTime<chrono::Utc>, Uuid),
) -> Theirs<'a> {
    Theirs {
        tenant: tenant.as_str(),
        subject,
        accounts: &ACCOUNTS,
        told: &TOLD,
        among: None,
        without: &[],
        from: chrono::DateTime::UNIX_EPOCH,
        before,
    }
}

fn stored(placed: &PlacedEvent, shown: &StoredOpening) -> StoredEvent {
    let id: Uuid = placed.id;
    StoredEvent {
        id,
        filed_at: placed.filed_at,
        received_at: placed.received_at,
        opening: shown.encode(),
        pseudonym: placed.pseudonym.clone(),
    }
}

impl Writer {
    fn new(format: Format, out: mpsc::Sender<Piece>) -> Self {
        Self { format, out, events: 0, runs: 0, proven: 0, first: None, last: None }
    }

    /// False if nobody reads any more.
    async fn put(&self, text: String) -> bool {
        self.out.send(Ok(text)).await.is_ok()
    }

    async fn open(&self, head: &Value) -> bool {
        match self.format {
            Format::Ndjson => self.put(format!("{}\n", json!({"export": head}))).await,
            Format::Json => self.put(format!("{{\"export\":{head},\n\"events\":[")).await,
        }
    }

    async fn event(&mut self, line: &Value, at: chrono::DateTime<chrono::Utc>) -> bool {
        self.events += 1;
        let at = time(at);
        if self.first.as_ref().is_none_or(|first| at < *first) {
            self.first = Some(at.clone());
        }
        if self.last.as_ref().is_none_or(|last| at > *last) {
            self.last = Some(at);
        }
        let text = match self.format {
            Format::Ndjson => format!("{line}\n"),
            Format::Json if self.events == 1 => format!("\n{line}"),
            Format::Json => format!(",\n{line}"),
        };
        self.put(text).await
    }

    async fn run(&mut self, run: &Value) -> bool {
        self.runs += 1;
        let text = match self.format {
            Format::Ndjson => format!("{}\n", json!({"run": run})),
            Format::Json if self.runs == 1 => format!("],\n\"runs\":[\n{run}"),
            Format::Json => format!(",\n{run}"),
        };
        self.put(text).await
    }

    async fn close(&self, sums: &Found) {
        let summary = json!({
            "events": self.events,
            "runs": self.runs,
            "proven": self.proven,
            "as": sums.relations,
            "fields": sums.fields,
            "first": self.first,
            "last": self.last,
        });
        let text = match self.format {
            Format::Ndjson => format!("{}\n", json!({"summary": summary})),
            Format::Json => format!("],\n\"summary\":{summary}}}\n"),
        };
        self.put(text).await;
    }
}
