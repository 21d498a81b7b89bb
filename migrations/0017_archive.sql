-- What went to the archive before it was dropped.
--
-- Invariant: inserted in the transaction that drops the events, after they lie in the archive and were read back. A shipment
-- is one tenant's events of one class that one look at a month let go; the storage itself says which parts it has. It is
-- over once `expired_by`, the record that the archive let it go as well, is set.
create table archive_shipments (
    tenant_id text collate "C" not null,
    shipment_id uuid not null,
    month date not null,
    class smallint not null check (class between 0 and 1),
    events bigint not null check (events > 0),
    bytes bigint not null check (bytes > 0),
    newest_at timestamptz not null,
    shipped_at timestamptz not null,
    expired_by uuid,
    primary key (tenant_id, shipment_id)
);

alter table retention_runs drop constraint retention_runs_what_check;
alter table retention_runs add constraint retention_runs_what_check check (what in ('events', 'context', 'archive'));

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select on archive_shipments to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select, insert on archive_shipments to edgetrail_keeper;
        grant update (expired_by) on archive_shipments to edgetrail_keeper;
    end if;
end
$$;
