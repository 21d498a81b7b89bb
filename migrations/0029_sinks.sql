-- Sinks: where a tenant's events are forwarded to.
--
-- Invariants: `secret` is sealed under a key outside the database, and `settings` holds none. `log_id` and `leaf` are the place
-- in the tenant's logs up to which everything was delivered: it moves forward after a delivery, or as an admin asks. Every act of an
-- admin raises `version`, so that a delivery that was under way meanwhile moves nothing. Only whoever has the lease delivers.
-- `query` is null once it named somebody who was erased; then the sink is paused until it has another. `log_id` is null before the
-- tenant's first log: the place is the beginning of it.
create table sinks (
    tenant_id text collate "C" not null,
    sink_id uuid not null,
    name text not null,
    settings text not null,
    max_event_bytes integer not null,
    secret bytea,
    query text,
    state text not null check (state in ('active', 'failing', 'paused')),
    made_by text not null,
    made_at timestamptz not null,
    version bigint not null default 1,
    log_id text,
    leaf bigint not null default 0,
    sent bigint not null default 0,
    attempts integer not null default 0,
    failing_since timestamptz,
    next_at timestamptz,
    last_success_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    leased_by uuid,
    leased_until timestamptz,
    primary key (tenant_id, sink_id),
    unique (tenant_id, name),
    check (query is not null or state = 'paused')
);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on sinks to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select (tenant_id, sink_id, name, query, version) on sinks to edgetrail_keeper;
        grant update (name, query, state, version) on sinks to edgetrail_keeper;
    end if;
end
$$;
