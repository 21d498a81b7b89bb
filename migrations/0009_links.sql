-- What is still to be said about a write that nothing told.
--
-- Invariant: set after its WRITE_UNATTRIBUTED event is durable, so that a stop in between says it twice and never not
-- at all.
alter table witness_writes add column reported_at timestamptz;
create index witness_writes_unreported on witness_writes (tenant_id, at, seq)
    where state = 'unattributed' and reported_at is null;

-- Writes by the application's own server, and the acts they come from.
--
-- Invariant: one row for each echo, inserted in the transaction that stores the event. A row leaves `pending` once,
-- after its ECHO_LINKED event is durable, and then stays as it is.
create table echo_links (
    tenant_id text collate "C" not null,
    echo_id uuid not null,
    filed_at timestamptz not null,
    received_at timestamptz not null,
    state text not null default 'pending' check (state in ('pending', 'linked', 'unlinked')),
    act_id uuid,
    primary key (tenant_id, echo_id),
    check ((act_id is not null) = (state = 'linked'))
);
create index echo_links_pending on echo_links (filed_at, echo_id) where state = 'pending';
create index echo_links_newest on echo_links (tenant_id, state, filed_at, echo_id);

-- Runs whose answer did not say how they ended, and the events that did.
--
-- Invariant: as for echoes, with OUTCOME_COMPLETED. An event completes one run at most.
create table open_runs (
    tenant_id text collate "C" not null,
    run_id uuid not null,
    filed_at timestamptz not null,
    received_at timestamptz not null,
    state text not null default 'pending' check (state in ('pending', 'completed', 'open')),
    source_id uuid,
    primary key (tenant_id, run_id),
    check ((source_id is not null) = (state = 'completed'))
);
create index open_runs_source on open_runs (tenant_id, source_id) where source_id is not null;
create index open_runs_pending on open_runs (filed_at, run_id) where state = 'pending';

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update on echo_links, open_runs to edgetrail_app;
    end if;
end
$$;
