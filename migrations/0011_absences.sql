-- Which leaves lost what, by erasure or by retention.
--
-- Invariant: one list for each record (an ERASURE or RETENTION_DROP event, `record_id` its id), inserted in the
-- transaction that removed the values, after the record was durable. `list` is the exact bytes that `sha256` and the
-- record commit to (shared::absence): places and fields, no personal data. Lists are never changed and never dropped.
create table absence_lists (
    tenant_id text collate "C" not null,
    record_id uuid not null,
    sha256 bytea not null check (octet_length(sha256) = 32),
    list bytea not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, record_id)
);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert on absence_lists to edgetrail_app;
    end if;
end
$$;
