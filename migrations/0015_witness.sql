-- Which head of a log is served while heads wait for cosignatures or a copy.
--
-- Invariant: a log has a row exactly while an installation asks for a quorum. `size` only grows; it is 0 or the size of a
-- checkpoint that had the quorum. Without a row the newest checkpoint is served.
create table log_publications (
    log_id text collate "C" primary key,
    size bigint not null,
    published_at timestamptz not null
);

-- Cosignatures of witnesses (c2sp.org/tlog-cosignature) on heads of ours.
--
-- Invariant: `line` is a signature line that verified against the checkpoint of that size under the witness's key.
create table log_cosignatures (
    log_id text collate "C" not null,
    size bigint not null,
    witness text collate "C" not null,
    key_id bytea not null,
    line text not null,
    cosigned_at timestamptz not null,
    primary key (log_id, size, witness, key_id)
);
create index log_cosignatures_newest on log_cosignatures (log_id, witness, size desc);

-- Heads whose copy was written to storage that forgets nothing, and read back.
create table log_copies (
    log_id text collate "C" not null,
    size bigint not null,
    copied_at timestamptz not null,
    primary key (log_id, size)
);

-- The keys that a log names. The first is also `logs.public_key`.
--
-- Invariant: a checkpoint carries a signature of every key that was not retired when it was signed and that the signing
-- process holds; there is at least one.
create table log_keys (
    log_id text collate "C" not null,
    public_key bytea not null,
    named_at timestamptz not null,
    retired_at timestamptz,
    primary key (log_id, public_key)
);
insert into log_keys (log_id, public_key, named_at) select log_id, public_key, created_at from logs;

-- A year may have several logs: a new origin follows one whose head went back with a restored backup.
--
-- Invariant: of a tenant's logs only the one with the highest (year, part) is appended to.
alter table logs add column part integer not null default 0;
alter table logs drop constraint logs_tenant_id_year_key;
alter table logs add unique (tenant_id, year, part);

-- What leaf 0 of a log commits to: the head of the log before it, as it was known when the log was opened.
create table log_successions (
    log_id text collate "C" primary key,
    previous_log_id text collate "C" not null,
    note text not null
);

-- Events about logs that wait to be recorded: each shares the transaction of what it tells of.
create table log_notices (
    notice_id bigint generated always as identity primary key,
    notice text not null
);

-- What continuous verification found.
--
-- Invariant: one row for each look, never changed. `size` is how far the log was verified; `unexplained` counts openings or
-- fields that are missing and stand in no list of absence.
create table integrity_results (
    result_id bigint generated always as identity primary key,
    tenant_id text collate "C" not null,
    log_id text collate "C" not null,
    kind text collate "C" not null,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    from_index bigint not null,
    size bigint not null,
    open bigint not null,
    erased bigint not null,
    dropped bigint not null,
    unexplained bigint not null,
    mismatched bigint not null,
    finding text
);
create index integrity_results_newest on integrity_results (log_id, kind, finished_at desc);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on log_publications to edgetrail_app;
        grant select, insert on log_cosignatures, log_copies, log_successions, integrity_results to edgetrail_app;
        grant select, insert, update on log_keys to edgetrail_app;
        grant select, insert, delete on log_notices to edgetrail_app;
    end if;
end
$$;
