//! `nudged deliveries show`: a message as it was kept when it left, or as it would be now.

use super::operator::{SILENCE, ready, with_silent};
use super::site::{Process, Site};
use super::support::{HttpReceiver, PATIENCE, http_receiver, poll_until};
use serde_json::{Value as Json, json};
use std::fs;

/// A mail about offers, and a call to another system.
fn offers() -> String {
    let steps = "  - email: {template: hello}\n  - webhook: {to: team-chat, body: {about: \"{{ record.name }}\"}}\n";
    let rule = SILENCE.replace("  - email: {template: hello}\n", steps);
    rule.replace("purpose: service", "purpose: offers")
}

/// Customers who have got both.
fn served(customers: usize, configured: &str) -> (Site, HttpReceiver, Process) {
    let receiver = http_receiver();
    let site = with_silent(customers, &offers());
    site.configure("http://127.0.0.1:9/", &receiver.url);
    site.configure("[web]", &format!("{configured}[web]"));
    let daemon = ready(&site);
    poll_until(PATIENCE, || sent(&site).len() == customers * 2);
    (site, receiver, daemon)
}

fn sent(site: &Site) -> Vec<Json> {
    site.json(&["deliveries", "list", "--state", "sent"]).as_array().unwrap().clone()
}

/// The id of a customer's delivery of a kind.
fn id_of(site: &Site, record: &str, kind: &str) -> String {
    let found = sent(site).into_iter().find(|sent| sent["record"] == record && sent["kind"] == kind);
    found.unwrap()["delivery"].as_str().unwrap().to_owned()
}

/// The only message that is shown of it.
fn message(site: &Site, id: &str) -> Json {
    let shown = site.json(&["deliveries", "show", id]);
    let messages = shown["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{shown}");
    messages[0].clone()
}

fn restarted(site: &Site, mut daemon: Process) -> Process {
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    let daemon = site.start();
    site.told("READY=1");
    daemon
}

#[test]
fn what_left_is_kept_shown_handed_out_and_erased() {
    let (site, receiver, daemon) = served(2, "[retention]\nmessages = \"30 days\"\n");
    let (mail, call) = (id_of(&site, "customer:1", "email"), id_of(&site, "customer:1", "webhook"));
    // What is true now is another matter.
    site.crm("UPDATE accounts SET name = 'Bar 1'");

    let kept = message(&site, &mail);
    assert_eq!(
        (&kept["kept"], &kept["kind"], &kept["to"]),
        (&json!(true), &json!("email"), &json!("anna1@cafe.example"))
    );
    assert_eq!((&kept["subject"], &kept["from"]), (&json!("We miss Cafe 1"), &json!("Linden <hello@linden.example>")));
    assert!(kept["label"].as_str().unwrap().starts_with("as it was sent on 2"), "{kept}");
    let text = kept["text"].as_str().unwrap();
    assert!(text.contains("Hello Anna1!") && text.contains("https://mail.linden.example/u/withheld"), "{text}");
    let mailed = fs::read_to_string(site.path(&format!("mail/{mail}.eml"))).unwrap();
    let header = mailed.split("List-Unsubscribe: <").nth(1).unwrap();
    let token: String =
        header.split(['>', '\r']).next().unwrap().rsplit('/').next().unwrap().chars().take(40).collect();
    assert!(token.len() == 40 && !kept.to_string().contains(&token), "a link that works is kept: {kept}");

    let kept = message(&site, &call);
    assert_eq!((&kept["destination"], &kept["body"]["data"]["about"]), (&json!("team-chat"), &json!("Cafe 1")));
    assert!(receiver.received().iter().any(|call| call.json() == kept["body"]), "{kept} was not received");

    let (code, table, talk) = site.run(&["deliveries", "show", &mail[..12]]);
    assert_eq!((code, talk.as_str()), (0, ""));
    let expected = [
        "record    customer:1",
        "rule      silence (live)",
        "(email)",
        "state     sent at",
        "written to",
        "as it was sent on",
        "subject     We miss Cafe 1",
        "| Hello Anna1!",
    ];
    for line in expected {
        assert!(table.contains(line), "no `{line}` in:\n{table}");
    }

    let exported = site.json(&["export", "customer:1"]);
    let messages = exported["messages"].as_array().unwrap();
    assert_eq!(messages.iter().map(|kept| &kept["kind"]).collect::<Vec<_>>(), ["email", "webhook"], "{exported}");
    assert_eq!((&messages[0]["subject"], &messages[0]["delivery"]), (&json!("We miss Cafe 1"), &json!(mail)));

    let (code, table, talk) = site.run(&["forget", "customer:1", "--yes"]);
    assert!(code == 0 && table.contains("messages that were kept"), "{table}{talk}");
    let gone = message(&site, &mail);
    assert_eq!((&gone["kept"], &gone["nothing"]), (&json!(false), &json!("the person was erased")));
    let other = id_of(&site, "customer:2", "email");
    assert_eq!(message(&site, &other)["kept"], json!(true), "nobody else is touched");

    // Lowered, it drops what there is.
    site.configure("messages = \"30 days\"", "messages = \"0 days\"");
    let _daemon = restarted(&site, daemon);
    poll_until(PATIENCE, || message(&site, &other)["kept"] == json!(false));
    assert_eq!(site.json(&["export", "customer:2"])["messages"], json!([]));
}

