-- One Merkle log for each tenant and UTC year of sequencing.
--
-- Invariant: `size` and `peaks` are the tree that the newest checkpoint signs. The row is locked for the length of a
-- sequencing round: that lock, and nothing else, keeps indexes without gap or repeat. `log_id` is random, so that a
-- public path names no tenant.
create table logs (
    log_id text collate "C" primary key,
    tenant_id text collate "C" not null,
    year integer not null,
    origin text not null,
    public_key bytea not null,
    size bigint not null default 0,
    peaks bytea not null default '',
    previous_log_id text collate "C",
    created_at timestamptz not null default now(),
    unique (tenant_id, year)
);

-- Entries that are stored and not yet in the tree.
--
-- Invariant: one row for each stored batch, inserted with it; consumed by delete, never by "newer than the last seen",
-- since identities commit out of order.
create table log_pending (
    tenant_id text collate "C" not null,
    batch_id bigint not null,
    n smallint not null,
    entries bytea not null,
    queued_at timestamptz not null,
    primary key (tenant_id, batch_id)
);

-- Where a batch's entries stand in the log: event position p has leaf index first_index + p.
--
-- Invariant: the ranges [first_index, first_index + n) of a log tile [0, size) without gap or overlap.
-- `batch_id` is null for the succession leaf that opens a new year.
create table log_rounds (
    log_id text collate "C" not null,
    first_index bigint not null,
    tenant_id text collate "C" not null,
    batch_id bigint,
    n smallint not null,
    entries bytea not null,
    primary key (log_id, first_index)
);
create index log_rounds_batch on log_rounds (tenant_id, batch_id);

-- Full tiles only: a partial one is made of `log_rounds` (level 0) or of the roots of the tiles below.
--
-- Invariant: `hashes` is 256 hashes, `root` the root over them.
create table log_tiles (
    log_id text collate "C" not null,
    level smallint not null,
    index bigint not null,
    hashes bytea not null,
    root bytea not null,
    primary key (log_id, level, index)
);
-- Hashes do not compress.
alter table log_tiles alter column hashes set storage external;
alter table log_rounds alter column entries set storage external;

-- Every signed head.
--
-- Invariant: one for each size, never changed: two checkpoints of one size would be a fork.
create table log_checkpoints (
    log_id text collate "C" not null,
    size bigint not null,
    root bytea not null,
    note text not null,
    signed_at timestamptz not null,
    primary key (log_id, size)
);
