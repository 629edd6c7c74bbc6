//! A source on a real PostgreSQL server that is stopped and started again under a running daemon.

use crate::site::Site;
use crate::support::guarded::{Account, free_port};
use crate::support::postgres::PostgresServer;
use crate::support::{Database, PATIENCE, http_receiver, poll_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CATALOG: &str = "version: 1
time_zone: Europe/Vienna
entities:
  customer:
    table: accounts
    key: id
    fields: {name: name, created_at: created_at}
";

const RULE: &str = "version: 1
id: newcomer
mode: live
purpose: staff
for_each: customer
trigger: {created: {at: created_at}}
check_every: 1 second
steps:
  - webhook: {to: team-chat, body: {text: \"{{ record.name }} is new\"}}
";

/// Where a server that is started again finds its data: below a directory that its account may enter.
fn data(folder: &Path) -> std::path::PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    Account::for_server("postgres").kept_directory(&folder.join("data"))
}

fn newcomer(crm: &Database, name: &str) {
    crm.execute(&format!("INSERT INTO accounts (name, created_at) VALUES ('{name}', now())"));
}

#[test]
fn a_source_that_is_stopped_is_told_of_and_taken_up_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (data, port) = (data(folder.path()), free_port());
    let server = PostgresServer::start_at(port, &data);
    let crm = server.open("crm");
    crm.execute("CREATE TABLE accounts (id SERIAL PRIMARY KEY, name TEXT, created_at TIMESTAMPTZ)");

    let (site, receiver) = (Site::new(), http_receiver());
    site.configure(&format!("sqlite:{}", site.path("crm.db")), &crm.url);
    site.configure("http://127.0.0.1:9/", &receiver.url);
    fs::set_permissions(site.path("config.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    site.rules(&[("newcomer.yaml", RULE)]);
    fs::write(site.path("rules/catalog.yaml"), CATALOG).unwrap();
    let mut daemon = site.start();
    site.told("READY=1");
    let running = || site.status()["state"]["rules"].as_array().is_some_and(|rules| rules.len() == 1);
    poll_until(PATIENCE, running);
    newcomer(&crm, "Anna");
    receiver.wait_for(1);

    newcomer(&crm, "Berta");
    drop(server);
    poll_until(PATIENCE, || site.status()["daemon"]["source"].is_string());
    let (_, table, _) = site.run(&["status"]);
    assert!(table.contains("TROUBLE      the source has not answered for"), "{table}");
    assert!(!table.contains("resting"), "its rules go on being known: {table}");

    let _again = PostgresServer::start_at(port, &data);
    newcomer(&crm, "Cleo");
    poll_until(PATIENCE, || site.status()["daemon"]["source"].is_null());
    receiver.wait_for(3);
    let mut told: Vec<String> =
        receiver.received().iter().map(|call| call.json()["data"]["text"].as_str().unwrap().to_owned()).collect();
    told.sort();
    assert_eq!(told, ["Anna is new", "Berta is new", "Cleo is new"], "each once");
    assert!(site.log().contains("the source answers again"), "{}", site.log());
    daemon.signal("TERM");
    assert!(daemon.ends().success());
}
