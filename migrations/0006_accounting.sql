-- What is owed: streams without holes, and acts to the intents that announced them.

-- One row for each stream of a producer.
--
-- Invariant: the sums are over the stream's rows in `batches`, kept in the transaction that inserts those. `unsettled`
-- is set by whatever may open or fill a hole (any batch but the next one), and cleared only by the sweep that found
-- each hole in `stream_gaps`. Times are ours: when batches arrived.
create table streams (
    tenant_id text collate "C" not null,
    stream bytea not null,
    first_seq bigint not null,
    high_seq bigint not null,
    batches bigint not null,
    events bigint not null,
    dropped bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    ended_at timestamptz,
    unsettled boolean not null,
    primary key (tenant_id, stream)
);
create index streams_newest on streams (tenant_id, last_at desc);
create index streams_unsettled on streams (tenant_id, stream) where unsettled;
create index streams_active on streams (last_at) where ended_at is null;

-- Holes in streams that were recorded in the log.
--
-- Invariant: ranges of a stream do not overlap. A hole that is filled in part is split: what arrived is closed, the
-- rest stays open. `noticed_at` is when the first batch above it arrived.
create table stream_gaps (
    tenant_id text collate "C" not null,
    stream bytea not null,
    first_seq bigint not null,
    last_seq bigint not null,
    noticed_at timestamptz not null,
    recorded_at timestamptz not null,
    closed_at timestamptz,
    primary key (tenant_id, stream, first_seq)
);

-- Batches that say events were dropped before them, until that is recorded in the log.
create table stream_drops (
    tenant_id text collate "C" not null,
    stream bytea not null,
    seq bigint not null,
    count bigint not null,
    primary key (tenant_id, stream, seq)
);

-- Acts that were announced before they were done.
--
-- Invariant: `opened_at` is when the intent arrived, `closed_at` when the act's event did, in either order; both are
-- written with those events. An orphan can still be closed.
create table intents (
    tenant_id text collate "C" not null,
    intent_id uuid not null,
    action text collate "C",
    opened_at timestamptz,
    closed_at timestamptz,
    orphaned_at timestamptz,
    primary key (tenant_id, intent_id)
);
create index intents_open on intents (opened_at)
    where opened_at is not null and closed_at is null and orphaned_at is null;

insert into streams
select tenant_id, stream, min(seq), max(seq), count(*), sum(count),
       least(sum(dropped::numeric), 9223372036854775807)::bigint, min(received_at), max(received_at), null,
       max(seq) <> count(*) - 1
from batches group by tenant_id, stream;

-- Gaps are split, drops consumed.
do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update on streams, intents to edgetrail_app;
        grant select, insert, update, delete on stream_gaps to edgetrail_app;
        grant select, insert, delete on stream_drops to edgetrail_app;
    end if;
end
$$;
