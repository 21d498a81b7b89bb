-- How many events have which values, by hour and by day, so that counting a month does not read it.
--
-- Everything here is derived from `events` and can be counted again at any time. The promise: what `tallies` and
-- `tally_deltas` say of a tenant's hour is what a count of its events would say in the same snapshot, unless the hour lies in a
-- span of `tally_stale`: that is counted from the events. `kind` says what is counted (ingest::tally), `counts` is its encoding.

-- What was stored and is not in `tallies` yet.
--
-- Invariant: inserted in the transaction that stores the events, consumed by delete.
create table tally_deltas (
    id bigint generated always as identity primary key,
    tenant_id text collate "C" not null,
    kind smallint not null,
    hour timestamptz not null,
    counts bytea not null
);
create index tally_deltas_of on tally_deltas (tenant_id, kind, hour);

-- Sums. A day's, where there is one, is that of its hours.
create table tallies (
    tenant_id text collate "C" not null,
    kind smallint not null,
    is_day boolean not null,
    start timestamptz not null,
    counts bytea not null,
    primary key (tenant_id, kind, is_day, start)
);

-- Spans of whole hours in which events changed or went; a tenant's, or everybody's.
--
-- Invariant: inserted in the transaction that changes events. Never unique: a row that is there may be one that was read
-- before the change, and goes.
create table tally_stale (
    id bigint generated always as identity primary key,
    tenant_id text collate "C",
    from_at timestamptz not null,
    to_at timestamptz not null,
    check (from_at < to_at)
);

-- An event of this time changed. Once for each hour and transaction is enough.
create function tally_changed(tenant text, filed_at timestamptz) returns void language plpgsql as
$$
declare
    hour constant timestamptz := date_trunc('hour', $2, 'UTC');
begin
    if not exists (select from tally_stale s
                   where s.xmin = pg_current_xact_id()::xid and s.tenant_id = $1 and s.from_at = hour) then
        insert into tally_stale (tenant_id, from_at, to_at) values ($1, hour, hour + interval '1 hour');
    end if;
end
$$;

-- The functions that change events, as they were, each with a line about the tallies.

create or replace function erase_event_fields(tenant text, filed_at timestamptz, id uuid, opening bytea, cleared text[])
    returns boolean language plpgsql security definer as
