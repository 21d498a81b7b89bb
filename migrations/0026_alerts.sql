-- What rules of detection found.
--
-- Invariant: inserted with the place up to which the rules have looked, and with the event about it; afterwards it is only
-- closed, once, or loses `alike` and `note` when somebody whom they name is erased. `evidence` holds ids of events.
create table alerts (
    tenant_id text collate "C" not null,
    alert_id uuid not null,
    rule text collate "C" not null,
    title text not null,
    severity smallint not null,
    alike_in text[] not null,
    alike text[],
    events bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    evidence uuid[] not null,
    raised_at timestamptz not null,
    state text not null check (state in ('open', 'closed')),
    closed_by text,
    closed_at timestamptz,
    note text,
    primary key (tenant_id, alert_id),
    check ((closed_at is not null) = (state = 'closed'))
);
create index alerts_newest on alerts (tenant_id, raised_at desc);
create index alerts_alike on alerts (tenant_id, rule, alike, last_at);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert on alerts to edgetrail_app;
        grant update (state, closed_by, closed_at, note, alike) on alerts to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select on alerts to edgetrail_keeper;
        grant update (alike, note) on alerts to edgetrail_keeper;
    end if;
end
$$;
