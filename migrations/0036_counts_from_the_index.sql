-- Counting what a search finds reads of each event a few short columns, and had to fetch all of it for them. The index that every list
-- goes by anyway now carries them: a month is counted from an eighth of its pages. A wider key costs no further descent when an event
-- is stored, as another index would.
alter table events drop constraint events_pkey;
alter table events add primary key (tenant_id, filed_at, id)
    include (action, actor_id, severity, outcome, trust, entity_type, country, status);
