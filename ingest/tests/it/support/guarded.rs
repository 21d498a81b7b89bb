//! A PostgreSQL that lets a role in by its password, as an operator's own does.

use std::fs;
use std::path::Path;

use ingest::postgres::{Embedded, Neighbour};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::prepared;

/// Who needs a password.
const ROLE: &str = "warden";

pub(crate) struct Guarded {
    /// As its superuser, who needs none.
    pub(crate) options: PgConnectOptions,
    /// As the role that has a password, with it.
    pub(crate) url: String,
    password: String,
    server: Embedded,
}

impl Guarded {
    /// Starts one on migrated data. The password has letters and digits alone.
    pub(crate) async fn start(data_dir: &Path, password: &str) -> Self {
        Box::pin(prepared::database(data_dir)).await;
        let hba = data_dir.join("pg_hba.conf");
        let rules = fs::read_to_string(&hba).expect("our own file");
        fs::write(&hba, format!("local all {ROLE} scram-sha-256\n{rules}")).expect("our own file");
        let server = Embedded::start(data_dir, 16, Neighbour::Join).expect("PostgreSQL starts");
        let options = server.connect_options();
        let mut connection = PgConnection::connect_with(&options).await.expect("connected");
        let role = format!("create role {ROLE} superuser login password '{password}'");
        connection.execute(AssertSqlSafe(role)).await.expect("made");
        let socket = options.get_socket().expect("a private server has one").display();
        let url = format!("postgres://{ROLE}:{password}@localhost/postgres?host={socket}");
        let wrong: PgConnectOptions = url.replace(password, "wrong").parse().expect("a URL");
        PgConnection::connect_with(&wrong).await.expect_err("the password is asked for");
        Self { options, url, password: password.to_owned(), server }
    }

    /// Gives its role another password and ends its connections: whoever has the old one is kept out.
    pub(crate) async fn keeps_out(&self) {
        let mut connection = PgConnection::connect_with(&self.options).await.expect("connected");
        let changed = format!("alter role {ROLE} password 'another'");
        connection.execute(AssertSqlSafe(changed)).await.expect("changed");
        let ended =
            format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ROLE}'");
        connection.execute(AssertSqlSafe(ended)).await.expect("ended");
    }

    /// Gives it back its own.
    pub(crate) async fn lets_in(&self) {
        let mut connection = PgConnection::connect_with(&self.options).await.expect("connected");
        let changed = format!("alter role {ROLE} password '{}'", self.password);
        connection.execute(AssertSqlSafe(changed)).await.expect("changed");
    }

    pub(crate) async fn stop(mut self) {
        tokio::task::spawn_blocking(move || self.server.stop()).await.expect("it stops");
    }
}
