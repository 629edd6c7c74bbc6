//! The daemon as a process: ready, reloaded, drained, as systemd sees it.

use super::operator::{SILENCE, with_silent};
use super::site::Site;
use super::smtp::{Act, scripted};
use super::support::{PATIENCE, Reply, SmtpServer, http_receiver, poll_until, postgres, smtp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use sqlx::{Connection, Executor};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn systemd_hears_of_ready_watchdog_reloading_and_stopping() {
    let site = Site::new();
    let mut daemon = site.start_with(&[("WATCHDOG_USEC", "200000")]);
    let ready = site.told("READY=1");
    assert!(ready.contains(&"STATUS=4 rules".to_owned()), "{ready:?}");
    site.told("WATCHDOG=1");
    site.told("WATCHDOG=1");

    fs::remove_file(site.path("rules/vip-monday.yaml")).unwrap();
    daemon.signal("HUP");
    let reloading = site.told("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    let ready = site.told("READY=1");
    assert!(ready.contains(&"STATUS=3 rules".to_owned()), "loaded before it says that it is ready: {ready:?}");

    daemon.signal("TERM");
    site.told("STOPPING=1");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    assert!(!Path::new(&site.path("admin.sock")).exists(), "the socket is gone with the process");
}

/// Tests that take as long as tests may, many of them: nobody has to wait for their end.
#[test]
fn a_start_that_plays_tests_is_stopped_like_any_other() {
    let site = with_silent(1, SILENCE);
    let mut first = site.start();
    site.told("READY=1");
    first.signal("TERM");
    assert_eq!(first.ends().code(), Some(0), "{}", site.log());

    let long = |number: usize| {
        format!(
            "  - name: {number}\n    at: 2026-11-21 10:00 Europe/Vienna\n    given: {{customer: [{{key: 1}}]}}\n    \
             then: [{{after: 400 days, expect: nothing}}]\n"
        )
    };
    let tests: String = (0..5).map(long).collect();
    let rule = SILENCE
        .replace("inactivity: {of: orders, for: 90 days}", "segment: {when: {created_at: {older_than: 9 years}}}");
    site.rules(&[("silence.yaml", &format!("{rule}tests:\n{tests}"))]);
    let mut second = site.start();
    poll_until(PATIENCE, || Path::new(&site.path("admin.sock")).exists());
    second.signal("TERM");
    assert_eq!(second.ends().code(), Some(0), "{}", site.log());
    let log = site.log();
    assert!(log.contains("told to stop before it was ready") && !log.contains("draining"), "{log}");
}

/// Status and body of the health check.
fn health(site: &Site) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-w", "%{http_code}", "--unix-socket", &site.path("admin.sock"), "http://localhost/-/healthy"]);
    let output = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    let (body, code) = output.rsplit_once('\n').unwrap_or(("", &output));
    (code.to_owned(), body.to_owned())
}

/// The state is locked by somebody else, and the dispatcher waits for an answer that doesn't come. The rest of the
/// process is well, and a timer would go on feeding the watchdog.
#[test]
fn a_loop_that_stands_still_feeds_no_watchdog_and_is_unhealthy_until_it_moves_again() {
    let (site, state) = (with_silent(1, SILENCE), postgres());
    let own = format!("url = \"sqlite:{}\"", site.path("state.db"));
    site.configure(&own, &format!("url = \"{}\"\ndirectory = \"{}\"", state.url, site.path("")));
    // A loop that has nothing to do turns every five seconds.
    site.configure("[log]", "[service]\nstalled = \"7 seconds\"\n[log]");
    let _daemon = site.start_with(&[("WATCHDOG_USEC", "200000")]);
    site.told("READY=1");
    site.told("WATCHDOG=1");
    assert_eq!(health(&site).0, "200");

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let locked = async {
        let mut locking = sqlx::PgConnection::connect(&state.url).await.unwrap();
        locking.execute("BEGIN; LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE").await.unwrap();
        locking
    };
    let mut locking = runtime.block_on(locked);
    // The socket keeps only a few messages, and who tells waits for room.
    poll_until(PATIENCE, || {
        site.heard();
        health(&site).0 == "503"
    });
    let still = || site.log().matches("the scheduler stands still").count();
    poll_until(PATIENCE, || still() > 0);
    site.heard();
    let before = still();
    poll_until(PATIENCE, || still() >= before + 5);
    assert_eq!(site.heard(), Vec::<String>::new(), "nothing is told while it stands still");
    let (code, why) = health(&site);
    assert!(code == "503" && why.contains("the scheduler has not moved for"), "{code} {why}");

    runtime.block_on(locking.execute("ROLLBACK")).unwrap();
    site.told("WATCHDOG=1");
    poll_until(PATIENCE, || {
        site.heard();
        health(&site).0 == "200"
    });
    site.told("WATCHDOG=1");
}

/// As a mail provider has it: a submission port that wants STARTTLS and a login, whose password systemd hands over.
#[test]
fn mail_goes_out_by_a_submission_port_with_a_credential_that_is_shown_nowhere() {
    let (site, server) = (with_silent(1, SILENCE), smtp());
    site.crm("UPDATE contacts SET email = 'anna@submission.example' WHERE id = 1");
    fs::create_dir(site.path("credentials")).unwrap();
    fs::write(site.path("credentials/smtp"), SmtpServer::PASSWORD).unwrap();
    site.configure(
        "transport = \"folder\"",
        &format!(
            "transport = \"smtp\"\nhost = \"localhost\"\nport = {}\ntls = \"required\"\nca_file = \"{}\"\n\
             username = \"{}\"\npassword = \"credential:smtp\"",
            server.submission,
            server.ca.display(),
            SmtpServer::USER
        ),
    );
    // What is said when nothing is left out.
    site.configure("[log]", "[log]\nlevel = \"trace\"");
    let credentials = site.path("credentials");
    let mut daemon = site.start_with(&[("CREDENTIALS_DIRECTORY", &credentials)]);
    site.told("READY=1");
    let mail = server.wait_for("anna@submission.example", 1).remove(0);
    assert!(mail.contains("Subject: We miss Cafe 1") && mail.contains("Hello Anna1!"), "{mail}");
    assert!(mail.contains("with ESMTPSA"), "over TLS, and logged in: {mail}");
    // An operator's commands read the same configuration, in the same unit.
    let run = |arguments: &[&str]| {
        let output = site.command(arguments).env("CREDENTIALS_DIRECTORY", &credentials).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
    };
    poll_until(PATIENCE, || run(&["deliveries", "list"]).contains(" sent "));
    let mut shown = vec![mail];
    for command in [&["status"][..], &["deliveries", "list"], &["why", "customer:1"], &["rules"]] {
        shown.push(run(command));
        shown.push(run(&[command, &["--format", "json"]].concat()));
    }
    daemon.signal("TERM");
    assert_eq!(daemon.ends().code(), Some(0));
    shown.push(site.log());
    let encoded = BASE64.encode(format!("\0{}\0{}", SmtpServer::USER, SmtpServer::PASSWORD));
    for secret in [SmtpServer::PASSWORD, &BASE64.encode(SmtpServer::PASSWORD), &encoded] {
        assert!(!shown.iter().any(|text| text.contains(secret)), "{secret} is shown");
    }
    for stored in ["state.db", "state.db-wal"] {
        let bytes = fs::read(site.path(stored)).unwrap_or_default();
        let secret = SmtpServer::PASSWORD.as_bytes();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{stored}");
    }
}

#[test]
fn a_rejected_reload_fails_and_the_old_rules_go_on() {
    let site = Site::new();
    let _daemon = site.start();
    site.told("READY=1");
    assert_eq!(site.run(&["reload"]).0, 0);
    let before = site.status()["daemon"]["rulebook"]["generation"].clone();

    let (file, good) = site.break_a_rule();
    let (code, data, talk) = site.run(&["reload"]);
    assert_eq!((code, data.as_str()), (4, ""));
    assert!(talk.contains("win-back.yaml:") && talk.contains("did you mean `trigger`"), "{talk}");
    let status = site.status();
    let rulebook = &status["daemon"]["rulebook"];
    assert_eq!(rulebook["generation"], before);
    assert_eq!(rulebook["trouble"]["kind"], "rejected");

    fs::write(file, good).unwrap();
    assert_eq!(site.run(&["reload"]).0, 0);
    assert!(site.status()["daemon"]["rulebook"]["trouble"].is_null());
}

#[test]
fn a_reload_reads_secrets_anew_and_fails_when_they_are_gone() {
    let site = Site::new();
    fs::write(site.path("token"), "first").unwrap();
    let token = format!("allow_private = true\ntoken = \"file:{}\"", site.path("token"));
    site.configure("allow_private = true", &token);
    let _daemon = site.start();
    site.told("READY=1");
    fs::write(site.path("token"), "second").unwrap();
    assert_eq!(site.run(&["reload"]).0, 0, "{}", site.log());

    fs::remove_file(site.path("token")).unwrap();
    let (code, _, talk) = site.run(&["reload"]);
    assert_eq!(code, 4, "{talk}");
    assert!(talk.contains("the secrets could not be read anew"), "{talk}");
    fs::write(site.path("token"), "third").unwrap();
    assert_eq!(site.run(&["reload"]).0, 0, "{}", site.log());
}

#[test]
fn a_restart_with_broken_files_runs_and_says_so() {
    let site = Site::new();
    let mut first = site.start();
    site.told("READY=1");
    first.signal("TERM");
    assert_eq!(first.ends().code(), Some(0));

    site.break_a_rule();
    let _second = site.start();
    let ready = site.told("READY=1");
    assert!(ready.iter().any(|line| line.starts_with("STATUS=4 rules; the change was rejected")), "{ready:?}");
    let rulebook = &site.status()["daemon"]["rulebook"];
    assert_eq!((&rulebook["restored"], &rulebook["rules"]), (&Json::Bool(true), &Json::from(4)));
}

#[test]
fn starts_that_cant_work_end_with_their_codes() {
    let site = Site::new();
    site.break_a_rule();
    assert_eq!(site.run(&["run"]).0, 4, "no rules that ever loaded");

    let config = fs::read_to_string(site.path("config.toml")).unwrap();
    fs::write(site.path("config.toml"), config.replace("[log]", "[logg]")).unwrap();
    let (code, _, talk) = site.run(&["run"]);
    assert_eq!(code, 3);
    assert!(talk.contains("did you mean `log`"), "{talk}");

    fs::write(site.path("config.toml"), config.replace(&site.path("state.db"), "/proc/nowhere/state.db")).unwrap();
    assert_eq!(site.run(&["run"]).0, 5);
}

#[test]
fn a_second_daemon_ends_before_it_touches_anything() {
    let site = Site::new();
    let _first = site.start();
    site.told("READY=1");
    let (code, _, talk) = site.run(&["run"]);
    assert_eq!(code, 3, "{talk}");
    assert!(talk.contains("is nudged running already?"), "{talk}");
    assert_eq!(site.status()["daemon"]["ready"], true);
}

#[test]
fn that_nobody_real_is_written_to_is_said_loudly() {
    let site = Site::new();
    site.configure("per_domain = \"\"", "per_domain = \"\"\nredirect_all_to = \"staging@acme.example\"");
    let _daemon = site.start();
    site.told("READY=1");
    assert_eq!(site.status()["daemon"]["redirect_all_to"], "staging@acme.example");
    let (_, shown, _) = site.run(&["status"]);
    assert!(shown.contains("REDIRECTED   every mail goes to staging@acme.example"), "{shown}");
    assert!(site.log().contains("email.redirect_all_to is set"), "{}", site.log());
}

/// As after a reboot, when the daemon is up before the database.
#[test]
fn a_database_that_comes_later_is_waited_for_and_nothing_is_asked_blindly() {
    let site = Site::new();
    fs::rename(site.path("crm.db"), site.path("not-yet.db")).unwrap();
    let mut daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.status()["daemon"]["source"].is_string());
    let status = site.status();
    let rules = status["daemon"]["rulebook"]["rules"].as_u64().unwrap() as usize;
    assert_eq!(status["daemon"]["rulebook"]["resting"].as_object().unwrap().len(), rules, "{status:#}");
    let (_, table, _) = site.run(&["status"]);
    assert!(table.contains("TROUBLE      the source has not answered for"), "{table}");
    assert!(table.contains("RESTING      win-back-90: the database was away"), "{table}");
    assert!(table.contains("resting") && !table.contains("running"), "{table}");
    assert!(site.log().contains("the source does not answer"), "{}", site.log());

    fs::rename(site.path("not-yet.db"), site.path("crm.db")).unwrap();
    poll_until(PATIENCE, || {
        let daemon = &site.status()["daemon"];
        daemon["source"].is_null() && daemon["rulebook"]["resting"] == json!({})
    });
    let status = site.status();
    let rules = status["state"]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["status"] == "running"), "{status:#}");
    // What the baselines leave out could not be counted before.
    let counted = |rule: &Json| rule["rule"] == "win-back-90" && rule["left_out"].is_u64();
    poll_until(PATIENCE, || {
        let status = site.status();
        site.log().contains("the source answers again")
            && status["state"]["rules"].as_array().unwrap().iter().any(counted)
    });
    daemon.signal("TERM");
    assert!(daemon.ends().success());
}

