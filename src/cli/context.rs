//! What commands share: the configuration, the state, and a runtime to ask it with.
//!
//! Commands that read the state open it themselves, so that they work whether the daemon runs or not.

use super::{Failure, Global, Output};
use crate::config::{self, Config, Environment, Secrecy};
use crate::diagnostic::suggest;
use crate::engine::port::Store;
use crate::service::open_state;
use crate::web::state_report;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use std::future::Future;
use std::sync::Arc;

/// The global options of one invocation.
#[derive(Debug, Clone)]
pub struct Context {
    global: Global,
}

impl Context {
    pub const fn new(global: Global) -> Self {
        Self { global }
    }

    /// What `--rules` says, if anything.
    pub fn rules(&self) -> Option<&std::path::Path> {
        self.global.rules.as_deref()
    }

    /// Whether a configuration was named.
    pub const fn has_config(&self) -> bool {
        self.global.config.is_some()
    }

    /// The configuration with its secrets.
    pub fn config(&self) -> Result<Config, Failure> {
        self.read(Secrecy::Resolve)
    }

    /// The configuration for commands that connect to nothing.
    pub fn config_without_secrets(&self) -> Result<Config, Failure> {
        self.read(Secrecy::Leave)
    }

    fn read(&self, secrecy: Secrecy) -> Result<Config, Failure> {
        let mut config = config::read(self.global.config.as_deref(), &Environment::of_process(), secrecy)?;
        if let Some(directory) = &self.global.rules {
            config.rules.directory.clone_from(directory);
        }
        Ok(config)
    }

    /// The configuration for calling the daemon: without a token where it can't be had, since the socket
    /// needs none.
    pub fn config_for_admin(&self) -> Result<Config, Failure> {
        self.config().or_else(|_| self.config_without_secrets())
    }

    /// Runs one command's questions.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
    }

    /// The same for work that keeps every core busy.
    pub fn block_on_all_cores<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work))
    }

    /// The state that the daemon of this configuration uses.
    pub async fn state(&self) -> Result<Arc<dyn Store>, Failure> {
        Ok(open_state(&self.config()?.state, Timestamp::now(), false).await?)
    }

    /// Says so where no rule of this name has ever run: an empty list of a misspelt rule looks like good news.
    pub fn unknown_rule(&self, rule: Option<&str>, output: &mut Output) -> Result<(), Failure> {
        let Some(rule) = rule else { return Ok(()) };
        let states = self.block_on(async { Ok(self.state().await?.rule_states().await?) })?;
        if states.iter().any(|state| state.rule.as_str() == rule) {
            return Ok(());
        }
        let near = suggest::help(rule, states.iter().map(|state| state.rule.as_str()));
        let near = near.map_or_else(String::new, |help| format!("; {help}"));
        output.talk(&format!("no rule `{rule}` has run with this state{near}"));
        Ok(())
    }

    /// Counts, rules and held sweeps.
    pub fn state_report(&self) -> Result<Json, Failure> {
        self.block_on(async {
            let store = self.state().await?;
            let mut report = state_report(&*store, Timestamp::now()).await?;
            // Counted page by page, so only for who asks.
            let size = store.ledger_size().await?;
            report["ledger"] = json!({"matches": size.rows, "bytes": size.bytes});
            Ok(report)
        })
    }
}
