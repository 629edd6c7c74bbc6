use super::*;
use nudged::engine::port::{BudgetDay, Contender, Place, Spent};
use nudged::model::{AddressHash, Budget, ContactId, DeliveryState, Limits};
use std::collections::BTreeMap;

on_both_stores!(
    eight_tasks_never_take_more_places_than_a_cap_has,
    a_definite_failure_gives_its_place_back_and_doubt_does_not,
    a_delivery_that_is_tried_again_is_counted_once,
    a_mark_without_its_lease_takes_no_place,
    a_place_is_free_again_when_its_time_is_over,
    a_days_budget_holds_over_all_that_draw_on_it,
    a_warm_up_counts_from_the_first_day,
    a_failure_gives_back_what_it_took_of_the_budget,
    others_see_whom_a_postponed_row_is_for,
    the_first_copy_of_a_version_is_told_once,
);

fn contact(store: &dyn Store, address: &str) -> ContactId {
    let hash: AddressHash = store.secret().address_hash(nudged::model::Channel::Email, address);
    store.secret().contact(&tenant(), hash)
}

fn limits(caps: &[&str], budget: Budget) -> Arc<Limits> {
    Arc::new(Limits { caps: caps.iter().map(|cap| cap.parse().unwrap()).collect(), budget })
}

fn capped(caps: &[&str]) -> Arc<Limits> {
    limits(caps, Budget::default())
}

/// Days since the one that the clock of these tests stands in.
fn day(number: i64) -> BudgetDay {
    BudgetDay { number: 20_000 + number, next: now() + days(number + 1) }
}

fn place(contact: Option<ContactId>, at: Timestamp, limits: &Arc<Limits>) -> Place {
    Place { contact, at, day: day(0), limits: Arc::clone(limits) }
}

async fn mark_with(store: &dyn Store, claimed: &Claimed, place: Place) -> Settled {
    let marks = vec![Mark { place: Some(place), ..mark_of(store, claimed, false) }];
    store.settle(&Settlement { marks, completions: Vec::new() }).await.unwrap()
}

/// So many rows, claimed.
async fn claimed(store: &dyn Store, count: usize) -> Vec<Claimed> {
    enter(store, (0..count).map(|key| a_match(store, &key.to_string(), "x")).collect()).await;
    let claimed = claim(store, count).await;
    assert_eq!(claimed.len(), count);
    claimed
}

/// Marks each row on its own, from eight tasks over two stores where there can be two. The refused ones, in any order.
async fn from_eight_tasks(
    home: &Home,
    store: &Arc<dyn Store>,
    claimed: Vec<Claimed>,
    place: impl Fn(usize) -> Place,
) -> Vec<nudged::engine::port::Refusal> {
    let other = if home.is_shared() { home.open().await } else { Arc::clone(store) };
    let mut shares: Vec<Vec<(Claimed, Place)>> = vec![Vec::new(); 8];
    for (index, row) in claimed.into_iter().enumerate() {
        shares[index % 8].push((row, place(index)));
    }
    let tasks: Vec<_> = shares
        .into_iter()
        .enumerate()
        .map(|(number, share)| {
            let store = if number % 2 == 0 { Arc::clone(store) } else { Arc::clone(&other) };
            tokio::spawn(async move {
                let mut refused = Vec::new();
                for pair in share.chunks(2) {
                    let marks = pair
                        .iter()
                        .map(|(row, place)| Mark { place: Some(place.clone()), ..mark_of(&*store, row, false) });
                    let settlement = Settlement { marks: marks.collect(), completions: Vec::new() };
                    let settled = store.settle(&settlement).await.unwrap();
                    assert!(settled.lost.is_empty());
                    refused.extend(settled.refused);
                }
                refused
            })
        })
        .collect();
    let mut refused = Vec::new();
    for task in tasks {
        refused.extend(task.await.unwrap());
    }
    refused
}

async fn eight_tasks_never_take_more_places_than_a_cap_has(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 80).await;
    let people: Vec<ContactId> = ["ada", "bob", "cy", "di"].iter().map(|name| contact(&*store, name)).collect();
    let caps = capped(&["3 per day", "5 per 7 days"]);
    let to = |index: usize| Some(people[index % 3]);
    let refused = from_eight_tasks(&home, &store, rows, |index| place(to(index), now(), &caps)).await;
    assert_eq!(refused.len(), 80 - 9);
    assert!(refused.iter().all(|refusal| refusal.until == now() + days(1)), "{refused:?}");
    assert!(refused.iter().all(|refusal| refusal.reason == "the cap of 3 per day is reached"), "{refused:?}");
    let standings = store.standings_of(&people, now() - days(7), now()).await.unwrap();
    let sends: BTreeMap<ContactId, usize> = standings.iter().map(|found| (found.contact, found.sends.len())).collect();
    let counts: Vec<usize> = people.iter().map(|person| sends[person]).collect();
    assert_eq!(counts, [3, 3, 3, 0]);
    let overview = store.overview(now()).await.unwrap();
    assert_eq!(overview.outbox_sending, 9, "whoever found no place isn't sent");
}

