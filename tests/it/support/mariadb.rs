use super::database::{Client, Database, USER};
use super::guarded::{Account, Guarded, free_port, program, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Server {
    _guarded: Guarded,
    client: Client,
    databases: AtomicUsize,
}

/// A fresh database on this test process's private MariaDB server, which the first call starts.
pub fn mariadb() -> Database {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(Server::start);
    Database::create(server.client.clone(), server.databases.fetch_add(1, Ordering::Relaxed))
}

impl Server {
    fn start() -> Self {
        // A port can be taken between asking for it and binding it.
        (0..5).find_map(|_| Self::try_start(free_port())).expect("MariaDB did not start on any of five ports")
    }

    fn try_start(port: u16) -> Option<Self> {
        let account = Account::for_server("mysql");
        let dir = account.directory("nudged-mariadb-");
        let data = dir.join("data");
        init(&account, &data);
        let mut server = account.command(&mariadb_program("mariadbd"));
        configure(&mut server, &data, &dir, port);
        let guarded = Guarded::start(dir, "TERM", &server);
        let client = Client::MariaDb { program: mariadb_program("mariadb"), port };
        let answers = || client.command("mysql", "SELECT 1").output().is_ok_and(|output| output.status.success());
        guarded.became_ready(|| guarded.log().contains("ready for connections") && answers()).then(|| Self {
            client: client.clone(),
            databases: AtomicUsize::new(1),
            _guarded: guarded,
        })
    }
}

fn init(account: &Account, data: &Path) {
    let mut install = account.command(&mariadb_program("mariadb-install-db"));
    install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.arg(format!("--datadir={}", data.display()));
    run(&mut install);
    // An init file holds one statement per line.
    let user = format!("CREATE USER {USER}@'%';\nGRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n");
    std::fs::write(data.with_file_name("init.sql"), user).expect("the directory is writable");
}

/// Small and forgetful: these servers live for seconds.
fn configure(server: &mut Command, data: &Path, dir: &Path, port: u16) {
    server.arg("--no-defaults").arg(format!("--datadir={}", data.display())).arg(format!("--port={port}"));
    for (setting, file) in [("socket", "socket"), ("pid-file", "pid"), ("init-file", "init.sql")] {
        server.arg(format!("--{setting}={}", dir.join(file).display()));
    }
    server.args([
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-flush-method=nosync",
        "--innodb-doublewrite=0",
        "--innodb-buffer-pool-size=32M",
        "--innodb-log-file-size=16M",
        "--innodb-fast-shutdown=2",
        "--performance-schema=off",
        "--max-connections=300",
        "--character-set-server=utf8mb4",
        "--collation-server=utf8mb4_unicode_ci",
        "--default-time-zone=+00:00",
        // As MySQL has it, and MariaDB not.
        "--sql-mode=ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION",
    ]);
}

fn mariadb_program(name: &str) -> PathBuf {
    program(name, &[], "mariadb-server")
}

#[test]
fn each_test_gets_its_own_mariadb_database() {
    let (one, other) = (mariadb(), mariadb());
    one.execute("CREATE TABLE note (word text); INSERT INTO note VALUES ('grüß')");
    assert_eq!(one.rows("SELECT word, 1 FROM note"), ["grüß\t1"]);
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = database()";
    assert_eq!(other.rows(tables), ["0"]);
}

#[tokio::test]
async fn a_mariadb_database_takes_connections_by_its_url() {
    use sqlx::Connection;
    let database = mariadb();
    let mut connection = sqlx::MySqlConnection::connect(&database.url).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT database()").fetch_one(&mut connection).await.unwrap();
    assert_eq!(name, database.name);
}
