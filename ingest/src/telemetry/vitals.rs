//! Gauges that stand in the database and not in this process: what the edges say of themselves, how far the tasks that follow
//! the events are, when the logs were verified.
//!
//! They are read by a task, not by whoever asks for `/metrics`: that endpoint takes no key, so it must cost nothing. Every process
//! tells the same; a query takes the maximum.

use std::time::Duration;

use metrics::{counter, gauge};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::readiness::Readiness;
use crate::store::vitals::{self, Vitals};

/// How often they are read: a little more often than Prometheus asks.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the gauges until it is stopped.
pub async fn run(readiness: Readiness, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = look(&readiness, &clock) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn look(readiness: &Readiness, clock: &Clock) {
    gauge!("edgetrail_ready").set(if readiness.check().await.is_ok() { 1.0 } else { 0.0 });
    gauge!("edgetrail_writer_busy_seconds").set(readiness.writer.busy_for().as_secs_f64());
    let (used, idle) = readiness.store.connections();
    gauge!("edgetrail_database_connections", "state" => "used").set(f64::from(used));
    gauge!("edgetrail_database_connections", "state" => "idle").set(f64::from(idle));
    match vitals::read(&readiness.store, clock.now().to_utc()).await {
        Ok(vitals) => show(&vitals),
        Err(error) => {
            counter!("edgetrail_vitals_failures_total").increment(1);
            tracing::warn!(%error, "gauges are not read, trying again");
        }
    }
}

fn show(vitals: &Vitals) {
    for it in &vitals.edges {
        let tenant = || it.tenant.clone();
        gauge!("edgetrail_edge_events", "tenant" => tenant(), "fate" => "arrived").set(it.events as f64);
        gauge!("edgetrail_edge_events", "tenant" => tenant(), "fate" => "dropped").set(it.dropped as f64);
        gauge!("edgetrail_edge_streams", "tenant" => tenant(), "state" => "active").set(it.active as f64);
        gauge!("edgetrail_edge_streams", "tenant" => tenant(), "state" => "ended").set(it.ended as f64);
        gauge!("edgetrail_edge_missing_batches", "tenant" => tenant()).set(it.missing as f64);
        gauge!("edgetrail_edge_silence_seconds", "tenant" => tenant()).set(it.silence);
    }
    for it in &vitals.mounts {
        let (tenant, host) = (|| it.tenant.clone(), || it.host.clone());
        gauge!("edgetrail_edge_requests", "tenant" => tenant(), "host" => host(), "rule" => "named")
            .set(it.named as f64);
        gauge!("edgetrail_edge_requests", "tenant" => tenant(), "host" => host(), "rule" => "unnamed")
            .set(it.unnamed as f64);
    }
    for it in &vitals.verifications {
        gauge!("edgetrail_verification_age_seconds", "tenant" => it.tenant.clone(), "kind" => it.kind.clone())
            .set(it.age);
    }
    for it in &vitals.followers {
        gauge!("edgetrail_follower_lag_seconds", "task" => it.task.clone()).set(it.lag);
    }
    gauge!("edgetrail_tally_pending", "kind" => "new").set(vitals.tally_new as f64);
    gauge!("edgetrail_tally_pending", "kind" => "stale").set(vitals.tally_stale as f64);
    gauge!("edgetrail_tenants_left_out").set(vitals.left_out as f64);
}
