//! `nudged reload`: load the rules now, wait for the verdict and say what came of it.

use super::admin::AdminClient;
use super::{Context, Exit, Failure, Format, Output};
use crate::diagnostic::render::counted;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Confirm that rules are gone for good, where the brake holds a change.
    #[arg(long)]
    confirm: bool,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args, context: &Context, output: &mut Output) -> Result<Exit, Failure> {
    let config = context.config_for_admin()?;
    let answer = context.block_on(async {
        AdminClient::new(&config.web)?.post("/api/reload", json!({"confirm": args.confirm})).await
    })?;
    if !matches!(answer.status, StatusCode::OK | StatusCode::CONFLICT) {
        answer.into_result()?;
        return Ok(Exit::Failure);
    }
    if args.format == Format::Json {
        output.json(&answer.body);
    } else {
        tell(&answer.body, output);
    }
    Ok(if answer.status == StatusCode::OK { Exit::Success } else { Exit::Rules })
}

fn tell(verdict: &Json, output: &mut Output) {
    let trouble = &verdict["trouble"];
    for finding in listed(&verdict["warnings"]).chain(listed(&trouble["findings"])) {
        output.talk(&one_line(finding));
    }
    let rules = counted(verdict["rules"].as_u64().unwrap_or(0) as usize, "rule");
    match trouble["message"].as_str() {
        None => output.talk(&format!("{rules} loaded")),
        Some(message) if trouble["kind"] == "braked" => output.talk(&format!("error: {message}")),
        Some(message) => {
            // What is wrong stands above already.
            let said = matches!(trouble["kind"].as_str(), Some("rejected" | "isolated" | "refused"));
            let message = message.split_once(": ").map_or(message, |(what, _)| if said { what } else { message });
            output.talk(&format!("error: {message}\n{rules} of the last good version stay loaded"));
        }
    }
}

fn listed(value: &Json) -> impl Iterator<Item = &Json> {
    value.as_array().into_iter().flatten()
}

fn one_line(finding: &Json) -> String {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let at = match &finding["at"] {
        Json::Null => String::new(),
        at => format!("{}:{}:{}: ", text(&at["file"]), at["line"], at["column"]),
    };
    let help = finding["help"].as_str().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{at}{}[{}]: {}{help}", text(&finding["severity"]), text(&finding["code"]), text(&finding["message"]))
}
