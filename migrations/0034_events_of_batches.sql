-- Whoever follows the events asks for those of some batches. By arrival alone that costs more the faster events come: what a BRIN index
-- has not summarised yet is read whole for each question, and it summarises only when a month is vacuumed.
create index events_batch on events (batch_id);

-- Rules of detection ask for the few events of an action around a find, again and again; so do searches for an action. Without it
-- they read all that happened in that time.
create index events_action on events (tenant_id, action, filed_at, id);
