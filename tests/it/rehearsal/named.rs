//! Records are found by whatever way their database reads the name.

use crate::site::Site;
use serde_json::json;

const CATALOG: &str = "version: 1
time_zone: Europe/Vienna
entities:
  guest:
    table: guests
    key: {column: id, type: uuid_binary}
    at: arrived
    fields: {name: name}
    person: {email: email}
    recipients: {me: {self: true}}
";

const RULE: &str = "version: 1
id: welcome
description: A guest has arrived.
mode: live
purpose: service
for_each: guest
to: me
trigger: {created: {}}
steps:
  - webhook: {to: team-chat, body: {text: \"{{ record.name }}\"}}
";

#[test]
fn a_uuid_is_found_in_capitals_in_braces_and_without_hyphens() {
    let site = Site::new();
    site.crm(
        "CREATE TABLE guests (id BLOB PRIMARY KEY, name TEXT, email TEXT, arrived DATETIME);
         INSERT INTO guests VALUES (x'3f2504e04f8941d39a0c0305e82c3301', 'Anna', 'a@x.example', '2020-01-01 00:00:00');",
    );
    site.rules(&[("welcome.yaml", RULE)]);
    std::fs::write(site.path("rules/catalog.yaml"), CATALOG).unwrap();
    let named = "guest:3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    for asked in [
        named,
        "guest:3F2504E0-4F89-41D3-9A0C-0305E82C3301",
        "guest:{3f2504e0-4f89-41d3-9a0c-0305e82c3301}",
        "guest:3f2504e04f8941d39a0c0305e82c3301",
    ] {
        let told = site.json(&["explain", "welcome", "--record", asked]);
        assert_eq!((&told["record"], &told["record_state"]), (&json!(named), &json!("present")), "{asked}");
        assert_eq!(site.json(&["why", asked])[0]["record"], named, "{asked}");
        let shown = site.json(&["preview", "welcome", "--record", asked]);
        assert_eq!(shown["matches"][0]["record"], named, "{asked}: {shown}");
    }
    let other = site.json(&["explain", "welcome", "--record", "guest:3F2504E0"]);
    assert_eq!(other["verdict"]["code"], "no_record");
}
