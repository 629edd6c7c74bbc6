//! What commands share: the configuration, read once and only when asked for.

use super::{Failure, Global};
use crate::config::{self, Config, Environment, Secrecy};
use std::path::PathBuf;

/// The global options of one invocation.
#[derive(Debug)]
pub struct Context {
    global: Global,
}

impl Context {
    pub const fn new(global: Global) -> Self {
        Self { global }
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

    pub fn config_path(&self) -> Option<PathBuf> {
        self.global.config.clone()
    }
}