#[test]
fn an_operators_pause_survives_a_reload() {
    let site = Site::new();
    let _daemon = site.start();
    site.told("READY=1");
    let paused = |site: &Site| {
        let rules = site.status()["state"]["rules"].clone();
        rules.as_array().unwrap().iter().any(|rule| rule["rule"] == "renewal" && rule["status"] == "paused")
    };
    poll_until(PATIENCE, || site.run(&["pause", "renewal"]).0 == 0);
    assert!(paused(&site));
    assert_eq!(site.run(&["reload"]).0, 0);
    assert!(paused(&site));
    assert_eq!(site.run(&["resume", "renewal"]).0, 0);
    assert!(!paused(&site));
    assert_eq!(site.run(&["pause", "no-such-rule"]).0, 8);
}

#[test]
fn logs_are_json_with_fields_and_name_nobody() {
    let site = with_silent(2, SILENCE);
    let mut daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.log().matches("\"outcome\":\"sent\"").count() == 2);
    daemon.signal("TERM");
    daemon.ends();
    let log = site.log();
    let entries = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")));
    let entries: Vec<Json> = entries.collect();
    assert!(entries.iter().all(|entry| entry["level"].is_string() && entry["message"].is_string()), "{log}");
    let sent = entries.iter().find(|entry| entry["outcome"] == "sent").unwrap();
    assert_eq!((&sent["rule"], sent["delivery"].as_str().map(str::len)), (&Json::from("silence"), Some(32)), "{sent}");
    assert!(sent["record"].as_str().unwrap().starts_with("customer:"), "{sent}");
    let matched = entries.iter().find(|entry| entry["message"] == "matched").unwrap();
    assert!(matched["occasion"].is_null(), "a column's value: {matched}");
    for personal in ["@", "Anna", "Gruber", "Cafe 1"] {
        assert!(!log.contains(personal), "{personal} is in the log:\n{log}");
    }
}

