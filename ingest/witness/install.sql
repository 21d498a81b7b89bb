-- The third witness: what PostgreSQL itself saw being written, whoever wrote it.
--
-- Run this file once in the application's database (Supabase: SQL editor, as `postgres`); running it again changes
-- nothing. Then name the tables to watch, and give the reader a password:
--
--     select edgetrail_witness.watch('public.agents');
--     alter role edgetrail_reader login password '…';
--
-- A write leaves one line per row in `edgetrail_witness.outbox`: which table, which key, which operation, in which
-- transaction, by whom as far as the session says, and a keyed hash of the row. Never the row itself. The backend reads
-- the lines under `edgetrail_reader`, which may do nothing else, and deletes what it has stored.
-- Remove it with `drop schema edgetrail_witness cascade; drop role edgetrail_reader;`.
begin;
-- "Already exists" is what a second run expects.
set local client_min_messages = warning;

create schema if not exists edgetrail_witness;
revoke all on schema edgetrail_witness from public;

create table if not exists edgetrail_witness.outbox (
    seq bigint generated always as identity primary key,
    at timestamptz not null,
    table_name text not null,
    -- The primary key as text, a JSON array if it has several columns; null for TRUNCATE.
    key text,
    op text not null check (op in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')),
    txid xid8 not null,
    row_hash bytea,
    uid text,
    role text not null,
    application_name text not null
);

-- The key of row hashes, made once, for the owner alone: without it a hash of a guessable row would be its content.
create table if not exists edgetrail_witness.secret (
    only_one boolean primary key default true check (only_one),
    bytes bytea not null
);
insert into edgetrail_witness.secret (bytes)
select uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
on conflict do nothing;

revoke all on edgetrail_witness.outbox, edgetrail_witness.secret from public;

-- HMAC where pgcrypto is installed; otherwise SHA-256 with the secret on both sides of the row.
do $install$
declare
    pgcrypto text := (
        select format('%I', n.nspname)
        from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace
        where e.extname = 'pgcrypto'
    );
    body text := 'select pg_catalog.sha256(secret || pg_catalog.convert_to(content, ''UTF8'') || secret)';
begin
    if pgcrypto is not null then
        body := format('select %s.hmac(pg_catalog.convert_to(content, ''UTF8''), secret, ''sha256'')', pgcrypto);
    end if;
    execute format(
        'create or replace function edgetrail_witness.keyed_hash(secret bytea, content text) returns bytea
         language sql as %L', body);
end
$install$;

-- Who the session says it works for: auth.uid() on Supabase, else the claims that PostgREST hands over. A session with
-- nonsense in its claims is nobody's: it must not fail the write.
create or replace function edgetrail_witness.session_uid() returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    uid text;
begin
    if to_regprocedure('auth.uid()') is not null then
        execute 'select auth.uid()::text' into uid;
    end if;
    return coalesce(uid, nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub');
exception
    when others then return null;
end
$function$;

-- The primary key's columns come as the trigger's arguments.
create or replace function edgetrail_witness.key_of(content jsonb, columns text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $function$
    select case
        when cardinality(columns) = 1 then content ->> columns[1]
        else (select jsonb_agg(content -> name order by place)::text
              from unnest(columns) with ordinality as c (name, place))
    end
$function$;

create or replace function edgetrail_witness.record() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    -- Fixed once for the statement, however many rows it touches.
    seen_at timestamptz := clock_timestamp();
    named text := case when tg_table_schema = 'public' then tg_table_name
                       else tg_table_schema || '.' || tg_table_name end;
    columns text[] := tg_argv[0]::text[];
    hash_key bytea := (select bytes from edgetrail_witness.secret);
    txid xid8 := pg_current_xact_id();
    uid text := edgetrail_witness.session_uid();
    -- SECURITY DEFINER changes current_user, not the setting that PostgREST makes.
    who text := coalesce(nullif(current_setting('role', true), 'none'), session_user);
    application text := coalesce(current_setting('application_name', true), '');
begin
    if tg_op = 'TRUNCATE' then
        insert into edgetrail_witness.outbox (at, table_name, op, txid, uid, role, application_name)
        values (seen_at, named, tg_op, txid, uid, who, application);
        return null;
    end if;
    insert into edgetrail_witness.outbox (at, table_name, key, op, txid, row_hash, uid, role, application_name)
    select seen_at, named, edgetrail_witness.key_of(r.content, columns), tg_op, txid,
           edgetrail_witness.keyed_hash(hash_key, r.content::text), uid, who, application
    from (select to_jsonb(changed.*) as content from changed) r;
    if tg_op = 'UPDATE' then
        -- A row whose key was changed was also written under its old one.
        insert into edgetrail_witness.outbox (at, table_name, key, op, txid, row_hash, uid, role, application_name)
        select seen_at, named, r.key, tg_op, txid, null, uid, who, application
        from (select edgetrail_witness.key_of(to_jsonb(before.*), columns) as key from before
              except
              select edgetrail_witness.key_of(to_jsonb(changed.*), columns) from changed) r;
    end if;
    return null;
end
$function$;

create or replace function edgetrail_witness.watch(target regclass) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    columns text[] := (
        select array_agg(a.attname::text order by k.place)
        from pg_index i
        cross join unnest(i.indkey::int2[]) with ordinality as k (number, place)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
        where i.indrelid = target and i.indisprimary
    );
begin
    if columns is null then
        raise exception 'edgetrail_witness.watch: % has no primary key', target
            using hint = 'A row that has no name cannot be matched to an event.';
    end if;
    execute format(
        'create or replace trigger edgetrail_insert after insert on %s referencing new table as changed
         for each statement execute function edgetrail_witness.record(%L)', target, columns);
    execute format(
        'create or replace trigger edgetrail_update after update on %s
         referencing old table as before new table as changed
         for each statement execute function edgetrail_witness.record(%L)', target, columns);
    execute format(
        'create or replace trigger edgetrail_delete after delete on %s referencing old table as changed
         for each statement execute function edgetrail_witness.record(%L)', target, columns);
    execute format(
        'create or replace trigger edgetrail_truncate after truncate on %s
         for each statement execute function edgetrail_witness.record(%L)', target, columns);
end
$function$;

create or replace function edgetrail_witness.unwatch(target regclass) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $function$
declare
    name text;
begin
    foreach name in array array['edgetrail_insert', 'edgetrail_update', 'edgetrail_delete', 'edgetrail_truncate'] loop
        execute format('drop trigger if exists %I on %s', name, target);
    end loop;
end
$function$;

revoke all on all functions in schema edgetrail_witness from public;

do $install$
begin
    create role edgetrail_reader nologin;
exception
    when duplicate_object or unique_violation then null;
end
$install$;
grant usage on schema edgetrail_witness to edgetrail_reader;
grant select, delete on edgetrail_witness.outbox to edgetrail_reader;

commit;
