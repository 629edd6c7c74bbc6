//! A mail to each of those who newly fell silent, through the real daemon into a local mail server, with every match
//! and every attempt synced to disk: from the instant at which the sweep is due to the last mail's arrival.

use super::mail_sink::MailSink;
use super::main_job::{due, finish, newly_silent};
use super::nudged::{Nudged, Outlets, State};
use super::{Bench, bare, report};
use std::time::Duration;

const RUNS: usize = 3;
const SESSIONS: usize = 10;

/// About what arrives of the template below, head and both parts.
const BYTES: usize = 4_000;

const TEMPLATE: &str = "---
subject: We miss you, {{ to.first_name }}
---
Dear {{ to.first_name }},

it has been a while since {{ record.name }} ordered last, on {{ occasion.at | date }}.

Some hundred words of a decent mail, as an office would write it. Some hundred words of a decent mail, as an office
would write it. Some hundred words of a decent mail, as an office would write it. Some hundred words of a decent mail.

- a first reason to come back
- a second one
- and [a link](https://shop.example/again)

Yours, the bench
";

const LAYOUT: &str = "<!doctype html><html><body>{{ content }}</body></html>\n";

/// Rates, caps and consent aside, which are what keeps mails from going as fast as they can.
fn rule() -> (String, String) {
    let (name, text) = super::main_job::rule();
    let text = text.replace("purpose: staff", "purpose: service\nto: main_contact");
    (name, text.replace("webhook: {to: sink}", "email: {template: come-back}"))
}

pub fn measure(bench: &Bench) {
    let (selection, expected) = newly_silent(bench);
    let sink = MailSink::start();
    let source = bare::mails(sink.port, 20_000, SESSIONS, BYTES);
    drop(sink);
    report::figure("newly silent", expected);
    report::rate("smtp-source, 10 sessions", source, None);
    for state in State::chosen() {
        for _ in 0..RUNS {
            once(bench, state, expected, (selection, source));
        }
    }
}

fn once(bench: &Bench, state: State, expected: usize, (selection, source): (Duration, f64)) {
    let sink = MailSink::start();
    let nudged = Nudged::configure(bench, state, Outlets::by_smtp(&sink, SESSIONS), &[rule()]);
    nudged.write("rules/templates/come-back.md", TEMPLATE);
    nudged.write("rules/templates/layouts/default.html", LAYOUT);
    let life = nudged.start();
    let tally = finish(&nudged, || sink.tally(), expected);
    let what = format!("{}: {} mails, from due to the last arrival", state.name(), tally.requests);
    let bare = selection + Duration::from_secs_f64(expected as f64 / source);
    report::time(&what, tally.last.saturating_sub(due(&nudged)), Some(("psql + smtp-source", bare)));
    let what = "  mails between the first and the last arrival, durable end to end (target 5,000/s)";
    report::rate(what, tally.rate(), Some(("smtp-source", source)));
    report::figure("  peak memory", format!("{:.0} MiB; repeated {}", life.memory().1, tally.repeats()));
    life.kill();
}
