//! The last representation of each entity that was seen.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Doing as _, StoreError};

/// Which entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntityKey {
    /// Whose.
    pub tenant_id: String,
    /// Its type.
    pub entity_type: String,
    /// Its id.
    pub entity_id: String,
}

/// An entity as it was last seen.
#[derive(Debug, Clone)]
pub struct EntityState {
    /// Which.
    pub key: EntityKey,
    /// What is known of its fields: a JSON object.
    pub fields: String,
    /// The event that told last.
    pub event_id: Uuid,
    /// When that happened.
    pub at: DateTime<Utc>,
}

/// An event that tells of an entity's fields.
#[derive(Debug, Clone)]
pub struct TellingEvent {
    /// Its id.
    pub id: Uuid,
    /// The committed bytes.
    pub opening: Vec<u8>,
}

/// The events of some batches that tell what became of an entity's fields, in their order; none of this backend's own.
///
/// # Errors
/// If the database refuses.
pub async fn telling_events(
    connection: &mut PgConnection,
    batches: &[i64],
) -> Result<Vec<TellingEvent>, StoreError> {
    sqlx::query_as!(
        TellingEvent,
        r"select id, opening from events
          where batch_id = any($1)
            and entity_type is not null and entity_id is not null and host <> 'ingest' and action <> 'INTENT_RECORDED'
            and (change_quality is not null or action like '%\_DELETED')
          order by batch_id, position",
        batches
    )
    .fetch_all(connection)
    .await
    .doing("reading what events tell of entities")
}

/// Those of some of a tenant's events that have an annotation of inferred changes filed at or after a time.
///
/// # Errors
/// If the database refuses.
pub async fn inferred_before(
    connection: &mut PgConnection,
    tenant: &str,
    events: &[Uuid],
    from: DateTime<Utc>,
) -> Result<Vec<Uuid>, StoreError> {
    sqlx::query_scalar!(
        r#"select e.id as "id!" from unnest($2::uuid[]) as e (id)
           where exists (select 1 from events a
                         where a.tenant_id = $1 and a.entity_type = 'event' and a.entity_id = e.id::text
                           and a.filed_at >= $3 and a.action = 'CHANGES_INFERRED' and a.host = 'ingest'
                           and a.rule = 'ingest/inference')"#,
        tenant,
        events,
        from
    )
    .fetch_all(connection)
    .await
    .doing("looking for inferred changes")
}

/// What is known of some entities.
///
/// # Errors
/// If the database refuses.
pub async fn find(
    connection: &mut PgConnection,
    keys: &[&EntityKey],
) -> Result<Vec<EntityState>, StoreError> {
    let (tenants, types, ids) = columns(keys);
    let rows = sqlx::query!(
        r#"select s.tenant_id, s.entity_type, s.entity_id, s.fields::text as "fields!", s.event_id, s.at
           from entity_states s
           join unnest($1::text[], $2::text[], $3::text[]) as k (tenant_id, entity_type, entity_id)
             on s.tenant_id = k.tenant_id and s.entity_type = k.entity_type and s.entity_id = k.entity_id"#,
        &tenants as _,
        &types as _,
        &ids as _
    )
    .fetch_all(connection)
    .await
    .doing("reading the states of entities")?;
    Ok(rows
        .into_iter()
        .map(|row| EntityState {
            key: EntityKey {
                tenant_id: row.tenant_id,
                entity_type: row.entity_type,
                entity_id: row.entity_id,
            },
            fields: row.fields,
            event_id: row.event_id,
            at: row.at,
        })
        .collect())
}

/// Remembers states; one for each entity.
///
/// # Errors
/// If the database refuses.
pub async fn put(connection: &mut PgConnection, states: &[EntityState]) -> Result<(), StoreError> {
    let keys: Vec<_> = states.iter().map(|state| &state.key).collect();
    let (tenants, types, ids) = columns(&keys);
    let fields: Vec<_> = states.iter().map(|state| state.fields.as_str()).collect();
    let events: Vec<_> = states.iter().map(|state| state.event_id).collect();
    let at: Vec<_> = states.iter().map(|state| state.at).collect();
    sqlx::query!(
        "insert into entity_states (tenant_id, entity_type, entity_id, fields, event_id, at)
         select tenant_id, entity_type, entity_id, fields::jsonb, event_id, at
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::timestamptz[])
              as s (tenant_id, entity_type, entity_id, fields, event_id, at)
         on conflict (tenant_id, entity_type, entity_id) do update
         set fields = excluded.fields, event_id = excluded.event_id, at = excluded.at",
        &tenants as _,
        &types as _,
        &ids as _,
        &fields as _,
        &events,
        &at
    )
    .execute(connection)
    .await
    .doing("remembering the states of entities")?;
    Ok(())
}

/// Forgets entities.
///
/// # Errors
/// If the database refuses.
pub async fn forget(connection: &mut PgConnection, keys: &[&EntityKey]) -> Result<(), StoreError> {
    let (tenants, types, ids) = columns(keys);
    sqlx::query!(
        "delete from entity_states s using unnest($1::text[], $2::text[], $3::text[]) as k (tenant_id, entity_type, entity_id)
         where s.tenant_id = k.tenant_id and s.entity_type = k.entity_type and s.entity_id = k.entity_id",
        &tenants as _,
        &types as _,
        &ids as _
    )
    .execute(connection)
    .await
    .doing("forgetting entities")?;
    Ok(())
}

fn columns<'a>(keys: &[&'a EntityKey]) -> (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>) {
    (
        keys.iter().map(|key| key.tenant_id.as_str()).collect(),
        keys.iter().map(|key| key.entity_type.as_str()).collect(),
        keys.iter().map(|key| key.entity_id.as_str()).collect(),
    )
}
