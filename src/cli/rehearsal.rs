//! What every rehearsal needs: the rules as the files have them, the source, and the state to look at.

use super::{Context, Failure};
use crate::config::Config;
use crate::engine::port::{Source, Store};
use crate::engine::{Previewer, Settings};
use crate::rule::generation::{Generation, Tree};
use crate::rulebook::{Inspected, Limits, inspect, read_tree};
use crate::service::{open_source, outside, state_is_new};
use crate::store::sqlite::SqliteStore;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Rehearsal {
    pub config: Config,
    pub source: Arc<dyn Source>,
    pub generation: Arc<Generation>,
    pub store: Arc<dyn Store>,
    pub settings: Settings,
    /// The source's clock.
    pub now: Timestamp,
    /// Before the first start there is no state; what stands in for it goes with the rehearsal.
    _scratch: Option<Scratch>,
}

impl Rehearsal {
    /// The configured rules, checked against the source, and the configured state.
    pub async fn open(context: &Context) -> Result<Self, Failure> {
        let config = context.config()?;
        let source = open_source(&config)?;
        let generation = Arc::new(load(&config, &*source, &config.rules.directory).await?);
        let now = source.now().await?;
        let scratch = state_is_new(&config.state).then(Scratch::new).transpose()?;
        let store: Arc<dyn Store> = match &scratch {
            Some(scratch) => Arc::new(SqliteStore::open(scratch.state(), now).await?),
            None => context.state().await?,
        };
        let settings = config.settings();
        Ok(Self { config, source, generation, store, settings, now, _scratch: scratch })
    }

    /// Looks at `limit` crossers at most.
    pub fn previewer(&self, limit: usize) -> Previewer<'_> {
        Previewer {
            generation: &self.generation,
            source: &*self.source,
            store: &*self.store,
            sender: &self.settings.sender,
            sending: Some(&self.settings.sending),
            now: self.now,
            limit,
        }
    }
}

/// A whole rules directory, accepted by the source.
pub async fn load(config: &Config, source: &dyn Source, directory: &Path) -> Result<Generation, Failure> {
    load_tree(config, source, Arc::new(read_tree(directory, &Limits::default(), None)?)).await
}

/// The same of files that were read already.
pub async fn load_tree(config: &Config, source: &dyn Source, tree: Arc<Tree>) -> Result<Generation, Failure> {
    let inspected = inspect(tree, source, &outside(config), None).await;
    inspected.and_then(Inspected::accepted).map_err(Failure::Rules)
}

/// A directory for a state that nobody keeps.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("nudged-rehearsal-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }

    pub fn state(&self) -> PathBuf {
        self.0.join("state.db")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind in a temporary directory is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
