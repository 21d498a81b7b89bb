//! Events as openings and back: which field holds what, in tagged parts.
//!
//! A record is a run of `part u8 | len u16be | value`, parts strictly ascending. Parts this version does not know
//! are skipped when read and stay in the opening's bytes, so an older reader loses nothing. Numbers are given once:
//!
//! | record | parts |
//! |---|---|
//! | structure | 1 tenant, 2 id (16 bytes), 3 occurred_at (u64be ms), 4 action, 5 severity (u8), 6 outcome (u8), 7 trust (u8), 8 class (u8), 9 entity type, 10 change quality (u8), 11 compliance (comma separated), 12 duration (u32be ms), 13 host, 14 method, 15 route, 16 rule, 17 status (u16be), 18 bodies (request u8, response u8), 19 reason, 20 echo (u8, 1) |
//! | actor | 1 id, 2 email, 3 role, 4 aal, 5 method |
//! | claimed user | 1 id, 2 source |
//! | target | 1 id, 2 name |
//! | place | 1 country, 2 colo, 3 ray, 4 tls, 5 asn |

use core::net::IpAddr;
use core::str::FromStr;

use uuid::Uuid;

use super::{
    Action, Actor, BodyState, ChangeSet, ClaimedUser, ComplianceFlag, Context, Entity, EntityType, Event,
    EventId, JsonText, Outcome, Place, Quality, RequestFacts, RetentionClass, Severity, TenantId, Timestamp,
    Trust,
};
use crate::batch::MAX_TEXT_LEN;
use crate::leaf::{Field, FieldKind, Opening, Seed, Tag};

