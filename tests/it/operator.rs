//! What an operator does from the command line, with a real daemon, CRM and state: look first, then decide.

use super::site::{Process, Site, waited};
use super::support::{PATIENCE, Reply, http_receiver, poll_until};
use jiff::Timestamp;
use nudged::store::sqlite::SqliteStore;
use serde_json::{Value as Json, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

pub const SILENCE: &str = "version: 1
id: silence
description: Silent for 90 days.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 90 days}
where:
  - country: AT
backfill: 30 days
check_every: 1 hour
steps:
  - email: {template: hello}
";

/// Customers 1, 2, … were silent for 91 days.
pub fn with_silent(customers: usize, rule: &str) -> Site {
    let site = Site::new();
    site.rules(&[("silence.yaml", rule)]);
    let template = "---\nsubject: \"We miss {{ record.name }}\"\n---\nHello {{ to.first_name }}!\n";
    fs::write(site.folder.path().join("rules/templates/hello.md"), template).unwrap();
    for id in 1..=customers {
        site.crm(&format!(
            "INSERT INTO accounts VALUES ({id}, 'Cafe {id}', 'cafe', 'Graz', 'AT', 'B', 0, 1, 0, '2020-01-01 00:00:00');
             INSERT INTO contacts VALUES ({id}, {id}, 'Anna{id}', 'Gruber', 'anna{id}@cafe.example', NULL, 'manager', 1,
                                          NULL, NULL, 1, NULL);
             INSERT INTO orders VALUES ({id}, {id}, datetime('now', '-91 days'), 'paid', 12.5);"
        ));
    }
    site
}

/// A daemon whose rules are due: its first start adopted them two hours ago.
pub fn ready(site: &Site) -> Process {
    let mut first = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.json(&["rules"]) != json!([]));
    first.signal("TERM");
    assert_eq!(first.ends().code(), Some(0), "{}", site.log());
    site.sql("state.db", "UPDATE rule_state SET swept_at = swept_at - 7200000000");
    let second = site.start();
    site.told("READY=1");
    second
}

fn mails(site: &Site) -> Vec<String> {
    let Ok(folder) = fs::read_dir(site.path("mail")) else { return Vec::new() };
    let files = folder.map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|e| e == "eml")).map(|f| fs::read_to_string(f).unwrap()).collect()
}

fn make_state(site: &Site) {
    waited(async { SqliteStore::open(site.path("state.db"), Timestamp::now()).await.unwrap().close().await });
}

fn texts(list: &Json, key: &str) -> Vec<String> {
    let mut texts: Vec<String> =
        list.as_array().unwrap().iter().map(|entry| entry[key].as_str().unwrap_or("null").to_owned()).collect();
    texts.sort();
    texts
}

fn held_site() -> (Site, Process, String) {
    held_of(3)
}

/// A sweep of so many, which the guard holds.
pub fn held_of(customers: usize) -> (Site, Process, String) {
    let site = with_silent(customers, &format!("{SILENCE}guard: {{per_day: 1}}\n"));
    let daemon = ready(&site);
    poll_until(PATIENCE, || site.json(&["hold", "list"]) != json!([]));
    let held = site.json(&["hold", "list"]);
    assert_eq!((&held[0]["rule"], &held[0]["matches"]), (&json!("silence"), &json!(customers)), "{held}");
    assert!(held[0]["reason"].as_str().unwrap().contains("per_day"), "{held}");
    let id = held[0]["sweep"].as_str().unwrap().to_owned();
    (site, daemon, id)
}

