//! `nudged init`: a first set-up, by questions or by flags.
//!
//! Asks for the database, drafts its catalog, picks example rules that fit, has everything checked against the
//! database, and only then writes. Files that are there already are never touched.

mod examples;
mod questions;

use super::catalog::{drafted, local_zone};
use super::{Context, Exit, Failure, Output};
use crate::catalog::draft::{Draft, render};
use crate::config::{self, Config, Environment, Secrecy};
use crate::diagnostic::{Finding, SourceFile};
use crate::rule::generation::Tree;
use crate::rule::schema;
use crate::rulebook::{Inspected, inspect};
use crate::service::{open_source, outside};
use examples::Example;
use questions::{Question, Questions};
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What editors complete from; the first line of rules and catalog leads there.
const SCHEMAS: [&str; 2] = ["schema/rule.v1.json", "schema/catalog.v1.json"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to put config.toml, rules/ and schema/.
    #[arg(default_value = ".", value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The CRM database: postgres://…, mysql://… or sqlite:PATH, or `env:NAME` or `file:PATH` that hold it.
    #[arg(long)]
    url: Option<String>,
    /// Zone of timestamps that carry none.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Where the state is kept, below the directory.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The sender of emails: `Acme <hello@acme.example>`; empty for none yet.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// Example rules to begin with, separated by commas; `all` or `none`.
    #[arg(long, value_name = "NAMES")]
    examples: Option<String>,
    /// Ask nothing: what no flag says has its default.
    #[arg(long, short)]
    yes: bool,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    refuse_to_overwrite(&args.directory)?;
    let mut questions = Questions::new(Box::new(std::io::stdin().lock()), args.yes);
    if !args.yes && std::io::stdin().is_terminal() {
        output.talk("A few questions; an empty answer takes what stands in brackets.");
    }
    let url = ask_database(args, context, &mut questions, output)?;
    let zone = ask_zone(args, &mut questions, output)?;
    let draft = context.block_on(async { Ok(drafted(&*open_source(&with_url(&url)?)?, &zone).await?) })?;
    describe(&draft, output);
    let examples = ask_examples(args, &draft, &mut questions, output)?;
    let from = ask_sender(args, &mut questions, output)?;
    let state = args.state.clone().unwrap_or_else(|| PathBuf::from("state.db"));

    let catalog = format!("# yaml-language-server: $schema=../schema/catalog.v1.json\n{}", render(&draft));
    let mut files = vec![("rules/catalog.yaml".to_owned(), catalog)];
    for example in examples {
        files.extend(example.files.into_iter().map(|(path, text)| (format!("rules/{path}"), text)));
    }
    let state = std::path::absolute(args.directory.join(state))?;
    let text = configuration(&from_anywhere(&url)?, &state, from.as_deref());
    let config = config::load("config.toml", &text, false, &Environment::of_process(), Secrecy::Resolve)?;
    output.findings(&check(&files, &config, context)?);
    files.insert(0, ("config.toml".to_owned(), text));
    files.push((SCHEMAS[0].to_owned(), format!("{:#}\n", schema::rule())));
    files.push((SCHEMAS[1].to_owned(), format!("{:#}\n", schema::catalog())));
    for (path, text) in &files {
        write_new(&args.directory.join(path), text)?;
        output.talk(&format!("wrote {}", args.directory.join(path).display()));
    }
    next_steps(&args.directory, output);
    Ok(Exit::Success)
}

fn refuse_to_overwrite(directory: &Path) -> Result<(), Failure> {
    for taken in ["config.toml", "rules"].into_iter().chain(SCHEMAS) {
        let path = directory.join(taken);
        if path.symlink_metadata().is_ok() {
            let message = format!("{} is there already; `init` overwrites nothing", path.display());
            return Err(Failure::other(Exit::Failure, message));
        }
    }
    Ok(())
}

/// Asked until it answers.
fn ask_database(
    args: &Args,
    context: &Context,
    questions: &mut Questions<'_>,
    output: &mut Output,
) -> Result<String, Failure> {
    let question = Question {
        text: "Where is the CRM database (postgres://…, mysql://…, sqlite:PATH)?",
        flag: "--url",
        default: None,
    };
    questions.ask(&question, args.url.as_deref(), output, |url| {
        if url.is_empty() {
            return Err("the database's URL is needed".to_owned());
        }
        let config = with_url(url).map_err(|failure| failure.to_string())?;
        let answers = context.block_on(async { Ok(open_source(&config)?.now().await?) });
        answers.map(|_| url.to_owned()).map_err(|failure| failure.to_string())
    })
}

fn with_url(url: &str) -> Result<Config, Failure> {
    let text = format!("[source]\nurl = {}\n", quoted(url));
    Ok(config::load("--url", &text, false, &Environment::of_process(), Secrecy::Resolve)?)
}

fn ask_zone(args: &Args, questions: &mut Questions<'_>, output: &mut Output) -> Result<String, Failure> {
    let local = local_zone();
    let question = Question {
        text: "In which time zone are timestamps that don't say?",
        flag: "--time-zone",
        default: Some(&local),
    };
    questions.ask(&question, args.time_zone.as_deref(), output, |zone| match jiff::tz::TimeZone::get(zone) {
        Ok(_) => Ok(zone.to_owned()),
        Err(_) => Err(format!("`{zone}` is not an IANA time zone such as Europe/Vienna")),
    })
}

