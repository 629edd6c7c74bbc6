//! The daemon as a process: ready, reloaded, drained, as systemd sees it.

use super::site::Site;
use super::support::{PATIENCE, poll_until};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn systemd_hears_of_ready_watchdog_reloading_and_stopping() {
    let site = Site::new();
    let mut daemon = site.start_with(&[("WATCHDOG_USEC", "200000")]);
    let ready = site.told("READY=1");
    assert!(ready.contains(&"STATUS=4 rules".to_owned()), "{ready:?}");
    site.told("WATCHDOG=1");
    site.told("WATCHDOG=1");

    daemon.signal("HUP");
    let reloading = site.told("RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    site.told("READY=1");

    daemon.signal("TERM");
    site.told("STOPPING=1");
    assert_eq!(daemon.ends().code(), Some(0), "{}", site.log());
    assert!(!Path::new(&site.path("admin.sock")).exists(), "the socket is gone with the process");
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
fn logs_are_json_with_a_rule_field_and_no_address() {
    let site = Site::new();
    let mut daemon = site.start();
    site.told("READY=1");
    poll_until(PATIENCE, || site.log().contains("\"rule\":\"renewal\""));
    daemon.signal("TERM");
    daemon.ends();
    for line in site.log().lines() {
        let entry: Json = serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(entry["level"].is_string() && entry["message"].is_string(), "{line}");
        assert!(!line.contains('@'), "{line}");
    }
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