#[test]
fn a_held_sweep_is_looked_at_and_released() {
    let (site, _daemon, id) = held_site();
    let (code, table, _) = site.run(&["hold", "list"]);
    assert!(code == 0 && table.starts_with("SWEEP") && table.contains(&id) && table.contains("silence"), "{table}");
    let status = site.run(&["status"]).1;
    assert!(status.contains("HELD") && status.contains(&format!("nudged hold show {id}")), "{status}");

    let (code, shown, talk) = site.run(&["hold", "show", &id]);
    assert_eq!((code, talk.as_str()), (0, ""));
    for expected in ["rule     silence (live)", "matches  3", "customer:1 ", "customer:2 ", "customer:3 ", " act"] {
        assert!(shown.contains(expected), "no `{expected}` in:\n{shown}");
    }
    let first = site.json(&["hold", "show", &id, "--limit", "2"]);
    let next = first["next"].as_i64().unwrap().to_string();
    let rest = site.json(&["hold", "show", &id, "--limit", "2", "--after", &next]);
    assert_eq!(rest["next"], Json::Null);
    assert_eq!(texts(&first["people"], "record"), ["customer:1", "customer:2"]);
    assert_eq!(texts(&rest["people"], "record"), ["customer:3"]);
    assert!(rest["people"][0]["occasion"].is_string() && rest["people"][0]["matched_at"].is_string(), "{rest}");
    let page = site.run(&["hold", "show", &id, "--limit", "2"]);
    assert!(page.2.contains(&format!("nudged hold show {id} --after {next}")), "{}", page.2);
    assert_eq!(site.run(&["hold", "show", "none"]).0, 8);
    assert!(mails(&site).is_empty());

    let (code, data, talk) = site.run(&["hold", "release", &id]);
    assert_eq!((code, data.as_str(), talk.as_str()), (0, "", "3 matches released\n"));
    poll_until(PATIENCE, || mails(&site).len() == 3);
    assert_eq!(site.run(&["hold", "list"]), (0, String::new(), "no sweep is held\n".to_owned()));
    assert_eq!(site.run(&["hold", "release", &id]).0, 8, "decided once");

    poll_until(PATIENCE, || site.json(&["enrollments", "list", "--state", "ended"]).as_array().unwrap().len() == 3);
    let one = site.json(&["enrollments", "list", "--record", "customer:2"]);
    assert_eq!((texts(&one, "rule"), texts(&one, "ended")), (vec!["silence".to_owned()], vec!["completed".to_owned()]));
    let (_, table, _) = site.run(&["enrollments", "list"]);
    assert!(table.starts_with("ID") && table.contains("ended: completed"), "{table}");
    let status = site.status();
    assert_eq!(status["state"]["counts"]["matches"], 3);
    assert_eq!(status["state"]["counts"]["attempts_of_24_hours"]["sent"], 3);
    let (_, table, _) = site.run(&["status"]);
    assert!(table.contains("daemon       ready") && table.contains("last 24 h    3 sent"), "{table}");
}

#[test]
fn a_held_sweep_that_is_dropped_never_acts() {
    let (site, _daemon, id) = held_site();
    let (code, _, talk) = site.run(&["hold", "drop", &id]);
    assert_eq!((code, talk.as_str()), (0, "3 matches dropped; they stay in the ledger\n"));
    poll_until(PATIENCE, || site.json(&["enrollments", "list"]).as_array().unwrap().len() == 3);
    assert_eq!(texts(&site.json(&["enrollments", "list"]), "ended"), ["cancelled"; 3]);
    assert!(mails(&site).is_empty());
    assert_eq!(site.json(&["deliveries", "list"]), json!([]));
    assert_eq!(site.run(&["hold", "drop", &id]).0, 8);
}

/// Every table of the state and how many rows it has.
fn rows_of_state(site: &Site) -> Vec<(String, i64)> {
    waited(async {
        let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", site.path("state.db"))).await.unwrap();
        let names = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name";
        let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&pool).await.unwrap();
        let mut counts = Vec::new();
        for name in names {
            let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
            let count: i64 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
            counts.push((name, count));
        }
        pool.close().await;
        counts
    })
}

