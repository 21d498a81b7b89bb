-- Functions of retention as they were, for a cluster: with a column in each subquery, since it takes none without, and with
-- nothing left behind on the coordinator.

create or replace function retention_clear(tenant text, before timestamptz) returns bigint language plpgsql security definer as
$$
declare
    cleared bigint := 0;
    n bigint;
    name text;
    held boolean := exists (select 1 from legal_holds where tenant_id = $1 and released_at is null);
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

create or replace function retention_must_stay(name text) returns bigint[] language plpgsql as
$$
declare
    permanent bigint;
    held bigint := 0;
begin
    execute format('select count(*) from %I where class = 2', name) into permanent;
    if exists (select 1 from legal_holds where released_at is null) then
        execute format(
            'select count(*) from %I e where exists (
                 select 1 from legal_holds h where h.tenant_id = e.tenant_id and h.released_at is null
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
    -- A cluster moves what was staged to its nodes and leaves it on the coordinator as well, where no erasure would find it.
    if exists (select 1 from pg_extension where extname = 'citus') then
        execute format('select truncate_local_data_after_distributing_table(%L::regclass)', name);
    end if;
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

do $$
declare
    each regprocedure;
begin
    foreach each in array array['retention_clear(text, timestamptz)', 'retention_must_stay(text)',
        'retention_swap(date, text[], timestamptz[], timestamptz[])']::regprocedure[] loop
        execute format('alter function %s set search_path = %I, pg_temp', each, current_schema());
    end loop;
end
$$;
