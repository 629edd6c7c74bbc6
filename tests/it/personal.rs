//! `nudged export`, `nudged forget` and `[retention]`, on the state of a running daemon.

use super::operator::{SILENCE, ready, with_silent};
use super::site::Site;
use super::support::{PATIENCE, poll_until};
use serde_json::json;

const LONG: &str = "  - email: {template: hello}\n  - wait: {for: 7 days}\n  - email: {template: hello, id: again}\n";

fn sent(site: &Site, count: usize) {
    poll_until(PATIENCE, || site.json(&["deliveries", "list", "--state", "sent"]).as_array().unwrap().len() == count);
}

/// Whether the text stands anywhere in the state's files.
fn named(site: &Site, text: &str) -> bool {
    let copy = site.path("copy.db");
    let _ = std::fs::remove_file(&copy);
    site.sql("state.db", &format!("VACUUM INTO '{copy}'"));
    let bytes = std::fs::read(copy).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_person_is_exported_and_erased_while_the_daemon_runs() {
    let rule = SILENCE.replace("  - email: {template: hello}\n", LONG);
    let site = with_silent(2, &rule);
    site.crm(
        "INSERT INTO accounts SELECT 471147, name, kind, city, country_code, class, seasonal, is_active, is_sample, created_at
         FROM accounts WHERE id = 1;
         UPDATE contacts SET account_id = 471147 WHERE account_id = 1;
         UPDATE orders SET account_id = 471147 WHERE account_id = 1;
         DELETE FROM accounts WHERE id = 1;",
    );
    let mut daemon = ready(&site);
    sent(&site, 2);
    assert_eq!(site.run(&["suppress", "add", "anna1@cafe.example"]).0, 0);
    assert!(named(&site, "471147") && named(&site, "anna1@cafe.example"));

    let exported = site.json(&["export", "customer:471147"]);
    assert_eq!(exported["record"], "customer:471147");
    let enrollment = &exported["enrollments"][0];
    assert_eq!((&enrollment["rule"], &enrollment["state"]), (&json!("silence"), &json!("active")));
    assert_eq!(enrollment["timeline"][0]["what"], "sent");
    assert_eq!(exported["addresses"], json!(["anna1@cafe.example"]), "the CRM has it");
    assert_eq!(exported["suppressions"][0]["address"], "anna1@cafe.example");
    assert_eq!(site.run(&["export", "customer:99"]).0, 8);

    let forget = ["forget", "customer:471147"];
    assert_eq!(site.run(&forget).0, 2, "nobody can be asked");
    let (code, table, talk) = site.run(&[&forget[..], &["--yes"]].concat());
    assert_eq!(code, 0, "{talk}");
    for expected in ["enrollments", "under way, cancelled", "clear addresses"] {
        assert!(table.contains(expected), "no `{expected}` in:\n{table}");
    }
    assert!(talk.contains("The CRM, mails that were sent"), "{talk}");
    let (code, _, talk) = site.run(&[&forget[..], &["--yes"]].concat());
    assert!(code == 8 && talk.contains("nothing is left"), "{code} {talk}");

    assert!(!named(&site, "471147") && !named(&site, "anna1@cafe.example"), "the state still names the person");
    let shown = site.json(&["suppress", "show", "anna1@cafe.example"]);
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["address"]), (1, &json!(null)));
    let (_, list, _) = site.run(&["enrollments", "list"]);
    assert!(list.contains("(erased)") && list.contains("customer:2"), "{list}");
    assert_eq!(site.json(&["rules"])[0]["matches"], json!(2), "it is still counted");

    // Swept again over the same time, the person, who is still in the CRM, doesn't match.
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    let swept = || site.json(&["rules"])[0]["swept_at"].as_str().unwrap().to_owned();
    let before = swept();
    site.sql(
        "state.db",
        "UPDATE rule_state SET swept_at = swept_at - 7200000000, watermark = watermark - 172800000000,
                               rechecked_at = rechecked_at - 172800000000",
    );
    let _daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || swept() > before);
    assert_eq!(site.json(&["rules"])[0]["matches"], json!(2));
    assert_eq!(site.json(&["enrollments", "list", "--state", "active"]).as_array().unwrap().len(), 1);
}

#[test]
fn where_the_crm_names_no_address_that_is_said_and_one_can_be_given() {
    let site = with_silent(2, SILENCE);
    let mut daemon = ready(&site);
    sent(&site, 2);
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    for address in ["anna1@cafe.example", "anna2@cafe.example"] {
        assert_eq!(site.run(&["suppress", "add", address]).0, 0);
    }
    let in_clear = |address: &str| site.json(&["suppress", "list"]).to_string().contains(address);

    site.crm("PRAGMA foreign_keys = OFF; DELETE FROM accounts WHERE id = 1;");
    let (code, data, talk) = site.run(&["export", "customer:1", "--format", "json"]);
    assert!(code == 0 && data.contains("\"suppressions\": []"), "{code} {data}");
    assert!(talk.contains("the CRM has no customer:1 any more") && talk.contains("--address"), "{talk}");
    let (code, _, talk) = site.run(&["forget", "customer:1", "--yes"]);
    assert!(code == 0 && talk.contains("--address"), "{code} {talk}");
    assert!(in_clear("anna1@cafe.example"), "nobody knows whose it is");
    let given = ["--address", "anna1@cafe.example"];
    assert_eq!(site.run(&[&["forget", "customer:1", "--yes"][..], &given].concat()).0, 0);
    assert!(!in_clear("anna1@cafe.example"));

    site.configure("crm.db", "nowhere.db");
    let (code, _, talk) = site.run(&["forget", "customer:2", "--yes"]);
    assert!(code == 0 && talk.contains("addresses of customer:2 were not looked up"), "{code} {talk}");
    assert!(talk.contains("--address"), "{talk}");
    assert!(in_clear("anna2@cafe.example"));
}

#[test]
fn what_is_older_than_the_retention_is_forgotten() {
    let site = with_silent(2, SILENCE);
    site.configure("[web]", "[retention]\nattempts = \"10 days\"\nenrollments = \"20 days\"\n[web]");
    let mut daemon = ready(&site);
    sent(&site, 2);
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    let day: i64 = 86_400_000_000;
    site.sql("state.db", &format!("UPDATE attempt SET finished_at = finished_at - {} WHERE enrollment = 2", 11 * day));
    site.sql(
        "state.db",
        &format!(
            "UPDATE enrollment SET ended_at = ended_at - {0}, entered_at = entered_at - {0} WHERE id = 1",
            21 * day
        ),
    );
    let _daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.json(&["deliveries", "list", "--state", "sent"]) == json!([]));
    poll_until(PATIENCE, || site.run(&["enrollments", "list"]).1.contains("(erased)"));
    let (_, list, _) = site.run(&["enrollments", "list"]);
    assert!(list.contains("customer:2"), "only what they said of it was old: {list}");
    assert!(site.log().contains("forgot what had grown old"));
}
