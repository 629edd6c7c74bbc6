//! Hostile files, through the program as people run it: a clear error, soon, and in little memory, whichever file it
//! is.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

/// What the program may allocate, in KiB: a file of 100 MB must never be read whole, let alone copied.
const DATA: u64 = 384 * 1024;

fn bomb() -> String {
    (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, level| {
        format!("{text}a{level}: &a{level} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", level - 1)
    })
}

/// Name, text below the key that holds anything, and what the error speaks of.
fn yaml(key: &str) -> Vec<(&'static str, String, &'static str)> {
    let below = |text: &str| format!("{key}\n          {}\n", text.trim_end().replace('\n', "\n          "));
    let deep = (0..1_000).fold(String::new(), |text, depth| format!("{text}{}a:\n", " ".repeat(depth)));
    vec![
        ("alias bomb", below(&bomb()), "yaml.limits"),
        ("deep lists", format!("{key} {}", "[".repeat(200_000)), "yaml."),
        ("deep mappings", format!("{key} {}", "{a: ".repeat(100_000)), "yaml.limits"),
        ("deep indentation", below(&deep), "yaml.limits"),
        ("a hundred megabytes", "# comment\n".repeat(10 * 1024 * 1024), "bytes"),
        ("duplicate keys", below("a: 1\na: 2"), "stands twice"),
        ("an anchor in itself", format!("{key} &a [*a]\n"), "yaml."),
        ("no text at all", "\0".repeat(100_000), "yaml."),
    ]
}

/// Runs under a limit that ends a program which takes more.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let script = format!("ulimit -d {DATA}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_nudged")]).args(arguments).current_dir(folder);
    command.env("NO_COLOR", "1").env_remove("NUDGED_CONFIG").output().unwrap()
}

fn refused(what: &str, output: &Output, started: Instant, mentions: &str) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let code = output.status.code();
    assert!(code.is_some_and(|code| (1..100).contains(&code)), "{what} ended by {:?}: {said}", output.status);
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!(said.len() < 50_000, "{what} prints {} bytes", said.len());
    assert!(said.contains("error") || said.contains("can't"), "{what}: {said}");
    assert!(said.to_lowercase().contains(&mentions.to_lowercase()), "{what} speaks of no `{mentions}`: {said}");
    // Built without optimisation and beside other tests it takes longer than the second that it takes alone.
    assert!(started.elapsed() < crate::support::PATIENCE, "{what} took {:?}", started.elapsed());
}

fn rules(folder: &Path, path: &str, text: &str) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    fs::create_dir_all(folder.join("rules/templates")).unwrap();
    fs::copy(shipped.join("catalog.yaml"), folder.join("rules/catalog.yaml")).unwrap();
    let file = folder.join("rules").join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
fn hostile_rules_and_catalogs_end_in_an_error() {
    for (path, key) in [
        ("bad.yaml", "where:"),
        ("bad.yaml", "steps:\n  - webhook:\n      to: sink\n      body:"),
        ("catalog.yaml", "entities:\n  customer:\n    table: a\n    key: id\n    only:"),
    ] {
        for (what, text, mentions) in yaml(key) {
            let folder = tempfile::tempdir().unwrap();
            rules(folder.path(), path, &text);
            let started = Instant::now();
            let output = run(folder.path(), &["check", "--rules", "rules"]);
            refused(&format!("{path}: {what}"), &output, started, mentions);
        }
    }
}

#[test]
fn hostile_templates_and_scripts_end_in_an_error() {
    let rule = "version: 1\nid: bad\nmode: live\npurpose: service\nfor_each: customer\nto: main_contact\n\
                trigger: {inactivity: {of: orders, for: 90 days}}\nscript: bad.rhai\n\
                steps:\n  - email: {template: bad}\n";
    let mail = "---\nsubject: Hello\n---\n";
    let eligible = "fn eligible(record, now) { true }\n";
    for (what, path, text) in [
        ("a template of a hundred megabytes", "templates/bad.md", "x".repeat(100 << 20)),
        ("a deep template", "templates/bad.md", format!("{mail}{}", "{% if true %}".repeat(50_000))),
        ("a deep expression", "templates/bad.md", format!("{mail}{{{{ {}1 }}}}", "(".repeat(50_000))),
        ("front matter with a bomb", "templates/bad.md", format!("---\n{}---\nHello\n", bomb())),
        ("a script of a hundred megabytes", "scripts/bad.rhai", "// x\n".repeat(20 << 20)),
        ("a deep script", "scripts/bad.rhai", format!("{eligible}let x = {}1;", "(".repeat(50_000))),
        ("deep blocks", "scripts/bad.rhai", format!("{eligible}{}", "{".repeat(50_000))),
        ("an endless script", "scripts/bad.rhai", "fn eligible(record, now) { loop {} }".to_owned()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        rules(folder.path(), "templates/bad.md", &format!("{mail}Hello\n"));
        rules(folder.path(), "scripts/bad.rhai", eligible);
        rules(folder.path(), "bad.yaml", rule);
        rules(folder.path(), path, &text);
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--rules", "rules"]);
        refused(what, &output, started, "");
    }
}

#[test]
fn hostile_configurations_end_in_an_error() {
    for (what, text) in [
        ("deep lists", format!("a = {}", "[".repeat(200_000))),
        ("deep tables", format!("a = {}", "{a = ".repeat(100_000))),
        ("a deep key", format!("{}a = 1", "a.".repeat(200_000))),
        ("a hundred megabytes", "# comment\n".repeat(10 * 1024 * 1024)),
        ("duplicate keys", "[source]\nurl = \"sqlite:a\"\nurl = \"sqlite:b\"\n".to_owned()),
        ("duplicate tables", "[source]\n[source]\n".to_owned()),
        ("no text at all", "\0".repeat(100_000)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        rules(folder.path(), "good.yaml", "");
        fs::remove_file(folder.path().join("rules/good.yaml")).unwrap();
        fs::write(folder.path().join("config.toml"), text).unwrap();
        let started = Instant::now();
        let output = run(folder.path(), &["check", "--config", "config.toml"]);
        refused(what, &output, started, "");
    }
}
