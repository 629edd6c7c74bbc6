//! A folder with everything that a daemon and its commands need, and the daemon as a process.

use super::support::reference::documented;
use super::support::{PATIENCE, poll_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use sqlx::AssertSqlSafe;
use std::fs;
use std::future::Future;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use tempfile::TempDir;

/// Everything a daemon needs, in one folder.
pub struct Site {
    pub folder: TempDir,
    notify: UnixDatagram,
}

/// A running daemon, killed when the test fails.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn signal(&self, name: &str) {
        send_signal(self.0.id(), name);
    }

    pub fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        poll_until(PATIENCE, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

/// `TERM`, `HUP` or `INT`, by the system call: a bare system has no program for it.
pub fn send_signal(process: u32, name: &str) {
    let signal = match name {
        "TERM" => Signal::TERM,
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        other => panic!("no test sends {other}"),
    };
    kill_process(Pid::from_raw(process.cast_signed()).unwrap(), signal).unwrap();
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"), &folder.path().join("rules"));
        let site = Self { notify: UnixDatagram::bind(folder.path().join("notify")).unwrap(), folder };
        site.notify.set_read_timeout(Some(PATIENCE)).unwrap();
        site.crm(include_str!("../../src/cli/demo/world/schema.sql"));
        let config = format!(
            r#"
            [source]
            url = "sqlite:{crm}"
            [state]
            url = "sqlite:{state}"
            [rules]
            settle = "50 ms"
            # At whatever hour a test runs.
            [marketing]
            window = ""
            cap = []
            [email]
            transport = "folder"
            folder = "{mail}"
            from = "Linden <hello@linden.example>"
            rate = ""
            per_domain = ""
            warm_up = ""
            [webhooks.team-chat]
            url = "http://127.0.0.1:9/"
            allow_private = true
            [web]
            socket = "{socket}"
            listen = ""
            public_listen = "127.0.0.1:0"
            public_url = "https://mail.linden.example"
            [sender]
            name = "Linden"
            postal_address = "Rosengasse 4, 1010 Vienna"
            [log]
            format = "json"
            "#,
            crm = site.path("crm.db"),
            state = site.path("state.db"),
            mail = site.path("mail"),
            socket = site.path("admin.sock"),
        );
        fs::write(site.path("config.toml"), config).unwrap();
        site
    }

    /// Changes the CRM.
    pub fn crm(&self, sql: &str) {
        self.sql("crm.db", sql);
    }

    /// Runs statements in one of the databases.
    pub fn sql(&self, database: &str, sql: &str) {
        waited(async {
            let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}?mode=rwc", self.path(database))).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap();
            pool.close().await;
        });
    }

    /// Only these rules, in place of the shipped ones; the shipped catalog stays.
    pub fn rules(&self, rules: &[(&str, &str)]) {
        for entry in fs::read_dir(self.path("rules")).unwrap() {
            let entry = entry.unwrap();
            if entry.path().is_file() && entry.file_name() != "catalog.yaml" {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for (file, text) in rules {
            fs::write(self.folder.path().join("rules").join(file), text).unwrap();
        }
    }

    /// Writes something else into the configuration.
    pub fn configure(&self, from: &str, to: &str) {
        let config = fs::read_to_string(self.path("config.toml")).unwrap();
        assert!(config.contains(from), "the configuration has no `{from}`");
        fs::write(self.path("config.toml"), config.replace(from, to)).unwrap();
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nudged"));
        command.args(arguments).args(["--config", &self.path("config.toml")]);
        command.current_dir(self.folder.path()).env_remove("JOURNAL_STREAM").env("NO_COLOR", "1");
        command
    }

    pub fn start(&self) -> Process {
        self.start_with(&[])
    }

    /// The socket keeps only a few messages, so a watchdog is only for a test that reads them.
    pub fn start_with(&self, environment: &[(&str, &str)]) -> Process {
        self.start_command(self.command(&["run"]), environment)
    }

    /// The same, where something stands before the program.
    pub fn start_command(&self, mut command: Command, environment: &[(&str, &str)]) -> Process {
        let log = fs::File::create(self.path("log")).unwrap();
        command.env("NOTIFY_SOCKET", self.path("notify")).envs(environment.iter().copied());
        Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    /// The next message to systemd that has this line; those before it are skipped.
    pub fn told(&self, line: &str) -> Vec<String> {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.notify.recv(&mut buffer) {
                Ok(length) => length,
                // A child of another test has ended: a read with a deadline is not resumed by itself.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => panic!("never told `{line}`:\n{}", self.log()),
            };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if lines.iter().any(|told| told == line) {
                return lines;
            }
        }
    }

    /// What systemd was told since somebody last listened.
    pub fn heard(&self) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        self.notify.set_nonblocking(true).unwrap();
        while let Ok(length) = self.notify.recv(&mut buffer) {
            heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        self.notify.set_nonblocking(false).unwrap();
        heard
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (code, data) = (output.status.code().unwrap(), text(&output.stdout));
        if arguments.windows(2).any(|pair| pair == ["--format", "json"])
            && let Ok(printed) = serde_json::from_str(&data)
        {
            documented(arguments[0], &printed);
        }
        (code, data, text(&output.stderr))
    }

    /// The data of a command that succeeds and is asked for JSON.
    pub fn json(&self, arguments: &[&str]) -> Json {
        let (code, data, talk) = self.run(&[arguments, &["--format", "json"]].concat());
        assert_eq!(code, 0, "{talk}");
        serde_json::from_str(&data).unwrap()
    }

    pub fn status(&self) -> Json {
        self.json(&["status"])
    }

    pub fn break_a_rule(&self) -> (PathBuf, String) {
        let file = self.folder.path().join("rules/win-back.yaml");
        let good = fs::read_to_string(&file).unwrap();
        fs::write(&file, good.replace("trigger:", "triger:")).unwrap();
        (file, good)
    }
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// For tests that are not asynchronous themselves.
pub fn waited<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
