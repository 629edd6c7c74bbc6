//! The rehearsal commands as people see them: the program itself over a CRM in SQLite.

use crate::operator::ready;
use crate::site::Site;
use crate::support::PATIENCE;
use crate::support::poll_until;
use serde_json::{Value as Json, json};
use std::fs;

const SILENCE: &str = "version: 1
id: silence
description: Silent for 90 days.
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 90 days}
where:
  - country: [AT, DE]
  - tickets: {none: {status: open}, within_last: 30 days}
  - orders: {count: {at_least: 1}}
backfill: 30 days
check_every: 1 hour
steps:
  - email: {template: hello}
  - wait: {for: 7 days}
  - webhook: {to: team-chat, body: {text: \"{{ record.name }} is silent\"}}
";

/// Customers who fell silent 1, 2, … days ago; every third is Italian.
pub fn silent(customers: i64) -> Site {
    let site = Site::new();
    site.rules(&[("silence.yaml", SILENCE)]);
    let template = "---\nsubject: \"We miss {{ record.name }}\"\n---\nHello {{ to.first_name }}!\n";
    fs::write(site.folder.path().join("rules/templates/hello.md"), template).unwrap();
    for id in 1..=customers {
        let country = if id % 3 == 0 { "IT" } else { "AT" };
        site.crm(&format!(
            "INSERT INTO accounts VALUES ({id}, 'Cafe {id}', 'cafe', 'Graz', '{country}', 'B', 0, 1, 0, '2020-01-01 00:00:00');
             INSERT INTO contacts VALUES ({id}, {id}, 'Anna{id}', 'Gruber', 'anna{id}@cafe.example', NULL, 'manager', 1,
                                          NULL, NULL, 1, NULL);
             INSERT INTO orders VALUES ({id}, {id}, datetime('now', '-{} days'), 'paid', 12.5);",
            90 + id
        ));
    }
    site
}

/// The text with every instant and date taken out, so that a snapshot is the same tomorrow.
pub fn timeless(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let shape: String = rest.chars().take(10).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        if shape != "0000-00-00" {
            let mut chars = rest.chars();
            kept.extend(chars.next());
            rest = chars.as_str();
            continue;
        }
        let tail = &rest[10..];
        let length = tail.chars().take_while(|c| c.is_ascii_digit() || "T:.Z".contains(*c)).count();
        let spaced = tail.strip_prefix(' ').filter(|clock| clock.as_bytes().get(2) == Some(&b':'));
        let length = spaced
            .map_or(length, |clock| 1 + clock.chars().take_while(|c| c.is_ascii_digit() || ":Z".contains(*c)).count());
        kept.push_str(if length > 0 { "<instant>" } else { "<date>" });
        rest = &tail[length..];
    }
    kept
}

fn shown(site: &Site, arguments: &[&str]) -> String {
    let (code, data, talk) = site.run(arguments);
    assert_eq!(code, 0, "{talk}");
    timeless(&data)
}

#[test]
fn explain_is_a_page_for_a_match_and_for_a_non_match() {
    let site = silent(3);
    insta::assert_snapshot!("explain-match", shown(&site, &["explain", "silence", "--record", "customer:1"]));
    insta::assert_snapshot!("explain-non-match", shown(&site, &["explain", "silence", "--record", "customer:3"]));
    let mut json = site.json(&["explain", "silence", "--record", "customer:3"]);
    // A state that stands in has another secret every time.
    json["steps"][1]["body"]["data"]["delivery"] = json!("(delivery)");
    insta::assert_snapshot!("explain-json", timeless(&serde_json::to_string_pretty(&json).unwrap()));
    assert_eq!(json["verdict"]["code"], "fails");
    assert_eq!(site.run(&["explain", "none", "--record", "customer:1"]).0, 8);
    assert_eq!(site.run(&["explain", "silence", "--record", "order:1"]).0, 2);
    assert!(!std::path::Path::new(&site.path("state.db")).exists(), "it leaves nothing");
}

/// A day of the catalog's zone.
fn today(offset: i64) -> String {
    let zone = jiff::tz::TimeZone::get("Europe/Vienna").unwrap();
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * offset)).to_zoned(zone).date().to_string()
}

