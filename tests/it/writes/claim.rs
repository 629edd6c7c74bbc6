//! `claim`: every code once, and nobody twice.

use super::*;
use crate::catalog_shapes::written;
use crate::world::{hours, minutes};
use nudged::engine::port::Message;
use nudged::model::Outcome;
use nudged::rule::write::{Claim, WhenEmpty};
use std::collections::BTreeSet;

fn claim(when_empty: WhenEmpty) -> Write {
    Write::Claim(Claim { pool: "vouchers".into(), save: "voucher".into(), when_empty })
}

fn code(sent: &Sent) -> Option<String> {
    Some(sent.answer.as_ref()?["code"].as_str()?.to_owned())
}

async fn fill(world: &World, campaign: &str, count: usize) {
    let rows: Vec<String> = (0..count).map(|n| format!("('{campaign}-{n:03}', '{campaign}')")).collect();
    world.crm.run(&format!("INSERT INTO vouchers (code, campaign) VALUES {}", rows.join(", "))).await;
}

#[tokio::test]
async fn nodes_at_once_never_take_the_same_code_and_a_repeat_keeps_its_own() {
    for kind in KINDS {
        let world = world(kind).await;
        world.load(&[]).await;
        fill(&world, "spring", 30).await;
        fill(&world, "autumn", 5).await;
        let nodes = [Writer::new(&world), Writer::over(&world, Arc::clone(&world.owner), Arc::clone(&world.store))];
        let at = world.now();
        let take = async |number: u32| {
            let node = &nodes[number as usize % 2];
            // A deadlock is what databases offer when two want the same; the dispatcher tries again, and so do we.
            loop {
                let sent = node.write(number, "7", at, claim(WhenEmpty::Hold)).await;
                match &sent.outcome {
                    Outcome::Transient { .. } => {}
                    // Others held all that was left for a moment.
                    Outcome::Postponed { .. } if number < 24 => {}
                    Outcome::Sent { .. } => return code(&sent).unwrap(),
                    other => panic!("{kind:?}: {other:?}"),
                }
            }
        };
        let first = futures::future::join_all((0..24).map(take)).await;
        let taken: BTreeSet<&String> = first.iter().collect();
        assert_eq!(taken.len(), 24, "{kind:?}: {first:?}");
        assert!(taken.iter().all(|code| code.starts_with("spring")), "{kind:?}: {first:?}");
        assert_eq!(futures::future::join_all((0..24).map(take)).await, first, "{kind:?}");
        let marked = "SELECT COUNT(*), COUNT(DISTINCT taken_by), COUNT(taken_at), MIN(account_id) FROM vouchers WHERE taken_by IS NOT NULL";
        assert_eq!(written(&world, marked.to_owned()).await, ["24 | 24 | 24 | 7"], "{kind:?}");
    }
}

const RULE: &str = "steps:
  - claim: {pool: vouchers, save: voucher, when_empty: hold}
  - email: {template: gift}
";
const GIFT: &str = "---\nsubject: \"{{ saved.voucher.code or 'none' }}\"\n---\nHello\n";

async fn customers(world: &World, count: usize) {
    for id in 1..=count {
        world.crm.run(&format!("INSERT INTO accounts (id, name) VALUES ({id}, 'C')")).await;
        world
            .crm
            .run(&format!("INSERT INTO contacts (id, account_id, email) VALUES ({id}, {id}, 'c{id}@x.example')"))
            .await;
    }
}

#[tokio::test]
async fn an_empty_pool_holds_the_sequence_until_there_are_codes() {
    for kind in KINDS {
        let world = world(kind).await;
        customers(&world, 3).await;
        fill(&world, "spring", 1).await;
        world.load(&[("gift.yaml", &hourly("gift", RULE)), ("templates/gift.md", GIFT)]).await;
        world.pass(hours(1)).await;
        assert_eq!(subjects(&world), ["spring-000"], "{kind:?}");
        let waiting: Vec<_> =
            world.deliveries().await.into_iter().filter(|(state, _)| state == "postponed" || state == "due").collect();
        assert!(
            waiting.iter().any(|(_, detail)| detail.contains("the pool `vouchers` is empty")),
            "{kind:?}: {:?}",
            world.deliveries().await
        );
        world.pass(minutes(11)).await;
        assert_eq!(subjects(&world), [""; 0], "{kind:?}");
        world
            .crm
            .run("INSERT INTO vouchers (code, campaign) VALUES ('spring-100', 'spring'), ('spring-101', 'spring')")
            .await;
        world.pass(minutes(11)).await;
        assert_eq!(subjects(&world), ["spring-100", "spring-101"], "{kind:?}");
    }
}

