//! The program as it is installed: configured, started, watched from outside, killed.

use super::Bench;
use super::machine::{self, directory};
use super::mail_sink::MailSink;
use super::sink::{Sink, since_1970};
use super::source::CATALOG;
use serde_json::Value as Json;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Sqlite,
    Postgres,
}

impl State {
    pub const BOTH: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// Both, or the one that the arguments name: `sqlite`, `postgresql`.
    pub fn chosen() -> Vec<Self> {
        let named = |state: &Self| std::env::args().any(|argument| argument == state.argument());
        let named: Vec<Self> = Self::BOTH.into_iter().filter(named).collect();
        if named.is_empty() { Self::BOTH.to_vec() } else { named }
    }

    pub const fn argument(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite state",
            Self::Postgres => "PostgreSQL state",
        }
    }
}

/// Where messages go.
pub struct Outlets {
    webhooks: String,
    /// What stands below `[email]`.
    email: String,
}

impl Outlets {
    /// Webhooks to the sink, mails into a folder.
    pub fn to(sink: &Sink) -> Self {
        Self { webhooks: sink.url.clone(), email: "transport = \"folder\"".to_owned() }
    }

    /// Mails to the sink over so many sessions, as fast as they go.
    pub fn by_smtp(sink: &MailSink, sessions: usize) -> Self {
        let email = format!(
            "host = \"127.0.0.1\"\nport = {}\ntls = \"none\"\nsessions = {sessions}\nmessages_per_session = 1000000\n\
            rate = \"\"\nper_domain = \"\"\nwarm_up = \"\"",
            sink.port
        );
        Self { webhooks: "http://127.0.0.1:9/".to_owned(), email }
    }
}

/// A configured daemon with a fresh state.
pub struct Nudged {
    dir: TempDir,
    outlets: Outlets,
    /// Kept so that it lives as long as the daemon.
    pub state: Option<super::support::Database>,
}

/// Webhooks under way at once.
pub const SESSIONS: usize = 32;

impl Nudged {
    /// `rules`: file name and text.
    pub fn configure(bench: &Bench, state: State, outlets: Outlets, rules: &[(String, String)]) -> Self {
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(directory()).expect("the directory is writable");
        let database = (state == State::Postgres).then(|| bench.source.server.create());
        let nudged = Self { dir, outlets, state: database };
        nudged.write("rules/catalog.yaml", CATALOG);
        for (name, text) in rules {
            nudged.write(&format!("rules/{name}"), text);
        }
        nudged.write_config("config.toml", bench);
        nudged
    }

    /// One more node on the same state, with an admin socket of its own.
    pub fn write_config(&self, name: &str, bench: &Bench) {
        let dir = self.dir.path().display();
        let own = format!("sqlite:{dir}/state.db");
        let state = self.state.as_ref().map_or(own.as_str(), |database| &database.url);
        let config = format!(
            "[source]\nurl = \"{source}\"\n[state]\nurl = \"{state}\"\ndirect = true\ndirectory = \"{dir}\"\n[rules]\ndirectory = \"{dir}/rules\"\n\
            [email]\nfrom = \"Bench <bench@test.example>\"\nfolder = \"{dir}/mail\"\n{email}\n\
            [webhooks.sink]\nurl = \"{url}\"\nallow_private = true\nsessions = {SESSIONS}\n\
            [web]\nsocket = \"{dir}/{name}.sock\"\nlisten = \"\"\n[log]\nformat = \"text\"\nlevel = \"warn\"\n",
            source = bench.source.crm.url,
            email = self.outlets.email,
            url = self.outlets.webhooks,
        );
        self.write(name, &config);
        let owner_only = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.dir.path().join(name), owner_only).expect("the file is ours");
    }

    /// Adds tables to a configuration, and puts something in the place of a part of it.
    pub fn append(&self, name: &str, tables: &str, (part, instead): (&str, &str)) {
        let text = fs::read_to_string(self.path(name)).expect("the file is ours");
        self.write(name, &format!("{}{tables}", text.replacen(part, instead, 1)));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("the directory is ours");
        fs::write(path, text).expect("the directory is ours");
    }

    pub fn start(&self) -> Life {
        self.start_node("config.toml")
    }

    /// With settings that outrank the configuration.
    pub fn start_with(&self, settings: &[(&str, &str)]) -> Life {
        self.start_as("config.toml", settings)
    }

    pub fn start_node(&self, config: &str) -> Life {
        self.start_as(config, &[])
    }

    fn start_as(&self, config: &str, settings: &[(&str, &str)]) -> Life {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.path().join("log"));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_nudged"), "run", "--config"]);
        command.arg(self.dir.path().join(config)).stderr(log.expect("the directory is ours"));
        // As the shipped unit starts it.
        command.env("MALLOC_ARENA_MAX", "2").envs(settings.iter().copied());
        let began = since_1970();
        Life { child: command.spawn().expect("setpriv is part of every system"), began }
    }

    /// What an operator would ask; the answer and how long it took.
    pub fn ask(&self, question: &[&str]) -> (Json, Duration) {
        let began = Instant::now();
        let output = self.run(question);
        let took = began.elapsed();
        assert!(
            output.status.success(),
            "nudged {question:?}: {}{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        (serde_json::from_slice(&output.stdout).unwrap_or(Json::Null), took)
    }

    /// True once nothing is due, waiting or under way: the last webhook's success is committed.
    pub fn is_settled(&self) -> bool {
        let (status, _) = self.ask(&["status", "--format", "json"]);
        let outbox = &status["state"]["counts"]["outbox"];
        ["due", "waiting", "sending"].iter().all(|state| outbox[state] == 0)
    }

    /// Before it has made its state there is nothing to ask.
    pub fn is_ready(&self) -> bool {
        let output = self.run(&["status", "--format", "json"]);
        let status: Json = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
        output.status.success() && status["daemon"]["ready"] == true
    }

    /// Another node of the state runs, and has been seen by the first one: until then it sends nothing.
    pub fn is_admitted(&self, config: &str) -> bool {
        let output = self.run_by(config, &["status", "--format", "json"]);
        let status: Json = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
        let held = status["state"]["sending_held"].as_array().is_some_and(|held| !held.is_empty());
        output.status.success() && status["daemon"]["ready"] == true && !held
    }

    fn run(&self, question: &[&str]) -> Output {
        self.run_by("config.toml", question)
    }

    fn run_by(&self, config: &str, question: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nudged"));
        command.args(question).arg("--config").arg(self.dir.path().join(config)).output().expect("it starts")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// One life of the daemon.
pub struct Life {
    child: Child,
    /// When it was started, since 1970.
    pub began: Duration,
}

impl Life {
    /// Resident memory now and at its peak, in MiB.
    pub fn memory(&self) -> (f64, f64) {
        machine::memory_of(self.child.id())
    }

    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
