//! A state that was restored from a backup, moved or cloned, with the real daemon: nothing is sent until an operator
//! says so, and whoever unsubscribed meanwhile is not written to.

use super::operator::{SILENCE, with_silent};
use super::site::{Process, Site};
use super::support::{PATIENCE, poll_until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;

/// When somebody ordered last who has been silent for 90 days in so many seconds, on the clocks of the shipped catalog.
pub fn silent_in(seconds: i64) -> String {
    let ordered = Timestamp::now() - SignedDuration::from_hours(90 * 24) + SignedDuration::from_secs(seconds);
    ordered.in_tz("Europe/Vienna").unwrap().strftime("%F %T").to_string()
}

fn mails(site: &Site) -> usize {
    let Ok(folder) = fs::read_dir(site.path("mail")) else { return 0 };
    folder.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "eml")).count()
}

fn stop(site: &Site, mut daemon: Process) {
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
}

fn start(site: &Site) -> Process {
    let daemon = site.start();
    site.told("READY=1");
    daemon
}

/// Customers who fall silent once the daemon has looked for the first time; nothing was sent so far.
fn due(customers: usize) -> Site {
    let site = with_silent(0, &SILENCE.replace("check_every: 1 hour", "check_every: 1 second"));
    site.crm(
        "INSERT INTO accounts VALUES (100, 'Elsewhere', 'cafe', 'Bonn', 'DE', 'B', 0, 1, 0, '2020-01-01 00:00:00');
         INSERT INTO orders VALUES (100, 100, datetime('now'), 'paid', 12.5);",
    );
    let first = start(&site);
    poll_until(PATIENCE, || site.json(&["rules"])[0]["status"] == "running");
    stop(&site, first);
    for id in 1..=customers {
        fall_silent(&site, id);
    }
    site
}

fn fall_silent(site: &Site, id: usize) {
    site.crm(&format!(
        "INSERT INTO accounts VALUES ({id}, 'Cafe {id}', 'cafe', 'Graz', 'AT', 'B', 0, 1, 0, '2020-01-01 00:00:00');
         INSERT INTO contacts VALUES ({id}, {id}, 'Anna{id}', 'Gruber', 'anna{id}@cafe.example', NULL, 'manager', 1,
                                      NULL, NULL, 1, NULL);
         INSERT INTO orders VALUES ({id}, {id}, '{}', 'paid', 12.5);",
        silent_in(2)
    ));
}

/// All are sent, and the daemon is stopped again. The mails are taken away: what lies there afterwards came later.
fn send(site: &Site, count: usize) {
    let daemon = start(site);
    poll_until(PATIENCE, || mails(site) == count && outcomes(site, "sent") == count);
    stop(site, daemon);
    fs::remove_dir_all(site.path("mail")).unwrap();
}

fn back_up(site: &Site) {
    site.sql("state.db", &format!("VACUUM INTO '{}'", site.path("backup.db")));
}

fn restore(site: &Site) {
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(site.path(&format!("state.db{ending}")));
    }
    fs::copy(site.path("backup.db"), site.path("state.db")).unwrap();
}

/// What `status` says is held, once the daemon has looked.
fn held(site: &Site) -> Json {
    poll_until(PATIENCE, || site.status()["state"]["sending_held"] != json!([]));
    site.status()["state"]["sending_held"].clone()
}

fn outcomes(site: &Site, state: &str) -> usize {
    site.json(&["deliveries", "list", "--state", state]).as_array().unwrap().len()
}

