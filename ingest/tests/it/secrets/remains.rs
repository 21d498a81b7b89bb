//! What is left when everything has stopped: files, tables, the archive.

use std::path::Path;

use futures_util::TryStreamExt as _;
use shared::note::SignerKey;
use sqlx::{Connection as _, PgConnection};

use super::{Trail, below};
use crate::support::Guarded;
use crate::support::scan::Scan;

/// Files that are made to hold secrets, for their owner alone.
const KEPT: [&str; 8] = [
    "edgetrail.toml",
    "log.key",
    "policy.key",
    "own.key",
    "privacy.key",
    "erasure.key",
    "sinks.key",
    "hash.key",
];

/// What stays.
impl Trail {
    /// Stops everything and looks at what is left of it.
    pub(super) async fn what_stays_is_looked_at(self) -> Scan {
        let Self { mut scan, home, database, backend, .. } = self;
        backend.stop().await;
        tables(&mut scan, &database).await;
        database.stop().await;
        keys(&mut scan, home.path());
        let kept = KEPT.map(|name| home.path().join(name));
        for path in below(home.path()).into_iter().filter(|path| !kept.contains(path)) {
            let name = path.strip_prefix(home.path()).expect("below").display().to_string();
            let folder = name.split('/').next().unwrap_or_default();
            let kind = match folder {
                "edgetrail.log" => "the log",
                "pg.log" => "the log of PostgreSQL",
                "pg" => "a file of PostgreSQL",
                "archive" => "a file of the archive",
                "heads" => "a copy of a head",
                "exports" => "a file of an export",
                "erasures" => "a certificate of an erasure",
                "objects" => "an object in a directory",
                "bundle" => "a bundle",
                _ => panic!("{name} is no file that is known"),
            };
            scan.saw(kind, &name, &std::fs::read(&path).expect("read"));
        }
        scan
    }
}

/// Every row of every table, as PostgreSQL writes them down in binary.
async fn tables(scan: &mut Scan, database: &Guarded) {
    let mut connection = PgConnection::connect_with(&database.options).await.expect("connected");
    let all: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .expect("listed");
    assert!(all.len() > 40, "{} tables", all.len());
    for table in all {
        let copy = format!("copy (select * from only {table}) to stdout (format binary)");
        let rows = connection.copy_out_raw(&copy).await.expect("copied");
        let rows: Vec<bytes::Bytes> = rows.try_collect().await.expect("copied");
        scan.saw("a table", &table, &rows.concat());
    }
}

/// What key files hold is a secret everywhere else.
fn keys(scan: &mut Scan, home: &Path) {
    for name in KEPT.iter().filter(|name| name.ends_with(".key")) {
        let text = std::fs::read_to_string(home.join(name)).expect(name);
        for line in text.lines() {
            let key = match line.parse::<SignerKey>() {
                Ok(key) => key.seed.to_vec(),
                Err(_) => hex::decode(line).unwrap_or_else(|_| line.as_bytes().to_vec()),
            };
            scan.secrets.add(name, &key);
        }
    }
}
