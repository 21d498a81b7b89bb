-- Whoever follows the events asks for those of some batches. By arrival alone that costs more the faster events come: what a BRIN index
-- has not summarised yet is read whole for each question, and it summarises only when a month is vacuumed.
create index events_batch on events (batch_id);