#[test]
fn a_backtest_counts_by_day_and_labels_its_terms() {
    let site = silent(9);
    let from = today(-12);
    let json = site.json(&["backtest", "silence", "--from", &from, "--records"]);
    assert_eq!(json["total"], json!({"crossed": 9, "as_of": 9, "matched": 6}));
    let bases: Vec<&str> = json["terms"].as_array().unwrap().iter().map(|t| t["basis"].as_str().unwrap()).collect();
    assert_eq!(bases, ["current"; 3], "a filter looks at columns, also one of the catalog over the rows of a count");
    assert_eq!(json["crossed_by_current"], json!(["customer.is_active", "customer.is_sample", "order.status"]));
    assert_eq!((&json["terms"][0]["held"], &json["terms"][0]["failed"]), (&json!(6), &json!(3)));
    let mut records: Vec<&str> =
        json["records"].as_array().unwrap().iter().map(|hit| hit["record"].as_str().unwrap()).collect();
    records.sort_unstable();
    assert_eq!(records, ["customer:1", "customer:2", "customer:4", "customer:5", "customer:7", "customer:8"]);
    assert_eq!(json["days"].as_array().unwrap().len(), 13);
    let page = shown(&site, &["backtest", "silence", "--from", &from]);
    // How many empty days lie before and after depends on the hour: the rows are dated in UTC, the days are Vienna's.
    let told = page.lines().filter(|line| *line != "<date>  0        0           0").collect::<Vec<_>>();
    insta::assert_snapshot!("backtest", told.join("\n"));
    let coarse = site.json(&["backtest", "silence", "--from", &from, "--every", "1 day"]);
    assert_eq!(coarse["total"], json["total"]);
    assert!(coarse["looks"].as_u64() < json["looks"].as_u64());
    assert_eq!(site.run(&["backtest", "silence", "--from", &today(3)]).0, 2);
    assert!(!std::path::Path::new(&site.path("state.db")).exists(), "it needs no state");
}

#[test]
fn a_backtest_shows_what_history_can_tell_apart_from_what_stands_there_today() {
    let site = silent(3);
    let term = "  - responses: {none: {}, within_last: 5 days}\n";
    site.rules(&[("silence.yaml", &SILENCE.replace("where:\n", &format!("where:\n{term}")))]);
    // The first fell silent a day ago and answered the day before.
    site.crm("INSERT INTO surveys (id, account_id, kind, rating, answered_at) VALUES (1, 1, 'nps', 9, datetime('now', '-2 days'))");
    let page = shown(&site, &["backtest", "silence", "--from", &today(-12)]);
    assert!(page.contains("total       3 crossed, 2 by what history can tell, 1 by all terms"), "{page}");
    let lines: Vec<Vec<&str>> =
        page.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect()).collect();
    for line in [
        ["as of then", "where", "responses: {none: {}, within_last: 5 days}", "2", "1"],
        ["current", "where", "country: [AT, DE]", "2", "1"],
    ] {
        assert!(lines.iter().any(|found| found.iter().map(|cell| cell.trim()).eq(line)), "no {line:?} in:\n{page}");
    }
}

#[test]
fn a_test_mail_is_sent_marked_and_leaves_the_state_alone() {
    let site = silent(3);
    let arguments = ["test-send", "silence", "--record", "customer:3", "--to", "me@linden.example"];
    let (code, data, talk) = site.run(&arguments);
    assert_eq!(code, 0, "{talk}");
    for line in ["subject    [test] We miss Cafe 3", "meant for  anna3@cafe.example", "sent to    me@linden.example"] {
        assert!(data.contains(line), "no `{line}` in:\n{data}");
    }
    let mails: Vec<String> = fs::read_dir(site.path("mail"))
        .unwrap()
        .map(|mail| fs::read_to_string(mail.unwrap().path()).unwrap())
        .collect();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].contains("To: me@linden.example") && !mails[0].contains("anna3"), "{}", mails[0]);
    assert!(!std::path::Path::new(&site.path("state.db")).exists());
    let wrong = ["test-send", "silence", "--record", "customer:3", "--to", "nobody"];
    assert_eq!(site.run(&wrong).0, 1, "no address");
    assert_eq!(site.json(&arguments)["outcome"], Json::from("sent"));
}

