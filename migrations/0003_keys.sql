-- Public keys of producers.
--
-- Invariant: a key signs only for the tenants named here. A revoked key stays, so that old headers keep their name.
create table signing_keys (
    name text collate "C" not null,
    key_id bytea not null,
    public_key bytea not null,
    tenants text[] not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz,
    primary key (name, key_id)
);

-- Keys that read.
--
-- Invariant: only the SHA-256 of a key's text is stored; the text is shown once, when it is made.
create table api_keys (
    id text collate "C" primary key,
    tenant_id text collate "C" not null,
    name text not null,
    role text not null check (role in ('viewer', 'admin')),
    sha256 bytea not null check (octet_length(sha256) = 32),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
