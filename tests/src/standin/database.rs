//! A Supabase project's database, in a server that is there already.

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};

const PROJECT: &str = include_str!("project.sql");
const NAME: &str = "project";

/// Somebody with an account.
#[derive(Debug, Clone, Copy)]
pub struct Person {
    /// `auth.users.id`.
    pub id: &'static str,
    /// How they log in.
    pub email: &'static str,
    /// With what.
    pub password: &'static str,
}

/// Everybody with an account.
pub const PEOPLE: [Person; 2] = [
    Person {
        id: "11111111-1111-4111-8111-111111111111",
        email: "alice@example.com",
        password: "alice-password-1",
    },
    Person {
        id: "22222222-2222-4222-8222-222222222222",
        email: "bob@example.com",
        password: "bob-password-1",
    },
];

/// The database.
#[derive(Debug, Clone)]
pub struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// Makes it, with the application's tables and everybody's account, in the server that these options reach as a
    /// superuser.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn create(server: PgConnectOptions) -> Result<Self, sqlx::Error> {
        let admin = PgPoolOptions::new().max_connections(1).connect_with(server.clone()).await?;
        admin.execute(AssertSqlSafe(format!("create database {NAME}"))).await?;
        admin.close().await;
        let database = Self { options: server.database(NAME) };
        let owner = PgPoolOptions::new().max_connections(1).connect_with(database.options.clone()).await?;
        owner.execute(sqlx::raw_sql(PROJECT)).await?;
        for person in PEOPLE {
            sqlx::query(
                "insert into auth.users (id, email, encrypted_password)
                 values ($1::uuid, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'))",
            )
            .bind(person.id)
            .bind(person.email)
            .bind(person.password)
            .execute(&owner)
            .await?;
        }
        owner.close().await;
        Ok(database)
    }

    /// How a role of the project reaches it.
    pub fn options_of(&self, role: &str) -> PgConnectOptions {
        self.options.clone().username(role)
    }

    /// Connections of a role, made when they are used.
    pub fn pool_of(&self, role: &str) -> PgPool {
        let options = self.options_of(role).application_name(role);
        PgPoolOptions::new().max_connections(4).connect_lazy_with(options)
    }

    /// A URL by which a role reaches it.
    pub fn url_of(&self, role: &str) -> Option<String> {
        let socket = self.options.get_socket()?.to_str()?;
        Some(format!("postgres://{role}@localhost/{NAME}?host={socket}"))
    }
}
