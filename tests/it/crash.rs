//! Kills the real daemon with SIGKILL again and again while real receivers count what arrives.
//!
//! Promised: nothing is lost, no match happens twice, a webhook is repeated only with its own key and only
//! if it was under way at a kill, a task exists once, and a mail arrives at most once (one that was under
//! way at a kill is held as `unknown` for an operator, who is told which).
//!
//! The moments are random. A failing run prints its seed; `NUDGED_CRASH_SEED=… cargo test --test it crash`
//! draws the same moments again. `NUDGED_CRASH_KILLS` asks for more of them.

#![expect(clippy::print_stdout, reason = "a failing run has to show its seed")]

mod count;
mod daemon;
mod world;
mod wreck;

use crate::support::{HttpReceiver, http_receiver, mariadb, poll_until, poll_until_ok, postgres, smtp_sink};
use count::Counts;
use daemon::{Daemon, Receivers};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};
use world::World;
use wreck::Wreckage;

const KILLS: usize = 50;
/// The longest that a daemon is left alive once it is up, however little it gets to do; more where it took long
/// to come up, so that a slow machine gets as far.
const LIFE: Duration = Duration::from_secs(4);
/// After the last kill: leases of killed processes run out, then the rest is sent.
const RECOVERY: Duration = Duration::from_mins(5);

#[test]
fn a_daemon_with_sqlite_state_survives_being_killed() {
    storm(&World::one_after_another(mariadb()), None);
}

#[test]
fn a_daemon_with_postgres_state_survives_being_killed() {
    let state = postgres();
    storm(&World::one_after_another(postgres()), Some(&state.url));
}

#[test]
fn half_a_staged_sweep_in_a_sqlite_state_is_neither_lost_nor_repeated() {
    killed_while_staging(&World::all_at_once(postgres()), None);
}

#[test]
fn half_a_staged_sweep_in_a_postgres_state_is_neither_lost_nor_repeated() {
    let state = postgres();
    killed_while_staging(&World::all_at_once(mariadb()), Some(&state.url));
}

/// Not at a random moment, which seldom comes between two batches of one sweep.
fn killed_while_staging(world: &World, state: Option<&str>) {
    let (http, smtp) = (http_receiver(), smtp_sink(&[]));
    let receivers = Receivers { http: &http, smtp: &smtp };
    let daemon = Daemon::configure(world, state, &receivers);
    let running = daemon.start();
    wreck::half_staged(&daemon.state, || running.kill(&daemon));
    let mut wreckage = Wreckage::default();
    wreckage.look(&daemon.state, under_way);
    assert_eq!(wreckage.staging(), 1, "{wreckage}");
    let running = daemon.start();
    wait_until_complete(world, &daemon, &receivers);
    running.terminate(&daemon);
    verdict(&Counts::take(world, &receivers), &daemon.unknown_mails(), &wreckage);
}

fn storm(world: &World, state: Option<&str>) {
    let seed = seed();
    println!("NUDGED_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (http, smtp) = (http_receiver(), smtp_sink(&[]));
    let receivers = Receivers { http: &http, smtp: &smtp };
    let daemon = Daemon::configure(world, state, &receivers);

    let mut wreckage = Wreckage::default();
    for kill in 0..number("NUDGED_CRASH_KILLS").unwrap_or(KILLS as u64) {
        let running = daemon.start();
        wait_for_the_moment(kill, &daemon, &http, &mut random);
        running.kill(&daemon);
        wreckage.look(&daemon.state, under_way);
    }
    println!("{wreckage}");
    wreckage.assert_in_the_midst();

    let running = daemon.start();
    wait_until_complete(world, &daemon, &receivers);
    running.terminate(&daemon);
    let before = http.count() + smtp.count();

    // What is done stays done: another life finds nothing to do.
    let running = daemon.start();
    daemon.wait_until_swept();
    running.terminate(&daemon);
    assert_eq!(http.count() + smtp.count(), before, "a start with nothing to do sent something");
    verdict(&Counts::take(world, &receivers), &daemon.unknown_mails(), &wreckage);
}

fn wait_until_complete(world: &World, daemon: &Daemon, receivers: &Receivers<'_>) {
    poll_until_ok(RECOVERY, || {
        let (counts, unknown) = (Counts::take(world, receivers), daemon.unknown_mails());
        let missing = || format!("{counts}; {} mails unknown\n{}\n{}", unknown.len(), daemon.status(), daemon.said());
        if counts.are_complete(&unknown) { Ok(()) } else { Err(missing()) }
    });
}

/// In the midst of sending; at any moment of a start, that may not have come as far; or at any moment after the
/// first message: while the next sweep reads, enters, or hands over to the senders.
fn wait_for_the_moment(kill: u64, daemon: &Daemon, http: &HttpReceiver, random: &mut StdRng) {
    let (before, began) = (http.count(), Instant::now());
    let until = |count: usize, longest: Duration| {
        poll_until(RECOVERY, || http.count() >= before + count || began.elapsed() >= longest);
    };
    let in_ms = |random: &mut StdRng, most| Duration::from_millis(random.random_range(1..most));
    let never = usize::MAX - before;
    let life = || {
        poll_until(RECOVERY, || daemon.is_up());
        began.elapsed() + LIFE.max(began.elapsed() * 3)
    };
    match kill % 3 {
        0 => until(random.random_range(1..40), life()),
        1 => until(never, in_ms(random, 1_500)),
        _ => {
            until(1, life());
            until(never, began.elapsed() + in_ms(random, 800));
        }
    }
}

/// A message is under way for the state from before it is sent until its outcome is committed: at most two per
/// session.
fn under_way(kind: &str) -> usize {
    2 * match kind {
        "webhook" => Daemon::WEBHOOK_SESSIONS,
        "email" => Daemon::MAIL_SESSIONS,
        _ => Daemon::TASK_SESSIONS,
    }
}

fn verdict(counts: &Counts, unknown: &BTreeSet<usize>, wreckage: &Wreckage) {
    println!("{counts}; {} mails held as unknown", unknown.len());
    counts.assert_one_match_each();
    counts.assert_repeats_within(|key| wreckage.tries_at(key));
    counts.assert_mails_once();
    let lost = wreckage.mails();
    assert!(unknown.len() <= lost, "{} mails are unknown, but {lost} were under way at a kill", unknown.len());
}

fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    number("NUDGED_CRASH_SEED").unwrap_or_else(|| since.subsec_nanos().into())
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}
