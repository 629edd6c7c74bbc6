//! A clock that jumps must send the same as one that stops at every sweep, also for rules that nothing but a change of the
//! source sets off.

use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use jiff::{SignedDuration, Timestamp};
use nudged::engine::{Horizon, Settings};
use nudged::model::Clock;

const START: &str = "2026-10-20T08:00:00Z";

fn rule(trigger: &str) -> String {
    format!(
        "version: 1\nid: turned\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
         trigger: {trigger}\ncheck_every: 1 hour\nguard: {{floor: 1000}}\n\
         steps: [{{email: {{template: hello}}}}, {{wait: {{for: 30 hours}}}}, {{email: {{template: hello, id: two}}}}]\n"
    )
}

/// When, to whom and with which subject.
type Mailed = (Timestamp, (String, String));

/// Plays up to an instant, by every sweep or by those alone that may find something, and counts the turns.
async fn go(world: &World, (until, changed): (Timestamp, Timestamp), jumps: bool, sent: &mut Vec<Mailed>) -> usize {
    let (mut turns, mut changed_at) = (0, changed);
    loop {
        let next = if jumps {
            world.engine.next_eventful(Horizon { until, changed_at }).await.unwrap()
        } else {
            world.engine.next_due().await.unwrap().filter(|next| *next <= until)
        };
        let Some(next) = next else { return turns };
        world.clock.set(next.max(world.clock.now()));
        world.engine.sweep_due().await.unwrap();
        if world.engine.dispatch_due().await.unwrap().steps > 0 {
            changed_at = world.clock.now();
        }
        let mut mails: Vec<_> = world.mail.mails().into_iter().map(|mail| (world.clock.now(), mail)).collect();
        mails.sort();
        sent.extend(mails);
        turns += 1;
    }
}

/// What was sent, and in how many turns.
async fn run(trigger: &str, jumps: bool) -> (Vec<Mailed>, usize) {
    let start = instant(START);
    let world = World::new(Kind::Sqlite, start, Settings::default()).await;
    for id in 1..=3 {
        let created = world.crm.time(world.ago(days(40)));
        let country = if id == 3 { "DE" } else { "AT" };
        world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, 'A{id}', '{country}', {created})")).await;
        let contact = format!("INSERT INTO contacts VALUES ({id}, {id}, 'p{id}@x.example', 'P', NULL, 1)");
        world.crm.run(&contact).await;
    }
    let hello = ("templates/hello.md", "---\nsubject: Hello {{ record.name }}\n---\nHello\n");
    world.load(&[("turned.yaml", &rule(trigger)), hello]).await;
    let (mut sent, mut turns, mut changed_at) = (Vec::new(), 0, start);
    // Between two sweeps, at one, in the first night, and long after everything has come to rest.
    for (after, change) in [
        (hours(30) + hours(1) / 2, "UPDATE accounts SET country_code = 'DE' WHERE id = 1"),
        (hours(48), "UPDATE accounts SET country_code = 'CH' WHERE id = 3"),
        (hours(70), "UPDATE accounts SET country_code = 'DE' WHERE id = 3"),
        (days(9), "UPDATE accounts SET country_code = 'AT' WHERE id = 1"),
        (days(14), ""),
    ] {
        let until = start + after;
        turns += go(&world, (until, changed_at), jumps, &mut sent).await;
        world.clock.set(until);
        world.crm.run(change).await;
        changed_at = until;
    }
    (sent, turns)
}

#[tokio::test]
async fn the_same_is_sent_when_sweeps_are_left_out_that_find_nothing() {
    for trigger in [
        "{changed: {field: country}}",
        "{changed: {field: country, from: AT, to: DE}}",
        "{segment: {when: {country: DE}}}",
        "{segment: {when: {country: DE}, min_out: 1 day}}",
        "{segment: {when: {any: [{country: DE}, {not: {country: AT}}]}, leaves: true, min_out: 20 hours}}",
    ] {
        let ((dense, all), (jumped, some)) = (run(trigger, false).await, run(trigger, true).await);
        assert!(dense.len() >= 2, "{trigger}: {dense:?}");
        assert_eq!(jumped, dense, "{trigger}");
        assert!(some * 2 < all, "{trigger}: {some} turns in place of {all}");
    }
}

/// What time alone brings is looked for at every planned instant.
#[tokio::test]
async fn what_goes_by_time_is_swept_as_it_is_live() {
    let trigger = "{segment: {when: {created_at: {older_than: 45 days}}}}";
    let ((dense, _), (jumped, _)) = (run(trigger, false).await, run(trigger, true).await);
    assert!(dense.len() >= 6, "{dense:?}");
    assert_eq!(jumped, dense);
}

/// Leaving out the sweeps that find nothing must not change what is sent, and when.
#[tokio::test]
async fn a_clock_that_jumps_sends_the_same_as_one_that_stops_at_every_sweep() {
    let rule = "version: 1\nid: silence\nmode: live\npurpose: offers\nfor_each: customer\nto: main_contact\n\
                trigger: {inactivity: {of: orders, for: 5 days, fallback: created_at}}\n\
                where: [{name: {not: Bob}}, {created_at: {older_than: 9 days}}]\n\
                goal: {when: {orders: {some: {}, since: entry}}}\n\
                steps: [{email: {template: hello}}, {wait: {for: 2 days, at: \"10:00\"}}, {email: {template: hello, id: two}}]\n";
    let start: Timestamp = "2026-10-20T08:00:00Z".parse().unwrap();
    let files = [("silence.yaml", rule), ("templates/hello.md", "---\nsubject: Hello {{ record.name }}\n---\nHello\n")];
    let mut runs = Vec::new();
    for jumps in [false, true] {
        let world = World::new(Kind::Sqlite, start, Settings::default()).await;
        world.load(&files).await;
        for (id, name, age, order) in
            [(1, "Ann", 40, 100), (2, "Bob", 40, 90), (3, "Cid", 6, 40), (4, "Dan", 3, 700), (5, "Eve", 40, 118)]
        {
            let created = world.crm.time(start - SignedDuration::from_hours(age * 24));
            let placed = world.crm.time(start - SignedDuration::from_hours(order));
            world.crm.run(&format!("INSERT INTO accounts VALUES ({id}, '{name}', 'AT', {created})")).await;
            world
                .crm
                .run(&format!("INSERT INTO contacts VALUES ({id}, {id}, '{name}@x.example', '{name}', NULL, 1)"))
                .await;
            if order < 700 {
                world.crm.run(&format!("INSERT INTO orders VALUES ({id}, {id}, {placed}, 'paid')")).await;
            }
        }
        let mut sent = Vec::new();
        let mut turns = 0;
        // Half-way one of them orders.
        let half = start + SignedDuration::from_hours(4 * 24);
        for (until, changed_at) in [(half, start), (start + SignedDuration::from_hours(12 * 24), half)] {
            turns += go(&world, (until, changed_at), jumps, &mut sent).await;
            world.clock.set(until);
            let placed = world.crm.time(until);
            world.crm.run(&format!("INSERT INTO orders VALUES (900 + {turns}, 1, {placed}, 'paid')")).await;
        }
        runs.push((sent, turns));
    }
    let [(dense, all), (jumped, some)] = runs.try_into().unwrap();
    assert!(dense.len() >= 6, "{dense:?}");
    assert_eq!(jumped, dense);
    assert!(some * 10 < all, "{some} turns in place of {all}");
}
