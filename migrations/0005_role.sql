-- The role the application works under: it adds, and changes only what must move (queue, log head, revocations).
--
-- Where the migrating user may not create roles this does nothing; the operator then grants the same by hand.
do $$
begin
    create role edgetrail_app nologin;
exception
    when duplicate_object or unique_violation or insufficient_privilege then null;
end
$$;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        execute format('grant usage on schema %I to edgetrail_app', current_schema());
        grant select, insert on
            events, batches, equivocations, quarantine,
            log_rounds, log_tiles, log_checkpoints to edgetrail_app;
        grant select, insert, update on signing_keys, api_keys, logs to edgetrail_app;
        grant select, insert, delete on log_pending to edgetrail_app;
    end if;
end
$$;
