use super::database::{Client, Database, USER};
use super::guarded::{Account, Guarded, free_port, program, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A private PostgreSQL server. Dropping it stops it.
pub struct PostgresServer {
    _guarded: Guarded,
    client: Client,
    databases: AtomicUsize,
}

/// These servers live for seconds and are never asked again.
const FORGETFUL: [&str; 4] = ["fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off"];

/// A fresh database on this test process's private PostgreSQL server, which the first call starts.
pub fn postgres() -> Database {
    static SERVER: OnceLock<PostgresServer> = OnceLock::new();
    SERVER.get_or_init(|| PostgresServer::start(None, &FORGETFUL)).create()
}

impl PostgresServer {
    /// Starts a server with these settings, on `data` if it is to be kept (the directory is made if need be).
    pub fn start(data: Option<&Path>, settings: &[&str]) -> Self {
        // A port can be taken between asking for it and binding it.
        let started = (0..5).find_map(|_| Self::try_start(free_port(), data, settings));
        started.expect("PostgreSQL did not start on any of five ports")
    }

    /// Starts again where clients know it: on this port.
    pub fn start_at(port: u16, data: &Path) -> Self {
        Self::try_start(port, Some(data), &FORGETFUL).expect("the port is still free")
    }

    /// A fresh database.
    pub fn create(&self) -> Database {
        Database::create(self.client.clone(), self.databases.fetch_add(1, Ordering::Relaxed))
    }

    /// A database that is kept with the server's data.
    pub fn open(&self, name: &str) -> Database {
        Database::keep(self.client.clone(), name)
    }

    fn try_start(port: u16, data: Option<&Path>, settings: &[&str]) -> Option<Self> {
        let account = Account::for_server("postgres");
        let dir = account.directory("nudged-postgres-");
        let data = data.map_or_else(|| dir.join("data"), Path::to_owned);
        if !data.join("PG_VERSION").exists() {
            init(&account, &data);
        }
        let mut server = account.command(&postgres_program("postgres"));
        configure(&mut server, &data, &dir, port);
        for setting in settings {
            server.arg("-c").arg(setting);
        }
        let guarded = Guarded::start(dir, "INT", &server);
        let client = Client::Psql { program: postgres_program("psql"), port };
        let answers = || client.command("postgres", "SELECT 1").output().is_ok_and(|output| output.status.success());
        guarded.became_ready(|| guarded.log().contains("ready to accept connections") && answers()).then(|| Self {
            client: client.clone(),
            databases: AtomicUsize::new(1),
            _guarded: guarded,
        })
    }
}

fn init(account: &Account, data: &Path) {
    let mut initdb = account.command(&postgres_program("initdb"));
    initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "-U", USER, "-D"]).arg(data);
    run(&mut initdb);
}

/// Small, and the same whatever the machine's locale and zone.
fn configure(server: &mut Command, data: &Path, sockets: &Path, port: u16) {
    server.arg("-D").arg(data).arg("-k").arg(sockets).arg("-p").arg(port.to_string()).args(["-h", "127.0.0.1"]);
    for setting in [
        "wal_level=minimal",
        "max_wal_senders=0",
        "shared_buffers=64MB",
        "max_connections=300",
        "jit=off",
        "log_min_messages=warning",
        "timezone=UTC",
    ] {
        server.arg("-c").arg(setting);
    }
}

/// Debian keeps the server's programs off the PATH, in a folder per version: take the newest.
fn postgres_program(name: &str) -> PathBuf {
    let mut folders: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
        .collect();
    folders.sort_unstable_by(|one, other| other.cmp(one));
    let folders: Vec<PathBuf> = folders.into_iter().map(|(_, folder)| folder).collect();
    program(name, &folders, "postgresql")
}

#[test]
fn each_test_gets_its_own_postgres_database() {
    let (one, other) = (postgres(), postgres());
    one.execute("CREATE TABLE note (word text); INSERT INTO note VALUES ('grüß'), (NULL)");
    assert_eq!(one.rows("SELECT word, 1 FROM note ORDER BY word"), ["grüß\t1", "\t1"]);
    assert_eq!(other.rows("SELECT count(*) FROM pg_tables WHERE tablename = 'note'"), ["0"]);
}

#[test]
fn a_kept_database_outlives_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let above = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), above).unwrap();
    let data = Account::for_server("postgres").kept_directory(&dir.path().join("data"));
    let start = || PostgresServer::start(Some(&data), &FORGETFUL);
    start().open("kept").execute("CREATE TABLE note AS SELECT 1 AS n");
    assert_eq!(start().open("kept").rows("SELECT n FROM note"), ["1"]);
}

#[tokio::test]
async fn a_postgres_database_takes_connections_by_its_url() {
    use sqlx::Connection;
    let database = postgres();
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&mut connection).await.unwrap();
    assert_eq!(name, database.name);
}
