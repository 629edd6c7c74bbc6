//! `nudged completions SHELL`.

use super::{Exit, Output, definition};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub fn run(args: &Args, output: &mut Output) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "nudged", &mut script);
    output.data(&String::from_utf8_lossy(&script));
    Exit::Success
}
