//! Rows of table `agents`.

use serde_json::{Value, json};

use crate::clock::rfc3339_now;
use crate::keys::random;

/// The columns that a caller may set.
const WRITABLE: [&str; 22] = [
    "agent_config",
    "agent_name",
    "connected_plugins",
    "deactivation_reason",
    "description",
    "generated_plan",
    "hourly_rate_usd",
    "input_schema",
    "insights_enabled",
    "is_archived",
    "mode",
    "output_schema",
    "pilot_steps",
    "plugins_required",
    "production_ready",
    "schedule_cron",
    "status",
    "system_prompt",
    "timezone",
    "trigger_conditions",
    "user_prompt",
    "workflow_steps",
];

/// A new row with all columns, from what the caller gave.
pub(super) fn create(given: &Value, user_id: &str) -> Value {
    let now = rfc3339_now();
    let mut row = json!({
        "id": uuid(), "created_at": now, "description": null, "user_prompt": null, "system_prompt": null,
        "mode": "on_demand", "schedule_cron": null, "next_run": null, "timezone": "UTC", "status": "draft",
        "is_archived": false, "plugins_required": [], "connected_plugins": null, "workflow_steps": [],
        "pilot_steps": null, "agent_config": null, "production_ready": false, "insights_enabled": true,
        "deleted_at": null, "updated_at": now, "user_id": user_id, "agent_name": null, "created_from_prompt": null,
        "input_schema": null, "output_schema": null, "generated_plan": null, "detected_categories": null,
        "trigger_conditions": null, "ai_reasoning": null, "ai_confidence": null, "ai_generated_at": null,
    });
    apply(&mut row, given);
    row
}

/// Sets the columns that were given.
pub(super) fn update(row: &mut Value, given: &Value) {
    apply(row, given);
    row["updated_at"] = rfc3339_now().into();
}

/// A random UUID.
pub(super) fn uuid() -> String {
    uuid::Builder::from_random_bytes(random()).into_uuid().to_string()
}

fn apply(row: &mut Value, given: &Value) {
    for name in WRITABLE {
        if let Some(value) = given.get(name) {
            row[name] = value.clone();
        }
    }
}
