//! `docs/json.md`, held against what commands print as JSON.

use serde_json::Value as Json;
use std::collections::BTreeSet;

const PAGE: &str = include_str!("../../../docs/json.md");

/// Whose JSON other pages describe.
const ELSEWHERE: [&str; 3] = ["export", "schema", "reload"];

/// What hangs on the data or is somebody else's: the page says `.*`.
const OPEN: [&str; 8] = ["daemon", "counts", "outcomes", "body", "value", "got", "expected", "reasons"];

/// Every key that a command has printed must stand in its section.
pub fn documented(command: &str, printed: &Json) {
    if ELSEWHERE.contains(&command) {
        return;
    }
    let known = words(command);
    assert!(!known.is_empty(), "docs/json.md has no section `{command}`");
    let mut keys = BTreeSet::new();
    collect(printed, &mut keys);
    let missing: Vec<_> = keys.iter().filter(|key| !known.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "docs/json.md doesn't say what these keys of `{command}` are: {missing:?}");
}

/// The keys that a section names, with those of the sections it refers to.
fn words(section: &str) -> BTreeSet<String> {
    let text = text(section);
    let mut words: BTreeSet<String> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|name| name.split(['.', '[', ']', ' ']))
        .filter(|word| !word.is_empty() && *word != "*")
        .map(str::to_owned)
        .collect();
    if text.contains("(#messages)") {
        words.extend(self::words("Messages"));
    }
    for other in ["explain", "rules"] {
        if section != other && text.contains(&format!("as `{other}`")) {
            words.extend(self::words(other));
        }
    }
    words
}

fn text(section: &str) -> &'static str {
    let head = format!("\n## {section}\n");
    let Some(start) = PAGE.find(&head) else { return "" };
    let rest = &PAGE[start + head.len()..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

fn collect(json: &Json, keys: &mut BTreeSet<String>) {
    match json {
        Json::Object(entries) => {
            for (key, inner) in entries {
                keys.insert(key.clone());
                if !OPEN.contains(&key.as_str()) {
                    collect(inner, keys);
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}

/// Every key of the tables is one that the program knows.
#[test]
fn the_page_names_no_key_that_is_never_printed() {
    let mut source = String::new();
    for folder in ["src/cli", "src/web"] {
        read(std::path::Path::new(folder), &mut source);
    }
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let keys: BTreeSet<&str> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .flat_map(|name| name.split(['.', '[', ']']))
        .filter(|word| !word.is_empty() && *word != "*")
        .collect();
    let never: Vec<_> = keys.iter().filter(|key| !source.contains(&format!("\"{key}\""))).collect();
    assert!(keys.len() > 100 && never.is_empty(), "docs/json.md names keys that nothing prints: {never:?}");
}

fn read(folder: &std::path::Path, source: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, source);
        } else {
            source.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
