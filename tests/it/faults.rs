//! What happens when the world fails, each way once, with the real daemon: a state that is told, seen, and recovered
//! from, with nothing lost and nothing repeated that must not be.
//!
//! | fault | what is seen meanwhile | shown by |
//! |---|---|---|
//! | SMTP 4xx, 5xx, hang-up at any command, no reply after DATA, a silent server | transient, permanent, unknown | `smtp::every_way_to_fail_has_its_outcome`, `smtp::a_silent_server_costs_the_deadline_and_no_more` |
//! | SMTP through the whole daemon: 4xx, 5xx, a server that falls silent, no reply after DATA | `deliveries list`, `status`, `why` | [`a_mail_server_that_fails_in_every_way_leaves_each_mail_where_it_is_seen`] |
//! | SMTP session dead between two mails | nothing | `smtp::a_kept_session_that_died_meanwhile_is_replaced…` |
//! | HTTP 429 with Retry-After, 5xx, 4xx, redirect | transient, permanent | `webhooks::answers_are_told_apart`, `a_redirect_is_not_followed` |
//! | HTTP hang, reset, nonsense, endless or broken body | unknown, or sent | `webhooks::no_answer_in_time…`, `a_connection_that_breaks…`, `an_answer_whose_body_breaks_off…`, `an_answer_is_kept_only_when…` |
//! | HTTP through the whole daemon: 500, 429, then well | attempts, then sent | [`a_receiver_that_fails_for_a_while_gets_everything_once`] |
//! | HTTP through the whole daemon: hang, reset, an answer without an end | attempts, then sent | [`a_receiver_that_hangs_resets_and_never_ends_gets_everything_by_the_same_keys`] |
//! | the source away for hours | sweeps postponed, told once | `outage` |
//! | the process killed | unknown mails, repeated webhooks with their keys | `crash`, `takeover` |
//! | the state's disk full, in the middle of sending | the log, `nudged_state_failures_total` | [`a_full_disk_loses_nothing_and_repeats_nothing`] |
//! | the disk under a PostgreSQL state full | the log, `nudged_state_failures_total` | [`a_full_disk_under_a_postgresql_state_loses_nothing_and_repeats_nothing`] |
//! | the state's disk nearly full | the log, `nudged_room_short` | [`a_disk_that_is_nearly_full_stops_sweeps_first`] |

use super::operator::with_silent;
use super::restore::silent_in;
use super::site::Site;
use super::smtp::{Act, scripted};
use super::support::guarded::{Account, as_root};
use super::support::postgres::PostgresServer;
use super::support::{HttpReceiver, PATIENCE, Reply, http_receiver, poll_until};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub const RULE: &str = "version: 1
id: silence
description: Silent for 90 days.
mode: live
purpose: service
for_each: customer
to: main_contact
trigger:
  inactivity: {of: orders, for: 90 days}
backfill: 30 days
check_every: 1 second
guard: {percent_per_day: 100, floor: 1000}
steps:
  - webhook: {to: team-chat}
";

/// Customers who are due with the first start, and who is called then.
fn site(customers: usize) -> (Site, HttpReceiver) {
    let (site, receiver) = (with_silent(customers, RULE), http_receiver());
    site.configure("http://127.0.0.1:9/", &receiver.url);
    (site, receiver)
}

fn all_sent(site: &Site, count: usize) {
    poll_until(PATIENCE, || {
        let counts = &site.status()["state"]["counts"];
        counts["matches"] == count && counts["enrollments"]["active"] == 0
    });
}

/// A disk of its own for the state, as small as it is told to be.
struct SmallDisk(String);

impl SmallDisk {
    fn mount(site: &Site, size: &str) -> Self {
        let place = site.path("small");
        fs::create_dir(&place).unwrap();
        let owner = fs::metadata(&place).unwrap();
        let disk = Self::over(place, (owner.uid(), owner.gid()), size);
        site.configure(&site.path("state.db"), &format!("{}/state.db", disk.0));
        disk
    }

    fn over(place: String, (uid, gid): (u32, u32), size: &str) -> Self {
        run_mount(&["-t", "tmpfs", "-o", &format!("size={size},uid={uid},gid={gid}"), "tmpfs", &place]);
        Self(place)
    }

