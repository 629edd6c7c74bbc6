//! `nudged demo`: the daemon against a small CRM whose customers live a month in half a minute.

mod clock;
mod feed;
mod home;
mod life;
mod mailbox;
mod narrate;
mod receiver;
mod reloads;
mod summary;
mod world;

use super::{Exit, Failure, Output};

#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args, _output: &mut Output) -> Result<Exit, Failure> {
    Err(Failure::other(Exit::Failure, "the demo is not part of this build"))
}