async fn a_definite_failure_gives_its_place_back_and_doubt_does_not(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 4).await;
    let (ada, caps) = (contact(&*store, "ada"), capped(&["1 per day"]));
    let place = || place(Some(ada), now(), &caps);
    let (transient, permanent, unknown) = (
        Outcome::Transient { reason: "451".into(), retry_after: None },
        Outcome::Permanent { reason: "550".into() },
        Outcome::Unknown { reason: "timeout".into() },
    );
    let ends = [
        (transient, Then::Again { due_at: now() + days(1), counts: true }),
        (permanent, Then::Park { state: DeliveryState::Dead }),
        (unknown, Then::Park { state: DeliveryState::Unknown }),
    ];
    for (row, (outcome, then)) in rows.iter().zip(ends) {
        let taken = mark_with(&*store, row, place()).await;
        assert!(taken.refused.is_empty(), "{outcome:?}: {taken:?}");
        let waiting = mark_with(&*store, &rows[3], place()).await;
        assert_eq!(waiting.refused.len(), 1, "{outcome:?}");
        complete(&*store, completion(row, Some(attempt_of(&*store, row, outcome)), then)).await;
    }
    assert_eq!(mark_with(&*store, &rows[3], place()).await.refused.len(), 1, "it may have arrived");

    // An operator has it tried again, and that one fails for sure: the first may have arrived all the same.
    let delivery = mark_of(&*store, &rows[2], false).delivery;
    assert_eq!(store.retry(&[delivery], now()).await.unwrap(), 1);
    let again = claim_one(&*store).await;
    assert!(mark_with(&*store, &again, place()).await.refused.is_empty());
    let refused = attempt_of(&*store, &again, Outcome::Permanent { reason: "550".into() });
    complete(&*store, completion(&again, Some(refused), Then::Park { state: DeliveryState::Dead })).await;
    assert_eq!(mark_with(&*store, &rows[3], place()).await.refused.len(), 1, "the try before may have arrived");
}

async fn a_delivery_that_is_tried_again_is_counted_once(home: Home) {
    let store = home.with_rule().await;
    let row = claimed(&*store, 1).await.remove(0);
    let (ada, caps) = (contact(&*store, "ada"), capped(&["1 per day"]));
    assert!(mark_with(&*store, &row, place(Some(ada), now(), &caps)).await.refused.is_empty());
    let unknown = attempt_of(&*store, &row, Outcome::Unknown { reason: "timeout".into() });
    complete(&*store, completion(&row, Some(unknown), Then::Park { state: DeliveryState::Unknown })).await;
    let delivery = mark_of(&*store, &row, false).delivery;
    assert_eq!(store.retry(&[delivery], now()).await.unwrap(), 1);
    let again = claim_one(&*store).await;
    assert!(mark_with(&*store, &again, place(Some(ada), now(), &caps)).await.refused.is_empty());
    let standing = store.standings_of(&[ada], now() - days(1), now()).await.unwrap().remove(0);
    assert_eq!(standing.sends, [(delivery, now())]);
}

async fn a_mark_without_its_lease_takes_no_place(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 2).await;
    let (ada, caps) = (contact(&*store, "ada"), capped(&["1 per day"]));
    store.release(&[rows[0].token]).await.unwrap();
    let late = mark_with(&*store, &rows[0], place(Some(ada), now(), &caps)).await;
    assert_eq!((late.lost, late.refused), (vec![rows[0].token], Vec::new()));
    assert!(mark_with(&*store, &rows[1], place(Some(ada), now(), &caps)).await.refused.is_empty());
}

async fn a_place_is_free_again_when_its_time_is_over(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 3).await;
    let (ada, caps) = (contact(&*store, "ada"), capped(&["1 per day", "2 per 7 days"]));
    let at = |row: usize, at: Timestamp| mark_with(&*store, &rows[row], place(Some(ada), at, &caps));
    assert!(at(0, now()).await.refused.is_empty());
    assert_eq!(at(1, now() + days(1) - SignedDuration::from_secs(1)).await.refused[0].until, now() + days(1));
    assert!(at(1, now() + days(1)).await.refused.is_empty());
    let week = at(2, now() + days(2)).await.refused.remove(0);
    assert_eq!((week.until, week.reason.as_str()), (now() + days(7), "the cap of 2 per 7 days is reached"));
    // What no cap counts any more is forgotten, and what one does is not.
    assert_eq!(store.forget_sends(now() + days(1)).await.unwrap(), 1);
    let left = store.standings_of(&[ada], now() - days(9), now()).await.unwrap().remove(0);
    assert_eq!(left.sends.len(), 1);
}

