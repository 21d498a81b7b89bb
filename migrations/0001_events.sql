-- The events themselves.
--
-- Invariant: `opening` is the exact bytes that the leaf's digest commits to; every other column is read out of it once
-- and only serves the search. Rows are immutable for the application. One level of partitions, by month of `filed_at`
-- (occurred_at, clamped once on first arrival), made ahead by `edgetrail`; there is no default partition, so a row that
-- no month covers is refused instead of hidden. The primary key is also the index of every list of a tenant.
create table events (
    tenant_id text collate "C" not null,
    filed_at timestamptz not null,
    id uuid not null,
    occurred_at timestamptz not null,
    received_at timestamptz not null,
    class smallint not null,
    severity smallint not null,
    outcome smallint not null,
    trust smallint not null,
    action text collate "C" not null,
    actor_id text collate "C",
    actor_email text collate "C",
    claimed_user text collate "C",
    entity_type text collate "C",
    entity_id text collate "C",
    entity_name text,
    ip inet,
    session_id text collate "C",
    country text,
    host text not null,
    method text not null,
    route text not null,
    rule text not null,
    status integer,
    reason text,
    duration_ms bigint,
    change_quality smallint,
    compliance text[] not null default '{}',
    batch_id bigint not null,
    position smallint not null,
    opening bytea not null,
    primary key (tenant_id, filed_at, id)
) partition by range (filed_at);

create index events_actor on events (tenant_id, actor_id, filed_at, id);
create index events_entity on events (tenant_id, entity_type, entity_id, filed_at, id);
create index events_severe on events (tenant_id, severity, filed_at, id) where severity >= 2;
create index events_origin on events
    using brin (session_id text_bloom_ops, ip inet_bloom_ops) with (pages_per_range = 32, autosummarize = on);
create index events_received on events using brin (received_at);