/// Why an opening is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// A field or part is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field or part does not hold what it should.
    #[error("{part} is malformed: {reason}")]
    Malformed {
        /// Which one.
        part: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn malformed(part: &'static str, reason: impl ToString) -> EventError {
    EventError::Malformed { part, reason: reason.to_string() }
}

impl Event {
    /// The event as an opening under this seed.
    pub fn to_opening(&self, seed: Seed) -> Opening {
        let mut fields =
            vec![Field { tag: Tag::STRUCTURE, kind: FieldKind::Record, value: self.structure() }];
        let mut push = |tag, kind, value: Option<Vec<u8>>| {
            if let Some(value) = value {
                fields.push(Field { tag, kind, value });
            }
        };
        push(Tag::ACTOR, FieldKind::Record, self.actor.as_ref().map(actor_record));
        push(Tag::CLAIMED_USER, FieldKind::Record, self.claimed_user.as_ref().map(claimed_record));
        push(Tag::TARGET, FieldKind::Record, self.entity.as_ref().and_then(target_record));
        push(Tag::IP, FieldKind::Text, self.context.ip.map(|ip| ip.to_string().into_bytes()));
        push(Tag::USER_AGENT, FieldKind::Text, self.context.user_agent.clone().map(String::into_bytes));
        push(Tag::SESSION, FieldKind::Text, self.context.session.clone().map(String::into_bytes));
        push(Tag::PLACE, FieldKind::Record, self.context.place.as_ref().map(place_record));
        push(Tag::DETAILS, FieldKind::Json, self.details.as_ref().map(json_bytes));
        push(Tag::CHANGES, FieldKind::Json, self.changes.as_ref().map(|changes| json_bytes(&changes.fields)));
        Opening::new(seed, fields)
    }

    /// Reads an event out of an opening.
    ///
    /// # Errors
    /// [`EventError`] names the first field or part that is missing or malformed. Text with a NUL, or over
    /// [`MAX_TEXT_LEN`] bytes, is malformed: the store could not hold it.
    pub fn from_opening(opening: &Opening) -> Result<Self, EventError> {
        Self::from_fields(&opening.fields().iter().collect::<Vec<_>>())
    }

    /// Reads an event out of the fields that are left of it, tags ascending. What was erased is absent.
    ///
    /// # Errors
    /// As [`Self::from_opening`].
    #[inline]
    pub fn from_fields(opening: &[&Field]) -> Result<Self, EventError> {
        let structure = field_of(opening, Tag::STRUCTURE, FieldKind::Record, "structure")?
            .ok_or(EventError::Missing("structure"))?;
        let structure = Parts::parse("structure", &structure.value)?;
        let entity = match structure.text(9, "entity type")? {
            Some(kind) => {
                let target = Parts::of(opening, Tag::TARGET, "target")?;
                Some(Entity {
                    kind: EntityType::try_from(kind).map_err(|error| malformed("entity type", error))?,
                    id: target.text(1, "entity id")?,
                    name: target.text(2, "entity name")?,
                })
            }
            None => None,
        };
        let changes = match (
            structure.byte(10, "change quality")?,
            field_of(opening, Tag::CHANGES, FieldKind::Json, "changes")?,
        ) {
            (Some(quality), Some(field)) => Some(ChangeSet {
                quality: Quality::from_byte(quality).ok_or_else(|| malformed("change quality", quality))?,
                fields: json_text(field, "changes")?,
            }),
            (None, Some(_)) => return Err(EventError::Missing("change quality")),
            (_, None) => None,
        };
        let bodies = structure.fixed::<2>(18, "bodies")?.unwrap_or_default();
        let closed = |part, byte: Option<u8>| byte.ok_or(EventError::Missing(part));
        Ok(Self {
            tenant: TenantId::try_from(structure.need_text(1, "tenant")?)
                .map_err(|error| malformed("tenant", error))?,
            id: EventId::try_from(Uuid::from_bytes(
                structure.fixed::<16>(2, "id")?.ok_or(EventError::Missing("id"))?,
            ))
            .map_err(|error| malformed("id", error))?,
            occurred_at: Timestamp::try_from(u64::from_be_bytes(
                structure.fixed::<8>(3, "occurred_at")?.ok_or(EventError::Missing("occurred_at"))?,
            ))
            .map_err(|error| malformed("occurred_at", error))?,
            action: Action::try_from(structure.need_text(4, "action")?)
                .map_err(|error| malformed("action", error))?,
            severity: read_closed(
                closed("severity", structure.byte(5, "severity")?)?,
                "severity",
                Severity::from_byte,
            )?,
            outcome: read_closed(
                closed("outcome", structure.byte(6, "outcome")?)?,
                "outcome",
                Outcome::from_byte,
            )?,
            trust: read_closed(closed("trust", structure.byte(7, "trust")?)?, "trust", Trust::from_byte)?,
            class: read_closed(
                closed("class", structure.byte(8, "class")?)?,
                "class",
                RetentionClass::from_byte,
            )?,
            reason: structure.text(19, "reason")?,
            actor: read_actor(opening)?,
            claimed_user: read_claimed(opening)?,
            entity,
            request: RequestFacts {
                host: structure.need_text(13, "host")?,
                method: structure.need_text(14, "method")?,
                route: structure.need_text(15, "route")?,
                rule: structure.need_text(16, "rule")?,
                status: structure.fixed::<2>(17, "status")?.map(u16::from_be_bytes),
                request_body: read_closed(bodies[0], "request body", BodyState::from_byte)?,
                response_body: read_closed(bodies[1], "response body", BodyState::from_byte)?,
            },
            context: Context {
                ip: match field_text(opening, Tag::IP, "ip")? {
                    Some(text) => Some(IpAddr::from_str(&text).map_err(|error| malformed("ip", error))?),
                    None => None,
                },
                user_agent: field_text(opening, Tag::USER_AGENT, "user agent")?,
                session: field_text(opening, Tag::SESSION, "session")?,
                place: read_place(opening)?,
            },
            details: match field_of(opening, Tag::DETAILS, FieldKind::Json, "details")? {
                Some(field) => Some(json_text(field, "details")?),
                None => None,
            },
            changes,
            compliance: match structure.text(11, "compliance")? {
                Some(flags) => flags
                    .split(',')
                    .map(|flag| ComplianceFlag::try_from(flag.to_owned()))
                    .collect::<Result<_, _>>()
                    .map_err(|error| malformed("compliance", error))?,
                None => Vec::new(),
            },
            duration_ms: structure.fixed::<4>(12, "duration")?.map(u32::from_be_bytes),
            echo: structure.byte(20, "echo")? == Some(1),
        })
    }

    fn structure(&self) -> Vec<u8> {
        let mut record = Record::default();
        record.text(1, self.tenant.as_str());
        record.part(2, self.id.as_bytes());
        record.part(3, &self.occurred_at.millis().to_be_bytes());
        record.text(4, self.action.as_str());
        record.part(5, &[self.severity.byte()]);
        record.part(6, &[self.outcome.byte()]);
        record.part(7, &[self.trust.byte()]);
        record.part(8, &[self.class.byte()]);
        if let Some(entity) = &self.entity {
            record.text(9, entity.kind.as_str());
        }
        if let Some(changes) = &self.changes {
            record.part(10, &[changes.quality.byte()]);
        }
        if !self.compliance.is_empty() {
            let flags: Vec<_> = self.compliance.iter().map(ComplianceFlag::as_str).collect();
            record.text(11, &flags.join(","));
        }
        if let Some(duration) = self.duration_ms {
            record.part(12, &duration.to_be_bytes());
        }
        record.text(13, &self.request.host);
        record.text(14, &self.request.method);
        record.text(15, &self.request.route);
        record.text(16, &self.request.rule);
        if let Some(status) = self.request.status {
            record.part(17, &status.to_be_bytes());
        }
        record.part(18, &[self.request.request_body.byte(), self.request.response_body.byte()]);
        record.optional(19, self.reason.as_deref());
        if self.echo {
            record.part(20, &[1]);
        }
        record.0
    }
}

fn actor_record(actor: &Actor) -> Vec<u8> {
    let mut record = Record::default();
    record.text(1, &actor.id);
    record.optional(2, actor.email.as_deref());
    record.optional(3, actor.role.as_deref());
    record.optional(4, actor.aal.as_deref());
    record.optional(5, actor.method.as_deref());
    record.0
}

fn read_actor(opening: &[&Field]) -> Result<Option<Actor>, EventError> {
    let parts = Parts::of(opening, Tag::ACTOR, "actor")?;
    Ok(match parts.text(1, "actor id")? {
        Some(id) => Some(Actor {
            id,
            email: parts.text(2, "actor email")?,
            role: parts.text(3, "actor role")?,
            aal: parts.text(4, "actor aal")?,
            method: parts.text(5, "actor method")?,
        }),
        None => None,
    })
}

fn claimed_record(claimed: &ClaimedUser) -> Vec<u8> {
    let mut record = Record::default();
    record.text(1, &claimed.id);
    record.text(2, &claimed.source);
    record.0
}

fn read_claimed(opening: &[&Field]) -> Result<Option<ClaimedUser>, EventError> {
    let parts = Parts::of(opening, Tag::CLAIMED_USER, "claimed user")?;
    Ok(match parts.text(1, "claimed user")? {
        Some(id) => Some(ClaimedUser { id, source: parts.need_text(2, "claim source")? }),
        None => None,
    })
}

fn target_record(entity: &Entity) -> Option<Vec<u8>> {
    let mut record = Record::default();
    record.optional(1, entity.id.as_deref());
    record.optional(2, entity.name.as_deref());
    (!record.0.is_empty()).then_some(record.0)
}

fn place_record(place: &Place) -> Vec<u8> {
    let mut record = Record::default();
    record.optional(1, place.country.as_deref());
    record.optional(2, place.colo.as_deref());
    record.optional(3, place.ray.as_deref());
    record.optional(4, place.tls.as_deref());
    record.optional(5, place.asn.as_deref());
    record.0
}

fn read_place(opening: &[&Field]) -> Result<Option<Place>, EventError> {
    if !opening.iter().any(|field| field.tag == Tag::PLACE) {
        return Ok(None);
    }
    let parts = Parts::of(opening, Tag::PLACE, "place")?;
    Ok(Some(Place {
        country: parts.text(1, "country")?,
        colo: parts.text(2, "colo")?,
        ray: parts.text(3, "ray")?,
        tls: parts.text(4, "tls")?,
        asn: parts.text(5, "asn")?,
    }))
}

fn json_bytes(text: &JsonText) -> Vec<u8> {
    text.as_str().as_bytes().to_vec()
}

fn json_text(field: &Field, part: &'static str) -> Result<JsonText, EventError> {
    JsonText::try_from(utf8(&field.value, part)?).map_err(|error| malformed(part, error))
}

/// The field with this tag, which must be of this kind.
fn field_of<'o>(
    opening: &[&'o Field],
    tag: Tag,
    kind: FieldKind,
    part: &'static str,
) -> Result<Option<&'o Field>, EventError> {
    match opening.iter().copied().find(|field| field.tag == tag) {
        Some(field) if field.kind != kind => {
            Err(malformed(part, format_args!("its type is {:?}", field.kind)))
        }
        field => Ok(field),
    }
}

