-- What the edge has seen pass, by route: how much of the traffic the rules cover.
--
-- Invariant: only ever added to, in the transaction that stores the COVERAGE_RECORDED event that says so. A route has
-- one row for what rules knew and one for what they did not; `route` is folded, so it names no entity and nobody.
-- Requests that found no place in a Worker's own table stand under method and route '*'.
create table coverage (
    tenant_id text collate "C" not null,
    host text collate "C" not null,
    method text collate "C" not null,
    route text collate "C" not null,
    mapped boolean not null,
    count bigint not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    primary key (tenant_id, host, method, route, mapped)
);

-- Routes of UNMAPPED_MUTATION events, from which rules are made.
--
-- Invariant: only ever added to, in the transaction that stores the events; `example` is the newest of them.
create table unmapped_routes (
    tenant_id text collate "C" not null,
    host text collate "C" not null,
    method text collate "C" not null,
    route text collate "C" not null,
    count bigint not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    example uuid not null,
    primary key (tenant_id, host, method, route)
);

-- Versions of a tenant's rule packs.
--
-- Invariant: versions strictly rise, at most one is active, and `note`, the document that Workers fetch, is there from
-- activation on and never changes. `document` is one line of JSON, {"packs":[…]}. `bases` names the versions that a
-- change of single rules was made on; without it the document stands for itself.
create table policies (
    tenant_id text collate "C" not null,
    version bigint not null check (version > 0),
    state text not null check (state in ('proposed', 'active', 'superseded', 'refused')),
    document text not null,
    note text,
    bases bigint[],
    rolls_back_to bigint,
    proposed_by text collate "C" not null,
    proposed_at timestamptz not null,
    decided_by text collate "C",
    decided_at timestamptz,
    primary key (tenant_id, version),
    check (note is not null or state <> 'active')
);
create unique index policies_active on policies (tenant_id) where state = 'active';

-- Rules made from unmapped routes, and how far past events were named by them.
--
-- Invariant: one row for each accepted rule of a version. Relabelling begins when a version that holds the rule
-- becomes active and goes on after a restart where (`at_filed`, `at_id`) stands.
create table accepted_rules (
    tenant_id text collate "C" not null,
    version bigint not null,
    rule text collate "C" not null,
    action text collate "C" not null,
    host text collate "C" not null,
    method text collate "C" not null,
    route text collate "C" not null,
    active_version bigint,
    active_since timestamptz,
    at_filed timestamptz,
    at_id uuid,
    done boolean not null default false,
    primary key (tenant_id, version, rule, host, method, route)
);
create index accepted_rules_route on accepted_rules (tenant_id, host, method, route);
create index accepted_rules_open on accepted_rules (active_since) where active_since is not null and not done;

-- Events about policies that are still to be recorded.
--
-- Invariant: inserted with the change they tell of, deleted once recorded: a change without its event is not possible.
create table policy_notices (
    id bigint generated always as identity primary key,
    notice text not null
);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update on coverage, unmapped_routes, policies, accepted_rules to edgetrail_app;
        -- Rows are locked while they are taken, which is a right to update.
        grant select, insert, update, delete on policy_notices to edgetrail_app;
    end if;
end
$$;