$$
#variable_conflict use_column
begin
    if octet_length($4) < 2 or get_byte($4, 0) <> 2 then
        raise exception 'an opening is replaced only by what erasure left of it' using errcode = 'check_violation';
    end if;
    if not $5 <@ array['actor_id', 'actor_email', 'claimed_user', 'entity_id', 'entity_name', 'ip', 'session_id',
                       'country', 'change_quality'] then
        raise exception 'a column of % cannot be cleared', $5 using errcode = 'check_violation';
    end if;
    update events set
        opening = $4,
        actor_id = case when 'actor_id' = any($5) then null else actor_id end,
        actor_email = case when 'actor_email' = any($5) then null else actor_email end,
        claimed_user = case when 'claimed_user' = any($5) then null else claimed_user end,
        entity_id = case when 'entity_id' = any($5) then null else entity_id end,
        entity_name = case when 'entity_name' = any($5) then null else entity_name end,
        ip = case when 'ip' = any($5) then null else ip end,
        session_id = case when 'session_id' = any($5) then null else session_id end,
        country = case when 'country' = any($5) then null else country end,
        change_quality = case when 'change_quality' = any($5) then null else change_quality end
    where tenant_id = $1 and filed_at = $2 and id = $3;
    if not found then
        return false;
    end if;
    perform tally_changed($1, $2);
    insert into event_touches (month, xid)
    values (date_trunc('month', $2 at time zone 'UTC')::date, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

create or replace function pseudonymise_event(tenant text, filed_at timestamptz, id uuid, pseudonym text)
    returns boolean language plpgsql security definer as
$$
#variable_conflict use_column
begin
    if $4 !~ '^anon-[0-9a-f]{32}$' then
        raise exception 'not a pseudonym' using errcode = 'check_violation';
    end if;
    update events set actor_id = $4
    where tenant_id = $1 and filed_at = $2 and id = $3 and actor_id is null and get_byte(opening, 0) = 2;
    if not found then
        return false;
    end if;
    perform tally_changed($1, $2);
    insert into event_touches (month, xid)
    values (date_trunc('month', $2 at time zone 'UTC')::date, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

create or replace function erase_event(tenant text, filed_at timestamptz, id uuid)
    returns boolean language plpgsql security definer as
$$
#variable_conflict use_column
declare
    filed_in constant date := date_trunc('month', $2 at time zone 'UTC')::date;
    batch bigint;
    place smallint;
begin
    delete from events where tenant_id = $1 and filed_at = $2 and id = $3
    returning batch_id, position into batch, place;
    if not found then
        return false;
    end if;
    update filed_batches f set
        low = case when place < 64 then f.low & ~(1::bigint << place) else f.low end,
        high = case when place >= 64 then f.high & ~(1::bigint << (place - 64)) else f.high end
    where f.month = filed_in and f.tenant_id = $1 and f.batch_id = batch;
    perform tally_changed($1, $2);
    insert into event_touches (month, xid)
    values (filed_in, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

create or replace function retention_swap(month date, tenants text[] default null, standard timestamptz[] default null,
                                          critical timestamptz[] default null)
    returns void language plpgsql security definer as
$$
declare
    name text := retention_month(month);
    staged text := name || '_staged';
    before bigint[] := retention_must_stay(name);
    after bigint[] := retention_must_stay(staged);
begin
    if before <> after then
        raise exception '% events of % must stay and % are staged', before, month, after
            using errcode = 'check_violation';
    end if;
    execute format('alter table events detach partition %I', name);
    execute format('drop table %I', name);
    execute format('alter table %I rename to %I', staged, name);
    execute format('alter table events attach partition %I for values from (%L) to (%L)', name, month || ' 00:00Z',
        (month + interval '1 month')::date || ' 00:00Z');
    execute format('alter table %I drop constraint %I', name, name || '_month');
    execute format('revoke insert on %I from edgetrail_keeper', name);
    delete from event_touches t where t.month = $1;
    insert into tally_stale (from_at, to_at)
    values ($1::timestamp at time zone 'UTC', ($1 + interval '1 month') at time zone 'UTC');
    if $2 is null then
        delete from filed_batches f where f.month = $1;
    else
        delete from filed_batches f using unnest($2, $3, $4) as l (tenant_id, standard, critical)
        where f.month = $1 and f.tenant_id = l.tenant_id
            and (f.class = 0 and f.received_at <= l.standard or f.class = 1 and f.received_at <= l.critical);
    end if;
end
$$;

create or replace function retention_empty(month date) returns void language plpgsql security definer as
$$
declare
    name text := retention_month(month);
    stay bigint[];
begin
    execute format('lock table %I in share row exclusive mode', name);
    stay := retention_must_stay(name);
    if stay <> '{0,0}' then
        raise exception '% events of % must stay', stay, month using errcode = 'check_violation';
    end if;
    execute format('truncate %I', name);
    delete from event_touches t where t.month = $1;
    insert into tally_stale (from_at, to_at)
    values ($1::timestamp at time zone 'UTC', ($1 + interval '1 month') at time zone 'UTC');
    delete from filed_batches f where f.month = $1;
end
$$;

-- What was stored before there were tallies: all months there are.
insert into tally_stale (from_at, to_at)
select min(month) at time zone 'UTC', (max(month) + interval '1 month') at time zone 'UTC'
from (select to_date(right(c.relname, 7), 'YYYY_MM')::timestamp as month
      from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = 'events'::regclass) months
having count(*) > 0;

do $$
declare
    each regprocedure;
begin
    foreach each in array array[
        'erase_event(text, timestamptz, uuid)', 'pseudonymise_event(text, timestamptz, uuid, text)',
        'erase_event_fields(text, timestamptz, uuid, bytea, text[])',
        'retention_swap(date, text[], timestamptz[], timestamptz[])', 'retention_empty(date)',
        'tally_changed(text, timestamptz)']::regprocedure[]
    loop
        execute format('alter function %s set search_path = %I, pg_temp', each, current_schema());
        execute format('revoke all on function %s from public', each);
        if exists (select from pg_roles where rolname = 'edgetrail_keeper')
            and each <> 'tally_changed(text, timestamptz)'::regprocedure then
            execute format('grant execute on function %s to edgetrail_keeper', each);
        end if;
    end loop;
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on tallies, tally_deltas, tally_stale to edgetrail_app;
    end if;
end
$$;
