//! One condition of a query as SQL.
//!
//! A condition on a field that an event does not have is null; `is not true` makes the contrary of it hold. What was erased
//! is gone from columns and openings alike, so nothing here can find it.

use chrono::{DateTime, Utc};
use ipnetwork::IpNetwork;
use shared::event::Timestamp;
use shared::search::{
    EntityPattern, Expr, Facet, Network, NumberField, OneOf, Part, Pattern, Range, Term, TextField, When,
};
use sqlx::{Encode, Postgres, QueryBuilder, Type};

use crate::receive::rollup::UNMAPPED_MUTATION;

type Sql = QueryBuilder<Postgres>;

/// The random seed of a whole opening is no text.
const TEXTS: &str = "substr(opening, case get_byte(opening, 0) when 1 then 35 else 3 end)";
const OWN: &str = "(host = 'ingest' and starts_with(rule, 'ingest/'))";

/// Writes a condition.
pub(super) fn push(sql: &mut Sql, expr: &Expr, now: Timestamp) {
    match expr {
        Expr::Term(term) => push_term(sql, term, now),
        Expr::Not(inner) => {
            sql.push("((");
            push(sql, inner, now);
            sql.push(") is not true)");
        }
        Expr::All(list) => joined(sql, " and ", list, |sql, expr| push(sql, expr, now)),
        Expr::Any(list) => joined(sql, " or ", list, |sql, expr| push(sql, expr, now)),
    }
}

fn joined<T>(sql: &mut Sql, between: &'static str, items: &[T], each: impl Fn(&mut Sql, &T)) {
    sql.push("(");
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            sql.push(between);
        }
        each(sql, item);
    }
    sql.push(")");
}

fn push_term(sql: &mut Sql, term: &Term, now: Timestamp) {
    match term {
        Term::Text(field, values) => push_texts(sql, *field, values),
        Term::Number(NumberField::Status, values) => {
            joined(sql, " or ", values.values(), |sql, range| within(sql, "status", range, i64::from));
        }
        Term::Number(NumberField::Duration, values) => {
            joined(sql, " or ", values.values(), |sql, range| within(sql, "duration_ms", range, i64::from));
        }
        Term::Entity(values) => joined(sql, " or ", values.values(), push_entity),
        Term::Severity(values) => joined(sql, " or ", values.values(), |sql, range| {
            within(sql, "severity", range, |severity| i16::from(severity.byte()));
        }),
        Term::Outcome(values) => among(sql, "outcome", values, |it| i16::from(it.byte())),
        Term::Trust(values) => among(sql, "trust", values, |it| i16::from(it.byte())),
        Term::Class(values) => among(sql, "class", values, |it| i16::from(it.byte())),
        Term::Quality(values) => among(sql, "change_quality", values, |it| i16::from(it.byte())),
        Term::Ip(values) => joined(sql, " or ", values.values(), push_network),
        Term::Id(values) => among(sql, "id", values, |id| id),
        Term::Batch(values) => among(sql, "batch_id", values, |batch| batch),
        Term::Is(values) => joined(sql, " or ", values.values(), |sql, facet| push_facet(sql, *facet)),
        Term::Has(values) => joined(sql, " or ", values.values(), |sql, part| push_part(sql, *part)),
        Term::When(when) => push_when(sql, *when, now),
        Term::Words(pattern) => push_words(sql, pattern),
    }
}