    fn grow(&self, size: &str) {
        run_mount(&["-o", &format!("remount,size={size}"), &self.0]);
    }

    /// Not a byte is left.
    fn fill(&self) {
        let mut ballast = fs::File::create(format!("{}/ballast", self.0)).unwrap();
        for size in [64 * 1024, 1024, 1] {
            while ballast.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(format!("{}/ballast", self.0)).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = as_root(Path::new("umount")).args(["--lazy", &self.0]).status();
    }
}

fn run_mount(arguments: &[&str]) {
    let status = as_root(Path::new("mount")).args(arguments).status().unwrap();
    assert!(status.success(), "mount {arguments:?}: these tests may mount, as they may start servers");
}

fn three_more_fall_silent(site: &Site) {
    for id in 6..=8 {
        site.crm(&format!(
            "INSERT INTO accounts VALUES ({id}, 'Cafe {id}', 'cafe', 'Graz', 'AT', 'B', 0, 1, 0, '2020-01-01 00:00:00');
             INSERT INTO orders VALUES ({id}, {id}, '{}', 'paid', 12.5);",
            silent_in(1)
        ));
    }
}

#[test]
fn a_full_disk_loses_nothing_and_repeats_nothing() {
    let (site, receiver) = site(5);
    let disk = SmallDisk::mount(&site, "12m");
    site.configure("[state]", "[state]\nmin_free_mib = 0");
    receiver.reply_always(Reply::ok().held());
    let daemon = site.start();
    site.told("READY=1");
    receiver.wait_for(5);

    // Five webhooks are on their way, and their outcomes find no room.
    disk.fill();
    receiver.release();
    poll_until(PATIENCE, || site.log().contains("the state database failed"));
    assert!(site.log().contains("database or disk is full"), "{}", site.log());
    // Three more fall silent meanwhile: their sweep finds no room, either.
    three_more_fall_silent(&site);
    poll_until(PATIENCE, || site.log().contains("sweep postponed"));
    assert_eq!(receiver.count(), 5);

    disk.free();
    receiver.wait_for(8);
    all_sent(&site, 8);
    assert_eq!(receiver.count(), 8);
    assert!(receiver.count_by_key().values().all(|times| *times == 1), "{:?}", receiver.count_by_key());
    drop(daemon);
    drop(disk);
}

/// The state's tables lie on a small disk; the server's own files don't, so it lives on, and every row that needs room
/// is refused.
#[test]
fn a_full_disk_under_a_postgresql_state_loses_nothing_and_repeats_nothing() {
    let (site, receiver) = site(5);
    let server = PostgresServer::start(None, &[]);
    let state = server.create();
    let place = Account::for_server("postgres").directory("nudged-small-");
    let owner = fs::metadata(&place).unwrap();
    let disk = SmallDisk::over(place.display().to_string(), (owner.uid(), owner.gid()), "24m");
    state.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
    state.execute(&format!("ALTER DATABASE {} SET default_tablespace = small", state.name));
    let own = format!("url = \"sqlite:{}\"", site.path("state.db"));
    site.configure(&own, &format!("url = \"{}\"\ndirectory = \"{}\"", state.url, site.path("")));
    receiver.reply_always(Reply::ok().held());
    let daemon = site.start();
    site.told("READY=1");
    receiver.wait_for(5);

    // No outcome was written so far, so the first one needs a page of its own.
    disk.fill();
    receiver.release();
    poll_until(PATIENCE, || site.log().contains("the state database failed"));
    assert!(site.log().contains("No space left on device"), "{}", site.log());
    three_more_fall_silent(&site);
    // Whoever looks sees that they are on their way, and no outcome.
    let status = site.status();
    assert!(status["state"]["counts"]["enrollments"]["active"].as_u64() >= Some(5), "{status}");
    assert_eq!(site.json(&["deliveries", "list", "--state", "sent"]), Json::Array(Vec::new()));

    disk.free();
    receiver.wait_for(8);
    all_sent(&site, 8);
    assert_eq!(receiver.count(), 8);
    assert!(receiver.count_by_key().values().all(|times| *times == 1), "{:?}", receiver.count_by_key());
    drop(daemon);
    drop((state, server));
    drop(disk);
}

#[test]
fn a_disk_that_is_nearly_full_stops_sweeps_first() {
    let (site, receiver) = site(2);
    // 64 MB free are fewer than a GiB.
    let disk = SmallDisk::mount(&site, "64m");
    let daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.log().contains("the disk of the state is nearly full: sweeps stop"));
    assert_eq!(receiver.count(), 0);
    assert_eq!(site.status()["state"]["counts"]["matches"], 0);

