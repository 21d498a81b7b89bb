-- Which person a key or a session stands for, so that what takes two people takes two.
--
-- Invariant: a key without a person stands for nobody: it neither asks for nor agrees to what takes two. It is an e-mail
-- address in small letters or a token's subject.
alter table api_keys add column person text collate "C";

-- Every name that was proven at the sign-in; the key's person counts where a session stands on a key.
alter table access_sessions add column names text[] not null default '{}';

-- Who asked for what waits for a second person, by every name that is known of them.
--
-- Invariant: inserted with what was asked for, deleted with the decision on it. `matter` is `policy <version>`,
-- `retention <version>` or `erasure <id>`.
create table asking_people (
    tenant_id text collate "C" not null,
    matter text collate "C" not null,
    names text[] not null check (cardinality(names) > 0),
    primary key (tenant_id, matter)
);

drop view tenant_admins;

do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app') then
        grant select, insert, delete on asking_people to edgetrail_app;
    end if;
end
$$;
