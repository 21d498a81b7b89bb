//! PostgREST for the requests of `supabase-js`: one statement in one transaction, under the role and the claims of the
//! token.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Over, answer};

const JSON: &str = "application/json; charset=utf-8";
const OBJECT: &str = "application/vnd.pgrst.object+json";
/// Parameters that are no filters.
const WORDS: [&str; 5] = ["columns", "limit", "on_conflict", "order", "select"];

pub(super) fn router(over: Over) -> Router {
    Router::new().route("/rest/v1/{table}", any(serve)).with_state(over)
}

type Parameters = Vec<(String, String)>;

async fn serve(
    State(over): State<Over>,
    method: Method,
    Path(table): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Some(claims) = over.claims(&headers) else {
        return refuse(401, "PGRST301", "No suitable key or wrong key type");
    };
    let Some(ask) = Ask::read(&method, &table, parameters, &headers, &body) else {
        return refuse(400, "PGRST100", "The stand-in does not know this request");
    };
    match run(&over, &ask, &claims).await {
        Ok(rows) => ask.respond(rows),
        Err(error) => of_database(&error),
    }
}

/// A request that is understood.
struct Ask {
    statement: String,
    /// What the statement is given: the body, then the filters' values.
    values: Vec<String>,
    method: Method,
    represented: bool,
    counted: bool,
    single: bool,
    select: Vec<String>,
}

/// A row, and whether it is new.
type Written = (Value, bool);

impl Ask {
    fn read(
        method: &Method,
        table: &str,
        parameters: Parameters,
        headers: &HeaderMap,
        body: &str,
    ) -> Option<Self> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let prefer = header("prefer");
        let word =
            |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let represented = prefer.contains("return=representation") || method == Method::GET;
        let rows = match serde_json::from_str(body) {
            Ok(Value::Array(rows)) => Value::Array(rows),
            Ok(row @ Value::Object(_)) => json!([row]),
            _ if matches!(*method, Method::GET | Method::DELETE) => json!([]),
            _ => return None,
        };
        let columns: Vec<String> =
            rows[0].as_object().map_or_else(Vec::new, |row| row.keys().map(|key| quoted(key)).collect());

        let mut values = vec![if *method == Method::PATCH { rows[0].to_string() } else { rows.to_string() }];
        let mut filters = vec!["true".to_owned()];
        for (column, filter) in parameters.iter().filter(|(key, _)| !WORDS.contains(&key.as_str())) {
            values.push(filter.strip_prefix("eq.")?.to_owned());
            filters.push(format!("t.{}::text = ${}", quoted(column), values.len()));
        }
        let row = if represented { "to_jsonb(t.*)::text" } else { "'{}'" };
        let (table, filters) = (format!("public.{}", quoted(table)), filters.join(" and "));
        let statement = match *method {
            Method::GET => format!("select {row}, false from {table} t where {filters}"),
            Method::POST => {
                let names = columns.join(", ");
                let or = match word("on_conflict") {
                    Some(key) if prefer.contains("resolution=merge-duplicates") => {
                        let set = columns.iter().map(|column| format!("{column} = excluded.{column}"));
                        let set = set.collect::<Vec<_>>().join(", ");
                        format!("on conflict ({}) do update set {set}", quoted(key))
                    }
                    _ => String::new(),
                };
                format!(
                    "insert into {table} as t ({names})
                     select {names} from jsonb_populate_recordset(null::{table}, $1::jsonb) {or}
                     returning {row}, t.xmax = 0"
                )
            }
            Method::PATCH => {
                let set = columns.iter().map(|column| format!("{column} = body.{column}"));
                let set = set.collect::<Vec<_>>().join(", ");
                format!(
                    "update {table} as t set {set} from jsonb_populate_record(null::{table}, $1::jsonb) body
                     where {filters} returning {row}, false"
                )
            }
            Method::DELETE => format!("delete from {table} as t where {filters} returning {row}, false"),
            _ => return None,
        };
        Some(Self {
            statement,
            values,
            method: method.clone(),
            represented,
            counted: prefer.contains("count=exact"),
            single: header("accept") == OBJECT,
            select: word("select").unwrap_or("*").split(',').map(str::to_owned).collect(),
        })
    }

    fn respond(&self, rows: Vec<Written>) -> Response {
        let total = if self.counted { rows.len().to_string() } else { "*".to_owned() };
        let range = match (&self.method, rows.len().checked_sub(1)) {
            (&Method::GET | &Method::PATCH, Some(last)) => format!("0-{last}/{total}"),
            _ => format!("*/{total}"),
        };
        let status = match self.method {
            Method::POST if rows.iter().any(|(_, new)| *new) => StatusCode::CREATED,
            Method::PATCH | Method::DELETE if !self.represented => StatusCode::NO_CONTENT,
            _ => StatusCode::OK,
        };
        let range = [("content-range", range)];
        if !self.represented {
            return (status, range).into_response();
        }
        let mut rows: Vec<Value> = rows.into_iter().map(|(row, _)| self.selected(row)).collect();
        let (kind, body) = if self.single { (OBJECT, rows.remove(0)) } else { (JSON, Value::Array(rows)) };
        (status, range, [("content-type", kind)], body.to_string()).into_response()
    }

    fn selected(&self, mut row: Value) -> Value {
        if let (Some(row), false) = (row.as_object_mut(), self.select.iter().any(|column| column == "*")) {
            row.retain(|column, _| self.select.contains(column));
        }
        row
    }
}

/// Why a statement is not done.
enum Refusal {
    Database(sqlx::Error),
    /// One row was asked for, and it is not one.
    NotSingle,
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

async fn run(over: &Over, ask: &Ask, claims: &Value) -> Result<Vec<Written>, Refusal> {
    let mut transaction = over.pool.begin().await?;
    sqlx::query("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)")
        .bind(claims["role"].as_str().unwrap_or("anon"))
        .bind(claims.to_string())
        .execute(&mut *transaction)
        .await?;
    let mut query = sqlx::query(AssertSqlSafe(ask.statement.as_str()));
    for value in &ask.values {
        query = query.bind(value);
    }
    let rows = query.fetch_all(&mut *transaction).await?;
    if ask.single && rows.len() != 1 {
        // A write that does not give what was asked for is undone.
        return Err(Refusal::NotSingle);
    }
    transaction.commit().await?;
    let read = |row: &sqlx::postgres::PgRow| {
        (serde_json::from_str(row.get::<&str, _>(0)).unwrap_or_default(), row.get(1))
    };
    Ok(rows.iter().map(read).collect())
}

/// A name as SQL, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn of_database(refusal: &Refusal) -> Response {
    let Refusal::Database(error) = refusal else {
        return refuse(406, "PGRST116", "Cannot coerce the result to a single JSON object");
    };
    let error = error.as_database_error();
    let code = error.and_then(sqlx::error::DatabaseError::code).unwrap_or_default();
    let status = match code.as_ref() {
        "42501" => 403,
        "23505" | "23503" => 409,
        "42P01" => 404,
        "" => 503,
        _ => 400,
    };
    refuse(status, &code, error.map_or("no database", |error| error.message()))
}

fn refuse(status: u16, code: &str, message: &str) -> Response {
    answer(status, json!({"code": code, "details": null, "hint": null, "message": message}))
}
