-- The role that removes values, and the few functions it can do it by.
--
-- `edgetrail_app` adds and never changes what is logged. `edgetrail_keeper` can change an event only through the functions
-- below: each does one thing, checks what it is given, and runs as the owner of the tables. Neither role can change a log's
-- rounds, tiles or checkpoints.
do $$
begin
    create role edgetrail_keeper nologin;
exception
    when duplicate_object or unique_violation or insufficient_privilege then null;
end
$$;

-- From PostgreSQL 16 on, who makes a role may not take it on without being told so.
do $$
declare
    name text;
begin
    foreach name in array array['edgetrail_app', 'edgetrail_keeper'] loop
        begin
            if not pg_has_role(current_user, name, 'member') then
                execute format('grant %I to %I', name, current_user);
            end if;
        exception
            when undefined_object or insufficient_privilege or invalid_grant_operation then null;
        end;
    end loop;
end
$$;

-- Replaces an event's opening by what erasure left of it, and clears the columns that were read out of it. False if there
-- is no such event. It takes nothing that is not a remnant (shared::leaf::remnant, first byte 2), and no structural column.
create function erase_event_fields(tenant text, filed_at timestamptz, id uuid, opening bytea, cleared text[])
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
    insert into event_touches (month, xid)
    values (date_trunc('month', $2 at time zone 'UTC')::date, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

-- The table of a month, if retention may touch it at all: the shortest period there is begins when the month is over.
create function retention_month(month date) returns text language plpgsql stable as
$$
declare
    name text := 'events_' || to_char(month, 'YYYY_MM');
begin
    if month <> date_trunc('month', month)::date or to_regclass(name) is null then
        raise exception 'there is no month %', month using errcode = 'undefined_table';
    end if;
    if (month + interval '1 month 7 days') at time zone 'UTC' > now() then
        raise exception 'the month % is too young', month using errcode = 'check_violation';
    end if;
    return name;
end
$$;

-- Makes an empty table beside a month, without indexes, to be filled with what stays.
create function retention_stage(month date) returns text language plpgsql security definer as
$$
declare
    name text := retention_month(month);
    staged text := name || '_staged';
begin
    execute format('drop table if exists %I', staged);
    execute format(
        'create table %I (like events including all excluding indexes,
             constraint %I check (filed_at >= %L and filed_at < %L))
             with (autovacuum_vacuum_insert_scale_factor = 0.02)',
        staged, name || '_month', month || ' 00:00Z', (month + interval '1 month')::date || ' 00:00Z');
    execute format('grant select, insert on %I to edgetrail_keeper', staged);
    execute format('grant select on %I to edgetrail_keeper', name);
    return name;
end
$$;

-- Gives the staged table the indexes of a month, once it is filled: one after the other is faster than row by row.
create function retention_index(month date) returns void language plpgsql security definer as
$$
declare
    staged text := retention_month(month) || '_staged';
    each record;
begin
    for each in
        select i.indisprimary, pg_get_constraintdef(c.oid) as key,
               substring(pg_get_indexdef(i.indexrelid) from ' USING .*') as definition
        from pg_index i left join pg_constraint c on c.conindid = i.indexrelid and c.contype = 'p'
        where i.indrelid = 'events'::regclass
        order by i.indexrelid
    loop
        if each.indisprimary then
            execute format('alter table %I add %s', staged, each.key);
        else
            execute format('create index on %I', staged) || each.definition;
        end if;
    end loop;
    execute format('analyze %I', staged);
end
$$;

-- Keeps writers away from a month until the transaction ends; readers go on.
create function retention_freeze(month date) returns void language plpgsql security definer as
$$
begin
    execute format('lock table %I in share row exclusive mode', retention_month(month));
end
$$;

