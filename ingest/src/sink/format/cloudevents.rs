//! CloudEvents 1.0, structured: the event is the data.

use std::ops::Not;

use serde::Serialize;
use shared::event::{EventId, TenantId};

use super::{Shown, Told};

/// What stands before the action in the type.
const TYPE: &str = "io.edgetrail.event";

/// An event as a CloudEvent.
#[derive(Debug, Serialize)]
pub(super) struct Envelope<'a> {
    specversion: &'static str,
    id: EventId,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: String,
    datacontenttype: &'static str,
    tenant: &'a TenantId,
    #[serde(skip_serializing_if = "Not::not")]
    truncated: bool,
    data: Shown<'a>,
}

impl<'a> Envelope<'a> {
    pub(super) fn of(told: &'a Told<'a>) -> Self {
        let event = &told.row.event;
        Self {
            specversion: "1.0",
            id: event.id,
            source: format!("//{}/tenants/{}", told.host, event.tenant),
            kind: format!("{TYPE}.{}", event.action),
            subject: event.entity.as_ref().map(|entity| match &entity.id {
                Some(id) => format!("{}/{id}", entity.kind),
                None => entity.kind.to_string(),
            }),
            time: event.occurred_at.to_string(),
            datacontenttype: "application/json",
            tenant: &event.tenant,
            truncated: told.is_truncated,
            data: told.shown(),
        }
    }
}
