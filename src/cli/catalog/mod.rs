//! `nudged catalog`: a first catalog from a database, and the permissions that one needs.

mod draft;
mod grants;

pub(super) use draft::{drafted, local_zone};

use super::{Context, Exit, Failure, Output};
use clap::Subcommand;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at the database and write a first catalog, with guesses and comments.
    Draft(draft::Args),
    /// Print the GRANT statements that the catalog needs.
    Grants(grants::Args),
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match &args.command {
        Command::Draft(args) => draft::run(args, context, output),
        Command::Grants(args) => grants::run(args, context, output),
    }
}
