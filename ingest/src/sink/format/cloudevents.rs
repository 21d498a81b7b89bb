//! CloudEvents 1.0, structured: the event is the data.

use serde_json::{Value, json};

use super::Told;

/// What stands before the action in the type.
const TYPE: &str = "io.edgetrail.event";

/// An event as a CloudEvent.
pub(super) fn event(told: &Told<'_>) -> Value {
    let event = &told.row.event;
    let mut out = json!({
        "specversion": "1.0",
        "id": event.id,
        "source": format!("//{}/tenants/{}", told.host, event.tenant),
        "type": format!("{TYPE}.{}", event.action),
        "time": event.occurred_at.to_string(),
        "datacontenttype": "application/json",
        "tenant": event.tenant,
    });
    out["data"] = told.json();
    if let Some(entity) = &event.entity {
        out["subject"] = match &entity.id {
            Some(id) => format!("{}/{id}", entity.kind).into(),
            None => entity.kind.as_str().into(),
        };
    }
    if told.is_truncated {
        out["truncated"] = Value::Bool(true);
    }
    out
}
