//! What people read of the command line: help, typical answers, exit codes.

use assert_cmd::Command;
use nudged::cli::Exit;
use std::fs;
use std::path::Path;

fn nudged() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nudged"));
    command.env("COLUMNS", "100").env("NO_COLOR", "1").env_remove("NUDGED_CONFIG");
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn the_documented_exit_codes_are_the_programs() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exit-codes.md")).unwrap();
    let documented: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.contains("| code")).collect();
    let programs: Vec<String> =
        Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())).collect();
    assert_eq!(documented, programs);
}

#[test]
fn help_names_every_command() {
    insta::assert_snapshot!("help", stdout(nudged().arg("-h")));
    for command in [
        "run",
        "check",
        "test",
        "preview",
        "explain",
        "why",
        "plan",
        "backtest",
        "simulate",
        "test-send",
        "deliveries",
        "suppress",
        "reload",
    ] {
        insta::assert_snapshot!(format!("help-{command}"), stdout(nudged().args([command, "-h"])));
    }
}

#[test]
fn wrong_arguments_are_talk_and_code_2() {
    let output = nudged().arg("chekc").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("check"));
}

#[test]
fn a_check_without_errors_has_no_data_and_code_0() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let output = nudged().arg("check").arg("--rules").arg(rules).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_check_with_errors_shows_them_and_ends_with_code_4() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("catalog.yaml"), "version: 1\ntime_zone: Europe/Vienna\nentites: {}\n").unwrap();
    let check = |format: &str| {
        nudged().args(["check", "--format", format, "--rules", "."]).current_dir(folder.path()).output().unwrap()
    };
    let text = check("text");
    assert_eq!(text.status.code(), Some(4));
    assert!(text.stdout.is_empty());
    insta::assert_snapshot!("check-text", String::from_utf8(text.stderr).unwrap());
    let json = check("json");
    assert_eq!(json.status.code(), Some(4));
    insta::assert_snapshot!("check-json", String::from_utf8(json.stdout).unwrap());
    let sarif = check("sarif");
    assert_eq!(sarif.status.code(), Some(4));
    let document: serde_json::Value = serde_json::from_slice(&sarif.stdout).unwrap();
    insta::assert_snapshot!("check-sarif", serde_json::to_string_pretty(&document).unwrap());
    let github = check("github");
    assert_eq!(github.status.code(), Some(4));
    insta::assert_snapshot!("check-github", String::from_utf8(github.stdout).unwrap());
}

/// What a running daemon would turn down at a reload is turned down here.
#[test]
fn a_check_plays_the_rules_own_tests() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rules");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("templates")).unwrap();
    for (from, to) in [
        ("base/catalog.yaml", "catalog.yaml"),
        ("base/templates/hello.md", "templates/hello.md"),
        ("outside/test.failed.yaml", "bad.yaml"),
    ] {
        fs::copy(fixtures.join(from), folder.path().join(to)).unwrap();
    }
    let check = |more: &[&str]| {
        let output = nudged().args(["check", "--rules", "."]).args(more).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = check(&[]);
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("test.failed") && told.contains("`email hello` was not sent"), "{told}");
    let (code, told) = check(&["--no-tests"]);
    assert_eq!(code, Some(0), "{told}");
}

/// What SARIF 2.1.0 requires, and the values it allows, of a report with many findings.
#[test]
fn sarif_reports_have_the_structure_of_the_standard() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("our rules");
    let bad = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rules");
    fs::create_dir_all(rules.join("templates")).unwrap();
    fs::copy(bad.join("base/catalog.yaml"), rules.join("catalog.yaml")).unwrap();
    fs::copy(bad.join("base/templates/hello.md"), rules.join("templates/hello.md")).unwrap();
    for entry in fs::read_dir(bad.join("bad")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("rule.") || name.starts_with("yaml.") {
            fs::copy(&path, rules.join(name.replacen("rule.", "täst, ", 1))).unwrap();
        }
    }
    let output =
        nudged().args(["check", "--format", "sarif", "--rules", "our rules"]).current_dir(folder.path()).output();
    let report: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    assert_eq!(report["version"], "2.1.0");
    assert!(report["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let run = &report["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "nudged");
    let known = driver["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert!(results.len() > 50, "{} findings", results.len());
    for result in results {
        assert_eq!(known[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
        assert!(["error", "warning", "note", "none"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        for location in result["locations"].as_array().into_iter().flatten() {
            let place = &location["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.starts_with("our%20rules/") && uri.is_ascii() && !uri.contains([' ', ',']), "{uri}");
            let number = |name: &str| place["region"][name].as_u64().unwrap();
            assert!(number("startLine") >= 1 && number("startColumn") >= 1);
            let (start, end) = ((number("startLine"), number("startColumn")), (number("endLine"), number("endColumn")));
            assert!(start <= end, "{result}");
        }
    }
}

#[test]
fn a_state_that_isnt_there_is_code_5_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.db");
    let mut command = nudged();
    command.env("NUDGED_STATE__URL", format!("sqlite:{}", state.display()));
    command.env("NUDGED_WEB__SOCKET", "").env("NUDGED_WEB__LISTEN", "");
    let output = command.arg("status").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no state at"));
    assert!(!state.exists());
}

#[test]
fn a_daemon_that_doesnt_run_is_code_7() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = nudged();
    command.env("NUDGED_WEB__SOCKET", folder.path().join("none")).env("NUDGED_WEB__LISTEN", "127.0.0.1:1");
    let output = command.arg("reload").output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn schemas_are_json_and_the_reference_is_a_configuration() {
    let schema: serde_json::Value = serde_json::from_str(&stdout(nudged().args(["schema", "config"]))).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert!(schema["properties"]["email"].is_object());
    let reference = stdout(nudged().args(["schema", "config", "--reference"]));
    assert_eq!(reference, fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml")).unwrap());
    for document in ["rule", "catalog"] {
        let schema: serde_json::Value = serde_json::from_str(&stdout(nudged().args(["schema", document]))).unwrap();
        assert!(schema["properties"]["version"].is_object(), "{document}");
    }
}

#[test]
fn completions_and_the_manual_are_made_from_the_same_definition() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(nudged().args(["completions", shell])).contains("deliveries"), "{shell}");
    }
    assert!(stdout(nudged().arg("man")).contains(".TH nudged"));
    assert!(stdout(nudged().args(["man", "reload"])).contains("confirm"));
    nudged().args(["man", "nothing"]).assert().code(8);
}

#[test]
fn a_reader_that_goes_away_ends_quietly() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_nudged"))
        .args(["schema", "config"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