fn describe(draft: &Draft, output: &mut Output) {
    let names: Vec<&str> = draft.entities.iter().map(|entity| entity.name.as_str()).collect();
    output.talk(&format!("{} entities: {}", names.len(), names.join(", ")));
    if !draft.left_out.is_empty() {
        output.talk(&format!("{} tables left out, the catalog says why", draft.left_out.len()));
    }
}

fn ask_examples(
    args: &Args,
    draft: &Draft,
    questions: &mut Questions<'_>,
    output: &mut Output,
) -> Result<Vec<Example>, Failure> {
    let mut fitting = examples::fitting(draft);
    if fitting.is_empty() {
        if let Some(named) = args.examples.as_deref().filter(|named| !["all", "none", ""].contains(named)) {
            let message = format!("--examples: `{named}` doesn't fit these tables, and no other example does");
            return Err(Failure::other(Exit::Usage, message));
        }
        output.talk("no example rule fits these tables; docs/rules.md shows how to write one");
        return Ok(fitting);
    }
    let names: Vec<&'static str> = fitting.iter().map(|example| example.name).collect();
    for example in &fitting {
        output.talk(&format!("  {}: {}", example.name, example.about));
    }
    let question = Question {
        text: "Which of these example rules, all in shadow mode (names, all, none)?",
        flag: "--examples",
        default: Some("all"),
    };
    let chosen = questions.ask(&question, args.examples.as_deref(), output, |answer| {
        match answer {
            "all" => return Ok(names.clone()),
            "none" | "" => return Ok(Vec::new()),
            _ => {}
        }
        let known = |name: &str| names.iter().find(|known| **known == name).copied();
        let words = answer.split([',', ' ']).filter(|word| !word.is_empty());
        words.map(|word| known(word).ok_or_else(|| format!("there is no example `{word}`"))).collect()
    })?;
    fitting.retain(|example| chosen.contains(&example.name));
    Ok(fitting)
}

fn ask_sender(args: &Args, questions: &mut Questions<'_>, output: &mut Output) -> Result<Option<String>, Failure> {
    let question = Question {
        text: "Who writes the emails (Acme <hello@acme.example>; empty for later)?",
        flag: "--from",
        default: Some(""),
    };
    questions.ask(&question, args.from.as_deref(), output, |from| {
        let address = from.rsplit_once('<').map_or(from, |(_, rest)| rest.trim_end_matches('>'));
        match (from.is_empty(), address.split_once('@')) {
            (true, _) => Ok(None),
            (false, Some((local, domain))) if !local.is_empty() && domain.contains('.') => Ok(Some(from.to_owned())),
            _ => Err(format!("`{from}` has no address such as hello@acme.example")),
        }
    })
}

/// Only what differs from the defaults; `nudged schema config --reference` prints the rest.
fn configuration(url: &str, state: &Path, from: Option<&str>) -> String {
    let from = match from {
        Some(from) => format!("from = {}\n", quoted(from)),
        None => "# from = \"Acme <hello@acme.example>\"  # needed before a rule with emails goes live\n".to_owned(),
    };
    format!(
        "# Every setting and its default: `nudged schema config --reference`. This file may hold a password, so\n\
         # only its owner may read it.\n\
         \n\
         [source]\nurl = {}\n\n[state]\nurl = {}\n\n[rules]\ndirectory = \"rules\"\n\n[email]\n{from}\n\
         # Needed before a rule about a topic goes live: see docs/email.md.\n\
         [sender]\nname = \"\"\npostal_address = \"\"\n\n[web]\n# Where commands reach the daemon. As a service: /run/nudged/admin.sock.\nsocket = \"admin.sock\"\npublic_listen = \"\"\npublic_url = \"\"\n",
        quoted(url),
        quoted(&format!("sqlite:{}", state.display())),
    )
}

/// Given where the command runs, the path of a SQLite database holds in a file elsewhere too.
fn from_anywhere(url: &str) -> Result<String, Failure> {
    let path = url.strip_prefix("sqlite:").map(|path| path.strip_prefix("//").unwrap_or(path));
    match path.filter(|path| !path.is_empty() && !path.starts_with(':')) {
        Some(path) => Ok(format!("sqlite:{}", std::path::absolute(path)?.display())),
        None => Ok(url.to_owned()),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The same check that `nudged check --db` makes, before anything is written.
fn check(files: &[(String, String)], config: &Config, context: &Context) -> Result<Vec<Finding>, Failure> {
    let in_rules = |(path, text): &(String, String)| {
        let path = path.strip_prefix("rules/").unwrap_or(path).to_owned();
        Arc::new(SourceFile { path, text: text.clone() })
    };
    let mut files: Vec<Arc<SourceFile>> = files.iter().map(in_rules).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let outside = outside(config);
    let tree = Arc::new(Tree { files });
    let checked = context.block_on(async { Ok(inspect(tree, &*open_source(config)?, &outside, None).await) })?;
    let generation = checked.and_then(Inspected::accepted).map_err(Failure::Rules)?;
    Ok(generation.warnings)
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |error| Failure::other(Exit::Failure, format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let secret = path.file_name().is_some_and(|name| name == "config.toml");
        options.mode(if secret { 0o600 } else { 0o644 });
    }
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}

fn next_steps(directory: &Path, output: &mut Output) {
    let config = directory.join("config.toml");
    let config = config.display();
    output.talk("Next:");
    output.talk(&format!("  nudged check --db --config {config}            see that rules and tables fit"));
    output.talk(&format!("  nudged catalog grants --config {config}        what the daemon's login needs"));
    output.talk(&format!("  nudged preview RULE --config {config}          whom a rule would reach"));
    output.talk(&format!("  nudged run --config {config}                   run; rules in shadow reach nobody"));
}
