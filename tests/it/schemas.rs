//! The JSON Schemas that editors use: what is right has no finding by them, what is wrong has one, and every key that
//! they know has an example in the reference.

use crate::fixtures::{catalogs_of_the_reference, rules_of_the_reference};
use crate::site::Site;
use crate::support::guarded::run;
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Another reading of the standard than the one that wrote the schemas.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator
asked = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(asked['schema'])
validator = Draft202012Validator(asked['schema'])
said = lambda error: '/'.join(map(str, error.absolute_path)) + ': ' + error.message[:300]
print(json.dumps([[said(error) for error in validator.iter_errors(document)] for document in asked['documents']]))
";

/// What the schema finds wrong, by document.
fn findings(schema: &Json, documents: &[&Json]) -> Vec<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("asked.json");
    fs::write(&file, json!({"schema": schema, "documents": documents}).to_string()).unwrap();
    let found = run(Command::new("/usr/bin/python3").args(["-c", VALIDATE]).arg(&file));
    serde_json::from_str(&found).unwrap()
}

/// Nothing is found in any of these, each with where it is from.
fn all_right(schema: &Json, named: &[(String, Json)]) {
    let documents: Vec<&Json> = named.iter().map(|(_, document)| document).collect();
    assert!(!documents.is_empty());
    for ((name, _), found) in named.iter().zip(findings(schema, &documents)) {
        assert!(found.is_empty(), "{name}\n{found:#?}");
    }
}

fn yaml(text: &str) -> Json {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn toml(text: &str) -> Json {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn committed(name: &str) -> Json {
    serde_json::from_str(&fs::read_to_string(root().join("schema").join(name)).unwrap()).unwrap()
}

/// The YAML files right in these folders.
fn files(folders: &[&str]) -> Vec<PathBuf> {
    let entries = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect()
}

fn read(path: &Path) -> (String, Json) {
    (path.display().to_string(), yaml(&fs::read_to_string(path).unwrap()))
}

fn is_catalog(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "catalog.yaml")
}

const FOLDERS: [&str; 4] = ["rules", "examples/postgres/rules", "examples/mariadb/rules", "tests/fixtures/rules/base"];

fn right_rules() -> Vec<(String, Json)> {
    let paths = files(&FOLDERS);
    let shipped = paths.iter().filter(|path| !is_catalog(path)).map(|path| read(path));
    shipped.chain(rules_of_the_reference().into_iter().map(|text| (text.clone(), yaml(&text)))).collect()
}

fn right_catalogs() -> Vec<(String, Json)> {
    let paths = files(&FOLDERS);
    let shipped = paths.iter().filter(|path| is_catalog(path)).map(|path| read(path));
    shipped.chain(catalogs_of_the_reference().into_iter().map(|text| (text.clone(), yaml(&text)))).collect()
}

#[test]
fn right_files_are_right_by_the_schemas() {
    all_right(&committed("rule.v1.json"), &right_rules());
    all_right(&committed("catalog.v1.json"), &right_catalogs());
    let configurations = ["config.toml", "examples/postgres/config.toml", "examples/mariadb/config.toml"];
    let read = |path: &str| (path.to_owned(), toml(&fs::read_to_string(root().join(path)).unwrap()));
    all_right(&config(), &configurations.map(read));
}

fn config() -> Json {
    serde_json::to_value(nudged::config::schema()).unwrap()
}

/// A rule that is right, for others to go wrong from.
const RULE: &str = "
version: 1
id: example
mode: live
purpose: offers
for_each: customer
to: main_contact
trigger: {inactivity: {of: orders, for: 90 days}}
steps: [email: {template: hello}]
";

#[test]
fn wrong_files_are_wrong_by_the_schemas() {
    let rules = [
        ("mode: live\n", ""),
        ("mode: live", "mode: on"),
        ("trigger:", "triger:"),
        ("inactivity", "inactive"),
        ("of: orders, for", "of: orders, during"),
        ("of: orders, ", ""),
        ("steps: [email: {template: hello}]", "steps: [email: {template: hello}, wait: 7]"),
        ("steps: [email: {template: hello}]", "steps: [{email: {template: hello}, stop: {}}]"),
        ("steps: [email: {template: hello}]", "steps: [email: {}]"),
        ("steps: [email: {template: hello}]", "steps:"),
        ("to: main_contact", "to: [main_contact]"),
        ("version: 1", "version: one"),
        ("steps:", "where: {orders: {any: 3}, any: {country: AT}}\nsteps:"),
    ];
    let wrong = |from: &str, to: &str| {
        assert!(RULE.contains(from), "{from}");
        yaml(&RULE.replace(from, to))
    };
    all_wrong(&committed("rule.v1.json"), &rules.map(|(from, to)| (to, wrong(from, to))));
    let catalogs = [
        "version: 1\ntime_zone: UTC\nentites: {customer: {table: accounts, key: id}}\n",
        "version: 1\nentities: {customer: {table: accounts, key: id}}\n",
        "version: 1\ntime_zone: UTC\nentities: {customer: {tabel: accounts, key: id}}\n",
        "version: 1\ntime_zone: UTC\nentities: {customer: {table: a, key: id, fields: {born: {type: day}}}}\n",
        "version: 1\ntime_zone: UTC\nentities: {customer: {table: a, key: id, relations: {orders: {by: customer}}}}\n",
    ];
    all_wrong(&committed("catalog.v1.json"), &catalogs.map(|text| (text, yaml(text))));
    let configurations =
        ["[sorce]\nurl = \"sqlite:crm.db\"\n", "[source]\nurl = 7\n", "[email]\ntransport = \"pigeon\"\n"];
    all_wrong(&config(), &configurations.map(|text| (text, toml(text))));
}

fn all_wrong(schema: &Json, named: &[(&str, Json)]) {
    let documents: Vec<&Json> = named.iter().map(|(_, document)| document).collect();
    for ((name, _), found) in named.iter().zip(findings(schema, &documents)) {
        assert!(!found.is_empty(), "nothing is wrong with: {name}");
    }
}

/// The keys that a schema knows, each with the definition that it stands in, and those of them that documents use.
struct Keys<'s> {
    schema: &'s Json,
    known: BTreeSet<(String, String)>,
    used: BTreeSet<(String, String)>,
}