#[test]
fn a_preview_shows_who_and_what_and_changes_nothing() {
    let site = with_silent(2, SILENCE);
    site.crm("UPDATE accounts SET country_code = 'IT' WHERE id = 2");
    let out = site.path("out");
    let asked = ["preview", "silence", "--last", "30 days", "--out", &out];
    let (code, shown, talk) = site.run(&asked);
    assert_eq!(code, 0, "{talk}");
    assert!(!Path::new(&site.path("state.db")).exists(), "it looks before anything ran, and leaves nothing");
    assert!(
        shown.contains("customer:1  crossed ") && shown.contains("email to anna1@cafe.example: We miss Cafe 1"),
        "{shown}"
    );
    assert!(shown.contains("customer:2  no match: ") && shown.contains("country"), "{shown}");
    assert!(talk.contains("1 match, 1 don't; nothing was sent"), "{talk}");
    let mut written: Vec<String> = fs::read_dir(Path::new(&out).join("customer_1"))
        .unwrap()
        .map(|f| f.unwrap().path().display().to_string())
        .collect();
    written.sort();
    assert_eq!(written.len(), 2, "{written:?}");
    let mail = fs::read_to_string(&written[0]).unwrap();
    let html = fs::read_to_string(&written[1]).unwrap();
    assert!(
        Path::new(&written[0]).extension().is_some_and(|e| e == "eml") && mail.contains("Subject: We miss Cafe 1\r\n"),
        "{mail}"
    );
    assert!(html.contains("<html") && html.contains("Hello Anna1!"), "{html}");

    make_state(&site);
    let before = rows_of_state(&site);
    let shown = site.json(&["preview", "silence", "--record", "customer:1"]);
    assert_eq!(
        (&shown["matches"][0]["known"], &shown["matches"][0]["messages"][0]["kind"]),
        (&json!(false), &json!("email"))
    );
    assert_eq!(rows_of_state(&site), before);
    assert!(mails(&site).is_empty());

    assert_eq!(site.run(&["preview", "none"]).0, 8);
    assert_eq!(site.run(&["preview", "silence", "--record", "nobody"]).0, 2);
    site.configure("crm.db", "gone/crm.db");
    assert_eq!(site.run(&["preview", "silence"]).0, 6);
}

#[test]
fn a_check_against_the_database_names_what_drifted() {
    let site = Site::new();
    assert_eq!(site.run(&["check", "--db"]).0, 0);
    site.crm(
        "ALTER TABLE blocked RENAME TO blocklist;
         ALTER TABLE contacts RENAME COLUMN news_ok TO newsletter_ok;",
    );
    let catalog = fs::read_to_string(site.path("rules/catalog.yaml")).unwrap();
    let typed = catalog.replacen("      kind: kind\n", "      kind: {column: kind, type: uuid_binary}\n", 1);
    assert_ne!(typed, catalog);
    fs::write(site.path("rules/catalog.yaml"), typed).unwrap();
    let (code, data, talk) = site.run(&["check", "--db"]);
    assert_eq!((code, data.as_str()), (4, ""), "{talk}");
    // The tests of the rules say so too, in rows that the declared type can't hold.
    for drift in ["has no column `news_ok`", "has no table `blocked`", "`kind` is TEXT in the database, not", "errors"]
    {
        assert!(talk.contains(drift), "no `{drift}` in:\n{talk}");
    }
    let codes = site.run(&["check", "--db", "--format", "json"]).1;
    let codes: Json = serde_json::from_str(&codes).unwrap();
    for code in ["catalog.no-table", "catalog.no-column", "catalog.column-type"] {
        assert!(texts(&codes["findings"], "code").iter().any(|found| found == code), "{code}");
    }
    site.configure("crm.db", "gone/crm.db");
    assert_eq!(site.run(&["check", "--db"]).0, 6);
}

#[test]
fn emails_without_a_sender_are_an_error_before_anything_runs() {
    let site = with_silent(1, SILENCE);
    site.configure("from = \"Linden <hello@linden.example>\"", "");
    site.configure("transport = \"folder\"", "");
    for command in [&["check"][..], &["check", "--db"], &["run"]] {
        let (code, _, talk) = site.run(command);
        assert_eq!(code, 4, "{command:?}: {talk}");
        assert!(talk.contains("rule.no-sender") && talk.contains("set `from`"), "{command:?}: {talk}");
    }
    site.rules(&[("silence.yaml", &SILENCE.replace("mode: live", "mode: shadow"))]);
    assert_eq!(site.run(&["check", "--db"]).0, 0, "a rule that sends nothing needs none");
}

