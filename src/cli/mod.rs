//! The command line: one file per subcommand.
//!
//! Data goes to stdout, talk to stderr, and the exit code says how it ended ([`Exit`]). A command parses
//! its arguments, asks the layers below, and prints through [`Output`]; it decides nothing itself.

mod admin;
mod backtest;
mod catalog;
mod check;
mod completions;
mod confirm;
mod context;
mod deliveries;
mod demo;
mod enrollments;
mod exit;
mod explain;
mod export;
mod forget;
mod hold;
mod init;
mod man;
mod message;
mod offline;
mod output;
mod pause;
mod plan;
mod preview;
mod progress;
mod record;
mod rehearsal;
mod released;
mod reload;
mod rules;
mod run;
mod schema;
mod simulate;
mod status;
mod suppress;
mod test;
mod test_send;
mod text;
mod why;

pub use context::Context;
pub use exit::{Exit, Failure};
pub use output::{ColorChoice, Format, LaneName, Output};

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Watches a CRM database and acts when a customer relationship needs a nudge.
#[derive(Debug, Parser)]
#[command(name = "nudged", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Configuration file; without it the built-in defaults hold.
    #[arg(long, short, global = true, env = "NUDGED_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Rules directory, instead of the configured one.
    #[arg(long, global = true, value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// Colour on stdout and stderr.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run(run::Args),
    /// Check the rules directory; exits with 4 when a rule would not load.
    Check(check::Args),
    /// Play the tests of rules; exits with 4 when one fails.
    Test(test::Args),
    /// A first set-up: asks for the database, drafts its catalog and picks example rules.
    Init(init::Args),
    /// Draft a catalog from a database; print the permissions that one needs.
    Catalog(catalog::Args),
    /// Who matches a rule now, and what they would get; nothing is sent.
    Preview(preview::Args),
    /// Why a record matches a rule or doesn't, term by term.
    Explain(explain::Args),
    /// What every rule did with a record, or why it didn't.
    Why(why::Args),
    /// What a change to the rules would do, and to whom.
    Plan(plan::Args),
    /// The occasions a rule would have had, by day.
    Backtest(backtest::Args),
    /// Who would get what and when in the days ahead; nothing is sent.
    Simulate(simulate::Args),
    /// Send one mail of a rule to an address of yours.
    TestSend(test_send::Args),
    /// See it work: a simulated company, a month in half a minute.
    Demo(demo::Args),
    /// Show the state, and the daemon where it runs.
    Status(status::Args),
    /// Show how every rule stands.
    Rules(rules::Args),
    /// Who is in which sequence.
    Enrollments(enrollments::Args),
    /// What was sent and what was not; retry or give up what hangs.
    Deliveries(deliveries::Args),
    /// Sweeps that the guard holds for a person to decide.
    Hold(hold::Args),
    /// Addresses that must not be written to.
    Suppress(suppress::Args),
    /// Print everything the state holds about a record, as JSON.
    Export(export::Args),
    /// Erase a record from the state and its log of attempts; hashes and counts stay.
    Forget(forget::Args),
    /// Say that a state was restored or moved on purpose: only then something is sent again.
    Confirm(confirm::Args),
    /// Pause a rule: it neither matches nor sends.
    Pause(pause::Args),
    /// Let a paused rule run again.
    Resume(pause::Args),
    /// Load the rules now; exits with 4 when they are rejected.
    Reload(reload::Args),
    /// Print a JSON Schema for editors.
    Schema(schema::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Print the manual page.
    Man(man::Args),
}

/// The whole program: arguments in, exit code out.
pub fn main() -> ExitCode {
    run(std::env::args_os(), &mut Output::of_process()).into()
}

/// Runs one command with its output given, so that tests can read it.
pub fn run(arguments: impl IntoIterator<Item = OsString>, output: &mut Output) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, output),
    };
    output.set_color(cli.global.color);
    match dispatch(cli, output) {
        Ok(exit) => exit,
        Err(failure) => {
            output.failure(&failure);
            failure.exit()
        }
    }
}

fn dispatch(cli: Cli, output: &mut Output) -> Result<Exit, Failure> {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Run(args) => run::run(&args, &context, output),
        Command::Check(args) => check::run(&args, &context, output),
        Command::Test(args) => test::run(&args, &context, output),
        Command::Init(args) => init::run(&args, &context, output),
        Command::Catalog(args) => catalog::run(&args, &context, output),
        Command::Preview(args) => preview::run(&args, &context, output),
        Command::Explain(args) => explain::run(&args, &context, output),
        Command::Why(args) => why::run(&args, &context, output),
        Command::Plan(args) => plan::run(&args, &context, output),
        Command::Simulate(args) => simulate::run(&args, &context, output),
        Command::Backtest(args) => backtest::run(&args, &context, output),
        Command::TestSend(args) => test_send::run(&args, &context, output),
        Command::Demo(args) => demo::run(&args, context.rules(), output),
        Command::Status(args) => status::run(&args, &context, output),
        Command::Rules(args) => rules::run(&args, &context, output),
        Command::Enrollments(args) => enrollments::run(&args, &context, output),
        Command::Deliveries(args) => deliveries::run(&args, &context, output),
        Command::Hold(args) => hold::run(&args, &context, output),
        Command::Suppress(args) => suppress::run(&args, &context, output),
        Command::Export(args) => export::run(&args, &context, output),
        Command::Forget(args) => forget::run(&args, &context, output),
        Command::Confirm(args) => confirm::run(&args, &context, output),
        Command::Pause(args) => pause::run(&args, true, &context, output),
        Command::Resume(args) => pause::run(&args, false, &context, output),
        Command::Reload(args) => reload::run(&args, &context, output),
        Command::Schema(args) => schema::run(&args, &context, output),
        Command::Completions(args) => Ok(completions::run(&args, output)),
        Command::Man(args) => man::run(&args, output),
    }
}

/// Clap's own words: help and version are data, errors are talk.
fn usage(error: &clap::Error, output: &mut Output) -> Exit {
    let text = if output.colored() { error.render().ansi().to_string() } else { error.render().to_string() };
    if error.use_stderr() {
        output.talk_raw(&text);
        Exit::Usage
    } else {
        output.data(&text);
        Exit::Success
    }
}

/// The definition of the whole command line, for completions and the manual.
pub fn definition() -> clap::Command {
    Cli::command()
}
