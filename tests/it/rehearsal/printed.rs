//! What the rehearsal commands print, as tables and as JSON: a change of either is a change somebody sees.

use super::shown::{silent, timeless};
use crate::operator::ready;
use crate::site::Site;
use crate::support::{PATIENCE, poll_until};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde_json::Value as Json;

/// Without instants, and without what is another every time: deliveries, versions, files named after them.
fn lasting(text: &str) -> String {
    let mut kept = String::new();
    for word in timeless(text).split_inclusive(|c: char| !c.is_ascii_hexdigit() && c != '-') {
        let (body, end) = word.split_at(word.trim_end_matches(|c: char| !c.is_ascii_hexdigit() && c != '-').len());
        let is_id = body.len() >= 16 && body.chars().any(|c| c.is_ascii_digit());
        kept.push_str(if is_id { "<id>" } else { body });
        kept.push_str(end);
    }
    kept
}

fn page(site: &Site, arguments: &[&str]) -> String {
    let (code, data, talk) = site.run(arguments);
    assert_eq!(code, 0, "{talk}");
    lasting(&data)
}

fn json(site: &Site, arguments: &[&str]) -> String {
    told(&site.json(arguments))
}

fn told(json: &Json) -> String {
    lasting(&serde_json::to_string_pretty(json).unwrap())
}

#[test]
fn a_preview_is_a_page_and_json() {
    let site = silent(3);
    let arguments = ["preview", "silence", "--last", "30 days"];
    insta::assert_snapshot!("preview-table", page(&site, &arguments));
    insta::assert_snapshot!("preview-json", json(&site, &arguments));
}

#[test]
fn a_backtest_is_json_too() {
    let site = silent(4);
    let from = (Timestamp::now() - 12 * 24.hours()).to_zoned(TimeZone::get("Europe/Vienna").unwrap()).date();
    let mut backtest = site.json(&["backtest", "silence", "--from", &from.to_string(), "--every", "1 day"]);
    // How many empty days and looks there are depends on the hour: the rows are dated in UTC, the days are Vienna's.
    assert!(backtest["looks"].as_u64().unwrap() >= 11);
    backtest["looks"] = "some".into();
    backtest["days"].as_array_mut().unwrap().retain(|day| day["crossed"] != 0);
    insta::assert_snapshot!("backtest-json", told(&backtest));
}

#[test]
fn a_test_mail_is_a_page_and_json() {
    let site = silent(1);
    let arguments = ["test-send", "silence", "--record", "customer:1", "--to", "me@linden.example"];
    insta::assert_snapshot!("test-send-table", page(&site, &arguments));
    insta::assert_snapshot!("test-send-json", json(&site, &arguments));
}

#[test]
fn why_and_plan_are_json_too() {
    let site = silent(3);
    let mut daemon = ready(&site);
    let sent = || site.json(&["deliveries", "list", "--state", "sent"]).as_array().unwrap().len();
    poll_until(PATIENCE, || sent() == 2);
    insta::assert_snapshot!("why-json", json(&site, &["why", "customer:1"]));
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0));
    let rule = std::fs::read_to_string(site.path("rules/silence.yaml")).unwrap();
    let other = rule.replace("id: silence", "id: other").replace("[AT, DE]", "[IT]");
    let watched = "changed: {field: country}";
    let third = other.replace("id: other", "id: third").replace("inactivity: {of: orders, for: 90 days}", watched);
    site.rules(&[
        ("silence.yaml", &rule.replace("[AT, DE]", "[AT, IT]")),
        ("other.yaml", &other),
        ("third.yaml", &third),
    ]);
    insta::assert_snapshot!("plan-json", json(&site, &["plan"]));
    let plan = page(&site, &["plan"]);
    assert!(plan.contains("match      not counted: the source has the value of now, and only sweeps know"), "{plan}");
}

#[test]
fn a_plan_shows_what_is_removed_and_renamed_and_whom_that_leaves() {
    let site = silent(3);
    let rule = std::fs::read_to_string(site.path("rules/silence.yaml")).unwrap();
    let waiting = "- wait: {for: 7 days}\n  - email: {template: hello}\n";
    let other = rule.replace("id: silence", "id: other").replace("- email: {template: hello}\n", waiting);
    site.rules(&[("silence.yaml", &rule), ("other.yaml", &other)]);
    let mut daemon = ready(&site);
    let active = |rule: &str| {
        let arguments = ["enrollments", "list", "--state", "active", "--rule", rule];
        site.json(&arguments).as_array().unwrap().len()
    };
    poll_until(PATIENCE, || active("silence") == 2 && active("other") == 2);
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0));
    let quiet = rule.replace("id: silence", "id: quiet\nwas: [silence]").replace("[AT, DE]", "[DE, IT]");
    site.rules(&[("quiet.yaml", &quiet)]);
    insta::assert_snapshot!("plan-removed", page(&site, &["plan"]));
}

/// A window that has yet to open, and one mail a day.
fn respectful() -> (Site, String) {
    let site = silent(1);
    let rule = std::fs::read_to_string(site.path("rules/silence.yaml")).unwrap();
    let more = "- email: {template: hello}\n  - wait: {for: 2 hours}\n  - email: {template: hello, id: again}\n";
    site.rules(&[("silence.yaml", &rule.replace("- email: {template: hello}\n", more))]);
    let hour = i64::from(Timestamp::now().to_zoned(TimeZone::get("Europe/Vienna").unwrap()).hour());
    let window = format!("{:02}:00-{:02}:00", (hour + 3) % 24, (hour + 7) % 24);
    site.configure("window = \"\"", &format!("window = \"{window}\""));
    site.configure("cap = []", "cap = [\"1 per day\"]");
    (site, window)
}

#[test]
fn a_simulation_with_a_window_a_cap_and_waits_is_a_page_and_json() {
    let (site, window) = respectful();
    let named = |text: String| text.replace(&window, "<window>");
    insta::assert_snapshot!("simulate-capped", named(page(&site, &["simulate", "--days", "10"])));
    insta::assert_snapshot!("simulate-json", named(json(&site, &["simulate", "--days", "10"])));
    // The preview puts the same messages off to the same instants.
    let simulated = site.json(&["simulate", "--days", "10"]);
    let previewed = site.json(&["preview", "silence", "--record", "customer:1"]);
    let day = |instant: &Json| instant.as_str().unwrap()[..13].to_owned();
    let sent: Vec<String> = simulated["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|attempt| attempt["record"] == "customer:1" && attempt["outcome"] == "sent")
        .map(|attempt| day(&attempt["at"]))
        .collect();
    let shown: Vec<String> = previewed["matches"][0]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["nothing"].is_null())
        .map(|message| day(&message["due_at"]))
        .collect();
    assert_eq!((sent.len(), &sent), (3, &shown), "preview and simulate");
}
