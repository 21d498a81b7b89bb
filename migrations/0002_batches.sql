-- The signed headers of what producers sent.
--
-- Invariant: one row for each (tenant, stream, seq), inserted in the transaction that stores the batch's events; the
-- row decides whether a batch is new. `header` is the signed note as received: evidence that needs no trust in us.
-- `prev_ok` is null while neither neighbour in the stream is known.
create table batches (
    batch_id bigint generated always as identity,
    tenant_id text collate "C" not null,
    stream bytea not null,
    seq bigint not null,
    header_hash bytea not null,
    prev bytea not null,
    header text not null,
    sent_at timestamptz not null,
    received_at timestamptz not null,
    count smallint not null,
    dropped bigint not null,
    prev_ok boolean,
    primary key (tenant_id, batch_id),
    unique (tenant_id, stream, seq)
);

-- Two different headers under one (tenant, stream, seq): proof that a key signed two histories.
--
-- Invariant: both sides stay: the stored header in `batches`, the refused one here, once each.
create table equivocations (
    tenant_id text collate "C" not null,
    stream bytea not null,
    seq bigint not null,
    header_hash bytea not null,
    header text not null,
    received_at timestamptz not null,
    primary key (tenant_id, stream, seq, header_hash)
);

-- Events that a good signature announced and that could not be stored as events.
--
-- Invariant: `entry` is the leaf that stands in the log for the event, `raw` what arrived in its place (at most
-- 64 KiB). Nothing here is ever shown outside the admin role.
create table quarantine (
    tenant_id text collate "C" not null,
    batch_id bigint not null,
    position smallint not null,
    claimed_digest bytea not null,
    entry bytea not null,
    reason text not null,
    raw bytea,
    received_at timestamptz not null,
    primary key (tenant_id, batch_id, position)
);
create index quarantine_newest on quarantine (tenant_id, received_at desc, batch_id, position);
