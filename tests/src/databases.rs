//! Database servers of the tests' own, private and gone with the tests: one PostgreSQL and one MariaDB for all tests of this
//! process, a database of its own for each who asks.

/// The servers as the projections' own tests start them: `setpriv`, a private socket, a folder that a janitor removes.
#[path = "../../projections/src/testing/servers.rs"]
#[expect(dead_code, reason = "the projections' own tests use all of it")]
pub(crate) mod servers;

use servers::Program;
use sqlx::{Connection, Executor, MySqlConnection, PgConnection};
use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

/// Makes an empty PostgreSQL database; answers its URL.
pub async fn postgres() -> String {
    let (first, url, create) = new(Program::Postgres).await;
    PgConnection::connect(&first).await.unwrap().execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    url
}

/// Makes an empty MariaDB database; answers its URL.
pub async fn mariadb() -> String {
    let (first, url, create) = new(Program::MariaDb).await;
    MySqlConnection::connect(&first).await.unwrap().execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    url
}

/// The URLs of the server's first database and of a new one, and the statement that makes it.
async fn new(program: Program) -> (String, String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    // The first who asks waits for the server's start.
    let server = tokio::task::spawn_blocking(move || program.shared()).await.unwrap();
    let name = format!("system_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    (server.url(server.first_database()), server.url(&name), format!("CREATE DATABASE {name}"))
}

/// A PostgreSQL of a test's own, which may go away and come back.
pub struct Own(servers::Server);

impl Own {
    /// Starts it.
    pub async fn start() -> Self {
        let start = || servers::Server::start_new(Program::Postgres);
        Self(tokio::task::spawn_blocking(start).await.unwrap())
    }

    /// Its empty database.
    pub fn url(&self) -> String {
        self.0.url(self.0.first_database())
    }

    /// Kills it.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Starts it again.
    pub async fn come_back(&self) {
        tokio::task::block_in_place(|| self.0.start());
    }

    /// Stops it and all its children in their tracks (SIGSTOP): connections stay open and silent. The server first, so that it
    /// makes no more children meanwhile.
    pub fn freeze(&self) {
        let server = self.id().expect("it runs");
        crate::process::signal("STOP", server);
        Self::signal_children("STOP", server);
    }

    /// Lets them go on. The children first: one that ends at once is there until the server sees to it.
    pub fn thaw(&self) {
        let server = self.id().expect("it runs");
        Self::signal_children("CONT", server);
        crate::process::signal("CONT", server);
    }

    fn signal_children(name: &str, server: u32) {
        for child in crate::process::children(server) {
            crate::process::signal(name, child);
        }
    }

    fn id(&self) -> Option<u32> {
        let file = self.0.socket().with_file_name("data").join("postmaster.pid");
        std::fs::read_to_string(file).ok()?.lines().next()?.parse().ok()
    }
}

/// A server of a test's own that is reached by TLS.
pub struct Encrypted {
    program: Program,
    port: u16,
    server: servers::Server,
}

impl Encrypted {
    /// A PostgreSQL whose key and certificate are these.
    pub async fn postgres(pem: Vec<u8>) -> Self {
        Self::start(Program::Postgres, pem).await
    }

    /// A MariaDB whose key and certificate are these.
    pub async fn mariadb(pem: Vec<u8>) -> Self {
        let started = Self::start(Program::MariaDb, pem).await;
        let first = started.server.url(started.server.first_database());
        MySqlConnection::connect(&first).await.unwrap().execute("CREATE DATABASE encrypted").await.unwrap();
        started
    }

    async fn start(program: Program, pem: Vec<u8>) -> Self {
        let port = crate::place::free_port();
        let start = move || servers::Server::start_encrypted(program, port, &pem);
        Self { program, port, server: tokio::task::spawn_blocking(start).await.unwrap() }
    }

    /// Its empty database, for whoever trusts this authority and compares the certificate's name.
    pub fn url(&self, ca: &Path) -> String {
        let (port, ca) = (self.port, ca.display());
        match self.program {
            Program::Postgres => {
                format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={ca}")
            }
            Program::MariaDb => {
                format!("mysql://root@127.0.0.1:{port}/encrypted?ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}")
            }
        }
    }
}
