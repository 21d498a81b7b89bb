-- Searches that people keep under a name.
--
-- Invariants: `query` is the canonical text of a search that was understood whole; a name is given once by one person. A row
-- is its owner's, and everybody's of the tenant reads it if it is shared. It may name a person, so erasures reach it, and it
-- goes once it is as old as standard events become; who saves it again begins anew.
create table saved_searches (
    tenant_id text collate "C" not null,
    search_id uuid not null,
    owner text collate "C" not null,
    name text not null,
    query text not null,
    shared boolean not null,
    saved_at timestamptz not null,
    primary key (tenant_id, search_id)
);
create unique index saved_searches_name on saved_searches (tenant_id, owner, name);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on saved_searches to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select, delete on saved_searches to edgetrail_keeper;
    end if;
end
$$;
