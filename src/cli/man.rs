//! `nudged man`: the manual page in roff.

use super::{Exit, Failure, Output, definition};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The page of one subcommand.
    command: Option<String>,
}

pub fn run(args: &Args, output: &mut Output) -> Result<Exit, Failure> {
    let mut whole = definition();
    whole.build();
    let page = match &args.command {
        None => whole,
        Some(name) => whole
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Failure::other(Exit::NotFound, format!("there is no command `{name}`")))?,
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff)?;
    output.data(&String::from_utf8_lossy(&roff));
    Ok(Exit::Success)
}