impl<'s> Keys<'s> {
    fn of(schema: &'s Json) -> Self {
        let mut keys = Self { schema, known: BTreeSet::new(), used: BTreeSet::new() };
        keys.learn(schema, "");
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            keys.learn(definition, name);
        }
        keys
    }

    /// What stands in a definition itself; others that it names are learned by their own name.
    fn learn(&mut self, part: &Json, place: &str) {
        for (key, below) in part["properties"].as_object().into_iter().flatten() {
            self.known.insert((place.to_owned(), key.clone()));
            self.learn(below, &format!("{place}.{key}"));
        }
        self.learn_if_any(&part["additionalProperties"], &format!("{place}.*"));
        self.learn_if_any(&part["items"], &format!("{place}[]"));
        for choice in choices(part) {
            self.learn(choice, place);
        }
    }

    fn learn_if_any(&mut self, part: &Json, place: &str) {
        if part.is_object() {
            self.learn(part, place);
        }
    }

    fn read(&mut self, part: &'s Json, value: &Json, place: &str) {
        if let Some(name) = part["$ref"].as_str().and_then(|to| to.strip_prefix("#/$defs/")) {
            self.read(&self.schema["$defs"][name], value, name);
        }
        for choice in choices(part).filter(|choice| may_be(choice, value)) {
            self.read(choice, value, place);
        }
        for (key, below) in value.as_object().into_iter().flatten() {
            if let Some(known) = part["properties"].get(key) {
                self.used.insert((place.to_owned(), key.clone()));
                self.read(known, below, &format!("{place}.{key}"));
            } else {
                self.read(&part["additionalProperties"], below, &format!("{place}.*"));
            }
        }
        for item in value.as_array().into_iter().flatten() {
            self.read(&part["items"], item, &format!("{place}[]"));
        }
    }
}

fn choices(part: &Json) -> impl Iterator<Item = &Json> {
    ["anyOf", "oneOf"].into_iter().flat_map(|word| part[word].as_array().into_iter().flatten())
}

/// Whether a choice can be the one that is meant: of this shape, and without a key that it doesn't know.
fn may_be(choice: &Json, value: &Json) -> bool {
    let shape = &choice["type"];
    let fits = |name: &str| shape.is_null() || shape == name;
    match value {
        Json::Object(parts) => {
            let open = choice["additionalProperties"] != false;
            fits("object") && parts.keys().all(|key| open || choice["properties"].get(key).is_some())
        }
        Json::Array(_) => fits("array"),
        _ => shape != "object" && shape != "array",
    }
}

/// The reference names no key that no test has read: the examples are checked and played by the tests of the fixtures
/// and of the test bench.
#[test]
fn every_key_has_an_example_that_the_tests_read() {
    for (file, documents) in
        [("rule.v1.json", rules_of_the_reference()), ("catalog.v1.json", catalogs_of_the_reference())]
    {
        let schema = committed(file);
        let mut keys = Keys::of(&schema);
        for document in documents {
            keys.read(&schema, &yaml(&document), "");
        }
        assert!(keys.known.len() > 100, "{file}: {:?}", keys.known);
        let missing: Vec<_> = keys.known.difference(&keys.used).collect();
        assert!(missing.is_empty(), "{file}: without an example in the reference, by definition: {missing:#?}");
    }
}

/// The rows of the page's tables, by the keys that their first cells name.
fn rows(page: &str) -> Vec<(Vec<&str>, &str)> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = rows.filter_map(|row| row.split_once(" | "));
    cells.map(|(first, rest)| (first.split('`').skip(1).step_by(2).collect(), rest)).collect()
}

