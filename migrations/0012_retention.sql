-- What is kept for how long, what must be kept longer, and what was done about it.

-- Versions of a tenant's periods, in days.
--
-- Invariant: versions strictly rise. The one in force is the highest that was approved and whose `effective_at` has come;
-- without one the periods are 365, 2557 (seven years) and 90. The bounds here are those of the program: no admin, alone or
-- with another, can keep critical events for less than a year.
create table retention_policies (
    tenant_id text collate "C" not null,
    version bigint not null check (version > 0),
    state text not null check (state in ('proposed', 'approved', 'refused')),
    standard_days integer not null check (standard_days between 30 and 3653),
    critical_days integer not null check (critical_days between 365 and 7305),
    context_days integer not null check (context_days between 7 and 3653),
    proposed_by text collate "C" not null,
    proposed_at timestamptz not null,
    decided_by text collate "C",
    decided_at timestamptz,
    effective_at timestamptz,
    primary key (tenant_id, version),
    check (critical_days >= standard_days),
    check (context_days <= standard_days),
    check ((effective_at is not null) = (state = 'approved'))
);

-- What must stay whatever its age.
--
-- Invariant: a hold covers the events that fulfil all of its conditions, and has one at least. It is never deleted, only
-- released, once. `action` may end in `*`; `actor_id` is a signed or a claimed one; times are when events happened.
create table legal_holds (
    tenant_id text collate "C" not null,
    hold_id uuid not null,
    reason text not null,
    entity_type text collate "C",
    entity_id text collate "C",
    actor_id text collate "C",
    action text collate "C",
    from_at timestamptz,
    to_at timestamptz,
    placed_by text collate "C" not null,
    placed_at timestamptz not null,
    released_by text collate "C",
    released_at timestamptz,
    primary key (tenant_id, hold_id),
    check (num_nonnulls(entity_type, entity_id, actor_id, action, from_at, to_at) > 0),
    check ((released_at is null) = (released_by is null))
);
create index legal_holds_active on legal_holds (tenant_id) where released_at is null;

-- What retention looked at and did, month by month.
--
-- Invariant: inserted in the transaction that removed the values. `record_id` is the RETENTION_DROP event, null where
-- nothing was due. `class` is that of the events, 0 standard or 1 critical; context goes from every class at once: -1.
create table retention_runs (
    tenant_id text collate "C" not null,
    month date not null,
    what text not null check (what in ('events', 'context')),
    class smallint not null check (class between -1 and 1),
    ran_at timestamptz not null,
    leaves bigint not null,
    held bigint not null,
    record_id uuid,
    primary key (tenant_id, month, what, class, ran_at),
    check ((record_id is not null) = (leaves > 0))
);

-- Events about retention and holds that are still to be recorded.
--
-- Invariant: inserted with the change they tell of, deleted once recorded: a change without its event is not possible.
create table retention_notices (
    id bigint generated always as identity primary key,
    notice text not null
);

-- Changes to stored events of a month, by the transaction that made them.
--
-- Invariant: inserted with every erasure, so that a month which is being copied without what is due is copied anew
-- instead of bringing erased values back.
create table event_touches (
    month date not null,
    xid xid8 not null,
    primary key (month, xid)
);

-- Records, few among many: what must never go, found without reading a month.
create index events_permanent on events (tenant_id, filed_at, id) where class = 2;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert on retention_policies, legal_holds to edgetrail_app;
        grant update (state, decided_by, decided_at, effective_at) on retention_policies to edgetrail_app;
        grant update (released_by, released_at) on legal_holds to edgetrail_app;
        grant select on retention_runs to edgetrail_app;
        -- Rows are locked while they are taken, which is a right to update.
        grant select, insert, update, delete on retention_notices to edgetrail_app;
    end if;
end
$$;
