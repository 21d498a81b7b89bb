//! The backend verifies its own logs by the clock and says aloud what it finds.

use serde_json::Value;

use crate::support::{Server, eventually, sample};
use crate::witness_log::{size, superuser};

const OFTEN: [(&str, &str); 6] = [
    ("EDGETRAIL__LOG__INTERVAL_MS", "20"),
    ("EDGETRAIL__INTEGRITY__HEADS_MS", "100"),
    ("EDGETRAIL__INTEGRITY__OPENINGS_MS", "200"),
    ("EDGETRAIL__INTEGRITY__HEARTBEAT_MS", "400"),
    ("EDGETRAIL__INTEGRITY__TREE_MS", "300"),
    ("EDGETRAIL__INTEGRITY__EVERYTHING_MS", "500"),
];

async fn with_events(count: u64) -> Server {
    let server = Server::with(&OFTEN).await;
    let mut producer = server.producer().await;
    let events: Vec<_> = (0..count).map(sample).collect();
    for some in events.chunks(90) {
        assert_eq!(server.send(&producer.seal(some)).await["status"], 200);
    }
    eventually(async || size(&server).await >= count).await;
    server
}

async fn checks(server: &Server) -> Value {
    server.get("/v1/integrity").await.json()
}

#[tokio::test]
async fn every_schedule_leaves_a_result_that_readers_see() {
    let server = with_events(600).await;
    eventually(async || {
        let checks = &checks(&server).await["logs"][0]["checks"];
        ["head", "openings", "heartbeat", "tree", "everything"].iter().all(|kind| checks[kind].is_object())
            && checks["everything"]["open"].as_i64() >= Some(600)
    })
    .await;
    let shown = checks(&server).await;
    assert_eq!(shown["sound"], true, "{shown}");
    let everything = &shown["logs"][0]["checks"]["everything"];
    assert_eq!((&everything["unexplained"], &everything["mismatched"]), (&0.into(), &0.into()), "{shown}");
    // An idle hour has its entry too.
    let beats = server.get("/v1/events?action=LOG_HEARTBEAT").await.json();
    let beat = &beats["events"][0]["details"];
    assert!(
        beat["size"].is_u64() && beat["streams"].as_array().is_some_and(|streams| !streams.is_empty()),
        "{beat}"
    );
    server.stop().await;
}

/// What the superuser of the database does, and what is found.
async fn found(statement: &str, kind: &str, words: &str) {
    let server = with_events(600).await;
    attack(&server, statement).await;
    is_found(&server, kind, words).await;
    server.stop().await;
}

async fn attack(server: &Server, statement: &str) {
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut superuser(server).await).await;
    done.expect(statement);
}

async fn is_found(server: &Server, kind: &str, words: &str) {
    eventually(async || {
        let shown = checks(server).await;
        shown["findings"].as_array().into_iter().flatten().any(|finding| {
            finding["kind"] == kind && finding["finding"].as_str().is_some_and(|text| text.contains(words))
        })
    })
    .await;
    assert_eq!(checks(server).await["sound"], false);
    eventually(async || {
        let alarms = server.get("/v1/events?action=INTEGRITY_VIOLATED&limit=100").await.json();
        alarms["events"].as_array().into_iter().flatten().any(|alarm| {
            alarm["severity"] == "critical"
                && alarm["details"]["finding"].as_str().is_some_and(|text| text.contains(words))
        })
    })
    .await;
    let metrics = server.call("GET", "/metrics").await.text();
    assert!(metrics.contains(&format!("edgetrail_integrity_failures_total{{kind=\"{kind}\"}}")), "{metrics}");
}

#[tokio::test]
async fn an_edited_event_is_found() {
    let edit = "update events set opening = set_byte(opening, octet_length(opening) - 1, 7) where actor_id = 'user-1'";
    found(edit, "everything", "its opening does not hash to its entry").await;
}

#[tokio::test]
async fn a_column_that_lies_is_found() {
    let edit = "update events set action = 'AGENT_VIEWED' where actor_id = 'user-1'";
    found(edit, "everything", "column action says \"AGENT_VIEWED\"").await;
}

