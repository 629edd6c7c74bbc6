//! `nudged run`: the daemon.

use super::{Context, Exit, Failure, Output};
use crate::rulebook::RulebookError;
use crate::service::{Ended, StartError, init_logging, run as serve};

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, context: &Context, _output: &mut Output) -> Result<Exit, Failure> {
    let config = context.config()?;
    init_logging(&config.log).map_err(|error| Failure::other(Exit::Config, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let again = context.clone();
    let reread = Box::new(move || again.config().map_err(|failure| failure.to_string()));
    let ended = runtime.block_on(serve(config, reread));
    // Whatever hangs in a blocking thread doesn't keep a drained process.
    runtime.shutdown_background();
    Ok(match ended? {
        Ended::Drained => Exit::Success,
        Ended::Forced => Exit::Forced,
        Ended::Broken => Exit::Failure,
    })
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Witness(error) => Self::State(error.into()),
            StartError::State(error) | StartError::Rules(RulebookError::Store(error)) => Self::State(error),
            StartError::Source(error) => error.into(),
            StartError::Rules(RulebookError::NothingToRun(findings)) => Self::Rules(findings),
            error @ (StartError::Serve(_) | StartError::Setup(_) | StartError::Secret(_)) => {
                Self::other(Exit::Config, error.to_string())
            }
            error @ (StartError::Signals(_) | StartError::Metrics(_)) => Self::other(Exit::Failure, error.to_string()),
        }
    }
}