#[test]
fn a_restored_state_sends_nothing_until_an_operator_has_decided_about_what_is_in_doubt() {
    let site = due(3);
    back_up(&site);
    send(&site, 3);
    restore(&site);

    let daemon = start(&site);
    let found = held(&site);
    assert_eq!(found[0]["why"], "restored", "{found}");
    assert!(found[0]["message"].as_str().unwrap().contains("at most 3 messages left"), "{found}");
    // The rule matches them again, and the dispatcher leaves them alone.
    poll_until(PATIENCE, || site.status()["state"]["counts"]["outbox"]["due"] == 3);
    let table = site.run(&["status"]).1;
    assert!(table.contains("NOTHING SENT the state was restored"), "{table}");
    assert!(site.log().contains("NOTHING IS SENT until an operator confirms"), "{}", site.log());
    assert_eq!(mails(&site), 0);

    let (code, shown, talk) = site.run(&["confirm"]);
    assert!(code == 2 && shown.contains("nudged confirm --restored --skip") && talk.contains("--moved"), "{talk}");
    let (code, _, talk) = site.run(&["confirm", "--moved"]);
    assert!(code == 2 && talk.contains("at most 3 messages left"), "{talk}");
    assert_eq!(site.run(&["confirm", "--restored"]).0, 2, "what is in doubt must be decided");
    assert_eq!(mails(&site), 0);

    let (code, _, talk) = site.run(&["confirm", "--restored", "--skip"]);
    assert!(code == 0 && talk.contains("given up"), "{talk}");
    poll_until(PATIENCE, || outcomes(&site, "skipped") == 3);
    assert_eq!(site.status()["state"]["sending_held"], json!([]));
    assert_eq!(mails(&site), 0, "nobody got it twice");
    stop(&site, daemon);

    // It goes on after what the witness knew, so nothing is held again.
    let daemon = start(&site);
    poll_until(PATIENCE, || site.log().contains("generation adopted"));
    assert_eq!(site.status()["state"]["sending_held"], json!([]));
    assert!(site.run(&["confirm"]).2.contains("nothing to confirm"));
    stop(&site, daemon);
}

#[test]
fn what_is_in_doubt_is_sent_where_the_operator_says_so_but_not_to_who_unsubscribed_meanwhile() {
    let site = due(3);
    back_up(&site);
    send(&site, 3);
    // The backup knows nothing of this.
    assert_eq!(site.run(&["suppress", "add", "anna1@cafe.example", "--reason", "unsubscribed"]).0, 0);
    let journal = fs::read_to_string(site.path("state.db.suppressions")).unwrap();
    assert!(journal.contains("unsubscribed") && !journal.contains("anna1"), "{journal}");
    restore(&site);
    assert_eq!(site.json(&["suppress", "list"]), json!([]), "the restored state has forgotten");

    let daemon = start(&site);
    assert_eq!(held(&site)[0]["why"], "restored");
    assert!(site.log().contains("had forgotten entries of the suppression list"), "{}", site.log());
    assert_eq!(site.run(&["confirm", "--restored", "--send"]).0, 0);
    poll_until(PATIENCE, || mails(&site) == 2 && outcomes(&site, "skipped") == 1);
    let skipped = site.json(&["deliveries", "list", "--state", "skipped"]);
    assert!(skipped[0]["detail"].as_str().unwrap().contains("suppressed"), "{skipped}");
    stop(&site, daemon);
}

/// As when a server fails over to a standby that was behind: the daemon goes on, on a state that has forgotten.
#[test]
fn a_state_that_goes_back_under_a_running_daemon_has_its_journal_read_before_anything_is_sent() {
    let site = due(3);
    let daemon = start(&site);
    poll_until(PATIENCE, || outcomes(&site, "sent") == 3);
    assert_eq!(site.run(&["suppress", "add", "anna4@cafe.example", "--reason", "unsubscribed"]).0, 0);
    site.sql("state.db", "DELETE FROM suppression; UPDATE send_sequence SET reserved = 0");
    assert_eq!(site.json(&["suppress", "list"]), json!([]));
    for id in 4..=5 {
        fall_silent(&site, id);
    }
    assert_eq!(held(&site)[0]["why"], "restored");
    assert_eq!(site.run(&["confirm", "--restored", "--send"]).0, 0);
    poll_until(PATIENCE, || outcomes(&site, "sent") == 4 && outcomes(&site, "skipped") == 1);
    let skipped = site.json(&["deliveries", "list", "--state", "skipped"]);
    assert!(skipped[0]["detail"].as_str().unwrap().contains("suppressed"), "{skipped}");
    assert!(site.log().contains("had forgotten entries of the suppression list"), "{}", site.log());
    stop(&site, daemon);
}