/// A column is one of some values; a single one is compared as such, which every index knows.
fn among<T: Copy, V>(sql: &mut Sql, column: &'static str, values: &OneOf<T>, bound: impl Fn(T) -> V)
where
    V: for<'q> Encode<'q, Postgres> + Type<Postgres> + 'static,
    Vec<V>: for<'q> Encode<'q, Postgres> + Type<Postgres>,
{
    sql.push(column);
    match values.values() {
        [one] => {
            sql.push(" = ").push_bind(bound(*one));
        }
        several => {
            let several: Vec<V> = several.iter().map(|value| bound(*value)).collect();
            sql.push(" = any(").push_bind(several).push(")");
        }
    }
}

fn within<T: Copy, V>(sql: &mut Sql, column: &'static str, range: &Range<T>, bound: impl Fn(T) -> V)
where
    V: for<'q> Encode<'q, Postgres> + Type<Postgres> + 'static,
{
    sql.push(column);
    match *range {
        Range::Exactly(value) => sql.push(" = ").push_bind(bound(value)),
        Range::AtLeast(from) => sql.push(" >= ").push_bind(bound(from)),
        Range::AtMost(to) => sql.push(" <= ").push_bind(bound(to)),
        Range::Between(from, to) => {
            sql.push(" between ").push_bind(bound(from)).push(" and ").push_bind(bound(to))
        }
    };
}

fn push_texts(sql: &mut Sql, field: TextField, values: &OneOf<Pattern>) {
    let column = match field {
        TextField::Action => "action",
        TextField::Session => "session_id",
        TextField::Host => "host",
        TextField::Method => "method",
        TextField::Route => "route",
        TextField::Rule => "rule",
        TextField::Reason => "reason",
        TextField::Country => "country",
        TextField::Actor => return joined(sql, " or ", values.values(), push_actor),
        TextField::User => return joined(sql, " or ", values.values(), push_claimed),
        TextField::Name => {
            return joined(sql, " or ", values.values(), |sql, pattern| {
                sql.push("entity_name ilike ").push_bind(like(pattern));
            });
        }
        TextField::Compliance => {
            return joined(sql, " or ", values.values(), |sql, pattern| {
                sql.push("exists (select from unnest(compliance) as flag where flag like ");
                sql.push_bind(like(pattern)).push(")");
            });
        }
    };
    let exact: Option<Vec<String>> =
        values.values().iter().map(|pattern| pattern.exact().map(str::to_owned)).collect();
    match exact {
        Some(texts) if texts.len() > 1 => {
            sql.push(column).push(" = any(").push_bind(texts).push(")");
        }
        _ => joined(sql, " or ", values.values(), |sql, pattern| push_pattern(sql, column, pattern)),
    }
}

fn push_pattern(sql: &mut Sql, column: &'static str, pattern: &Pattern) {
    if let Some(text) = pattern.exact() {
        sql.push(column).push(" = ").push_bind(text.to_owned());
    } else if pattern.is_any() {
        sql.push(column).push(" is not null");
    } else if let Some(start) = pattern.prefix() {
        sql.push("starts_with(").push(column).push(", ").push_bind(start.to_owned()).push(")");
    } else {
        sql.push(column).push(" like ").push_bind(like(pattern));
    }
}

/// By id as it stands, or by address in any case. Only what may be an address is compared with addresses: their column
/// has no index.
fn push_actor(sql: &mut Sql, pattern: &Pattern) {
    match pattern.exact() {
        Some(text) if text.contains('@') => {
            sql.push("(actor_id = ").push_bind(text.to_owned());
            sql.push(" or lower(actor_email) = ").push_bind(text.to_lowercase()).push(")");
        }
        Some(text) => {
            sql.push("actor_id = ").push_bind(text.to_owned());
        }
        None => {
            sql.push("(actor_id like ").push_bind(like(pattern));
            sql.push(" or actor_email ilike ").push_bind(like(pattern)).push(")");
        }
    }
}

fn push_claimed(sql: &mut Sql, pattern: &Pattern) {
    match pattern.exact() {
        Some(text) if text.contains('@') => {
            sql.push("lower(claimed_user) = ").push_bind(text.to_lowercase());
        }
        Some(text) => {
            sql.push("claimed_user = ").push_bind(text.to_owned());
        }
        None => {
            sql.push("claimed_user ilike ").push_bind(like(pattern));
        }
    }
}

fn push_entity(sql: &mut Sql, entity: &EntityPattern) {
    sql.push("(");
    push_pattern(sql, "entity_type", &entity.kind);
    if let Some(id) = &entity.id {
        sql.push(" and ");
        push_pattern(sql, "entity_id", id);
    }
    sql.push(")");
}

fn push_network(sql: &mut Sql, network: &Network) {
    // Only equality knows the index; a network of a prefix that fits its address is always one.
    sql.push(if network.is_host() { "ip = " } else { "ip <<= " });
    sql.push_bind(IpNetwork::new(network.address(), network.prefix()).ok());
}

fn push_facet(sql: &mut Sql, facet: Facet) {
    match facet {
        Facet::Succeeded => sql.push("outcome = 1"),
        Facet::Failed => sql.push("outcome = 2"),
        Facet::Unknown => sql.push("outcome = 3"),
        Facet::Own => sql.push(OWN),
        Facet::Annotation => sql.push("(entity_type = 'event' and ").push(OWN).push(")"),
        Facet::Unmapped => sql.push("action = ").push_bind(UNMAPPED_MUTATION),
        Facet::Unexplained => sql.push("action = 'WRITE_UNATTRIBUTED'"),
        Facet::Mismatch => sql.push("action = 'IDENTITY_MISMATCH'"),
        Facet::Echo => sql.push(
            "exists (select 1 from echo_links l where l.tenant_id = events.tenant_id and l.echo_id = events.id)",
        ),
        Facet::Erased => sql.push("get_byte(opening, 0) = 2"),
    };
}

fn push_part(sql: &mut Sql, part: Part) {
    sql.push(match part {
        Part::Changes => "change_quality is not null",
        // Tag and type of the field, which stand there as long as its value does.
        Part::Details => r"position('\x800802'::bytea in opening) > 0",
        Part::Actor => "actor_id is not null",
        Part::User => "claimed_user is not null",
        Part::Entity => "entity_type is not null",
        Part::Name => "entity_name is not null",
        Part::Ip => "ip is not null",
        Part::Session => "session_id is not null",
        Part::Country => "country is not null",
        Part::Reason => "reason is not null",
        Part::Status => "status is not null",
        Part::Duration => "duration_ms is not null",
        Part::Compliance => "cardinality(compliance) > 0",
    });
}

fn push_when(sql: &mut Sql, when: When, now: Timestamp) {
    let window = when.window(now);
    let (from, to): (Option<DateTime<Utc>>, Option<DateTime<Utc>>) =
        (window.from.map(Timestamp::to_utc), window.to.map(Timestamp::to_utc));
    sql.push("(");
    if let Some(from) = from {
        sql.push("filed_at >= ").push_bind(from);
    }
    if let Some(to) = to {
        sql.push(if from.is_some() { " and filed_at < " } else { "filed_at < " }).push_bind(to);
    }
    sql.push(")");
}

/// Words anywhere in an opening: in its records and texts as they are, in its JSON as JSON writes them.
fn push_words(sql: &mut Sql, pattern: &Pattern) {
    let mut forms = vec![pattern.parts().to_vec()];
    let in_json: Vec<String> = pattern.parts().iter().map(|part| json_escaped(part)).collect();
    if in_json != forms[0] {
        forms.push(in_json);
    }
    joined(sql, " or ", &forms, |sql, parts| match parts.as_slice() {
        // Without letters there is one spelling, and digits would be found in the escapes below.
        [text] if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) => {
            sql.push("position(").push_bind(text.clone().into_bytes()).push(" in ").push(TEXTS).push(") > 0");
        }
        parts => {
            let inner: Vec<String> =
                parts.iter().map(|part| like_escaped(&byte_escaped(part.as_bytes()))).collect();
            // What is encoded is ASCII, so no other collation is needed.
            sql.push("encode(").push(TEXTS).push(", 'escape') collate \"C\" ilike ");
            sql.push_bind(format!("%{}%", inner.join("%")));
        }
    });
}

/// The inside of a JSON string.
pub(super) fn json_escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// What `encode(…, 'escape')` makes of some bytes.
pub(super) fn byte_escaped(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'\\' => r"\\".to_owned(),
            0 | 0x80.. => format!("\\{byte:03o}"),
            byte => char::from(*byte).to_string(),
        })
        .collect()
}

