-- What is still to be said about a write that nothing told.
--
-- Invariant: set after its WRITE_UNATTRIBUTED event is durable, so that a stop in between says it twice and never not
-- at all.
alter table witness_writes add column reported_at timestamptz;
create index witness_writes_unreported on witness_writes (tenant_id, at, seq)
    where state = 'unattributed' and reported_at is null;