/// As text where that is asked for, and on a terminal where nothing is.
#[test]
fn logs_as_text_have_the_same_fields_and_name_nobody() {
    for (format, on_terminal) in [("text", false), ("auto", true)] {
        let site = with_silent(2, SILENCE);
        site.configure("format = \"json\"", &format!("format = \"{format}\""));
        let mut command = site.command(&["run"]);
        if on_terminal {
            let program = format!("{} run --config {}", env!("CARGO_BIN_EXE_nudged"), site.path("config.toml"));
            command = Command::new("script");
            command
                .args(["-qfec", &program])
                .arg(site.path("terminal"))
                .env("NO_COLOR", "1")
                .env_remove("JOURNAL_STREAM");
        }
        let daemon = site.start_command(command, &[]);
        site.told("READY=1");
        let log =
            || if on_terminal { fs::read_to_string(site.path("terminal")).unwrap_or_default() } else { site.log() };
        poll_until(PATIENCE, || log().matches("outcome=\"sent\"").count() == 2);
        daemon.signal("TERM");
        let log = log();
        let sent = log.lines().find(|line| line.contains("outcome=\"sent\"")).unwrap();
        for field in ["INFO", "rule=silence", "record=customer:", "delivery="] {
            assert!(sent.contains(field), "{field} is missing: {sent}");
        }
        for personal in ["@", "Anna", "Gruber", "Cafe 1"] {
            assert!(!log.contains(personal), "{personal} is in the log:\n{log}");
        }
    }
}