-- Puts the staged table in the month's place and drops what was there. What is permanent must be in it, and what an
-- active hold covers.
create function retention_swap(month date) returns void language plpgsql security definer as
$$
declare
    name text := retention_month(month);
    staged text := name || '_staged';
    permanent constant text := 'class = 2';
    held constant text := 'exists (select from legal_holds h where h.tenant_id = e.tenant_id and h.released_at is null
        and (h.entity_type is null or h.entity_type = e.entity_type)
        and (h.entity_id is null or h.entity_id = e.entity_id)
        and (h.actor_id is null or h.actor_id = e.actor_id or h.actor_id = e.claimed_user)
        and (h.action is null or h.action = e.action
             or right(h.action, 1) = ''*'' and starts_with(e.action, left(h.action, -1)))
        and (h.from_at is null or h.from_at <= e.occurred_at) and (h.to_at is null or h.to_at > e.occurred_at))';
    guard text;
    before bigint;
    after bigint;
begin
    foreach guard in array array[permanent, held] loop
        if guard = held and not exists (select from legal_holds where released_at is null) then
            continue;
        end if;
        execute format('select count(*) from %I e where ', name) || guard into before;
        execute format('select count(*) from %I e where ', staged) || guard into after;
        if before <> after then
            raise exception '% events of % must stay and % are staged', before, month, after
                using errcode = 'check_violation';
        end if;
    end loop;
    execute format('alter table events detach partition %I', name);
    execute format('drop table %I', name);
    execute format('alter table %I rename to %I', staged, name);
    execute format('alter table events attach partition %I for values from (%L) to (%L)', name, month || ' 00:00Z',
        (month + interval '1 month')::date || ' 00:00Z');
    execute format('alter table %I drop constraint %I', name, name || '_month');
    execute format('revoke insert on %I from edgetrail_keeper', name);
    delete from event_touches t where t.month = $1;
end
$$;

-- Takes away a staged table that is not needed.
create function retention_unstage(month date) returns void language plpgsql security definer as
$$
begin
    execute format('drop table if exists %I', retention_month(month) || '_staged');
end
$$;

-- Deletes what was derived from events or kept beside them, and is older. While a hold is active, what customers' databases
-- and applications claim about the tenant stays: it may be what the hold is about.
create function retention_clear(tenant text, before timestamptz) returns bigint language plpgsql security definer as
$$
declare
    cleared bigint := 0;
    n bigint;
    name text;
    held boolean := exists (select from legal_holds where tenant_id = $1 and released_at is null);
    columns constant text[] := array[
        'entity_states', 'at', 'app_audit_rows', 'received_at', 'witness_writes', 'received_at',
        'open_runs', 'received_at', 'echo_links', 'received_at', 'coverage', 'last_seen',
        'unmapped_routes', 'last_seen'];
begin
    if $2 > now() - interval '30 days' then
        raise exception 'nothing younger than 30 days is cleared' using errcode = 'check_violation';
    end if;
    for i in 1 .. array_length(columns, 1) by 2 loop
        name := columns[i];
        continue when held and name in ('app_audit_rows', 'witness_writes');
        execute format('delete from %I where tenant_id = $1 and %I < $2', name, columns[i + 1]) using $1, $2;
        get diagnostics n = row_count;
        cleared := cleared + n;
    end loop;
    if not held then
        update quarantine set raw = null where tenant_id = $1 and received_at < $2 and raw is not null;
        get diagnostics n = row_count;
        cleared := cleared + n;
    end if;
    return cleared;
end
$$;

do $$
declare
    each regprocedure;
begin
    foreach each in array array[
        'erase_event_fields(text, timestamptz, uuid, bytea, text[])', 'retention_month(date)',
        'retention_stage(date)', 'retention_index(date)', 'retention_freeze(date)', 'retention_swap(date)',
        'retention_unstage(date)', 'retention_clear(text, timestamptz)']::regprocedure[]
    loop
        -- Whoever calls them must not choose what the names in them mean.
        execute format('alter function %s set search_path = %I, pg_temp', each, current_schema());
        execute format('revoke all on function %s from public', each);
        if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
            execute format('grant execute on function %s to edgetrail_keeper', each);
        end if;
    end loop;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        execute format('grant usage on schema %I to edgetrail_keeper', current_schema());
        grant select on events, logs, log_rounds, log_pending, log_checkpoints, log_tiles, batches, signing_keys,
            retention_policies, legal_holds, event_touches to edgetrail_keeper;
        grant select, insert on absence_lists, retention_runs to edgetrail_keeper;
    end if;
end
$$;
