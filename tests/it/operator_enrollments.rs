//! `nudged enrollments` from the command line, on the state of a running daemon.

use super::operator::{SILENCE, ready, with_silent};
use super::site::Site;
use super::support::{PATIENCE, poll_until};
use serde_json::{Value as Json, json};

/// With a draw, a week's wait and a second mail in place of the one mail.
fn rule() -> String {
    let steps = "  - split:
      salt: winter
      arms:
        - {name: mail, steps: [email: {template: hello}]}
        - {name: quiet, steps: []}
  - wait: {for: 7 days}
  - email: {template: hello, id: again}
";
    SILENCE.replace("  - email: {template: hello}\n", steps)
}

/// Times differ from run to run, and are as long.
fn without_times(text: &str) -> String {
    let shape = b"0000-00-00 00:00:00";
    let mut bytes = text.as_bytes().to_vec();
    for start in 0..bytes.len().saturating_sub(shape.len() - 1) {
        let fits = |(byte, shape): (&u8, &u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            b' ' => matches!(byte, b' ' | b'T'),
            other => byte == other,
        };
        if bytes[start..].iter().zip(shape).all(fits) {
            bytes[start..start + shape.len()].copy_from_slice(shape);
        }
    }
    let text = String::from_utf8(bytes).unwrap();
    match text.split_once("written to ") {
        Some((before, after)) => format!("{before}written to …{}", &after[32..]),
        None => text,
    }
}

fn active(site: &Site) -> Json {
    site.json(&["enrollments", "list", "--state", "active"])
}

#[test]
fn enrollments_are_looked_at_migrated_and_cancelled() {
    let site = with_silent(2, &rule());
    let _daemon = ready(&site);
    poll_until(PATIENCE, || {
        active(&site).as_array().unwrap().iter().filter(|view| view["next"]["step"] == "again").count() == 2
    });
    let (code, table, _) = site.run(&["enrollments", "show", "customer:1"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("show-table", without_times(&table));
    let shown = site.json(&["enrollments", "show", "customer:2"]);
    let timeline = shown["enrollments"][0]["timeline"].as_array().unwrap();
    let whats: Vec<&str> = timeline.iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["arm", "waits"], "{shown}");
    assert_eq!((&timeline[0]["step"], &timeline[0]["detail"]), (&json!("split"), &json!("quiet")));
    assert!(timeline[1]["until"].is_string());
    let id = shown["enrollments"][0]["id"].to_string();
    assert_eq!(site.json(&["enrollments", "show", &id]), json!({"enrollments": shown["enrollments"], "misses": []}));
    assert_eq!(site.run(&["enrollments", "show", "customer:99"]).0, 8);
    assert_eq!(site.run(&["enrollments", "show", "nobody"]).0, 2);

    let (_, _, talk) = site.run(&["enrollments", "migrate", "--rule", "silence"]);
    assert_eq!(talk, "0 of 2 enrollments migrated, 2 ran the newest version already\n");
    site.rules(&[("silence.yaml", &rule().replace("  - wait:", "  - wait: {id: before, for: 1 day}\n  - wait:"))]);
    assert_eq!(site.run(&["reload"]).0, 0);
    let (code, _, talk) = site.run(&["enrollments", "migrate", &id]);
    assert_eq!((code, talk.as_str()), (0, "1 of 1 enrollments migrated, 0 ran the newest version already\n"));
    assert!(active(&site).as_array().unwrap().iter().all(|view| view["next"]["step"] == "again"));
    site.rules(&[("silence.yaml", &rule().replace("id: again", "id: renamed"))]);
    assert_eq!(site.run(&["reload"]).0, 0);
    let (code, _, talk) = site.run(&["enrollments", "migrate", &id]);
    let stays = format!("{id} stays as it is: the rule has no step `again` any more\n");
    assert_eq!((code, talk), (8, format!("{stays}0 of 1 enrollments migrated, 0 ran the newest version already\n")));

    let (code, _, talk) = site.run(&["enrollments", "cancel", "customer:2", "--why", "moved away"]);
    assert_eq!((code, talk.as_str()), (0, "1 of 1 enrollments cancelled\n"));
    assert_eq!(site.run(&["enrollments", "cancel", &id]).0, 8, "it has ended");
    assert_eq!(site.run(&["enrollments", "cancel"]).0, 2, "of whom?");
    let (_, table, _) = site.run(&["enrollments", "show", &id]);
    for expected in ["ended: cancelled", "migrated", "cancelled  moved away"] {
        assert!(table.contains(expected), "no `{expected}` in:\n{table}");
    }
    assert_eq!(active(&site).as_array().unwrap().len(), 1);
}

#[test]
fn a_record_that_crossed_without_a_match_says_why() {
    let site = with_silent(2, &rule());
    site.crm("UPDATE accounts SET country_code = 'DE' WHERE id = 2");
    let _daemon = ready(&site);
    poll_until(PATIENCE, || active(&site).as_array().unwrap().len() == 1);
    let (code, table, _) = site.run(&["enrollments", "show", "customer:2"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("show-misses", without_times(&table));
}