#[test]
fn a_simulation_shows_who_gets_what_and_when() {
    let site = silent(3);
    let shown = shown(&site, &["simulate", "--days", "10"]);
    insta::assert_snapshot!("simulate", shown);
    let json = site.json(&["simulate", "silence", "--days", "10"]);
    assert_eq!(json["source"], "frozen");
    assert_eq!(json["rules"][0]["outcomes"], json!({"sent": 4}));
    assert_eq!(json["attempts"].as_array().unwrap().len(), 4);
    assert!(
        !std::path::Path::new(&site.path("state.db")).exists() && !std::path::Path::new(&site.path("mail")).exists()
    );
    assert_eq!(site.run(&["simulate", "none"]).0, 8);
}

#[test]
fn where_an_answer_decides_that_nobody_gave_it_is_said() {
    let site = silent(1);
    let steps = "  - webhook: {to: team-chat, body: {}, save: lead}
  - branch:
      id: scored
      cases: [{name: seven, when: {saved.lead.id: 7}, steps: [email: {template: hello, id: seven}]}]
      otherwise: [email: {template: hello, id: other}]
";
    let rule = SILENCE.split_once("steps:\n").unwrap().0.to_owned() + "steps:\n" + steps;
    site.rules(&[("silence.yaml", &rule)]);
    let guess = "a guess from `scored` on: nobody was asked, so the answer in `saved` is made up";
    for more in [&[][..], &["--summary"]] {
        let arguments = [&["simulate", "--days", "2"], more].concat();
        let (code, table, talk) = site.run(&arguments);
        assert!(code == 0 && table.contains(&format!("silence: {guess}\n")), "{table}{talk}");
        assert_eq!(site.json(&arguments)["rules"][0]["guessed"], json!(["scored"]));
    }
    let arguments = ["preview", "silence", "--record", "customer:1"];
    assert!(site.run(&arguments).2.contains(guess), "{}", site.run(&arguments).2);
    assert_eq!(site.json(&arguments)["guessed"], json!(["scored"]));

    // Nothing is guessed where the answer decides nothing.
    site.rules(&[("silence.yaml", SILENCE)]);
    assert_eq!(site.json(&["simulate", "--days", "2"])["rules"][0]["guessed"], json!([]));
    assert_eq!(site.json(&arguments)["guessed"], json!([]));
}

#[test]
fn why_and_plan_look_at_what_runs() {
    let site = silent(3);
    let mut daemon = ready(&site);
    let sent = || site.json(&["deliveries", "list", "--state", "sent"]).as_array().unwrap().len();
    poll_until(PATIENCE, || sent() == 2);
    insta::assert_snapshot!("why-sent", names_no_file(&shown(&site, &["why", "customer:1", "--verbose"])));
    insta::assert_snapshot!("why-not", shown(&site, &["why", "customer:3", "--since", "7d"]));
    let json = site.json(&["why", "customer:1"]);
    assert_eq!((&json[0]["rule"], &json[0]["outcome"]), (&json!("silence"), &json!("sent")));
    assert_eq!(site.run(&["why", "invoice:1"]).0, 8);

    let (_, none, talk) = site.run(&["plan"]);
    assert_eq!((none.as_str(), talk.as_str()), ("", "0 rules differ, 1 don't; nothing was changed\n"));
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0));
    let shorter = SILENCE.replace("for: 90 days", "for: 91 days").replace("[AT, DE]", "[AT, IT]");
    site.rules(&[("silence.yaml", &shorter), ("other.yaml", &SILENCE.replace("id: silence", "id: other"))]);
    insta::assert_snapshot!("plan", shown(&site, &["plan"]));
    let json = site.json(&["plan"]);
    assert_eq!((&json["running"], json["rules"].as_array().unwrap().len()), (&json!(true), 2));
    assert_eq!(json["rules"][1]["under_way"]["people"]["count"], 2);
}

/// A mail in the folder is named after its delivery, which is another every time.
fn names_no_file(text: &str) -> String {
    let mut kept = String::new();
    for word in text.split_inclusive([' ', '\n', '(', ')']) {
        match word.trim_end_matches([' ', '\n', ')']).strip_suffix(".eml") {
            Some(name) => kept.push_str(&word.replace(name, "<delivery>")),
            None => kept.push_str(word),
        }
    }
    kept
}
