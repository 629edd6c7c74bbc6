use super::guarded::run;
use std::path::PathBuf;
use std::process::Command;

/// A fresh database of a private server. Dropping it drops the database, whoever is still connected.
pub struct Database {
    pub url: String,
    pub name: String,
    client: Client,
    kept: bool,
}

/// The server's own command-line client, so that set-up doesn't go through the code under test.
#[derive(Debug, Clone)]
pub enum Client {
    Psql { program: PathBuf, port: u16 },
    MariaDb { program: PathBuf, port: u16 },
}

/// The superuser of the private servers.
pub const USER: &str = "nudged";

impl Client {
    /// The database that is always there.
    fn maintenance(&self) -> &'static str {
        match self {
            Self::Psql { .. } => "postgres",
            Self::MariaDb { .. } => "mysql",
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Psql { port, .. } | Self::MariaDb { port, .. } => *port,
        }
    }

    pub fn command(&self, database: &str, sql: &str) -> Command {
        match self {
            Self::Psql { program, port } => {
                let mut psql = Command::new(program);
                psql.args(["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]);
                psql.args(["-p", &port.to_string(), "-U", USER, "-d", database, "-c", sql]);
                psql
            }
            Self::MariaDb { program, port } => {
                let mut mariadb = Command::new(program);
                mariadb.args(["--no-defaults", "--batch", "--skip-column-names", "--protocol=tcp"]);
                mariadb.args(["--host=127.0.0.1", &format!("--port={port}"), &format!("--user={USER}")]);
                mariadb.args(["--default-character-set=utf8mb4", database, "-e", sql]);
                mariadb
            }
        }
    }
}

impl Database {
    pub fn create(client: Client, number: usize) -> Self {
        let name = format!("test_{number}");
        let database = Self::named(client, name);
        database.in_maintenance(&format!("DROP DATABASE IF EXISTS {0}", database.name));
        database.in_maintenance(&format!("CREATE DATABASE {}", database.name));
        database
    }

    /// A database of PostgreSQL that outlives this value, made if need be.
    pub fn keep(client: Client, name: &str) -> Self {
        let mut database = Self::named(client, name.to_owned());
        database.kept = true;
        if database.in_maintenance(&format!("SELECT 1 FROM pg_database WHERE datname = '{name}'")).is_empty() {
            database.in_maintenance(&format!("CREATE DATABASE {name}"));
        }
        database
    }

    fn named(client: Client, name: String) -> Self {
        let scheme = match client {
            Client::Psql { .. } => "postgres",
            Client::MariaDb { .. } => "mysql",
        };
        let url = format!("{scheme}://{USER}@127.0.0.1:{}/{name}", client.port());
        Self { url, name, client, kept: false }
    }

    fn in_maintenance(&self, sql: &str) -> String {
        run(&mut self.client.command(self.client.maintenance(), sql))
    }

    /// The client, about to run these statements.
    pub fn command(&self, sql: &str) -> Command {
        self.client.command(&self.name, sql)
    }

    /// Runs any number of statements.
    pub fn execute(&self, sql: &str) {
        run(&mut self.command(sql));
    }

    /// The rows of one query; columns are separated by tabs, as the database's own client prints them.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        run(&mut self.command(sql)).lines().map(str::to_owned).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let force = match self.client {
            Client::Psql { .. } => " WITH (FORCE)",
            Client::MariaDb { .. } => "",
        };
        // A test that already fails must not fail over this as well.
        let drop = format!("DROP DATABASE {}{force}", self.name);
        let _ = self.client.command(self.client.maintenance(), &drop).output();
    }
}
