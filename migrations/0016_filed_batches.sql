-- What of each batch was filed in which month.
--
-- Invariant: the events it names are a part of those in the month's table. It is written by the statement that inserts
-- events, and whatever takes an event away takes it off the list in the same transaction. So a month that has as many
-- events as its list names has exactly those, and the leaves that go are known without a look at each event. It may have
-- more: what was there before there was a list, what a hold kept. Bit n of `low` is position n, of `high` position 64 + n.
create table filed_batches (
    month date not null,
    tenant_id text collate "C" not null,
    batch_id bigint not null,
    class smallint not null,
    received_at timestamptz not null,
    low bigint not null,
    high bigint not null
);
-- Not unique: where events are inserted one by one, each has a row.
create index filed_batches_month on filed_batches (month, tenant_id, batch_id);

-- Removes an event whose structure itself names the person. Its leaf stays, and its list says that it is gone as a whole.
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
    insert into event_touches (month, xid)
    values (filed_in, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

-- Lets the keeper read a month by its table.
create function retention_open(month date) returns text language plpgsql security definer as
$$
declare
    name text := retention_month(month);
begin
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        execute format('grant select on %I to edgetrail_keeper', name);
    end if;
    return name;
end
$$;

-- How many events of a table are permanent, and how many an active hold covers. Neither may go.
create function retention_must_stay(name text) returns bigint[] language plpgsql as
$$
declare
    permanent bigint;
    held bigint := 0;
begin
    execute format('select count(*) from %I where class = 2', name) into permanent;
    if exists (select from legal_holds where released_at is null) then
        execute format(
            'select count(*) from %I e where exists (
                 select from legal_holds h where h.tenant_id = e.tenant_id and h.released_at is null
                 and (h.entity_type is null or h.entity_type = e.entity_type)
                 and (h.entity_id is null or h.entity_id = e.entity_id)
                 and (h.actor_id is null or h.actor_id = e.actor_id or h.actor_id = e.claimed_user)
                 and (h.action is null or h.action = e.action
                      or right(h.action, 1) = ''*'' and starts_with(e.action, left(h.action, -1)))
                 and (h.from_at is null or h.from_at <= e.occurred_at) and (h.to_at is null or h.to_at > e.occurred_at))',
            name) into held;
    end if;
    return array[permanent, held];
end
$$;

-- Puts the staged table in the month's place and drops what was there. What is permanent must be in it, and what an
-- active hold covers. What is due by the limits, of tenants in their order, leaves the list; without limits all of it
-- does, since an older program does not tell what went.
drop function retention_swap(date);
create function retention_swap(month date, tenants text[] default null, standard timestamptz[] default null,
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
    if $2 is null then
        delete from filed_batches f where f.month = $1;
    else
        delete from filed_batches f using unnest($2, $3, $4) as l (tenant_id, standard, critical)
        where f.month = $1 and f.tenant_id = l.tenant_id
            and (f.class = 0 and f.received_at <= l.standard or f.class = 1 and f.received_at <= l.critical);
    end if;
end
$$;

-- Empties a month in which nothing must stay.
create function retention_empty(month date) returns void language plpgsql security definer as
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
    delete from filed_batches f where f.month = $1;
end
$$;

do $$
declare
    each regprocedure;
begin
    foreach each in array array[
        'retention_open(date)', 'retention_must_stay(text)',
        'retention_swap(date, text[], timestamptz[], timestamptz[])', 'retention_empty(date)',
        'erase_event(text, timestamptz, uuid)']::regprocedure[]
    loop
        execute format('alter function %s set search_path = %I, pg_temp', each, current_schema());
        execute format('revoke all on function %s from public', each);
        if exists (select from pg_roles where rolname = 'edgetrail_keeper')
            and each <> 'retention_must_stay(text)'::regprocedure then
            execute format('grant execute on function %s to edgetrail_keeper', each);
        end if;
    end loop;
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant insert on filed_batches to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select on filed_batches to edgetrail_keeper;
    end if;
end
$$;