#[test]
fn dead_deliveries_are_listed_retried_and_discarded() {
    let receiver = http_receiver();
    receiver.reply_always(Reply::status(400));
    let rule = SILENCE.replace("email: {template: hello}", "webhook: {to: team-chat, body: {text: silent}}");
    let site = with_silent(2, &rule);
    site.configure("http://127.0.0.1:9/", &receiver.url);
    let _daemon = ready(&site);
    let dead = || site.json(&["deliveries", "list", "--state", "dead"]);
    poll_until(PATIENCE, || dead().as_array().unwrap().len() == 2);
    let listed = dead();
    assert_eq!(texts(&listed, "record"), ["customer:1", "customer:2"]);
    assert!(listed[0]["detail"].as_str().unwrap().contains("400"), "{listed}");
    let ids: Vec<&str> = (0..2).map(|n| listed[n]["delivery"].as_str().unwrap()).collect();
    let (code, table, _) = site.run(&["deliveries", "list"]);
    assert!(code == 0 && table.starts_with("DELIVERY") && table.contains(" dead"), "{table}");

    receiver.reply_always(Reply::ok());
    let (code, _, talk) = site.run(&["deliveries", "retry", ids[0]]);
    assert_eq!((code, talk.as_str()), (0, "1 of 1 deliveries are due again\n"));
    let sent = || site.json(&["deliveries", "list", "--state", "sent"]);
    poll_until(PATIENCE, || sent().as_array().unwrap().len() == 1);
    assert_eq!(sent()[0]["delivery"], ids[0]);
    let keys: Vec<String> = receiver.received().iter().map(|call| call.key().to_owned()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[..2].contains(&keys[2]), "a retry has the key of the first try: {keys:?}");

    let (code, _, talk) = site.run(&["deliveries", "discard", "--all", "dead"]);
    assert_eq!((code, talk.as_str()), (0, "1 of 1 deliveries are given up\n"));
    poll_until(PATIENCE, || dead() == json!([]));
    assert_eq!(site.run(&["deliveries", "retry", ids[1]]).0, 8, "nothing is left to retry");
    assert_eq!(site.run(&["deliveries", "retry"]).0, 2);
    poll_until(PATIENCE, || texts(&site.json(&["enrollments", "list"]), "state") == ["ended", "ended"]);
    assert_eq!(receiver.received().len(), 3, "what was given up is not called");
}

#[test]
fn a_suppressed_person_is_skipped_and_the_reason_is_kept() {
    let site = with_silent(2, SILENCE);
    make_state(&site);
    let (code, _, talk) = site.run(&["suppress", "add", "Anna2@cafe.example", "--reason", "complained"]);
    assert_eq!((code, talk.as_str()), (0, "1 added, 0 on the list before\n"));
    let mut command = site.command(&["suppress", "add", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"anna2@cafe.example\n\n bob@cafe.example \n").unwrap();
    let told = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(told.stderr).unwrap(), "1 added, 1 on the list before\n");
    assert_eq!(site.run(&["suppress", "add", "anna"]).0, 2);
    let (code, _, talk) = site.run(&["suppress", "add", "+43 664 1234567"]);
    assert!(code == 2 && talk.contains("`--channel sms`"), "{talk}");
    let listed = site.json(&["suppress", "list"]);
    assert_eq!(texts(&listed, "address").len(), 2, "{listed}");
    let (_, table, _) = site.run(&["suppress", "list"]);
    assert!(table.starts_with("ADDRESS") && table.contains("complained"), "{table}");

    let _daemon = ready(&site);
    poll_until(PATIENCE, || site.json(&["deliveries", "list"]).as_array().unwrap().len() == 2);
    poll_until(PATIENCE, || texts(&site.json(&["deliveries", "list"]), "state") == ["sent", "skipped"]);
    let skipped = site.json(&["deliveries", "list", "--state", "skipped"]);
    assert_eq!(skipped[0]["record"], "customer:2");
    assert!(skipped[0]["detail"].as_str().unwrap().contains("suppress"), "{skipped}");
    let mails = mails(&site);
    assert!(mails.len() == 1 && mails[0].contains("anna1@cafe.example"), "{mails:?}");
}

