//! Sweeps and rules that are held: what `nudged hold show` says a release would do is what it does, and simulations name
//! what stands still.

use super::operator::{SILENCE, held_of, with_silent};
use super::site::Site;
use super::support::{PATIENCE, poll_until};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

/// Of each record, `(would, left_out)`.
fn outlook(site: &Site, sweep: &str) -> BTreeMap<String, (String, Json)> {
    let shown = site.json(&["hold", "show", sweep]);
    let one = |person: &Json| {
        let would = person["would"].as_str().unwrap().to_owned();
        (person["record"].as_str().unwrap().to_owned(), (would, person["left_out"].clone()))
    };
    shown["people"].as_array().unwrap().iter().map(one).collect()
}

/// What changes while it is held: customer 1 moves away, 2 is deleted, 3 is late, 4 has no address, 5 stays.
fn meanwhile(site: &Site) {
    site.crm(
        "UPDATE accounts SET country_code = 'DE' WHERE id = 1; DELETE FROM orders WHERE account_id = 2;
         DELETE FROM contacts WHERE account_id = 2; DELETE FROM accounts WHERE id = 2;
         UPDATE contacts SET email = NULL WHERE id = 4;",
    );
    site.sql("state.db", "UPDATE enrollment SET planned_at = planned_at - 864000000000 WHERE key = '3'");
}

#[test]
fn what_a_release_would_do_is_what_it_does() {
    let (site, mut daemon, id) = held_of(5);
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    assert!(outlook(&site, &id).values().all(|told| *told == ("act".to_owned(), Json::Null)));
    meanwhile(&site);

    let nothing = |why: &str| ("nothing".to_owned(), json!(why));
    let told = outlook(&site, &id);
    let wanted = [
        ("customer:1", nothing("where_false")),
        ("customer:2", nothing("record_gone")),
        ("customer:3", nothing("late")),
        ("customer:4", nothing("no_address")),
        ("customer:5", ("act".to_owned(), Json::Null)),
    ];
    assert_eq!(told, wanted.map(|(record, told)| (record.to_owned(), told)).into());
    let (code, table, talk) = site.run(&["hold", "show", &id]);
    assert_eq!((code, talk.as_str()), (0, ""));
    for expected in ["not act: where_false (country: AT)", "not act: late (planned for ", "  act\n"] {
        assert!(table.contains(expected), "no `{expected}` in:\n{table}");
    }

    let (code, _, talk) = site.run(&["hold", "release", &id]);
    let late = "5 matches released; 1 of them are too late by now, and end without acting\n";
    assert_eq!((code, talk.as_str()), (0, late));
    let _daemon = site.start();
    site.told("READY=1");
    let ended = || site.json(&["enrollments", "list", "--state", "ended"]);
    poll_until(PATIENCE, || ended().as_array().unwrap().len() == 5);
    for one in ended().as_array().unwrap() {
        let (record, ended) = (one["record"].as_str().unwrap(), one["ended"].as_str().unwrap());
        let wanted = match record {
            "customer:1" => "where_false",
            "customer:2" => "record_gone",
            "customer:3" => "late",
            _ => "completed",
        };
        assert_eq!(ended, wanted, "{record}");
    }
    let deliveries = site.json(&["deliveries", "list", "--state", "sent"]);
    assert_eq!((deliveries.as_array().unwrap().len(), &deliveries[0]["record"]), (1, &json!("customer:5")));
}

#[test]
fn without_the_database_a_release_is_told_by_time_alone() {
    let (site, mut daemon, id) = held_of(3);
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    meanwhile(&site);
    site.configure("crm.db", "gone/crm.db");
    let (code, table, talk) = site.run(&["hold", "show", &id]);
    assert!(code == 0 && talk.contains("goes by the time alone"), "{talk}");
    assert!(table.contains("not act: late (planned for ") && table.contains("unknown: the database"), "{table}");
    let would: Vec<String> = outlook(&site, &id).into_values().map(|(would, _)| would).collect();
    assert_eq!(would, ["unknown", "unknown", "nothing"]);

    assert_eq!(site.run(&["pause", "silence"]).0, 0);
    let paused = site.run(&["hold", "show", &id]).1;
    assert_eq!(paused.matches("wait: an operator paused the rule").count(), 3, "{paused}");
}

#[test]
fn a_simulation_names_the_rules_that_stand_still() {
    let (site, mut daemon, _) = held_of(3);
    let per_day = "3 matches in a day, more than the 1 that `per_day` allows";
    let held = format!("silence: finds nobody while it is held: {per_day}");
    let paused = "silence: does nothing while an operator has paused it";
    let shown = |site: &Site, more: &[&str]| {
        let (code, table, talk) = site.run(&[&["simulate", "--days", "2"], more].concat());
        assert_eq!(code, 0, "{talk}");
        table
    };
    let stopped = |site: &Site, more: &[&str]| {
        let told = site.json(&[&["simulate", "--days", "2"], more].concat());
        let rules = told["rules"].as_array().unwrap();
        assert_eq!((rules.len(), &rules[0]["rule"], &rules[0]["matched"]), (1, &json!("silence"), &json!(0)), "{told}");
        rules[0]["stopped"].clone()
    };
    for more in [&[][..], &["--summary"], &["silence"]] {
        assert!(shown(&site, more).contains(&held), "{more:?}: {}", shown(&site, more));
        let text = format!("finds nobody while it is held: {per_day}");
        assert_eq!(stopped(&site, more), json!([{"by": "hold", "text": text}]), "{more:?}");
    }
    assert_eq!(site.run(&["pause", "silence"]).0, 0);
    assert!(shown(&site, &[]).contains(paused), "{}", shown(&site, &[]));
    assert_eq!(stopped(&site, &["--summary"])[0]["by"], "operator");

    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0));
    site.rules(&[("silence.yaml", &SILENCE.replace("mode: live", "mode: paused"))]);
    let by_file = "silence: does nothing while its file says `mode: paused`";
    assert!(shown(&site, &["--summary"]).contains(by_file), "{}", shown(&site, &[]));
    assert_eq!(stopped(&site, &[])[0]["by"], "file");
    // With nothing in its way, none of that is said.
    let free = with_silent(1, SILENCE);
    assert_eq!(stopped_of(&free), json!([]));
}

fn stopped_of(site: &Site) -> Json {
    site.json(&["simulate", "--days", "2"])["rules"][0]["stopped"].clone()
}