fn field_text(opening: &[&Field], tag: Tag, part: &'static str) -> Result<Option<String>, EventError> {
    field_of(opening, tag, FieldKind::Text, part)?.map(|field| short_text(&field.value, part)).transpose()
}

/// A text that an index can hold.
fn short_text(bytes: &[u8], part: &'static str) -> Result<String, EventError> {
    if bytes.len() > MAX_TEXT_LEN {
        return Err(malformed(part, format_args!("{} bytes, over the limit of {MAX_TEXT_LEN}", bytes.len())));
    }
    utf8(bytes, part)
}

fn utf8(bytes: &[u8], part: &'static str) -> Result<String, EventError> {
    let text = core::str::from_utf8(bytes).map_err(|error| malformed(part, error))?;
    if text.contains('\0') { Err(malformed(part, "it holds a NUL")) } else { Ok(text.to_owned()) }
}

fn read_closed<T>(byte: u8, part: &'static str, read: impl Fn(u8) -> Option<T>) -> Result<T, EventError> {
    read(byte).ok_or_else(|| malformed(part, format_args!("{byte} stands for nothing")))
}

/// A record being written, parts ascending.
#[derive(Default)]
struct Record(Vec<u8>);

impl Record {
    fn part(&mut self, number: u8, value: &[u8]) {
        let len = u16::try_from(value.len()).expect("texts are capped at the edge");
        self.0.push(number);
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, number: u8, text: &str) {
        self.part(number, text.as_bytes());
    }

