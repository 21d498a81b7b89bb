-- How far each task that follows the log's events came.
--
-- Invariant: everything up to `batch_id` was taken in by the task `name`, in the order of the batches; the row is locked
-- while the task works, so that two processes never take the same events.
create table correlate_cursors (
    name text collate "C" primary key,
    batch_id bigint not null default 0
);
create index batches_order on batches (batch_id) include (received_at);

-- The last representation of each entity that was seen in the traffic.
--
-- Invariant: `fields` is {"path": {"at": ms, "value": …}} of values that were seen whole: never a masked or a shortened
-- one. It is made of the events alone and can be made anew from them.
create table entity_states (
    tenant_id text collate "C" not null,
    entity_type text collate "C" not null,
    entity_id text collate "C" not null,
    fields jsonb not null,
    event_id uuid not null,
    at timestamptz not null,
    primary key (tenant_id, entity_type, entity_id)
);

-- What the application's own audit table claims, held against what the edge saw.
--
-- Invariant: one row for each row that an APP_AUDIT_WRITTEN event tells, `n` its place there. A row leaves `pending` once
-- and then stays as it is; `ours` is set exactly when it is confirmed. `action` is in capitals, as events have it.
create table app_audit_rows (
    tenant_id text collate "C" not null,
    event_id uuid not null,
    n smallint not null,
    action text collate "C" not null,
    entity_type text collate "C",
    entity_id text collate "C",
    user_id text collate "C",
    at timestamptz not null,
    received_at timestamptz not null,
    state text not null default 'pending' check (state in ('pending', 'confirmed', 'only_theirs')),
    ours uuid,
    primary key (tenant_id, event_id, n),
    check ((ours is not null) = (state = 'confirmed'))
);
create index app_audit_rows_pending on app_audit_rows (received_at, event_id, n) where state = 'pending';
create index app_audit_rows_action on app_audit_rows (tenant_id, action, at);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update on correlate_cursors, app_audit_rows to edgetrail_app;
        grant select, insert, update, delete on entity_states to edgetrail_app;
    end if;
end
$$;