/// Whoever reads the reference of rules finds every key: those of a rule and of each step in a table, all of them in what is
/// written as code.
#[test]
fn every_key_of_a_rule_stands_in_its_reference() {
    let schema = committed("rule.v1.json");
    let page = fs::read_to_string(root().join("docs/rules.md")).unwrap();
    let rows = rows(&page);
    let has_row = |key: &str| rows.iter().any(|(keys, _)| keys.contains(&key));
    let missing: Vec<_> = schema["properties"].as_object().unwrap().keys().filter(|key| !has_row(key)).collect();
    assert!(missing.is_empty(), "no row of a table is about {missing:?}");

    for step in choices(&schema["$defs"]["StepEntry"]) {
        let (name, of) = step["properties"].as_object().unwrap().iter().next().unwrap();
        let entry = of["$ref"].as_str().unwrap().rsplit_once('/').unwrap().1;
        let (_, told) = rows.iter().rfind(|(keys, _)| *keys == [name.as_str()]).unwrap_or_else(|| panic!("no {name}"));
        let keys = schema["$defs"][entry]["properties"].as_object().unwrap().keys();
        let untold: Vec<_> = keys.filter(|key| *key != "id" && !told.contains(&format!("`{key}`"))).collect();
        assert!(untold.is_empty(), "`{name}` has {untold:?} as well");
    }

    // In fences and between single marks alike, every other part is code.
    let code: Vec<&str> = page.split('`').collect();
    let words = |text: &str| -> Vec<String> {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
    };
    let written: BTreeSet<String> = code.into_iter().skip(1).step_by(2).flat_map(words).collect();
    let known = Keys::of(&schema).known;
    let missing: BTreeSet<_> = known.iter().map(|(_, key)| key).filter(|key| !written.contains(*key)).collect();
    assert!(missing.is_empty(), "docs/rules.md never names {missing:?}");
}

/// The suggestions at a place of the schema.
fn suggested<'s>(schema: &'s Json, place: &str) -> Vec<&'s str> {
    let choices = schema.pointer(place).unwrap_or_else(|| panic!("no {place}"))["anyOf"].as_array().unwrap();
    choices[0]["enum"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn the_schema_with_names_suggests_and_forbids_nothing() {
    let site = Site::new();
    site.crm("ALTER TABLE accounts ADD COLUMN undeclared TEXT");
    let (code, printed, talk) = site.run(&["schema", "rule", "--db"]);
    assert_eq!((code, talk.as_str()), (0, ""));
    let schema: Json = serde_json::from_str(&printed).unwrap();
    let has = |place: &str, names: &[&str]| {
        let suggested = suggested(&schema, place);
        assert!(names.iter().all(|name| suggested.contains(name)), "{place}: {suggested:?} without one of {names:?}");
    };
    has("/properties/for_each", &["customer", "contact", "order"]);
    has("/properties/to", &["main_contact", "owner"]);
    has("/properties/purpose", &["service", "staff"]);
    has("/$defs/InactivityEntry/properties/of", &["orders"]);
    has("/$defs/ChangedEntry/properties/field", &["country", "undeclared"]);
    has("/$defs/EmailEntry/properties/template", &["win-back-1"]);
    has("/$defs/TaskEntry/properties/assign_to", &["assigned", "owner"]);
    has("/$defs/WebhookEntry/properties/to", &["team-chat"]);
    has("/$defs/EnrollEntry/properties/rule", &["win-back-90"]);
    let conditions = &schema["$defs"]["Conditions"]["anyOf"][1]["properties"];
    for key in ["country", "orders", "undeclared", "any"] {
        assert!(conditions[key].is_object(), "{key}: {conditions:#}");
    }
    assert!(schema["properties"]["for_each"]["description"].is_string());
    // Also with names that this catalog doesn't have, and for whatever was right without them.
    all_right(&schema, &right_rules());
    all_wrong(&schema, &[("a list", yaml(&RULE.replace("to: main_contact", "to: [main_contact]")))]);

    site.configure(&site.path("crm.db"), &site.path("none/crm.db"));
    let rule = fs::read_to_string(site.path("rules/win-back.yaml")).unwrap();
    fs::write(site.path("rules/win-back.yaml"), rule.replace("trigger:", "triger:")).unwrap();
    let (code, printed, talk) = site.run(&["schema", "rule", "--db"]);
    assert!(code == 0 && talk.contains("only the fields that the catalog declares"), "{talk}");
    let schema: Json = serde_json::from_str(&printed).unwrap();
    let fields = suggested(&schema, "/$defs/ChangedEntry/properties/field");
    assert!(fields.contains(&"country") && !fields.contains(&"undeclared"), "{fields:?}");

    assert_eq!(site.run(&["schema", "catalog", "--db"]).0, 2);
    fs::write(site.path("rules/catalog.yaml"), "version: 1\nentites: {}\n").unwrap();
    assert_eq!(site.run(&["schema", "rule", "--db"]).0, 4);
}
