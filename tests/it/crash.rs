//! Kills the real daemon with SIGKILL again and again while real receivers count what arrives.
//!
//! Promised: nothing is lost, no match happens twice, a webhook is repeated only with its own key and only
//! if it was under way at a kill, a task exists once, and a mail arrives at most once (one that was under
//! way at a kill is held as `unknown` for an operator, who is told which).
//!
//! The moments are random. A failing run prints its seed; `NUDGED_CRASH_SEED=… cargo test --test it crash`
//! draws the same moments again.

#![expect(clippy::print_stdout, reason = "a failing run has to show its seed")]

mod count;
mod daemon;
mod world;

use crate::support::{http_receiver, mariadb, poll_until, poll_until_ok, postgres, smtp_sink};
use count::Counts;
use daemon::{Daemon, Receivers};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};
use world::World;

const KILLS: usize = 30;
/// After the last kill: leases of killed processes run out, then the rest is sent.
const RECOVERY: Duration = Duration::from_mins(5);

#[test]
fn a_daemon_with_sqlite_state_survives_being_killed() {
    storm(&World::create(mariadb()), None);
}

#[test]
fn a_daemon_with_postgres_state_survives_being_killed() {
    let state = postgres();
    storm(&World::create(postgres()), Some(&state.url));
}

fn storm(world: &World, state: Option<&str>) {
    let seed = seed();
    println!("NUDGED_CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (http, smtp) = (http_receiver(), smtp_sink(&[]));
    let receivers = Receivers { http: &http, smtp: &smtp };
    let daemon = Daemon::configure(world, state, &receivers);

    let mut in_the_midst = 0;
    for kill in 0..KILLS {
        let running = daemon.start();
        let before = http.count();
        // In the midst of sending, and in turn at any moment of a start that may not have come that far.
        let sent = before + random.random_range(1..40);
        let patience = if kill % 2 == 0 { 6_000 } else { random.random_range(50..1_500) };
        let deadline = Instant::now() + Duration::from_millis(patience);
        poll_until(RECOVERY, || http.count() >= sent || Instant::now() >= deadline);
        running.kill(&daemon);
        in_the_midst += usize::from(http.count() > before);
    }
    println!("{in_the_midst} of {KILLS} kills came after something was sent");
    assert!(in_the_midst > 0, "no kill came while the daemon was sending");

    let running = daemon.start();
    poll_until_ok(RECOVERY, || {
        let (counts, unknown) = (Counts::take(world, &receivers), daemon.unknown_mails());
        let missing = || format!("{counts}; {} mails unknown\n{}\n{}", unknown.len(), daemon.status(), daemon.said());
        if counts.are_complete(&unknown) { Ok(()) } else { Err(missing()) }
    });
    running.terminate(&daemon);
    let before = http.count() + smtp.count();

    // What is done stays done: another life finds nothing to do.
    let running = daemon.start();
    daemon.wait_until_swept();
    running.terminate(&daemon);
    assert_eq!(http.count() + smtp.count(), before, "a start with nothing to do sent something");
    verdict(&Counts::take(world, &receivers), &daemon.unknown_mails(), in_the_midst);
}

/// The state takes a message as under way from before it is sent until its outcome is committed, for at most
/// two messages per session.
const UNDER_WAY_PER_SESSION: usize = 2;

fn verdict(counts: &Counts, unknown: &BTreeSet<usize>, in_the_midst: usize) {
    println!("{counts}; {} mails held as unknown", unknown.len());
    counts.assert_one_match_each();
    counts.assert_repeats_within(in_the_midst * UNDER_WAY_PER_SESSION * Daemon::WEBHOOK_SESSIONS);
    counts.assert_mails_once();
    let under_way = KILLS * UNDER_WAY_PER_SESSION * Daemon::MAIL_SESSIONS;
    assert!(unknown.len() <= under_way, "{} mails are unknown, but at most {under_way} were under way", unknown.len());
}

fn seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    match std::env::var("NUDGED_CRASH_SEED") {
        Ok(seed) => seed.parse().expect("NUDGED_CRASH_SEED is a number"),
        Err(_) => since.subsec_nanos().into(),
    }
}
