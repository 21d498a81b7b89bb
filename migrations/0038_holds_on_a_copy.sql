-- What must stay of a month, with the holds as values: on a cluster the copy of a month is a table of the coordinator alone, which
-- no statement joins with holds that stand with their tenants.

create or replace function retention_must_stay(name text) returns bigint[] language plpgsql as
$$
declare
    permanent bigint;
    held bigint := 0;
    tenants text[];
    entity_types text[];
    entity_ids text[];
    actors text[];
    actions text[];
    froms timestamptz[];
    tos timestamptz[];
begin
    execute format('select count(*) from %I where class = 2', name) into permanent;
    select array_agg(tenant_id), array_agg(entity_type), array_agg(entity_id), array_agg(actor_id), array_agg(action),
        array_agg(from_at), array_agg(to_at)
    into tenants, entity_types, entity_ids, actors, actions, froms, tos
    from legal_holds where released_at is null;
    if tenants is not null then
        execute format(
            'select count(*) from %I e where exists (
                 select 1
                 from unnest($1, $2, $3, $4, $5, $6, $7)
                     as h (tenant_id, entity_type, entity_id, actor_id, action, from_at, to_at)
                 where h.tenant_id = e.tenant_id
                 and (h.entity_type is null or h.entity_type = e.entity_type)
                 and (h.entity_id is null or h.entity_id = e.entity_id)
                 and (h.actor_id is null or h.actor_id = e.actor_id or h.actor_id = e.claimed_user)
                 and (h.action is null or h.action = e.action
                      or right(h.action, 1) = ''*'' and starts_with(e.action, left(h.action, -1)))
                 and (h.from_at is null or h.from_at <= e.occurred_at) and (h.to_at is null or h.to_at > e.occurred_at))',
            name)
        into held using tenants, entity_types, entity_ids, actors, actions, froms, tos;
    end if;
    return array[permanent, held];
end
$$;

do $$
begin
    execute format('alter function retention_must_stay(text) set search_path = %I, pg_temp', current_schema());
end
$$;
