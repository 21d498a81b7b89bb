-- What a cluster asks of tables that are spread by tenant: no unique index without the tenant. Deltas are taken in their
-- order and never by their number alone, so the number need not be unique.
alter table tally_deltas drop constraint tally_deltas_pkey;
create index tally_deltas_order on tally_deltas (id);