#[test]
fn an_address_comes_off_the_list_unless_the_person_refused() {
    let site = with_silent(1, SILENCE);
    make_state(&site);
    assert_eq!(site.run(&["suppress", "add", "anna1@cafe.example", "--reason", "bounced"]).0, 0);
    assert_eq!(site.run(&["suppress", "add", "bob@cafe.example", "--reason", "complained"]).0, 0);
    let (code, _, talk) = site.run(&["suppress", "remove", " Anna1@cafe.example"]);
    assert!(code == 0 && talk.contains("is off the list; it was `bounced` since 20"), "{talk}");
    let (code, _, talk) = site.run(&["suppress", "remove", "anna1@cafe.example"]);
    assert!(code == 8 && talk.contains("anna1@cafe.example is not on the list"), "{talk}");
    let (code, _, talk) = site.run(&["suppress", "remove", "bob@cafe.example"]);
    assert!(code == 2 && talk.contains("the person's own decision") && talk.contains("--overrule-refusal"), "{talk}");
    assert_eq!(texts(&site.json(&["suppress", "list"]), "address"), ["bob@cafe.example"]);
    assert_eq!(site.run(&["suppress", "remove", "--overrule-refusal", "bob@cafe.example"]).0, 0);
    assert_eq!(site.json(&["suppress", "list"]), json!([]));

    let _daemon = ready(&site);
    poll_until(PATIENCE, || mails(&site).len() == 1);
}

#[test]
fn a_list_is_imported_whole_or_not_at_all_and_exported_as_it_was() {
    let site = with_silent(0, SILENCE);
    make_state(&site);
    let list = site.path("blocked.csv");
    let import = |arguments: &[&str]| site.run(&[&["suppress", "import", list.as_str()], arguments].concat());
    let many: String =
        (0..2_500).map(|n| format!("p{n}@cafe.example,email,bounced,2026-01-02T03:04:05.000006Z\n")).collect();
    let good = format!("\u{feff}address,channel,reason,since\n{many}+43 664 1234567,sms,unsubscribed,\n");

    fs::write(&list, format!("{good}anna,email,,\nx@cafe.example,email,angry,\n")).unwrap();
    let (code, _, talk) = import(&[]);
    assert_eq!(code, 2);
    assert!(talk.contains("line 2503: `anna` is not an email address"), "{talk}");
    assert!(talk.contains("line 2504: `angry` is not a reason"), "{talk}");
    assert!(talk.contains("2 lines refused; nothing was added"), "{talk}");
    assert_eq!(site.json(&["suppress", "list"]), json!([]), "none of the good lines before them either");
    let (code, _, talk) = import(&["--skip-refused"]);
    assert!(code == 0 && talk.ends_with("2501 added, 0 on the list before, 2 refused\n"), "{talk}");
    fs::write(&list, &good).unwrap();
    let (code, _, talk) = import(&[]);
    assert_eq!((code, talk.as_str()), (0, "0 added, 2501 on the list before\n"), "once more adds nothing");

    let (_, exported, talk) = site.run(&["suppress", "export"]);
    assert_eq!((exported.lines().count(), talk.as_str()), (2502, ""));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let other = with_silent(0, SILENCE);
    make_state(&other);
    let mut command = other.command(&["suppress", "import", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(exported.as_bytes()).unwrap();
    let told = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(told.stderr).unwrap(), "2501 added, 0 on the list before\n");
    assert_eq!(sorted(&other.run(&["suppress", "export"]).1), sorted(&exported));

    site.sql("state.db", "UPDATE suppression SET address = NULL WHERE address = 'p7@cafe.example'");
    let (_, exported, talk) = site.run(&["suppress", "export"]);
    assert!(exported.lines().count() == 2501 && talk.starts_with("1 more hold by their hashes alone"), "{talk}");
    let listed = site.json(&["suppress", "export"]);
    assert_eq!(listed.as_array().unwrap().iter().filter(|entry| entry["address"].is_null()).count(), 1);
    assert_eq!(listed.as_array().unwrap().len(), 2501);
}

#[test]
fn a_state_of_a_newer_version_is_left_alone() {
    let site = with_silent(1, SILENCE);
    make_state(&site);
    site.sql("state.db", "UPDATE meta SET schema = 99");
    for command in [&["status"][..], &["run"], &["suppress", "list"], &["preview", "silence"]] {
        let (code, _, talk) = site.run(command);
        assert_eq!(code, 9, "{command:?}: {talk}");
        assert!(talk.contains("99"), "{command:?}: {talk}");
    }
}
