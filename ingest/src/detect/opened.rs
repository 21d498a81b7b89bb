//! What rules read out of an event's stored bytes: what no column has.

use shared::event::Event;
use shared::leaf::StoredOpening;

use crate::own_activity::device::device as device_of;

/// The device, as somebody would call it; none if it is not known, or was erased.
pub(super) fn device(opening: &[u8]) -> Option<String> {
    device_of(event(opening)?.context.user_agent.as_deref()?)
}

/// A number of the details, not negative; none if there is no such number.
pub(super) fn number(opening: &[u8], name: &str) -> Option<f64> {
    let details = event(opening)?.details?.value();
    details.get(name)?.as_f64().filter(|number| number.is_finite() && *number >= 0.0)
}

fn event(opening: &[u8]) -> Option<Event> {
    let opening = StoredOpening::decode(opening).ok()?;
    Event::from_fields(&opening.fields()).ok()
}
