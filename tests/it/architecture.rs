//! The order of the modules, and what the inner ones may not touch.
//!
//! Rust lets any module import any other, so import circles grow unseen. Here each module has a rank, and
//! a module may only name modules of a lower rank.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the inside out. Modules of one rank never name each other.
const RANKS: [&[&str]; 10] = [
    &["model"],
    &["diagnostic"],
    &["catalog"],
    &["rule"],
    &["engine"],
    &["store", "source", "action", "rulebook"],
    &["web", "testbench"],
    &["config"],
    &["service"],
    &["cli"],
];

/// A file gets a second look at 400 lines and is split at 700.
const MOST_LINES: usize = 700;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "common", "helpers", "helper", "manager", "misc"];

fn rank(module: &str) -> Option<usize> {
    RANKS.iter().position(|modules| modules.contains(&module))
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

/// `engine` for `src/engine/port/mod.rs`; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.components().next()?.as_os_str().to_str()?.to_owned();
    Path::new(&first).extension().is_none().then_some(first)
}

/// The code without its comments, so that prose may name any module.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first segments after every `crate::`, also inside `crate::{a, b::c}`.
fn crate_modules(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[start + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(top_level_names(group)),
            None => found.extend(name_at_start(rest)),
        }
    }
    found
}

fn name_at_start(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

fn top_level_names(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut expecting = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expecting = true,
            c if expecting && c.is_alphabetic() => {
                names.extend(name_at_start(&group[at..]));
                expecting = false;
            }
            _ => {}
        }
    }
    names
}

#[test]
fn every_module_names_only_modules_further_in() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module_of(&path) else { continue };
        let own = rank(&module).unwrap_or_else(|| panic!("{module} has no rank: add it to RANKS"));
        for named in crate_modules(&code(&text)) {
            match rank(&named) {
                Some(other) if other < own || named == module => {}
                Some(_) => wrong.push(format!("{} names {named}", path.display())),
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order:\n{}", wrong.join("\n"));
}

#[test]
fn nobody_reaches_the_crate_by_climbing() {
    // In `src/x/mod.rs` one `super::` is the crate itself, in `src/x/y.rs` two.
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if module_of(&path).is_none() {
            continue;
        }
        let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let is_mod = below.file_name().is_some_and(|name| name == "mod.rs");
        let depth = below.components().count() - usize::from(is_mod);
        let climb = "super::".repeat(depth);
        // In a module of tests below, a `super::` more is the file itself.
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for line in code(own).lines().filter(|line| line.contains(&climb)) {
            wrong.push(format!("{}: {line}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "write `crate::` instead:\n{}", wrong.join("\n"));
}

#[test]
fn the_inner_modules_do_no_io_and_read_no_clock() {
    const OUTSIDE: [&str; 15] = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "tokio::fs",
        "tokio::net",
        "sqlx",
        "rusqlite",
        "reqwest",
        "lettre",
        "notify::",
        "axum",
        "SystemTime::now",
        "Timestamp::now",
        "Zoned::now",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(module) = module_of(&path) else { continue };
        let inner = rank(&module).is_some_and(|own| own <= rank("engine").unwrap());
        // The one place where the machine's clock is read, and the one where an address is read by the library that
        // will write to it.
        if !inner || path.ends_with("model/clock.rs") || path.ends_with("model/address.rs") {
            continue;
        }
        let production = code(&without_tests(&text));
        wrong.extend(
            OUTSIDE.iter().filter(|name| production.contains(*name)).map(|n| format!("{}: {n}", path.display())),
        );
    }
    assert!(wrong.is_empty(), "the inner modules touch the outside:\n{}", wrong.join("\n"));
}

/// What is compiled for users: tests stand in modules of their own, or at the end of a file.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let item = lines.find(|line| !line.trim().starts_with("#[")).unwrap_or_default();
            if item.ends_with('{') {
                break;
            }
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[test]
fn what_stands_behind_the_name_of_a_test_module_is_read() {
    let text =
        "#[cfg(test)]\n#[path = \"x_tests.rs\"]\nmod tests;\nuse std::fs;\n#[cfg(test)]\nmod more {\n use sqlx;\n}\n";
    assert_eq!(without_tests(text), "use std::fs;\n");
}

#[test]
fn files_stay_small_and_their_names_mean_something() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
        if path.ends_with("src/main.rs") && lines >= 20 {
            wrong.push(format!("main.rs has {lines} lines; it only starts the command line"));
        }
        let empty = |name: &str| EMPTY_NAMES.contains(&name.trim_end_matches(".rs"));
        let source = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap();
        if source.components().filter_map(|part| part.as_os_str().to_str()).any(empty) {
            wrong.push(format!("{}: a name that says nothing", source.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(path, text)| path.file_name().is_some_and(|name| name == "mod.rs") && !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "modules without documentation:\n{}", silent.join("\n"));
}

#[test]
fn the_reading_of_imports_is_right() {
    let found = crate_modules("use crate::{model::{Key, RuleId}, engine::port::Store};\nlet x = crate::rule::a();");
    assert_eq!(found, ["engine", "model", "rule"].map(str::to_owned).into());
    assert!(code("//! see crate::store\nuse crate::model;").contains("crate::model"));
    assert!(!code("//! see crate::store").contains("store"));
}

/// Whoever watches the daemon finds every name that it counts by.
#[test]
fn every_metric_stands_in_the_documentation() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let mut counted = BTreeSet::new();
    for (_, text) in sources() {
        for (start, _) in text.match_indices("\"nudged_") {
            let name: String = text[start + 1..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            counted.extend(text[start + 1 + name.len()..].starts_with('"').then_some(name));
        }
    }
    assert!(counted.len() > 30, "{counted:?}");
    let missing: Vec<_> = counted.iter().filter(|name| !page.contains(&format!("| `{name}` |"))).collect();
    assert!(missing.is_empty(), "docs/operations.md doesn't tell of {missing:?}");
}
