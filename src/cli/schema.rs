//! `nudged schema`: JSON Schemas for editors, and the commented configuration.

use super::{Exit, Output};
use crate::config;
use crate::rule;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what.
    #[arg(value_enum)]
    of: Document,
    /// Print the commented reference instead of a schema (config only).
    #[arg(long)]
    reference: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Document {
    Rule,
    Catalog,
    Config,
}

pub fn run(args: &Args, output: &mut Output) -> Exit {
    match args.of {
        Document::Rule => output.json(&rule::schema::rule()),
        Document::Catalog => output.json(&rule::schema::catalog()),
        Document::Config if args.reference => output.data(config::REFERENCE),
        Document::Config => output.json(&config::schema()),
    }
    Exit::Success
}
