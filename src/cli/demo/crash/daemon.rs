//! The daemon as a child process: its files, its start, its violent end.

use crate::cli::demo::home::Home;
use crate::cli::{Exit, Failure};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// One run of `nudged run`.
#[derive(Debug)]
pub struct Child {
    process: std::sync::Mutex<tokio::process::Child>,
    log: PathBuf,
}

/// Configuration, catalog, the one rule and its template.
pub fn write_files(home: &Home, receiver: &str) -> io::Result<()> {
    let rules = home.directory().join("rules");
    std::fs::create_dir_all(rules.join("templates"))?;
    std::fs::write(rules.join("catalog.yaml"), include_str!("../../../../rules/catalog.yaml"))?;
    std::fs::write(rules.join("everybody.yaml"), include_str!("everybody.yaml"))?;
    std::fs::write(
        rules.join("templates/thanks.md"),
        "---\nsubject: \"Thank you\"\n---\nHello {{ to.first_name }}!\n",
    )?;
    let config = include_str!("config.toml")
        .replace("CRM", &absolute(&home.crm())?)
        .replace("STATE", &absolute(&home.state())?)
        .replace("MAILBOX", &absolute(&home.mailbox())?)
        .replace("SOCKET", &absolute(&home.directory().join("admin.sock"))?)
        .replace("RECEIVER", receiver);
    std::fs::write(home.directory().join("config.toml"), config)
}

fn absolute(path: &std::path::Path) -> io::Result<String> {
    Ok(std::path::absolute(path)?.display().to_string())
}

impl Child {
    /// Starts this same program as a daemon.
    pub fn start(home: &Home) -> io::Result<Self> {
        let log = home.directory().join("daemon.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--config").arg(home.directory().join("config.toml")).arg("run");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NUDGED_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        Ok(Self { process: std::sync::Mutex::new(command.spawn()?), log })
    }

    /// `kill -9`.
    pub async fn kill(self) -> Result<(), Failure> {
        let mut process = self.process.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(process.kill().await?)
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(self) -> Result<(), Failure> {
        let mut process = self.process.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(id) = process.id() {
            terminate(id)?;
        }
        process.wait().await?;
        Ok(())
    }

    /// Fails when the daemon has ended by itself, or takes too long.
    pub fn must_not_take_longer_than(&self, patience: Duration, since: Instant) -> Result<(), Failure> {
        let mut process = self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let log = self.log.display();
        if let Some(status) = process.try_wait()? {
            return Err(Failure::other(Exit::Failure, format!("the daemon ended by itself ({status}); see {log}")));
        }
        if since.elapsed() > patience {
            return Err(Failure::other(Exit::Failure, format!("the daemon did not get on with its work; see {log}")));
        }
        Ok(())
    }
}

/// By the system call: a bare system has no program for it.
fn terminate(id: u32) -> Result<(), Failure> {
    let process = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    let process = process.ok_or_else(|| Failure::other(Exit::Failure, "the daemon has no process id"))?;
    rustix::process::kill_process(process, rustix::process::Signal::TERM).map_err(io::Error::from)?;
    Ok(())
}