fn subjects(world: &World) -> Vec<String> {
    let mut subjects: Vec<String> = world.mail.mails().into_iter().map(|(_, subject)| subject).collect();
    subjects.sort();
    subjects
}

#[tokio::test]
async fn an_empty_pool_may_be_passed_by() {
    let world = world(Kind::Sqlite).await;
    customers(&world, 1).await;
    let rule = hourly("gift", &RULE.replace("hold", "skip"));
    world.load(&[("gift.yaml", &rule), ("templates/gift.md", GIFT)]).await;
    world.pass(hours(1)).await;
    assert_eq!(subjects(&world), ["none"]);
    let claim = attempts(&world, "1").await.into_iter().find(|attempt| attempt.0 == "claim").unwrap();
    assert_eq!((claim.1.as_str(), claim.2.as_str()), ("skipped", "pool_empty: the pool `vouchers` is empty"));
}

#[tokio::test]
async fn the_owner_is_told_once_that_a_pool_is_low_and_again_after_it_was_filled() {
    let world = world(Kind::Sqlite).await;
    fill(&world, "spring", 4).await;
    let rule = hourly("by-hand", RULE).replace("purpose:", "owner: boss@x.example\npurpose:");
    world.load(&[("gift.yaml", &rule), ("templates/gift.md", GIFT)]).await;
    let (writer, at) = (Writer::new(&world), world.now());
    let take = async |number| {
        writer.write(number, "1", at, claim(WhenEmpty::Hold)).await;
        let mails = world.mail.take().into_iter().filter_map(|message| match message {
            Message::Email(email) => Some(format!("{}: {}", email.to_address, email.subject)),
            _ => None,
        });
        mails.collect::<Vec<_>>()
    };
    let news = |left| vec![format!("boss@x.example: [nudged] the pool vouchers has {left} codes left")];
    let none: Vec<String> = Vec::new();
    assert_eq!(take(0).await, none, "three are left");
    assert_eq!(take(1).await, news(2));
    assert_eq!(take(2).await, none);
    assert_eq!(take(3).await, none);
    assert_eq!(take(4).await, none, "it is empty, as was to be seen");
    world
        .crm
        .run(
            "INSERT INTO vouchers (code, campaign) VALUES ('spring-a', 'spring'), ('spring-b', 'spring'), \
                   ('spring-c', 'spring'), ('spring-d', 'spring')",
        )
        .await;
    assert_eq!(take(4).await, none, "three are left");
    assert_eq!(take(5).await, news(2));
}

/// Nobody is mailed by a rule without an owner: the log has it, and the next rule that has one tells.
#[tokio::test]
async fn a_low_pool_is_logged_at_once_and_told_to_the_next_owner() {
    let world = world(Kind::Sqlite).await;
    fill(&world, "spring", 4).await;
    let owned = hourly("by-hand", RULE).replace("purpose:", "owner: boss@x.example\npurpose:");
    let take = async |rule: &str, number| {
        world.load(&[("gift.yaml", rule), ("templates/gift.md", GIFT)]).await;
        let writer = Writer::new(&world);
        writer.write(number, "1", world.now(), claim(WhenEmpty::Hold)).await;
        let low = |event: &Event| matches!(event, Event::PoolLow { pool, .. } if pool == "vouchers");
        let logged = writer.1.lock().unwrap().iter().filter(|event| low(event)).count();
        (logged, world.mail.take().len())
    };
    let ownerless = hourly("by-hand", RULE);
    assert_eq!(take(&ownerless, 0).await, (0, 0), "three are left");
    assert_eq!(take(&ownerless, 1).await, (1, 0));
    assert_eq!(take(&ownerless, 2).await, (0, 0), "it was logged");
    assert_eq!(take(&owned, 2).await, (0, 1));
    assert_eq!(take(&owned, 3).await, (0, 0), "and told");
}