#[tokio::test]
async fn a_deleted_event_without_a_record_is_found() {
    found(
        "delete from events where actor_id = 'user-1'",
        "everything",
        "no record of an erasure or a drop explains it",
    )
    .await;
}

#[tokio::test]
async fn a_list_of_absence_without_its_record_explains_nothing() {
    let statement = "delete from events where actor_id = 'user-1';
        insert into absence_lists (tenant_id, record_id, sha256, list)
        select tenant_id, gen_random_uuid(), sha256('audit/absence/v1\\000'::bytea || list), list from (select tenant_id,
            decode(log_id || '0000000000000000' || '00001000' || '8000', 'hex') as list from logs) lists";
    found(statement, "everything", "no record of an erasure or a drop explains it").await;
}

#[tokio::test]
async fn an_edited_list_of_absence_is_found() {
    let statement = "insert into absence_lists (tenant_id, record_id, sha256, list)
        select tenant_id, gen_random_uuid(), sha256('other'), '' from logs";
    found(statement, "everything", "no event of this id in the logs commits to a list").await;
}

/// The backend itself is made to record the drop of one event that arrived just now.
#[tokio::test]
async fn a_drop_before_its_time_is_found_although_a_record_and_its_list_say_so() {
    let server = with_events(600).await;
    attack(
        &server,
        "create table early as
             select e.tenant_id, r.log_id, e.id, decode(r.log_id || lpad(to_hex(r.first_index + e.position), 16, '0')
                 || '00000001' || '8000', 'hex') as list
             from events e join log_rounds r using (tenant_id, batch_id) where e.actor_id = 'user-1' and e.class = 0 limit 1;
         insert into own_events_waiting (event) select json_build_object('tenant', tenant_id, 'action', 'RETENTION_DROP',
                 'severity', 'critical', 'class', 'permanent', 'outcome', 'success', 'trust', 'system', 'rule',
                 'ingest/retention', 'occurred_at', (extract(epoch from now()) * 1000)::bigint,
                 'entity', json_build_object('type', 'log', 'id', log_id),
                 'details', json_build_object('what', 'events', 'class', 'standard',
                 'period_days', 365, 'absence', json_build_object('sha256',
                 encode(sha256('audit/absence/v1\\000'::bytea || list), 'hex'))))::text from early",
    )
    .await;
    server.eventually("&action=RETENTION_DROP", 1).await;
    attack(
        &server,
        "insert into absence_lists (tenant_id, record_id, sha256, list)
             select t.tenant_id, r.id, sha256('audit/absence/v1\\000'::bytea || t.list), t.list
             from early t join events r on r.action = 'RETENTION_DROP';
         delete from events where id in (select id from early)",
    )
    .await;
    is_found(&server, "everything", "it was dropped before its 365 days were over").await;
    let shown = checks(&server).await["findings"].to_string();
    assert!(!shown.contains("no event of this id"), "the record and its list are those of the log: {shown}");
    server.stop().await;
}

#[tokio::test]
async fn an_edited_tile_is_found() {
    let edit =
        "update log_tiles set hashes = set_byte(hashes, 5, (get_byte(hashes, 5) + 1) % 256) where level = 0";
    found(edit, "tree", "tile 0/0: it is not that of the entries").await;
}

#[tokio::test]
async fn an_edited_head_is_found() {
    // Heads go on to be signed, at least for the heartbeats: each is edited.
    let edit = "update log_checkpoints set note = replace(note, 'localhost', 'elsewhere');
        create function edit() returns trigger language plpgsql as
            $$ begin new.note := replace(new.note, 'localhost', 'elsewhere'); return new; end $$;
        create trigger edit before insert on log_checkpoints for each row execute function edit()";
    found(edit, "head", "no key of the log signed it").await;
}

#[tokio::test]
async fn entries_that_were_taken_out_are_found() {
    found("delete from log_rounds where first_index = 90", "tree", "some are gone").await;
}