    disk.grow("2g");
    poll_until(PATIENCE, || site.log().contains("sweeps go on"));
    receiver.wait_for(2);
    all_sent(&site, 2);
    drop(daemon);
    drop(disk);
}

/// Which deliveries stand there, and why.
fn standing(site: &Site, state: &str) -> Vec<(String, String)> {
    let listed = site.json(&["deliveries", "list", "--state", state]);
    let text = |row: &Json, key: &str| row[key].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(|row| (text(row, "record"), text(row, "detail"))).collect()
}

#[test]
fn a_mail_server_that_fails_in_every_way_leaves_each_mail_where_it_is_seen() {
    let rule = RULE.replace("webhook: {to: team-chat}", "email: {template: hello}");
    let site = with_silent(6, &rule.replace("purpose: service", "purpose: service\nunknown: hold"));
    let (recipients, ends) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let act = move |verb: &str, _: usize| match verb {
        "RCPT" => match recipients.fetch_add(1, Ordering::SeqCst) {
            0 => Some(Act::Say("451 4.3.0 come back later")),
            1 => Some(Act::Say("554 5.7.1 not from you")),
            2 => Some(Act::Hang),
            _ => None,
        },
        "." => match ends.fetch_add(1, Ordering::SeqCst) {
            0 => Some(Act::Drop),
            1 => Some(Act::Hang),
            _ => None,
        },
        _ => None,
    };
    let (port, commands) = scripted(false, act);
    let server =
        format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\ntimeout = \"1 second\"");
    site.configure("transport = \"folder\"", &server);
    let mut daemon = site.start();
    site.told("READY=1");
    let seen = |state: &str| standing(&site, state);
    let ends = [("due", 2), ("dead", 1), ("unknown", 2), ("sent", 1)];
    poll_until(PATIENCE, || ends.iter().all(|(state, count)| seen(state).len() == *count));
    let late: Vec<String> = seen("due").into_iter().map(|(_, reason)| reason).collect();
    assert!(late.iter().any(|reason| reason.contains("451 4.3.0 “come back later”")), "{late:?}");
    assert!(late.iter().any(|reason| reason.contains("the mail server did not answer in time")), "{late:?}");
    assert!(seen("dead")[0].1.contains("554 5.7.1 “not from you”"), "{:?}", seen("dead"));
    let (record, reason) = seen("unknown").remove(0);
    assert!(!reason.is_empty());
    let outbox = site.status()["state"]["counts"]["outbox"].clone();
    assert_eq!((&outbox["dead"], &outbox["unknown"]), (&Json::from(1), &Json::from(2)), "{outbox}");
    let (code, told, _) = site.run(&["why", &record]);
    assert!(code == 0 && told.contains("may or may not have arrived"), "{told}");

    // Half a minute is the first pause; nobody waits for it here.
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    site.sql("state.db", "UPDATE outbox SET due_at = due_at - 3600000000 WHERE state = 0");
    let _daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || seen("sent").len() == 3);
    for stuck in ["dead", "unknown"] {
        assert_eq!(site.run(&["deliveries", "retry", "--all", stuck]).0, 0);
    }
    poll_until(PATIENCE, || seen("sent").len() == 6);
    all_sent(&site, 6);
    let ends = commands.lock().unwrap().iter().filter(|command| *command == ".").count();
    assert_eq!(ends, 8, "each once, and those in doubt again since an operator said so");
}

