-- The part of a Supabase project that the stand-ins need: its roles, `auth.users`, `auth.uid()`, and the application's
-- tables with the columns and the row-level security that matter to its requests.
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;
create role authenticator noinherit login;
grant anon, authenticated, service_role to authenticator;
create role supabase_auth_admin noinherit login;
-- Whom the SQL console works as.
create role postgres superuser login;

create schema auth;
grant usage on schema auth to anon, authenticated, service_role, supabase_auth_admin;

create table auth.users (
    id uuid primary key default gen_random_uuid(),
    email text not null unique,
    encrypted_password text not null,
    raw_user_meta_data jsonb not null default '{}',
    last_sign_in_at timestamptz,
    updated_at timestamptz not null default now()
);
grant select, insert, update, delete on auth.users to supabase_auth_admin;

create function auth.uid() returns uuid language sql stable as
$$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;

create table agents (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null,
    agent_name text not null,
    description text,
    status text not null default 'draft',
    mode text not null default 'on_demand',
    schedule_cron text,
    next_run timestamptz,
    plugins_required text[],
    workflow_steps jsonb,
    is_archived boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table agent_executions (
    id uuid primary key default gen_random_uuid(),
    agent_id uuid not null,
    user_id uuid not null,
    execution_type text not null,
    run_mode text not null default 'production',
    status text not null,
    execution_duration_ms integer,
    logs jsonb,
    created_at timestamptz not null default now()
);

create table agent_logs (
    id uuid primary key default gen_random_uuid(),
    agent_id uuid not null,
    user_id uuid not null,
    run_output text,
    status text not null,
    created_at timestamptz not null default now()
);

create table token_usage (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null,
    agent_id uuid,
    execution_id uuid,
    provider text not null,
    model_name text not null,
    input_tokens integer not null,
    output_tokens integer not null,
    total_tokens integer generated always as (input_tokens + output_tokens) stored,
    cost_usd numeric,
    created_at timestamptz not null default now()
);

create table profiles (
    id uuid primary key,
    full_name text,
    company text,
    role text,
    updated_at timestamptz not null default now()
);

grant select, insert, update, delete on all tables in schema public to anon, authenticated, service_role;

alter table agents enable row level security;
alter table agent_executions enable row level security;
alter table agent_logs enable row level security;
alter table token_usage enable row level security;
alter table profiles enable row level security;
create policy own on agents for all to authenticated using (user_id = auth.uid());
create policy own on agent_executions for select to authenticated using (user_id = auth.uid());
create policy own on agent_logs for select to authenticated using (user_id = auth.uid());
create policy own on token_usage for select to authenticated using (user_id = auth.uid());
create policy own on profiles for all to authenticated using (id = auth.uid());
