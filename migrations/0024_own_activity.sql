-- What people said was not them, and how far the application was told of it.
--
-- Invariants: no personal data, an event's id names nobody; what is said to whom is read from the event when it is sent, so an
-- erasure reaches it there. `side` says who spoke: whoever did it, or whoever's account it was done to. One row for each side of an
-- event, so an event is disowned once. `next_at` is the next attempt to tell the application, null once it knows, gave no address or
-- did not answer for three days. A row goes when its event has gone.
create table activity_disowned (
    tenant_id text collate "C" not null,
    event_id uuid not null,
    side text not null check (side in ('actor', 'account')),
    filed_at timestamptz not null,
    disowned_at timestamptz not null,
    attempts integer not null default 0,
    next_at timestamptz,
    primary key (tenant_id, event_id, side)
);

create index activity_disowned_due on activity_disowned (next_at) where next_at is not null;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, delete on activity_disowned to edgetrail_app;
        grant update (attempts, next_at) on activity_disowned to edgetrail_app;
    end if;
end
$$;
