-- The state of an entity is made of what altered it: a few of the many events that are about it. With the index of all of them
-- each had to be fetched to see that it changed nothing, from a page of its own.
create index events_altering on events (tenant_id, entity_type, entity_id, filed_at, id)
    where change_quality is not null or action like '%\_DELETED';
