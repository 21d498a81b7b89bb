-- Erasing what is known of a person: who asked for it, who agreed, what was done.

-- Requests to erase a person's data, or to keep it on a legal ground.
--
-- Invariant: `subject` and `names` say whom a request is about and are empty once it is closed, or if it was made again
-- from a certificate. `until` is when it was carried out: what happened before it is erased whenever it arrives.
-- `pseudonym` is random, the same for all events of a request, and stands in no commitment.
create table erasure_requests (
    tenant_id text collate "C" not null,
    id uuid not null,
    mode text not null check (mode in ('erase', 'pseudonymise', 'keep')),
    legal_basis text not null,
    state text not null check (state in ('requested', 'approved', 'running', 'done', 'cancelled', 'kept')),
    subject text,
    names text[] not null default '{}',
    pseudonym text check (pseudonym ~ '^anon-[0-9a-f]{32}$'),
    requested_by text collate "C" not null,
    requested_at timestamptz not null,
    approved_by text collate "C",
    approved_at timestamptz,
    not_before timestamptz,
    until timestamptz,
    closed_by text collate "C",
    closed_at timestamptz,
    primary key (tenant_id, id),
    check (subject is null and names = '{}' or state in ('requested', 'approved', 'running')),
    check ((pseudonym is not null) = (mode = 'pseudonymise'))
);
create index erasure_requests_due on erasure_requests (not_before) where state in ('approved', 'running');

-- By what the events of an erased person are known again.
--
-- Invariant: `hash` is an HMAC under a key that is in no database (privacy.key beside the log's key). Inserted before the
-- events are looked for, so that what arrives meanwhile is known as well.
create table erased_names (
    tenant_id text collate "C" not null,
    request_id uuid not null,
    hash bytea not null check (octet_length(hash) = 32),
    primary key (tenant_id, request_id, hash)
);

-- The records of an erasure, each with a list in `absence_lists`.
create table erasure_passes (
    tenant_id text collate "C" not null,
    request_id uuid not null,
    record_id uuid not null,
    events bigint not null,
    at timestamptz not null,
    primary key (tenant_id, request_id, record_id)
);

-- Signed certificates that this database has carried out.
--
-- Invariant: a certificate in the directory of certificates that is not here was made by a database which this one is an
-- older copy of: it is carried out again.
create table erasure_certificates (
    tenant_id text collate "C" not null,
    request_id uuid not null,
    sha256 bytea not null check (octet_length(sha256) = 32),
    note text not null,
    at timestamptz not null,
    primary key (tenant_id, request_id, sha256)
);

-- Removes an event whose structure itself names the person. Its leaf stays, and its list says that it is gone as a whole.
create function erase_event(tenant text, filed_at timestamptz, id uuid)
    returns boolean language plpgsql security definer as
$$
#variable_conflict use_column
begin
    delete from events where tenant_id = $1 and filed_at = $2 and id = $3;
    if not found then
        return false;
    end if;
    insert into event_touches (month, xid)
    values (date_trunc('month', $2 at time zone 'UTC')::date, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

-- Lets a pseudonym stand for an actor that was erased: in the column that lists search by, in nothing that is committed.
create function pseudonymise_event(tenant text, filed_at timestamptz, id uuid, pseudonym text)
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
    insert into event_touches (month, xid)
    values (date_trunc('month', $2 at time zone 'UTC')::date, pg_current_xact_id()) on conflict do nothing;
    return true;
end
$$;

-- Removes what arrived in the place of an event that could not be stored. Its leaf stays.
create function erase_quarantined(tenant text, batch bigint, place smallint)
    returns boolean language plpgsql security definer as
$$
begin
    update quarantine set raw = null, reason = 'erased'
    where tenant_id = $1 and batch_id = $2 and position = $3;
    return found;
end
$$;

-- Removes the person from what the application claims. A claim that waits could be held against nothing any more.
create function erase_claim(tenant text, event uuid, place smallint)
    returns boolean language plpgsql security definer as
$$
begin
    delete from app_audit_rows where tenant_id = $1 and event_id = $2 and n = $3 and state = 'pending';
    update app_audit_rows set entity_id = null, user_id = null
    where tenant_id = $1 and event_id = $2 and n = $3;
    return true;
end
$$;

-- Removes the person from what a database reported. A write that waits cannot be explained any more, and nobody is told.
create function erase_write(tenant text, written_at timestamptz, place bigint)
    returns boolean language plpgsql security definer as
$$
begin
    update witness_writes set key = null, uid = null, row_hash = null,
        reported_at = case when state = 'pending' then now() else reported_at end,
        state = case when state = 'pending' then 'unattributed' else state end
    where tenant_id = $1 and at = $2 and seq = $3;
    return found;
end
$$;

-- Removes a route that names the person from what is counted.
create function erase_route(tenant text, host text, method text, route text)
    returns boolean language plpgsql security definer as
$$
#variable_conflict use_column
begin
    delete from coverage where tenant_id = $1 and host = $2 and method = $3 and route = $4;
    delete from unmapped_routes where tenant_id = $1 and host = $2 and method = $3 and route = $4;
    return true;
end
$$;

do $$
declare
    each regprocedure;
begin
    foreach each in array array[
        'erase_event(text, timestamptz, uuid)', 'pseudonymise_event(text, timestamptz, uuid, text)',
        'erase_quarantined(text, bigint, smallint)', 'erase_claim(text, uuid, smallint)',
        'erase_write(text, timestamptz, bigint)', 'erase_route(text, text, text, text)']::regprocedure[]
    loop
        execute format('alter function %s set search_path = %I, pg_temp', each, current_schema());
        execute format('revoke all on function %s from public', each);
        if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
            execute format('grant execute on function %s to edgetrail_keeper', each);
        end if;
    end loop;
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert on erased_names, erasure_passes, erasure_certificates to edgetrail_app;
        grant select, insert, update on erasure_requests to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant select on quarantine, app_audit_rows, witness_writes, coverage, unmapped_routes to edgetrail_keeper;
        grant select, delete on entity_states to edgetrail_keeper;
        grant select, update on correlate_cursors to edgetrail_keeper;
        grant select, insert on erasure_passes to edgetrail_keeper;
    end if;
end
$$;