    fn optional(&mut self, number: u8, text: Option<&str>) {
        if let Some(text) = text {
            self.text(number, text);
        }
    }
}

/// A record being read.
#[derive(Default)]
struct Parts<'a>(Vec<(u8, &'a [u8])>);

impl<'a> Parts<'a> {
    fn of(opening: &[&'a Field], tag: Tag, name: &'static str) -> Result<Self, EventError> {
        match field_of(opening, tag, FieldKind::Record, name)? {
            Some(field) => Self::parse(name, &field.value),
            None => Ok(Self::default()),
        }
    }

    fn parse(name: &'static str, mut rest: &'a [u8]) -> Result<Self, EventError> {
        let mut parts: Vec<(u8, &[u8])> = Vec::new();
        while let Some(([number, high, low], after)) = rest.split_first_chunk::<3>() {
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let (value, after) =
                after.split_at_checked(len).ok_or_else(|| malformed(name, "a part is cut"))?;
            if parts.last().is_some_and(|(last, _)| last >= number) {
                return Err(malformed(name, "parts are out of order"));
            }
            parts.push((*number, value));
            rest = after;
        }
        if rest.is_empty() { Ok(Self(parts)) } else { Err(malformed(name, "a part is cut")) }
    }

    fn get(&self, number: u8) -> Option<&'a [u8]> {
        self.0.iter().find(|(part, _)| *part == number).map(|(_, value)| *value)
    }

    fn text(&self, number: u8, part: &'static str) -> Result<Option<String>, EventError> {
        self.get(number).map(|value| short_text(value, part)).transpose()
    }

    fn need_text(&self, number: u8, part: &'static str) -> Result<String, EventError> {
        self.text(number, part)?.ok_or(EventError::Missing(part))
    }

    fn fixed<const N: usize>(&self, number: u8, part: &'static str) -> Result<Option<[u8; N]>, EventError> {
        self.get(number)
            .map(|value| {
                <[u8; N]>::try_from(value)
                    .map_err(|_| malformed(part, format_args!("{} bytes instead of {N}", value.len())))
            })
            .transpose()
    }

    fn byte(&self, number: u8, part: &'static str) -> Result<Option<u8>, EventError> {
        Ok(self.fixed::<1>(number, part)?.map(|[byte]| byte))
    }
}
