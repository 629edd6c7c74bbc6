//! `nudged status`: the state, and the daemon where it runs.

use super::admin::AdminClient;
use super::{Context, Exit, Failure, Format, Output, rules, text};
use crate::diagnostic::render::counted;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let daemon = context.block_on(daemon(context))?;
    let state = context.state_report()?;
    match args.format {
        Format::Json => output.json(&json!({"daemon": daemon, "state": state})),
        Format::Table => {
            tell_daemon(&daemon, output);
            sending_held(&state["sending_held"], output);
            counts(&state["counts"], output);
            ledger(&state["ledger"], output);
            output.line("");
            rules::table(&with_rests(&state["rules"], &daemon["rulebook"]["resting"]), output);
            held(&state["held"], output);
        }
    }
    Ok(Exit::Success)
}

/// The daemon's own account, or null where it doesn't run: the state can be read all the same.
pub(super) async fn daemon(context: &Context) -> Result<Json, Failure> {
    let config = context.config_for_admin()?;
    match AdminClient::new(&config.web) {
        Ok(client) => match client.get("/api/status").await {
            Ok(answer) => Ok(answer.into_result()?["daemon"].take()),
            Err(_) => Ok(Json::Null),
        },
        Err(_) => Ok(Json::Null),
    }
}

fn tell_daemon(daemon: &Json, output: &mut Output) {
    if daemon.is_null() {
        output.line("daemon       not running");
        return;
    }
    let rulebook = &daemon["rulebook"];
    let ready = if daemon["ready"] == true { "ready" } else { "not ready" };
    output.line(&format!(
        "daemon       {ready}, version {}, pid {}, since {}",
        text::of(&daemon["version"]),
        text::of(&daemon["pid"]),
        text::instant(&daemon["started_at"])
    ));
    let hash = text::of(&rulebook["generation"]);
    output.line(&format!(
        "generation   {}, {}, loaded {}{}",
        hash.get(..12).unwrap_or(&hash),
        counted(rulebook["rules"].as_u64().unwrap_or(0) as usize, "rule"),
        text::instant(&rulebook["loaded_at"]),
        if rulebook["restored"] == true { ", restored from the state" } else { "" }
    ));
    if let Some(trouble) = rulebook["trouble"]["message"].as_str() {
        output.line(&format!("TROUBLE      {trouble}"));
    }
    if let Some(trouble) = daemon["source"].as_str() {
        output.line(&format!("TROUBLE      {trouble}"));
    }
    let resting = rulebook["resting"].as_object().into_iter().flatten();
    for (rule, reason) in resting {
        output.line(&format!("RESTING      {rule}: {}", text::of(reason)));
    }
    if let Some(to) = daemon["redirect_all_to"].as_str() {
        output.line(&format!("REDIRECTED   every mail goes to {to}, and nobody else is written to"));
    }
    if let Some(illness) = daemon["illness"].as_str() {
        output.line(&format!("TROUBLE      {illness}"));
    }
}

/// The state doesn't know which rules the daemon lets rest.
pub(super) fn with_rests(rules: &Json, resting: &Json) -> Json {
    let mut rules = rules.clone();
    for rule in rules.as_array_mut().into_iter().flatten() {
        let rests = rule["rule"].as_str().is_some_and(|name| resting[name].is_string());
        if rests && rule["status"] == "running" {
            rule["status"] = "resting".into();
        }
    }
    rules
}

/// What no operator must overlook.
fn sending_held(held: &Json, output: &mut Output) {
    for held in held.as_array().into_iter().flatten() {
        output.line(&format!("NOTHING SENT {}", text::of(&held["message"])));
    }
}

fn counts(counts: &Json, output: &mut Output) {
    let outbox = &counts["outbox"];
    let enrollments = &counts["enrollments"];
    output.line(&format!("matches      {}", counts["matches"]));
    output.line(&format!("enrollments  {} active, {} held", enrollments["active"], enrollments["held"]));
    let of = |state: &str| format!("{} {state}", outbox[state]);
    let states = ["due", "waiting", "sending", "unknown", "dead"].map(of).join(", ");
    let oldest = outbox["oldest_due"]
        .as_str()
        .map_or_else(String::new, |_| format!(", oldest due {}", text::instant(&outbox["oldest_due"])));
    output.line(&format!("outbox       {states}{oldest}"));
    let attempts = counts["attempts_of_24_hours"].as_object().into_iter().flatten();
    let attempts: Vec<String> = attempts.map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let attempts = if attempts.is_empty() { "none".to_owned() } else { attempts.join(", ") };
    output.line(&format!("last 24 h    {attempts}"));
    output.line(&format!("suppressed   {}", counts["suppressed"]));
}

/// How much a match takes up, for who plans a disk.
fn ledger(ledger: &Json, output: &mut Output) {
    let (matches, bytes) = (ledger["matches"].as_u64().unwrap_or(0), ledger["bytes"].as_u64().unwrap_or(0));
    if let Some(each) = bytes.checked_div(matches) {
        output.line(&format!("ledger       {matches} matches, {} KiB, {each} bytes a match", bytes.div_ceil(1024)));
    }
}

fn held(held: &Json, output: &mut Output) {
    let held: Vec<&Json> = held.as_array().into_iter().flatten().collect();
    if held.is_empty() {
        return;
    }
    output.line("");
    for sweep in held {
        output.line(&format!(
            "HELD         {} of {}: {} ({} matches); see `nudged hold show {}`",
            text::of(&sweep["sweep"]),
            text::of(&sweep["rule"]),
            text::of(&sweep["reason"]),
            sweep["matches"],
            text::of(&sweep["sweep"])
        ));
    }
}
