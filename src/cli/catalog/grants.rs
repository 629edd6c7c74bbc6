//! `nudged catalog grants`: what a login needs for the catalog, and no more.

use crate::catalog;
use crate::cli::{Context, Exit, Failure, Output};
use crate::diagnostic::SourceFile;
use crate::service::open_source;
use crate::source::{Grantee, grants, sequences};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The login that the daemon uses.
    #[arg(long, default_value = "nudged")]
    role: String,
    /// From where it connects (MySQL and MariaDB).
    #[arg(long, default_value = "%")]
    host: String,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let config = context.config()?;
    let path = config.rules.directory.join("catalog.yaml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::other(Exit::Rules, format!("{}: {error}", path.display())))?;
    let reading = catalog::read(&Arc::new(SourceFile { path: "catalog.yaml".to_owned(), text }));
    let Some(catalog) = reading.catalog else { return Err(Failure::Rules(reading.findings)) };
    // Which sequence gives a key, only the database knows.
    let (dialect, given, untold) = context.block_on(async {
        let source = open_source(&config)?;
        let (mut given, mut untold) = (Vec::new(), None);
        for insert in catalog.tasks.iter().flat_map(|tasks| &tasks.inserts) {
            match sequences(&*source, &insert.table).await {
                Ok(found) => given.extend(found),
                // A login may ask for what it needs before it has it.
                Err(error) => untold = Some(error),
            }
        }
        Ok((source.dialect(), given, untold))
    })?;
    let to = Grantee { role: args.role.clone(), host: args.host.clone() };
    for line in grants(&catalog, dialect, &to, &given) {
        output.line(&line);
    }
    if let Some(error) = untold {
        let line = format!("-- Sequences that give the keys of inserted rows could not be asked for: {error}");
        output.line(&line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok(Exit::Success)
}
