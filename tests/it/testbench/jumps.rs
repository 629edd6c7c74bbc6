//! Rules that nothing but a change of the source sets off: a clock that jumps must send the same as one that stops at every
//! sweep.

use crate::support::instant;
use crate::world::{Kind, World, days, hours};
use jiff::Timestamp;
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
        loop {
            let next = if jumps {
                world.engine.next_eventful(Horizon { until, changed_at }).await.unwrap()
            } else {
                world.engine.next_due().await.unwrap().filter(|next| *next <= until)
            };
            let Some(next) = next else { break };
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