#[test]
fn who_was_taken_off_the_list_since_the_backup_stays_off_it() {
    let site = due(3);
    for reason in ["bounced", "manual"] {
        let address = format!("anna{}@cafe.example", if reason == "bounced" { 1 } else { 2 });
        assert_eq!(site.run(&["suppress", "add", &address, "--reason", reason]).0, 0);
    }
    back_up(&site);
    for address in ["anna1@cafe.example", "anna2@cafe.example"] {
        assert_eq!(site.run(&["suppress", "remove", address]).0, 0);
    }
    assert_eq!(site.run(&["suppress", "add", "anna2@cafe.example", "--reason", "complained"]).0, 0);
    send(&site, 2);
    restore(&site);
    let listed = site.json(&["suppress", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "the restored state has forgotten: {listed}");

    let daemon = start(&site);
    held(&site);
    let listed = site.json(&["suppress", "list"]);
    let reasons: Vec<&Json> = listed.as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons, ["complained"], "{listed}");
    assert_eq!(site.run(&["confirm", "--restored", "--send"]).0, 0);
    poll_until(PATIENCE, || mails(&site) == 2 && outcomes(&site, "skipped") == 1);
    stop(&site, daemon);
}

#[test]
fn a_copied_directory_stays_silent_and_the_original_goes_on() {
    let site = due(1);
    let clone = due(1);
    for file in ["state.db-wal", "state.db-shm", "state.db.witness", "state.db.suppressions"] {
        let _ = fs::remove_file(clone.path(file));
    }
    back_up(&site);
    fs::copy(site.path("backup.db"), clone.path("state.db")).unwrap();
    for file in ["state.db.witness", "state.db.suppressions"] {
        fs::copy(site.path(file), clone.path(file)).unwrap();
    }
    let copied = start(&clone);
    assert_eq!(held(&clone)[0]["why"], "moved");
    poll_until(PATIENCE, || clone.status()["state"]["counts"]["outbox"]["due"] == 1);
    send(&site, 1);
    assert_eq!(mails(&clone), 0);

    // It was not a clone after all, but a move.
    assert_eq!(clone.run(&["confirm", "--moved"]).0, 0);
    poll_until(PATIENCE, || mails(&clone) == 1);
    stop(&clone, copied);
}

#[test]
fn another_machine_is_another_place() {
    let site = due(1);
    let cloned = site.start_with(&[("NUDGED_STATE__MACHINE_ID", "the clone")]);
    site.told("READY=1");
    assert_eq!(held(&site)[0]["why"], "moved");
    stop(&site, cloned);
    assert_eq!(mails(&site), 0);
    send(&site, 1);
}

#[test]
fn a_new_state_beside_an_old_witness_is_asked_about() {
    let site = due(1);
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(site.path(&format!("state.db{ending}")));
    }
    let daemon = start(&site);
    assert_eq!(held(&site)[0]["why"], "replaced");
    assert!(site.log().contains("that of another state"), "its journal, too: {}", site.log());
    assert!(Path::new(&site.path("state.db.suppressions.foreign")).exists());
    assert_eq!(site.run(&["confirm", "--moved"]).0, 0);
    poll_until(PATIENCE, || site.log().contains("an operator has confirmed"));
    stop(&site, daemon);
}

#[test]
fn without_a_witness_nobody_asks() {
    let site = due(1);
    site.configure("[state]", "[state]\nwitness = \"none\"\njournal = \"none\"");
    back_up(&site);
    send(&site, 1);
    restore(&site);
    send(&site, 1);
}

#[test]
fn a_torn_or_damaged_journal_is_told_and_the_rest_of_it_holds() {
    let site = due(2);
    back_up(&site);
    assert_eq!(site.run(&["suppress", "add", "anna1@cafe.example", "anna2@cafe.example"]).0, 0);
    let path = site.path("state.db.suppressions");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{whole}[\"s\",\"01")).unwrap();
    restore(&site);
    let daemon = start(&site);
    assert!(site.log().contains("was cut off by a crash"), "{}", site.log());
    assert_eq!(site.json(&["suppress", "list"]).as_array().unwrap().len(), 2);
    stop(&site, daemon);

    // The second line is somebody else's now, and its checksum says so.
    let mut lines: Vec<&str> = whole.lines().collect();
    let broken = lines[1].replacen(|digit: char| digit.is_ascii_digit(), "x", 1);
    lines[1] = &broken;
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    restore(&site);
    let daemon = start(&site);
    assert!(site.log().contains("journal is damaged"), "{}", site.log());
    assert!(Path::new(&format!("{path}.damaged")).exists());
    assert_eq!(site.json(&["suppress", "list"]).as_array().unwrap().len(), 1, "what can be read holds");
    stop(&site, daemon);
}
