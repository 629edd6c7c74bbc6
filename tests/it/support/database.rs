use super::guarded::run;
use std::path::PathBuf;
use std::process::Command;

/// A fresh database of a private server. Dropping it drops the database, whoever is still connected.
pub struct Database {
    pub url: String,
    pub name: String,
    client: Client,
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
        let (scheme, maintenance) = match client {
            Client::Psql { .. } => ("postgres", "postgres"),
            Client::MariaDb { .. } => ("mysql", "mysql"),
        };
        run(&mut client.command(maintenance, &format!("CREATE DATABASE {name}")));
        let url = format!("{scheme}://{USER}@127.0.0.1:{}/{name}", client.port());
        Self { url, name, client }
    }

    /// Runs any number of statements.
    pub fn execute(&self, sql: &str) {
        run(&mut self.client.command(&self.name, sql));
    }

    /// The rows of one query; columns are separated by tabs, as the database's own client prints them.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        run(&mut self.client.command(&self.name, sql)).lines().map(str::to_owned).collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (maintenance, force) = match self.client {
            Client::Psql { .. } => ("postgres", " WITH (FORCE)"),
            Client::MariaDb { .. } => ("mysql", ""),
        };
        // A test that already fails must not fail over this as well.
        let _ = self.client.command(maintenance, &format!("DROP DATABASE {}{force}", self.name)).output();
    }
}
