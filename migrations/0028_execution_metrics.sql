-- What runs add up to, for each agent and each user, by hour and by day of their beginning (UTC).
--
-- Invariant: what a count of `executions` gives, written in the transaction that changed one of them. `of_what` is 'agent' or
-- 'user'. Beside each sum stands of how many runs the figure is known: an unknown one is in no sum.
create table execution_metrics (
    tenant_id text collate "C" not null,
    of_what text collate "C" not null check (of_what in ('agent', 'user')),
    id text collate "C" not null,
    is_day boolean not null,
    start timestamptz not null,
    runs bigint not null,
    completed bigint not null,
    failed bigint not null,
    running bigint not null,
    tokens bigint not null,
    tokens_runs bigint not null,
    tokens_peak bigint,
    tokens_in bigint not null,
    tokens_in_runs bigint not null,
    tokens_out bigint not null,
    tokens_out_runs bigint not null,
    -- Of the runs that tell both: what a ratio is made from.
    both_in bigint not null,
    both_out bigint not null,
    iterations bigint not null,
    iterations_runs bigint not null,
    duration_ms bigint not null,
    duration_runs bigint not null,
    duration_peak_ms bigint,
    last_run timestamptz not null,
    primary key (tenant_id, of_what, id, is_day, start)
);
create index execution_metrics_of_time on execution_metrics (tenant_id, of_what, is_day, start);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on execution_metrics to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select, insert, delete on execution_metrics to edgetrail_keeper;
    end if;
end
$$;

-- What the application wrote down of credits, for the use and the balance of all.
--
-- Invariant: inserted with the place up to which the events were read, once for each event; erasure and retention remove rows.
create table credit_reports (
    tenant_id text collate "C" not null,
    event_id uuid not null,
    at timestamptz not null,
    user_id text collate "C" not null,
    delta bigint,
    balance bigint,
    primary key (tenant_id, event_id)
);
create index credit_reports_newest on credit_reports (tenant_id, user_id, at desc);
create index credit_reports_time on credit_reports (tenant_id, at);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, delete on credit_reports to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select, delete on credit_reports to edgetrail_keeper;
    end if;
end
$$;
