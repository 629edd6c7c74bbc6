//! `assign`: fair turns, and the same colleague for everybody who asks later.

use super::*;
use crate::catalog_shapes::written;
use crate::rehearsal::{nothing, previewer};
use crate::world::{days, hours};
use nudged::engine::port::Message;
use nudged::engine::{PreviewScope, preview};
use nudged::model::{Outcome, RuleId};
use nudged::rule::write::{Among, Assign, Balance};

fn among(addresses: &[&str], by: Balance) -> Write {
    let among = Among::Addresses(addresses.iter().map(|address| (*address).to_owned()).collect());
    Write::Assign { assign: Assign { among, by, set: None, rotation: None }, rotation: "r".into() }
}

fn chosen(sent: &Sent) -> String {
    assert!(matches!(sent.outcome, Outcome::Sent { .. }), "{:?}", sent.outcome);
    sent.answer.as_ref().unwrap()["email"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn two_nodes_and_a_restart_give_everybody_as_many() {
    let world = World::set_up(Setup { shared: true, ..setup(Kind::Sqlite) }).await;
    world.load(&[]).await;
    let team = ["ada@x.example", "bo@x.example", "cy@x.example", "di@x.example"];
    let other = world.short_leased().await;
    let nodes = [Writer::new(&world), Writer::over(&world, Arc::clone(&world.source), other)];
    let at = world.now();
    let give = async |number: u32| {
        let sent = nodes[number as usize % 2].write(number, "1", at, among(&team, Balance::RoundRobin)).await;
        (number, chosen(&sent))
    };
    let first = futures::future::join_all((0..40).map(give)).await;
    let again = futures::future::join_all((0..40).rev().map(give)).await;
    let mut counts = BTreeMap::new();
    for (_, address) in &first {
        *counts.entry(address.clone()).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10, 10]);
    let sorted = |mut given: Vec<(u32, String)>| {
        given.sort();
        given
    };
    assert_eq!(sorted(first), sorted(again), "a repeat gives it to the same");
    let turn = chosen(&nodes[0].write(90, "1", at, among(&team, Balance::RoundRobin)).await);
    let next = chosen(&nodes[1].write(91, "1", at, among(&team, Balance::RoundRobin)).await);
    assert_ne!(turn, next);
}

/// A lead is assigned; later steps, templates, the CRM and the timeline know to whom.
#[tokio::test]
async fn later_steps_reach_the_one_who_was_chosen() {
    for kind in KINDS {
        let world = world(kind).await;
        world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'Ada', 'lead'), (2, 'Bob', 'lead'), (3, 'Cid', 'lead')").await;
        world.crm.run("INSERT INTO staff VALUES (10, 'di@x.example', 'Di', 'sales'), (11, 'ed@x.example', 'Ed', 'sales'), (12, 'fay@x.example', 'Fay', 'support')").await;
        let rule = hourly(
            "assign",
            "only_at_entry: [stage: lead]
steps:
  - assign: {from: colleague, only: [team: sales], set: owner}
  - task: {title: \"Call {{ record.name }}\", body: \"for {{ saved.assigned.first_name }}\", assign_to: assigned}
  - email: {template: lead, to: assigned}
  - update: {set: {stage: assigned}}
",
        );
        let template =
            "---\nsubject: \"{{ record.name }} for {{ to.first_name }}\"\n---\nHello {{ saved.assigned.email }}\n";
        world.load(&[("assign.yaml", &rule), ("templates/lead.md", template)]).await;
        let (generation, sender) = (world.generation(), nothing());
        let look = previewer(&world, &generation, &sender);
        let foretold = preview(&look, &RuleId::from("assign"), &PreviewScope::Last(days(1))).await.unwrap();
        for message in foretold.matches.iter().flat_map(|matched| &matched.messages) {
            assert!(message.content.is_ok(), "{kind:?}: {message:?}");
        }
        world.pass(hours(1)).await;
        let owners =
            written(&world, "SELECT owner_id, COUNT(*) FROM accounts GROUP BY owner_id ORDER BY owner_id".into()).await;
        assert_eq!(owners, ["10 | 2", "11 | 1"], "{kind:?}");
        let owner: Vec<String> = written(&world, "SELECT owner_id FROM accounts ORDER BY id".into()).await;
        let mails: BTreeMap<String, String> =
            world.mail.mails().into_iter().map(|(to, subject)| (subject, to)).collect();
        for (name, key) in ["Ada", "Bob", "Cid"].iter().zip(&owner) {
            let (address, first) = if key == "10" { ("di@x.example", "Di") } else { ("ed@x.example", "Ed") };
            assert_eq!(
                mails.get(&format!("{name} for {first}")).map(String::as_str),
                Some(address),
                "{kind:?}: {mails:?}"
            );
        }
        for (number, key) in owner.iter().enumerate() {
            let customer = (number + 1).to_string();
            let assigned = attempts(&world, &customer).await.into_iter().find(|attempt| attempt.0 == "assign").unwrap();
            assert_eq!(assigned.2, format!("to {key}"), "{kind:?}");
            let record = RecordId { tenant: "".into(), entity: "customer".into(), key: customer.as_str().into() };
            let tasks = world.store.dossier(&record).await.unwrap().tasks;
            let address = if key == "10" { "di@x.example" } else { "ed@x.example" };
            assert_eq!(tasks[0].assignee.as_deref(), Some(address), "{kind:?}");
        }
    }
}

/// Whoever has the fewest leads under way is next, and an end makes room.
#[tokio::test]
async fn the_least_loaded_goes_first() {
    let world = world(Kind::Sqlite).await;
    world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (1, 'A', 'lead'), (2, 'B', 'lead'), (3, 'C', 'lead'), (4, 'D', 'lead')").await;
    let rule = hourly(
        "load",
        "only_at_entry: [stage: lead]
steps:
  - assign: {among: [ada@x.example, bo@x.example], by: least_loaded, set: owner_email}
  - wait: {for: 90 days}
  - webhook: {to: sink}
",
    );
    world.load(&[("load.yaml", &rule)]).await;
    world.pass(hours(1)).await;
    let owners = async || {
        written(&world, "SELECT owner_email, COUNT(*) FROM accounts GROUP BY owner_email ORDER BY owner_email".into())
            .await
    };
    assert_eq!(owners().await, ["ada@x.example | 2", "bo@x.example | 2"]);
    // All of one colleague's are over: the next two are theirs, though it is the other's turn.
    let mine: Vec<i64> = world
        .enrollments()
        .await
        .iter()
        .filter_map(|view| {
            let key = view.record.as_ref()?.key.as_str().parse::<i64>().ok()?;
            (key % 2 == 1).then_some(view.id)
        })
        .collect();
    let odd = written(&world, "SELECT owner_email FROM accounts WHERE id = 1".into()).await.remove(0);
    let same =
        written(&world, format!("SELECT COUNT(*) FROM accounts WHERE owner_email = '{odd}' AND id IN (1, 3)")).await;
    assert_eq!(same, ["2"], "turns went round");
    world.store.cancel_enrollments(&mine, "by hand", world.now()).await.unwrap();
    world.crm.run("INSERT INTO accounts (id, name, stage) VALUES (5, 'E', 'lead'), (6, 'F', 'lead')").await;
    world.crm.run("UPDATE accounts SET owner_email = NULL, stage = 'old' WHERE id <= 4").await;
    world.pass(hours(1)).await;
    let new = written(&world, "SELECT id, owner_email FROM accounts WHERE id IN (5, 6) ORDER BY id".into()).await;
    assert_eq!(new, [format!("5 | {odd}"), format!("6 | {odd}")]);
}

#[tokio::test]
async fn nobody_to_choose_from_is_tried_again() {
    let world = world(Kind::Sqlite).await;
    world.crm.run("INSERT INTO accounts (id, name) VALUES (1, 'Ada')").await;
    let rule = hourly("none", "steps:\n  - assign: {from: colleague}\n  - email: {template: lead, to: assigned}\n");
    let template = "---\nsubject: \"{{ record.name }}\"\n---\nHello\n";
    world.load(&[("none.yaml", &rule), ("templates/lead.md", template)]).await;
    world.pass(hours(1)).await;
    assert_eq!(world.deliveries().await[0].1, "there is nobody to assign it to");
    world.crm.run("INSERT INTO staff VALUES (10, 'di@x.example', 'Di', 'sales')").await;
    world.pass(hours(1)).await;
    let mails: Vec<Message> = world.mail.take();
    assert_eq!(mails.len(), 1);
}
