-- What was exported, by whom, and what came of it.
--
-- Invariant: inserted before the first byte leaves. A row is the manifest of its export: `rows`, `bytes` and `sha256` are of
-- all of it once `state` is complete, of as much as went out where it was cut off. `until_at` is the snapshot: what arrived
-- later is not in it. Who works on an export says so in `progressed_at`; one on which nobody has worked for a minute is
-- cut off, or begun again if it is a job.
create table exports (
    tenant_id text collate "C" not null,
    export_id uuid not null,
    made_by text collate "C" not null,
    query text not null,
    window_from timestamptz not null,
    window_to timestamptz,
    until_at timestamptz not null,
    format text not null check (format in ('ndjson', 'csv', 'parquet', 'ocsf')),
    gzip boolean not null,
    proofs boolean not null,
    job boolean not null,
    state text not null check (state in ('queued', 'running', 'complete', 'cut_off', 'expired')),
    rows bigint not null default 0,
    bytes bigint not null default 0,
    sha256 bytea check (octet_length(sha256) = 32),
    began_at timestamptz not null,
    progressed_at timestamptz not null,
    ended_at timestamptz,
    primary key (tenant_id, export_id)
);

create index exports_open on exports (began_at) where state in ('queued', 'running');

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update on exports to edgetrail_app;
    end if;
end
$$;
