//! The real program, started and killed by pid.

use super::world::World;
use crate::support::{HttpReceiver, PATIENCE, SmtpSink, poll_until};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use tempfile::TempDir;

/// Those who count.
pub struct Receivers<'a> {
    pub http: &'a HttpReceiver,
    pub smtp: &'a SmtpSink,
}

/// Where the daemon lives: its configuration, its rules, its state.
pub struct Daemon {
    dir: TempDir,
    /// Where its state is.
    pub state: String,
}

impl Daemon {
    pub const WEBHOOK_SESSIONS: usize = 8;
    pub const MAIL_SESSIONS: usize = 4;
    /// The engine's own, not configured here.
    pub const TASK_SESSIONS: usize = 4;

    pub fn configure(world: &World, state: Option<&str>, receivers: &Receivers<'_>) -> Self {
        let dir = tempfile::tempdir().expect("the temporary directory is writable");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("below the directory")).expect("the directory is ours");
            fs::write(path, text).expect("the directory is ours");
        };
        write("rules/catalog.yaml", World::CATALOG);
        write("rules/templates/hello.md", World::TEMPLATE);
        write(
            "rules/templates/layouts/default.html",
            "<html><body>{{ content }}{{ sender.postal_address }} {{ unsubscribe_url }}</body></html>",
        );
        for (id, steps) in World::RULES {
            write(&format!("rules/{id}.yaml"), &format!("id: {id}{}{steps}", World::RULE_HEAD));
        }
        let own = format!("sqlite:{}/state.db", dir.path().display());
        let state = state.map_or(own, str::to_owned);
        let config = format!(
            "[source]\nurl = \"{source}\"\n\
            [state]\nurl = \"{state}\"\ndirectory = \"{dir}\"\n\
            [rules]\ndirectory = \"{dir}/rules\"\n\
            [email]\ntransport = \"smtp\"\nfrom = \"Crash <crash@test.example>\"\nhost = \"127.0.0.1\"\n\
            port = {smtp}\ntls = \"none\"\nsessions = {mail_sessions}\nrate = \"\"\nper_domain = \"\"\nwarm_up = \"\"\n\
            [marketing]\nwindow = \"\"\ncap = []\n\
            [webhooks.sink]\nurl = \"{http}/hook\"\nallow_private = true\nsessions = {webhook_sessions}\n\
            [web]\nsocket = \"{dir}/admin.sock\"\nlisten = \"\"\n\
            public_listen = \"127.0.0.1:0\"\npublic_url = \"https://mail.test.example\"\n\
            [sender]\npostal_address = \"Test Street 1\"\n\
            [engine]\nbatch = 100\n\
            [log]\nformat = \"text\"\nlevel = \"warn\"\n",
            source = world.database.url,
            dir = dir.path().display(),
            smtp = receivers.smtp.port,
            http = receivers.http.url,
            mail_sessions = Self::MAIL_SESSIONS,
            webhook_sessions = Self::WEBHOOK_SESSIONS,
        );
        write("config.toml", &config);
        let owner_only = fs::Permissions::from_mode(0o600);
        fs::set_permissions(dir.path().join("config.toml"), owner_only).expect("the file is ours");
        Self { dir, state }
    }

    pub fn start(&self) -> Running {
        // Left by a life that was killed.
        let _ = fs::remove_file(self.socket());
        // Should this test end without having ended the daemon, the daemon ends with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_nudged"), "run", "--config"]);
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("the directory is ours");
        let child = command.arg(self.dir.path().join("config.toml")).stderr(log).spawn();
        Running { child: child.expect("setpriv is part of every system") }
    }

    /// It answers its operator.
    pub fn is_up(&self) -> bool {
        self.socket().exists()
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// Customers whose mail was under way at a kill and is held for an operator.
    pub fn unknown_mails(&self) -> BTreeSet<usize> {
        let listed = self.ask(&["deliveries", "list", "--state", "unknown", "--limit", "100000", "--format", "json"]);
        let deliveries = listed.as_array().expect("a list");
        let record = |delivery: &serde_json::Value| delivery["record"].as_str().map(str::to_owned);
        deliveries.iter().filter_map(record).filter_map(|record| record.rsplit_once(':')?.1.parse().ok()).collect()
    }

    /// Blocks until every rule has been swept after this call.
    pub fn wait_until_swept(&self) {
        let began = jiff::Timestamp::now();
        let swept = |rule: &serde_json::Value| {
            rule["swept_at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).is_some_and(|at| at > began)
        };
        poll_until(PATIENCE, || {
            let rules = self.ask(&["rules", "--format", "json"]);
            rules.as_array().is_some_and(|rules| rules.len() == World::RULES.len() && rules.iter().all(swept))
        });
    }

    /// Counts of the state, for the message of a failing test.
    pub fn status(&self) -> String {
        self.ask(&["status", "--format", "json"])["state"]["counts"].to_string()
    }

    /// What an operator would ask, on the command line.
    fn ask(&self, question: &[&str]) -> serde_json::Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nudged"));
        let output = command.args(question).arg("--config").arg(self.dir.path().join("config.toml")).output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "nudged {question:?}: {}\n{complaint}{}", output.status, self.said());
        serde_json::from_slice(&output.stdout).expect("`--format json` prints JSON")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The end of the daemon's log.
    pub fn said(&self) -> String {
        let mut log = String::new();
        let read = File::open(self.log()).and_then(|mut file| std::io::Read::read_to_string(&mut file, &mut log));
        let lines: Vec<&str> = read.map(|_| log.lines().collect()).unwrap_or_default();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// One life of the daemon.
pub struct Running {
    child: Child,
}

impl Running {
    /// SIGKILL. A daemon that was gone already is a failure: it must only end when told to.
    pub fn kill(mut self, daemon: &Daemon) {
        let ended = self.child.try_wait().expect("it is our child");
        assert!(ended.is_none(), "the daemon ended by itself: {ended:?}\n{}", daemon.said());
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM, and a clean end.
    pub fn terminate(mut self, daemon: &Daemon) {
        assert!(self.child.try_wait().unwrap().is_none(), "the daemon ended by itself\n{}", daemon.said());
        crate::site::send_signal(self.child.id(), "TERM");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}\n{}", daemon.said());
    }
}
