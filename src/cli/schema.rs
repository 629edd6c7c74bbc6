//! `nudged schema`: JSON Schemas for editors, and the commented configuration.

use super::offline::Offline;
use super::{Context, Exit, Failure, Output};
use crate::catalog::{self, Catalog};
use crate::config::{self, Config};
use crate::engine::port::live_schema;
use crate::rule;
use crate::rule::generation::{Checked, Tree};
use crate::rule::schema::Names;
use crate::rulebook::{Limits, read_tree};
use crate::service::open_source;
use serde_json::Value as Json;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what.
    #[arg(value_enum)]
    of: Document,
    /// Suggest the names of the catalog, the templates, the configuration and the database's own columns (rule only).
    #[arg(long)]
    db: bool,
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

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    match args.of {
        Document::Rule if args.db => {
            let schema = rule_with_names(context, output)?;
            output.json(&schema);
        }
        _ if args.db => return Err(Failure::other(Exit::Usage, "`--db` is for `nudged schema rule`")),
        Document::Rule => output.json(&rule::schema::rule()),
        Document::Catalog => output.json(&rule::schema::catalog()),
        Document::Config if args.reference => output.data(config::REFERENCE),
        Document::Config => output.json(&config::schema()),
    }
    Ok(Exit::Success)
}

/// Rules that are wrong just now take nothing away; a catalog that can't be read does.
fn rule_with_names(context: &Context, output: &mut Output) -> Result<Json, Failure> {
    let config = context.config()?;
    let tree = Arc::new(read_tree(&config.rules.directory, &Limits::default(), None)?);
    let Offline { outside, surroundings, .. } = Offline::build(Arc::clone(&tree), &config, context.has_config());
    let Some(declared) = catalog_of(&tree) else {
        return Err(Failure::Rules(Checked::of(&tree, &surroundings).findings));
    };
    let catalog = context.block_on(async { Ok(with_columns(declared, &config, output).await) })?;
    let names = Names::of(&tree, &catalog, &surroundings);
    let names = names.and(&outside.senders.unwrap_or_default(), &outside.events);
    Ok(rule::schema::rule_with(&names))
}

fn catalog_of(tree: &Tree) -> Option<Catalog> {
    let file = tree.files.iter().find(|file| matches!(file.path.as_str(), "catalog.yaml" | "catalog.yml"))?;
    catalog::read(file).catalog
}

/// The catalog with the columns of the database, which are fields as well, where it answers.
async fn with_columns(declared: Catalog, config: &Config, output: &mut Output) -> Catalog {
    let live = match open_source(config) {
        Ok(source) => live_schema(&*source, &declared).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match live {
        Ok(schema) => declared.with_schema(&schema),
        Err(reason) => {
            output.talk(&format!("only the fields that the catalog declares are suggested: {reason}"));
            declared
        }
    }
}