/// A pattern of LIKE that matches the whole value.
fn like(pattern: &Pattern) -> String {
    pattern.parts().iter().map(|part| like_escaped(part)).collect::<Vec<_>>().join("%")
}

pub(super) fn like_escaped(text: &str) -> String {
    text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_")
}

#[cfg(test)]
mod tests {
    use shared::search::parse;

    use super::*;

    #[test]
    fn no_value_ever_stands_in_the_statement() {
        let text = r#"action:XX1* actor:xx2@x user:xx3 name:xx4 entity:xx5/xx6 ip:1.2.3.4 xx7 "xx8 %_\\'" -reason:"xx9'; --"
            session:(xxa OR xxb) compliance:XXC route:*xxd* status:599 id:019a0000-0000-7000-8000-00000000dddd"#;
        let parsed = parse(text);
        assert_eq!(parsed.diagnostics, []);
        let mut sql = Sql::new("");
        for expr in parsed.query.conjuncts() {
            push(&mut sql, expr, Timestamp::from(DateTime::UNIX_EPOCH));
            sql.push("\n");
        }
        let statement = sql.sql().as_str().to_lowercase();
        for value in ["xx", "599", "dddd", "1.2.3.4", "--"] {
            assert!(!statement.contains(value), "{statement}");
        }
    }

    #[test]
    fn signs_of_like_are_only_signs_where_a_wildcard_stands() {
        let pattern = Pattern::of(vec!["50%_".to_owned(), r"\x".to_owned()]).expect("a pattern");
        assert_eq!(like(&pattern), r"50\%\_%\\x");
        assert_eq!(byte_escaped("aé\\".as_bytes()), r"a\303\251\\");
        assert_eq!(json_escaped("say \"hi\"\n"), r#"say \"hi\"\n"#);
    }
}
