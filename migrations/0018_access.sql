-- Roles beside viewer and admin, and keys that end.
--
-- Invariant: whoever audits does so until a day that was named.
alter table api_keys add column expires_at timestamptz;
alter table api_keys drop constraint api_keys_role_check;
alter table api_keys add constraint api_keys_role_check
    check (role in ('viewer', 'investigator', 'auditor', 'admin'));
alter table api_keys add constraint api_keys_auditor_ends check (role <> 'auditor' or expires_at is not null);

-- Which person may do what in which tenant. Whoever proves to be `who` by a sign-in has the role, as long as the row stands.
--
-- Invariants: `who` is an e-mail address in small letters or a token's subject; a person has at most one standing grant in a
-- tenant; a row changes only by being revoked.
create table access_grants (
    grant_id uuid primary key,
    tenant_id text collate "C" not null,
    who text collate "C" not null,
    role text not null check (role in ('viewer', 'investigator', 'auditor', 'admin')),
    expires_at timestamptz,
    granted_by text not null,
    granted_at timestamptz not null,
    revoked_by text,
    revoked_at timestamptz,
    constraint access_grants_auditor_ends check (role <> 'auditor' or expires_at is not null)
);
create unique index access_grants_standing on access_grants (tenant_id, who) where revoked_at is null;
create index access_grants_who on access_grants (who) where revoked_at is null;

-- Signed-in browsers.
--
-- Invariants: only the SHA-256 of a session's token is stored. A session stands on one grant or one key, and what it may do is
-- read from there at each request.
create table access_sessions (
    session_id uuid primary key,
    sha256 bytea not null unique check (octet_length(sha256) = 32),
    tenant_id text collate "C" not null,
    grant_id uuid references access_grants,
    key_id text collate "C" references api_keys,
    means text not null,
    address inet,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    ended_at timestamptz,
    ended_by text,
    unmasked_until timestamptz,
    constraint access_sessions_stand_on_one check (num_nonnulls(grant_id, key_id) = 1)
);
create index access_sessions_tenant on access_sessions (tenant_id, started_at desc);

-- Events about access that wait to be recorded, in the transaction of what they tell of.
create table access_notices (
    id bigint generated always as identity primary key,
    notice text not null
);

-- Whoever may decide as an admin: what needs a second person counts these.
create view tenant_admins as
    select tenant_id, id as who from api_keys
    where role = 'admin' and revoked_at is null and (expires_at is null or expires_at > now())
    union all
    select tenant_id, who from access_grants
    where role = 'admin' and revoked_at is null and (expires_at is null or expires_at > now());

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert on access_grants, access_sessions to edgetrail_app;
        grant update (revoked_by, revoked_at) on access_grants to edgetrail_app;
        grant update (seen_at, ended_at, ended_by, unmasked_until) on access_sessions to edgetrail_app;
        grant select, insert, update, delete on access_notices to edgetrail_app;
        grant select on tenant_admins to edgetrail_app;
    end if;
end
$$;