#[test]
fn a_receiver_that_fails_for_a_while_gets_everything_once() {
    let (site, receiver) = site(3);
    receiver.reply_next(Reply::status(500));
    receiver.reply_next(Reply::status(429).header("retry-after", "1"));
    receiver.reply_next(Reply::status(503));
    let daemon = site.start();
    site.told("READY=1");
    receiver.wait_for(3);
    poll_until(PATIENCE, || site.log().matches("\"outcome\":\"transient\"").count() == 3);
    let reasons = || -> String { standing(&site, "due").into_iter().map(|(_, reason)| reason).collect() };
    poll_until(PATIENCE, || ["500", "429", "503"].iter().all(|status| reasons().contains(status)));
    assert_eq!(site.status()["state"]["counts"]["enrollments"]["active"], 3);
    // Half a minute is the first pause; nobody waits for it here.
    let mut stopping = daemon;
    stopping.signal("TERM");
    assert_eq!(stopping.ends().code(), Some(0), "{}", site.log());
    site.sql("state.db", "UPDATE outbox SET due_at = due_at - 3600000000");
    let _daemon = site.start();
    site.told("READY=1");
    receiver.wait_for(6);
    all_sent(&site, 3);
    assert!(
        receiver.count_by_key().values().all(|times| *times == 2),
        "the same key each: {:?}",
        receiver.count_by_key()
    );
}

/// Reads a request's head; its idempotency key and how long its body is.
fn request_head(socket: &mut impl BufRead) -> Option<(String, usize)> {
    let (mut key, mut length) = (None, None);
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).ok().filter(|read| *read > 0)?;
        if line.trim_end().is_empty() {
            return key.zip(length);
        }
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = Some(value.to_owned()),
            "content-length" => length = value.parse().ok(),
            _ => {}
        }
    }
}

/// A receiver that never answers its first request, resets the connection under the second, answers the third with a
/// body that has no end, and from then on is well. Its address, and the keys that it has read.
fn indecent_receiver() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keys = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&keys);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, log) = (socket.unwrap(), Arc::clone(&log));
            std::thread::spawn(move || {
                // Byte by byte: what isn't read here lies unread in the socket, and closing it is a reset.
                let mut reader = BufReader::with_capacity(1, socket.try_clone().unwrap());
                while let Some((key, length)) = request_head(&mut reader) {
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push(key);
                        log.len()
                    };
                    if number == 2 {
                        return;
                    }
                    reader.read_exact(&mut vec![0; length]).unwrap();
                    if number == 1 {
                        let _ = reader.read(&mut [0]);
                        return;
                    }
                    let head = if number == 3 { "transfer-encoding: chunked" } else { "content-length: 0" };
                    socket.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes()).unwrap();
                    if number == 3 {
                        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
                        while socket.write_all(chunk.as_bytes()).is_ok() {}
                        return;
                    }
                }
            });
        }
    });
    (url, keys)
}

#[test]
fn a_receiver_that_hangs_resets_and_never_ends_gets_everything_by_the_same_keys() {
    let site = with_silent(4, &RULE.replace("{to: team-chat}", "{to: team-chat, save: answer}"));
    let (url, keys) = indecent_receiver();
    site.configure("\"http://127.0.0.1:9/\"", &format!("\"{url}\"\ntimeout = \"1 second\""));
    let mut daemon = site.start();
    site.told("READY=1");
    // An answer that is too long to keep is an answer: it has arrived.
    poll_until(PATIENCE, || standing(&site, "sent").len() == 2 && standing(&site, "due").len() == 2);
    let reasons: Vec<String> = standing(&site, "due").into_iter().map(|(_, reason)| reason).collect();
    assert!(reasons.iter().any(|reason| reason.contains("did not answer in time")), "{reasons:?}");
    assert_eq!(site.status()["state"]["counts"]["enrollments"]["active"], 2);
    assert_eq!(site.log().matches("\"outcome\":\"unknown\"").count(), 2, "{}", site.log());

    // Half a minute is the first pause; nobody waits for it here.
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    site.sql("state.db", "UPDATE outbox SET due_at = due_at - 3600000000");
    let _daemon = site.start();
    site.told("READY=1");
    all_sent(&site, 4);
    let mut times = HashMap::<String, usize>::new();
    for key in keys.lock().unwrap().iter() {
        *times.entry(key.clone()).or_default() += 1;
    }
    let mut times: Vec<usize> = times.into_values().collect();
    times.sort_unstable();
    assert_eq!(times, [1, 1, 2, 2], "those in doubt again, by the same keys");
}
