//! A node that was killed and starts again, on a shared state: what it held comes back at once, not after a minute, and
//! what another node holds is left alone.

use super::faults::RULE;
use super::operator::with_silent;
use super::site::Site;
use super::support::{Database, HttpReceiver, PATIENCE, Reply, http_receiver, poll_until, postgres};
use serde_json::json;
use std::time::{Duration, Instant};

/// A lease on the state lasts a minute.
const LEASE: Duration = Duration::from_mins(1);

/// Five customers whose webhooks are received and never answered.
fn shared() -> (Site, Database, HttpReceiver) {
    let (site, state, receiver) = (with_silent(5, RULE), postgres(), http_receiver());
    receiver.reply_always(Reply::ok().held());
    let own = format!("url = \"sqlite:{}\"", site.path("state.db"));
    site.configure(&own, &format!("url = \"{}\"\ndirectory = \"{}\"", state.url, site.path("")));
    site.configure("http://127.0.0.1:9/", &receiver.url);
    (site, state, receiver)
}

#[test]
fn a_node_that_was_killed_takes_over_what_it_held_at_once() {
    let (site, _state, receiver) = shared();
    let daemon = site.start();
    site.told("READY=1");
    receiver.wait_for(5);
    // SIGKILL, in the middle of five webhooks.
    drop(daemon);

    let began = Instant::now();
    let again = site.start();
    receiver.wait_for(6);
    let took = began.elapsed();
    assert!(took < LEASE / 2, "the leases were waited for: {took:?}");
    receiver.wait_for(10);
    assert!(receiver.count_by_key().values().all(|times| *times == 2), "{:?}", receiver.count_by_key());
    assert!(site.log().contains("a dead node's leases are taken over"), "{}", site.log());
    receiver.release();
    poll_until(PATIENCE, || site.status()["state"]["counts"]["enrollments"]["active"] == 0);
    drop(again);
}

#[test]
fn two_nodes_of_one_machine_leave_each_other_alone() {
    let (site, _state, receiver) = shared();
    let first = site.start();
    site.told("READY=1");
    receiver.wait_for(5);
    let other = [("NUDGED_WEB__SOCKET", site.path("other.sock"))];
    let other: Vec<(&str, &str)> = other.iter().map(|(name, value)| (*name, value.as_str())).collect();

    // A node that never sent may join, once it has seen that the first one is at work.
    let second = site.start_with(&other);
    site.told("READY=1");
    poll_until(PATIENCE, || site.status()["state"]["sending_held"] != json!([]));
    poll_until(PATIENCE, || site.status()["state"]["sending_held"] == json!([]));
    drop(second);
    let second = site.start_with(&other);
    site.told("READY=1");
    poll_until(PATIENCE, || site.log().contains("a dead node's leases are taken over"));
    assert!(receiver.count_by_key().values().all(|times| *times == 1), "the first one lives");

    drop(first);
    let _first = site.start();
    receiver.wait_for(10);
    assert!(receiver.count_by_key().values().all(|times| *times == 2), "{:?}", receiver.count_by_key());
    receiver.release();
    poll_until(PATIENCE, || site.status()["state"]["counts"]["enrollments"]["active"] == 0);
    drop(second);
}