async fn a_days_budget_holds_over_all_that_draw_on_it(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 60).await;
    let budget = limits(&[], Budget { per_day: Some(7), warm_up: None });
    let refused = from_eight_tasks(&home, &store, rows, |_| place(None, now(), &budget)).await;
    assert_eq!(refused.len(), 53);
    assert!(refused.iter().all(|refusal| refusal.until == day(0).next));
    assert_eq!(refused[0].reason, "the day's budget of 7 mails is used up");
    assert_eq!(store.spent_on(day(0).number).await.unwrap(), Spent { first: Some(day(0).number), used: 7 });
    assert_eq!(store.spent_on(day(1).number).await.unwrap().used, 0);
}

async fn a_warm_up_counts_from_the_first_day(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 20).await;
    let warm_up = "2/day, double every 2 days".parse().ok();
    let budget = limits(&[], Budget { per_day: None, warm_up });
    let mut rows = rows.into_iter();
    let mut left = Vec::new();
    for (number, expected) in [(0, 2), (1, 2), (2, 4), (3, 4)] {
        let mut sent = 0;
        let mut waiting = std::mem::take(&mut left);
        waiting.extend(rows.by_ref().take(5));
        for row in waiting {
            let place = Place { contact: None, at: now(), day: day(number), limits: Arc::clone(&budget) };
            let settled = mark_with(&*store, &row, place).await;
            if settled.refused.is_empty() { sent += 1 } else { left.push(row) }
        }
        assert_eq!(sent, expected, "on day {number}");
    }
}

async fn a_failure_gives_back_what_it_took_of_the_budget(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 2).await;
    let budget = limits(&[], Budget { per_day: Some(1), warm_up: None });
    assert!(mark_with(&*store, &rows[0], place(None, now(), &budget)).await.refused.is_empty());
    assert_eq!(mark_with(&*store, &rows[1], place(None, now(), &budget)).await.refused.len(), 1);
    let failed = attempt_of(&*store, &rows[0], Outcome::Permanent { reason: "550".into() });
    complete(&*store, completion(&rows[0], Some(failed), Then::Park { state: DeliveryState::Dead })).await;
    assert!(mark_with(&*store, &rows[1], place(None, now(), &budget)).await.refused.is_empty());
}

async fn others_see_whom_a_postponed_row_is_for(home: Home) {
    let store = home.with_rule().await;
    let rows = claimed(&*store, 3).await;
    let (ada, bob) = (contact(&*store, "ada"), contact(&*store, "bob"));
    let later = |hours| now() + SignedDuration::from_hours(hours);
    for (row, contact, due_at) in [(0, ada, later(1)), (1, ada, later(2)), (2, bob, later(1))] {
        let contender = Some(Contender { contact, priority: 70 });
        let then = Then::Again { due_at, counts: false };
        complete(&*store, Completion { contender, ..completion(&rows[row], None, then) }).await;
    }
    let waiting = async |due_by| {
        let found = store.standings_of(&[ada], now(), due_by).await.unwrap().remove(0);
        found.waiting.into_iter().map(|waiting| (waiting.id, waiting.priority, waiting.due_at)).collect::<Vec<_>>()
    };
    assert_eq!(waiting(later(1)).await, [(rows[0].token.id, 70, later(1))]);
    assert_eq!(waiting(later(2)).await.len(), 2);
    // A rule that rests keeps nobody waiting.
    store.set_paused(&rule(), true).await.unwrap();
    assert_eq!(waiting(later(2)).await, []);
    store.set_paused(&rule(), false).await.unwrap();
    // The next step may be for somebody else.
    let row = store.claim(&owner("a"), later(1), 1).await.unwrap().remove(0);
    complete(&*store, completion(&row, None, Then::Advance { node: 1, due_at: now(), planned_at: now() })).await;
    let all = store.standings_of(&[ada, bob], now(), later(2)).await.unwrap();
    assert_eq!(all.iter().map(|found| found.waiting.len()).sum::<usize>(), 2);
}

async fn the_first_copy_of_a_version_is_told_once(home: Home) {
    let store = home.open().await;
    let template = "win-back-1".into();
    let asked = futures::future::join_all((0..8).map(|_| store.is_first_copy(&template, "v1", now()))).await;
    assert_eq!(asked.into_iter().filter(|first| *first.as_ref().unwrap()).count(), 1);
    assert!(store.is_first_copy(&template, "v2", now()).await.unwrap());
}
