-- Rules that the clock asks: when the backend was here, and which hours were asked about.

-- Invariant: a span in which the backend was never away for longer than a few minutes; only `to_at` changes. Holds nothing of
-- anybody, and what is older than 400 days goes.
create table detection_presence (
    from_at timestamptz primary key,
    to_at timestamptz not null,
    check (from_at <= to_at)
);

-- Invariant: inserted with the alerts that the hour raised, so that it raises them once.
create table detection_hours (
    hour timestamptz primary key
);

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, update, delete on detection_presence to edgetrail_app;
        grant select, insert, delete on detection_hours to edgetrail_app;
    end if;
    if exists (select from pg_roles where rolname = 'edgetrail_keeper') then
        grant delete on alerts to edgetrail_keeper;
    end if;
end
$$;
