//! `nudged init`: a first set-up by answers on stdin, or by flags alone.

use crate::site::Site;
use crate::support::{Database, mariadb, postgres};
use rstest::rstest;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The command with these answers on its stdin: exit code, stdout, stderr.
fn init(at: &Path, arguments: &[&str], answers: &str) -> (i32, String) {
    init_over(&format!("sqlite:{}", at.join("crm.db").display()), at, arguments, answers)
}

fn init_over(crm: &str, at: &Path, arguments: &[&str], answers: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nudged"))
        .arg("init")
        .args(arguments)
        .current_dir(at)
        .env("NO_COLOR", "1")
        .env("CRM_URL", crm)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The command may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(answers.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn nudged(at: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_nudged")).args(arguments).current_dir(at).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_first_set_up_by_questions() {
    let site = Site::new();
    let folder = site.folder.path();
    let url = format!("sqlite:{}", site.path("crm.db"));
    // A wrong answer is asked again.
    let answers = format!(
        "oracle://x\n{url}\nMars/Olympus\nEurope/Vienna\nwin-bak\nwin-back, renewal\nLinden <hello@linden.example>\n"
    );
    let (code, told) = init(folder, &["fresh"], &answers);
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("Mars/Olympus` is not an IANA time zone") && told.contains("no example `win-bak`"), "{told}");
    let read = |path: &str| std::fs::read_to_string(folder.join("fresh").join(path)).unwrap();
    assert!(read("config.toml").contains("Linden <hello@linden.example>"));
    assert!(read("rules/catalog.yaml").contains("time_zone: Europe/Vienna"));
    for file in ["rules/catalog.yaml", "rules/win-back.yaml"] {
        let text = read(file);
        let schema = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=../").unwrap();
        assert_eq!(read(schema), std::fs::read_to_string(schema).unwrap(), "{file} leads an editor to its schema");
    }
    assert!(read("rules/win-back.yaml").contains("mode: shadow"));
    assert!(read("rules/templates/win-back.md").contains("subject:"));
    assert!(!folder.join("fresh/rules/low-score.yaml").exists(), "it was not chosen");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.join("fresh/config.toml")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    let (code, told) = nudged(folder, &["check", "--db", "--config", "fresh/config.toml"]);
    assert_eq!(code, 0, "{told}");
    let before = read("rules/catalog.yaml");
    let (code, told) = init(folder, &["fresh", "--yes", "--url", &url], "");
    assert!(code == 1 && told.contains("overwrites nothing"), "{told}");
    assert_eq!(read("rules/catalog.yaml"), before);
}

#[test]
fn a_first_set_up_by_flags_alone() {
    let site = Site::new();
    let folder = site.folder.path();
    let flags = ["flags", "--yes", "--url", "env:CRM_URL", "--time-zone", "Europe/Vienna", "--examples", "none"];
    let (code, told) = init(folder, &flags, "");
    assert_eq!(code, 0, "{told}");
    let config = std::fs::read_to_string(folder.join("flags/config.toml")).unwrap();
    assert!(config.contains("url = \"env:CRM_URL\""), "the secret itself is not written: {config}");
    assert_eq!(std::fs::read_dir(folder.join("flags/rules")).unwrap().count(), 1, "the catalog alone");

    // What no flag says and nobody answers is said by name.
    let (code, told) = init(folder, &["other"], "");
    assert!(code == 2 && told.contains("--url"), "{told}");
    let (code, told) = init(folder, &["other", "--yes", "--url", "sqlite:/nowhere/crm.db"], "");
    assert!(code == 2 && told.contains("--url"), "{told}");
    assert!(!folder.join("other").exists(), "nothing is written before everything is right");
}

#[test]
fn an_example_that_does_not_fit_is_not_passed_over() {
    let site = Site::new();
    let flags = |crm: &'static str, example: &'static str| {
        ["named", "--yes", "--url", crm, "--time-zone", "Europe/Vienna", "--examples", example]
    };
    let (code, told) = init(site.folder.path(), &flags("env:CRM_URL", "win-bakc"), "");
    assert!(code == 2 && told.contains("`win-bakc`"), "{told}");
    let bare = site.folder.path().join("bare.db");
    let crm = format!("sqlite:{}", bare.display());
    let sql = rusqlite::Connection::open(&bare).unwrap();
    sql.execute_batch("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)").unwrap();
    let (code, told) = init_over(&crm, site.folder.path(), &flags("env:CRM_URL", "win-back"), "");
    assert!(code == 2 && told.contains("`win-back` doesn't fit these tables"), "{told}");
    assert!(!site.folder.path().join("named").exists());
}

#[test]
fn an_example_is_about_no_side_table_that_lacks_what_says_who_is_deleted() {
    let site = Site::new();
    let flags = ["fresh", "--yes", "--url", "env:CRM_URL", "--time-zone", "Europe/Vienna"];
    let set_up = |name: &str, side: &str| {
        let folder = site.folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let sql = rusqlite::Connection::open(folder.join("crm.db")).unwrap();
        let main = "CREATE TABLE accounts (id CHAR(36) PRIMARY KEY, name TEXT, deleted BOOLEAN);
                    CREATE TABLE currencies (id CHAR(36) PRIMARY KEY, label TEXT);";
        sql.execute_batch(&format!("{main}{side}")).unwrap();
        let (code, told) = init(&folder, &flags, "");
        assert_eq!(code, 0, "{told}");
        let renewal = std::fs::read_to_string(folder.join("fresh/rules/renewal.yaml")).ok();
        (told, renewal, std::fs::read_to_string(folder.join("fresh/rules/catalog.yaml")).unwrap())
    };
    let named = "CREATE TABLE accounts_cstm (id_c CHAR(36) PRIMARY KEY, renewal_date_c DATE, currency_id CHAR(36));";
    let (told, renewal, _) = set_up("named", named);
    assert!(renewal.is_none() && told.contains("no example rule fits these tables"), "{told}");

    // Where a foreign key says whose rows they are, those of deleted accounts are no records.
    let declared = named.replace("PRIMARY KEY", "PRIMARY KEY REFERENCES accounts (id)");
    let (_, renewal, catalog) = set_up("declared", &declared);
    assert!(renewal.unwrap().contains("for_each: accounts_cstm\n"));
    assert!(
        catalog.contains("      - {table: accounts, key: id, columns: [deleted]}\n    only: {deleted: "),
        "{catalog}"
    );
}

/// Tables as a CRM on a server has them: keys that the server counts, foreign keys, and its own kinds of time.
const SERVED: &str = "
CREATE TABLE clients (id BIGINT PRIMARY KEY, name VARCHAR(80), email VARCHAR(120), created_at TIMESTAMP NOT NULL,
  updated_at TIMESTAMP NULL, deleted_at TIMESTAMP NULL);
CREATE TABLE orders (id BIGINT PRIMARY KEY, client_id BIGINT NOT NULL REFERENCES clients (id), total NUMERIC(10, 2),
  placed_at TIMESTAMP NOT NULL, FOREIGN KEY (client_id) REFERENCES clients (id));
";

#[rstest]
#[case(postgres())]
#[case(mariadb())]
fn a_first_set_up_over_a_server(#[case] database: Database) {
    database.execute(SERVED);
    let folder = tempfile::tempdir().unwrap();
    let flags = ["fresh", "--yes", "--url", "env:CRM_URL", "--time-zone", "Europe/Vienna", "--examples", "win-back"];
    let (code, told) = init_over(&database.url, folder.path(), &flags, "");
    assert_eq!(code, 0, "{told}");
    let catalog = std::fs::read_to_string(folder.path().join("fresh/rules/catalog.yaml")).unwrap();
    for line in ["table: clients", "table: orders", "email: email", "deleted_at: missing", "updated_at: updated_at"] {
        assert!(catalog.contains(line), "{line}\n{catalog}");
    }
    let check = Command::new(env!("CARGO_BIN_EXE_nudged"))
        .args(["check", "--db", "--config", "fresh/config.toml"])
        .current_dir(folder.path())
        .env("CRM_URL", &database.url)
        .output()
        .unwrap();
    let text = String::from_utf8([check.stdout, check.stderr].concat()).unwrap();
    assert_eq!(check.status.code(), Some(0), "{text}\n{catalog}");
}