#[test]
fn what_is_not_kept_is_rendered_anew_or_it_is_said_why_not() {
    let (site, _receiver, _daemon) = served(1, "");
    let (mail, call) = (id_of(&site, "customer:1", "email"), id_of(&site, "customer:1", "webhook"));
    assert_eq!(site.json(&["export", "customer:1"])["messages"], json!([]));
    site.crm("UPDATE accounts SET name = 'Bar 1'");

    let anew = message(&site, &mail);
    let label = "rendered now: the record and the template may have changed since; set retention.messages to keep \
                 what is sent";
    assert_eq!((&anew["kept"], &anew["label"]), (&json!(false), &json!(label)));
    assert_eq!((&anew["subject"], &anew["to"]), (&json!("We miss Bar 1"), &json!("anna1@cafe.example")));
    assert!(anew["text"].as_str().unwrap().contains("https://rehearsal.invalid/u/"), "no link works: {anew}");
    let anew = message(&site, &call);
    assert_eq!((&anew["body"]["data"]["about"], &anew["body"]["data"]["delivery"]), (&json!("Bar 1"), &json!(call)));
    let (_, table, _) = site.run(&["deliveries", "show", &mail]);
    assert!(
        table.contains(label) && table.contains("| Hello Anna1!") && table.contains("state     sent at"),
        "{table}"
    );

    // Whatever hinders it, the rest is shown.
    let why = || message(&site, &mail)["nothing"].as_str().unwrap_or_default().to_owned();
    let rule = offers();
    site.rules(&[(
        "silence.yaml",
        &rule.replace("- email: {template: hello}", "- email: {template: hello, id: other}"),
    )]);
    assert_eq!(why(), "the rule `silence` has no step `email-hello` any more");
    site.rules(&[("silence.yaml", &rule.replace("id: silence", "id: another"))]);
    assert_eq!(why(), "the rule `silence` is not among the rules any more");
    site.rules(&[("silence.yaml", &rule.replace("trigger:", "triger:"))]);
    assert!(why().contains("`nudged check`"), "{}", why());
    site.rules(&[("silence.yaml", &rule)]);
    site.crm("DELETE FROM orders; DELETE FROM contacts; DELETE FROM accounts");
    assert!(why().contains("customer:1 is not there"), "{}", why());
    let (crm, away) = (site.path("crm.db"), site.path("away.db"));
    fs::rename(&crm, &away).unwrap();
    let (code, table, _) = site.run(&["deliveries", "show", &mail]);
    assert!(code == 0 && table.contains("state     sent at") && table.contains("can't be rendered now"), "{table}");
    fs::rename(&away, &crm).unwrap();
}

#[test]
fn what_names_no_delivery_is_told() {
    let (site, _receiver, _daemon) = served(2, "");
    let (code, _, talk) = site.run(&["deliveries", "show", "0123456789abcdef0123456789abcdef"]);
    assert!(code == 8 && talk.contains("no delivery begins with") && talk.contains("deliveries list"), "{talk}");
    for text in ["12345", "customer:1", "0123456789abcdef0123456789abcdef0"] {
        let (code, _, talk) = site.run(&["deliveries", "show", text]);
        assert!(code == 2 && talk.contains("is no delivery id"), "{text}: {talk}");
    }
}
