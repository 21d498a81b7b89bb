-- A log's entries stand with the events of its tenant once the database is a cluster, so that a tenant's batches, events and leaves
-- meet on one node. For that their key names the tenant. A log is one tenant's: no place becomes less unique, and a log's leaves are
-- read by the key in their order as before. The key is made anew from a table of one row for each batch; writers wait meanwhile.
alter table log_rounds drop constraint log_rounds_pkey;
alter table log_rounds add primary key (log_id, first_index, tenant_id);

-- As it was, for a cluster: it takes no time of its own in a choice between values.
create or replace function erase_write(tenant text, written_at timestamptz, place bigint)
    returns boolean language plpgsql security definer as
$$
declare
    erased_at constant timestamptz := now();
begin
    update witness_writes set key = null, uid = null, row_hash = null,
        reported_at = case when state = 'pending' then erased_at else reported_at end,
        state = case when state = 'pending' then 'unattributed' else state end
    where tenant_id = $1 and at = $2 and seq = $3;
    return found;
end
$$;

do $$
begin
    execute format('alter function erase_write(text, timestamptz, bigint) set search_path = %I, pg_temp', current_schema());
end
$$;
