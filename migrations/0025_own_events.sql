-- Events of our own that wait to be recorded, in one place for every part of the backend.
--
-- Invariant: inserted with the change they tell of, deleted once recorded: a change without its event is not possible.
create table own_events_waiting (
    id bigint generated always as identity primary key,
    event text not null
);

insert into own_events_waiting (event)
select jsonb_build_object('tenant', n->>'tenant', 'action', n->>'action', 'severity', 'critical', 'class', 'critical',
           'outcome', 'success', 'trust', 'verified', 'actor', jsonb_build_object('id', n->>'by'),
           'entity', jsonb_build_object('type', 'policy', 'id', n->>'version'), 'details', n->'details',
           'rule', 'ingest/policy', 'occurred_at', n->'at_ms')::text
from (select id, notice::jsonb as n from policy_notices) waiting order by id;

insert into own_events_waiting (event)
select jsonb_build_object('tenant', n->>'tenant', 'action', n->>'action', 'severity', 'critical', 'class', 'permanent',
           'outcome', 'success', 'trust', 'verified', 'actor', jsonb_build_object('id', n->>'by'),
           'entity', jsonb_build_object('type', n->>'kind', 'id', n->>'id'), 'details', n->'details',
           'rule', 'ingest/retention', 'occurred_at', n->'at_ms')::text
from (select id, notice::jsonb as n from retention_notices) waiting order by id;

insert into own_events_waiting (event)
select jsonb_build_object('tenant', n->>'tenant', 'action', n->>'action', 'severity', 'critical', 'class', 'permanent',
           'outcome', 'success', 'trust', 'system', 'actor', jsonb_build_object('id', n->>'by'),
           'entity', jsonb_build_object('type', 'log', 'id', n->>'log'), 'details', n->'details',
           'rule', 'ingest/integrity', 'occurred_at', (extract(epoch from now()) * 1000)::bigint)::text
from (select notice_id as id, notice::jsonb as n from log_notices) waiting order by id;

insert into own_events_waiting (event)
select jsonb_strip_nulls(jsonb_build_object('tenant', n->>'tenant', 'action', n->>'action', 'severity', n->>'severity',
           'class', 'critical', 'outcome', case when (n->>'refused')::boolean then 'failure' else 'success' end,
           'trust', case when n->>'by' is null then 'anonymous' else 'verified' end,
           'actor', case when n->>'by' is not null then jsonb_build_object('id', n->>'by', 'email',
                             case when n->>'by' like '%@%' then n->>'by' end) end,
           'entity', jsonb_build_object('type', n->>'kind', 'id', n->>'id'), 'details', nullif(n->'details', 'null'),
           'rule', 'ingest/access', 'occurred_at', n->'at'))::text
from (select id, notice::jsonb as n from access_notices) waiting order by id;

drop table policy_notices, retention_notices, log_notices, access_notices;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        -- Rows are locked while they are taken, which is a right to update.
        grant select, insert, update, delete on own_events_waiting to edgetrail_app;
    end if;
end
$$;