/// Mail servers write what they like, and not every name comes with an `@`.
#[test]
fn what_a_mail_server_says_of_a_person_is_for_who_asks_and_not_in_the_log() {
    let site = with_silent(3, SILENCE);
    let recipients = AtomicUsize::new(0);
    let act = move |verb: &str, _: usize| match verb {
        "RCPT" => Some(Act::Say(match recipients.fetch_add(1, Ordering::SeqCst) {
            0 => "550 5.1.1 Bob Gruber (bob.gruber) does not work here any more",
            1 => "451 Bob Gruber's mailbox rests",
            _ => "250-2.1.5 fine\r\n250 2.1.5 Bob Gruber reads it soon",
        })),
        "." => Some(Act::Say("250 2.0.0 kept for Bob Gruber as 4711")),
        _ => None,
    };
    let (port, _) = scripted(false, act);
    let server = format!("transport = \"smtp\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nsessions = 1");
    site.configure("transport = \"folder\"", &server);
    let mut daemon = site.start();
    site.told("READY=1");
    let outcomes = ["permanent", "transient", "sent"];
    poll_until(PATIENCE, || outcomes.iter().all(|name| site.log().contains(&format!("\"outcome\":\"{name}\""))));
    let listed = site.run(&["deliveries", "list"]).1;
    for words in ["Bob Gruber (bob.gruber) does not work here", "Bob Gruber's mailbox rests"] {
        assert!(listed.contains(words), "whoever asks is told: {listed}");
    }
    daemon.signal("TERM");
    daemon.ends();
    let log = site.log();
    let entries: Vec<Json> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let detail = |outcome: &str| entries.iter().find(|entry| entry["outcome"] == outcome).unwrap()["detail"].clone();
    assert_eq!(outcomes.map(detail), ["550 5.1.1", "451", "250 2.0.0"].map(Json::from), "{log}");
    for personal in ["Bob", "Gruber", "gruber", "mailbox", "kept for"] {
        assert!(!log.contains(personal), "{personal} is in the log:\n{log}");
    }

    site.sql("state.db", "UPDATE outbox SET due_at = due_at - 3600000000 WHERE state = 0");
    site.configure("[log]", "[log]\nlevel = \"debug\"");
    let _daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.log().contains("kept for Bob Gruber as 4711"));
}

