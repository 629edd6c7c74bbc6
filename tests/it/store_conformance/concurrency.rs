use super::*;
use nudged::engine::port::{StoreError, SweepId, Verdict};
use std::collections::HashSet;

on_both_stores!(
    eight_claimers_never_get_the_same_row,
    settlements_of_many_tasks_all_count,
    a_failing_transaction_does_not_harm_those_beside_it,
    what_was_answered_is_there_after_a_kill,
);

async fn eight_claimers_never_get_the_same_row(home: Home) {
    let stores = [home.with_rule().await, home.open().await];
    let matches = (0..600).map(|key| a_match(&*stores[0], &key.to_string(), "x")).collect();
    enter(&*stores[0], matches).await;
    let claimers = (0..8).map(|n| {
        let store = Arc::clone(&stores[n % if home.is_shared() { 2 } else { 1 }]);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim(&owner(&format!("claimer {n}")), now(), 7).await.unwrap();
                if claimed.is_empty() {
                    return mine;
                }
                mine.extend(claimed.into_iter().map(|c| c.token.id));
            }
        })
    });
    let claimers: Vec<_> = claimers.collect();
    let mut all = Vec::new();
    for claimer in claimers {
        all.extend(claimer.await.unwrap());
    }
    // A claimer that met only rows that others had locked may have left early; the rest is still there.
    loop {
        let left = stores[0].claim(&owner("last"), now(), 100).await.unwrap();
        if left.is_empty() {
            break;
        }
        all.extend(left.into_iter().map(|c| c.token.id));
    }
    assert_eq!(all.len(), 600);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 600);
}

async fn settlements_of_many_tasks_all_count(home: Home) {
    let store = home.with_rule().await;
    enter(&*store, (0..200).map(|key| a_match(&*store, &key.to_string(), "x")).collect()).await;
    let claimed = claim(&*store, 200).await;
    let tasks: Vec<_> = claimed
        .into_iter()
        .map(|claimed| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                assert!(mark(&*store, &claimed, true).await.lost.is_empty());
                let attempt = attempt_of(&*store, &claimed, sent());
                complete(&*store, completion(&claimed, Some(attempt), end())).await
            })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap().lost.is_empty());
    }
    assert_eq!(store.attempts(0, 1_000).await.unwrap().len(), 200);
    assert_eq!(store.overview(now()).await.unwrap().active_enrollments, 0);
}

async fn a_failing_transaction_does_not_harm_those_beside_it(home: Home) {
    let store = home.with_rule().await;
    store.adopt(&[adoption("win-back"), adoption("renewal")], now()).await.unwrap();
    let good = begin(&*store).await;
    let bad = store.begin_sweep(&"renewal".into(), Lane::Live, &tenant(), &owner("a")).await.unwrap().unwrap();
    let stray = NewMatch { version: "v9".into(), ..match_of(store.secret(), "renewal", "1", "x") };
    let (good_commit, bad_commit) = (commit_of(vec![a_match(&*store, "1", "x")]), commit_of(vec![stray]));
    let (good, bad) = tokio::join!(store.commit_sweep(&good, &good_commit), store.commit_sweep(&bad, &bad_commit));
    assert!(matches!(bad, Err(StoreError::Broken(_))), "{bad:?}");
    assert_eq!(good.unwrap().entered, 1);
    claim_one(&*store).await;
}

/// The store is dropped in the middle of its work, and whatever it had answered must be found again.
async fn what_was_answered_is_there_after_a_kill(home: Home) {
    let store = home.with_rule().await;
    let mut entered = 0;
    for round in 0..5 {
        let matches: Vec<_> = (0..20).map(|key| a_match(&*store, &format!("{round}-{key}"), "x")).collect();
        entered += enter(&*store, matches).await.entered;
    }
    let lease = begin(&*store).await;
    let staged: Vec<_> = (0..20).map(|key| a_match(&*store, &format!("s-{key}"), "x")).collect();
    store.stage(&lease, &SweepId("s".to_owned()), &found(&staged)).await.unwrap();
    store.close_sweep(&lease, &SweepId("s".to_owned()), &Verdict::Released, &progress(now()), None).await.unwrap();
    store.expand(5).await.unwrap();
    // Asked for, and given up before it was answered: it may have happened or not, but not by half.
    let half = {
        let (store, lease) = (Arc::clone(&store), begin(&*store).await);
        let unanswered = commit_of((0..20).map(|key| a_match(&*store, &format!("u-{key}"), "x")).collect());
        let task = tokio::spawn(async move { store.commit_sweep(&lease, &unanswered).await.map(drop) });
        tokio::task::yield_now().await;
        task.abort();
        task.await
    };
    drop(half);
    drop(store);

    let store = home.open().await;
    while store.expand(100).await.unwrap() > 0 {}
    let expected = entered as usize + 20;
    let found = claim(&*store, 1_000).await.len();
    assert!(found == expected || found == expected + 20, "{found} of {expected}");
    assert_eq!(entered, 100);
}

/// Only PostgreSQL can be opened by two nodes that start together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_together_agree_on_the_schema_and_the_secret() {
    let home = Home::postgres();
    let (a, b, c) = tokio::join!(home.open(), home.open(), home.open());
    assert_eq!(a.secret().0, b.secret().0);
    assert_eq!(a.secret().0, c.secret().0);
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let Home::Postgres(database) = Home::postgres() else { unreachable!() };
    drop(PostgresStore::open(&database.url, now()).await.unwrap());
    database.execute("UPDATE meta SET schema = 99");
    let refused = PostgresStore::open(&database.url, now()).await.unwrap_err();
    assert!(matches!(refused, StoreError::NewerSchema { found: 99, .. }), "{refused}");
}

/// Two nodes settle, restart and rescue the same rows; deadlocks are retried and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_work() {
    let home = Home::postgres();
    let (a, b) = (home.with_rule().await, home.open().await);
    enter(&*a, (0..300).map(|key| a_match(&*a, &key.to_string(), "x")).collect()).await;
    let nodes = [(a.clone(), "a"), (b, "b")].map(|(store, name)| {
        tokio::spawn(async move {
            let mut done = 0;
            loop {
                let claimed = store.claim(&owner(name), now(), 20).await.unwrap();
                if claimed.is_empty() {
                    return done;
                }
                store.rescue(&owner(name), now()).await.unwrap();
                let tokens: Vec<_> = claimed.iter().map(|c| c.token).collect();
                store.heartbeat(&tokens).await.unwrap();
                let completions: Vec<_> =
                    claimed.iter().rev().map(|c| completion(c, Some(attempt_of(&*store, c, sent())), end())).collect();
                let settled = store.settle(&Settlement { marks: Vec::new(), completions }).await.unwrap();
                assert!(settled.lost.is_empty());
                done += claimed.len();
            }
        })
    });
    let mut done = 0;
    for node in nodes {
        done += node.await.unwrap();
    }
    done += {
        let left = claim(&*a, 1_000).await;
        left.len()
    };
    assert_eq!(done, 300);
}
