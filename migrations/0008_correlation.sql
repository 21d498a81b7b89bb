-- What the watched databases say was written, and which event tells why.
--
-- Invariant: one row for each line of a customer's outbox: (at, seq), not seq alone, since an outbox that was installed
-- anew counts from the start again. A row leaves `pending` once and then stays as it is; `event_id` is set exactly when
-- the state is `explained` or `system`. No row data, only the table, the key and a keyed hash.
create table witness_writes (
    tenant_id text collate "C" not null,
    at timestamptz not null,
    seq bigint not null,
    table_name text collate "C" not null,
    entity_type text collate "C",
    key text collate "C",
    op text not null check (op in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
    txid bigint not null,
    row_hash bytea,
    uid text collate "C",
    role_name text not null,
    application_name text not null,
    received_at timestamptz not null,
    state text not null default 'pending' check (state in ('pending', 'explained', 'system', 'unattributed')),
    event_id uuid,
    primary key (tenant_id, at, seq),
    check ((event_id is not null) = (state in ('explained', 'system')))
);
create index witness_writes_pending on witness_writes (tenant_id, at, seq) where state = 'pending';
create index witness_writes_unattributed on witness_writes (tenant_id, at, seq) where state = 'unattributed';
create index witness_writes_event on witness_writes (tenant_id, event_id) where event_id is not null;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update on witness_writes to edgetrail_app;
    end if;
end
$$;
