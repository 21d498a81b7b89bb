-- Runs of agents, joined from what the edge saw of each on both mounts.
--
-- Everything here is derived from `events` and can be made again from them: empty the tables and the cursor `executions`.

-- What one event says of a run.
--
-- Invariant: inserted with the place up to which the events were read, once for each event. `run_key` is the run it is joined
-- to and changes as others arrive; none if there is no run to which it could belong. `begun_at` is the time by which it is
-- told which run that is. Erasure clears `user_id`, `agent_name` and `error`; what remains of a run is counted all the same.
create table execution_reports (
    tenant_id text collate "C" not null,
    event_id uuid not null,
    kind smallint not null,
    at timestamptz not null,
    begun_at timestamptz not null,
    execution_id text collate "C",
    agent_id text collate "C",
    agent_name text,
    user_id text collate "C",
    error text,
    said jsonb not null,
    run_key text collate "C",
    primary key (tenant_id, event_id)
);
create index execution_reports_named on execution_reports (tenant_id, execution_id) where execution_id is not null;
create index execution_reports_agent on execution_reports (tenant_id, agent_id, begun_at) where agent_id is not null;
create index execution_reports_run on execution_reports (tenant_id, run_key) where run_key is not null;

-- A run each.
--
-- Invariant: what ingest::execution::fold makes of the reports with this `run_key`, written in the transaction that changed
-- one of them. A figure that nobody told is null. `first_event` is the first of `events` and in no other row.
create table executions (
    tenant_id text collate "C" not null,
    execution_key text collate "C" not null,
    first_event uuid not null,
    events uuid[] not null,
    execution_id text collate "C",
    agent_id text collate "C",
    agent_name text,
    user_id text collate "C",
    status text not null check (status in ('running', 'completed', 'failed', 'unknown')),
    trigger text,
    execution_type text,
    started_at timestamptz not null,
    ended_at timestamptz,
    duration_ms bigint check (duration_ms >= 0),
    duration_from text,
    tokens_in bigint check (tokens_in >= 0),
    tokens_out bigint check (tokens_out >= 0),
    tokens_total bigint check (tokens_total >= 0),
    tokens_from text,
    tokens_adjusted bigint check (tokens_adjusted >= 0),
    steps_completed bigint,
    steps_failed bigint,
    steps_total bigint,
    iterations bigint,
    tool_calls bigint,
    error_kind text,
    error text,
    primary key (tenant_id, execution_key)
);
create index executions_newest on executions (tenant_id, started_at desc, first_event desc);
create index executions_agent on executions (tenant_id, agent_id, started_at desc) where agent_id is not null;
create index executions_user on executions (tenant_id, user_id, started_at desc) where user_id is not null;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on execution_reports, executions to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select, delete on execution_reports, executions to edgetrail_keeper;
        grant update (agent_name, user_id, error) on execution_reports to edgetrail_keeper;
        grant update (agent_name, user_id, error) on executions to edgetrail_keeper;
    end if;
end
$$;