#[test]
fn a_stop_waits_for_what_is_being_sent_and_says_when_that_hangs() {
    let receiver = http_receiver();
    receiver.reply_always(Reply::ok().held());
    let rule = SILENCE.replace("email: {template: hello}", "webhook: {to: team-chat}");
    let stopping = |drain: &str| {
        let site = with_silent(1, &rule);
        site.configure("http://127.0.0.1:9/", &receiver.url);
        site.configure("[log]", &format!("[service]\ndrain = \"{drain}\"\n[log]"));
        let before = receiver.count();
        let daemon = site.start();
        site.told("READY=1");
        poll_until(PATIENCE, || receiver.count() == before + 1);
        daemon.signal("TERM");
        site.told("STOPPING=1");
        (site, daemon)
    };
    let (hung, mut daemon) = stopping("1 second");
    assert_eq!(daemon.ends().code(), Some(10), "{}", hung.log());
    assert_eq!(hung.status()["state"]["counts"]["outbox"]["sending"], 1, "in doubt until the next start");

    let (site, mut daemon) = stopping("1 minute");
    receiver.release();
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    assert_eq!(site.json(&["deliveries", "list"])[0]["state"], "sent");
}

#[test]
fn the_admin_api_answers_on_tcp_as_documented() {
    let site = Site::new();
    let config = fs::read_to_string(site.path("config.toml")).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = config.replace("listen = \"\"", &format!("listen = \"127.0.0.1:{port}\""));
    fs::write(site.path("config.toml"), config).unwrap();
    let _daemon = site.start();
    site.told("READY=1");
    let base = format!("http://127.0.0.1:{port}");
    let curl = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["-s", "-o", "/dev/stdout", "-w", "\n%{http_code}"]).args(arguments).arg(format!("{base}{path}"));
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let (body, code) = output.rsplit_once('\n').unwrap();
        (code.to_owned(), body.to_owned())
    };
    assert_eq!(curl(&[], "/-/healthy").0, "200");
    assert_eq!(curl(&[], "/-/ready").0, "200");
    let (code, metrics) = curl(&[], "/metrics");
    assert_eq!(code, "200");
    assert!(metrics.contains("nudged_rules 4") && metrics.contains("nudged_reload_successful 1"), "{metrics}");
    assert_eq!(curl(&["-H", "Host: evil.example"], "/api/status").0, "421");
    assert_eq!(curl(&["-X", "POST"], "/api/reload").0, "415", "what a web page could send");
    let json = ["-X", "POST", "-H", "Content-Type: application/json", "-d"];
    assert_eq!(curl(&[&json[..], &["{}"]].concat(), "/api/reload").0, "200");
    let large = format!("{{\"confirm\": \"{}\"}}", "x".repeat(20_000));
    assert_eq!(curl(&[&json[..], &[&large]].concat(), "/api/reload").0, "413");
    assert_eq!(curl(&[&json[..], &["{}"]].concat(), "/api/rules/none/pause").0, "404");
}

#[test]
fn the_unit_passes_systemds_own_check() {
    let unit = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/nudged.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nudged.service");
    // The check wants the program to be there.
    fs::write(&file, unit.replace("/usr/bin/nudged", env!("CARGO_BIN_EXE_nudged"))).unwrap();
    let checked = Command::new("systemd-analyze").arg("verify").arg(&file).output();
    let checked = checked.unwrap_or_else(|error| panic!("systemd-analyze: {error}; run `apt-get install systemd`"));
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.trim().is_empty(), "{said}");
}
