//! What scripts do with text beside what Rhai brings along. Patterns are regular expressions without
//! backtracking, so that no pattern takes longer than its text is long.

use super::engine::{ENTRIES, Fallible, TEXT, in_time};
use regex::{Regex, RegexBuilder};
use rhai::{Array, Dynamic, Engine, EvalAltResult, Position};
use std::cell::RefCell;
use std::collections::HashMap;

/// Of one pattern, compiled, in bytes.
const PATTERN: usize = 256 * 1024;
/// Of one pattern, as written.
const LONGEST: usize = 1_000;
/// Compiled patterns that a thread keeps.
const KEPT: usize = 64;

thread_local! {
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

pub(super) fn register(engine: &mut Engine) {
    engine.register_fn("lower", |text: &str| text.to_lowercase());
    engine.register_fn("upper", |text: &str| text.to_uppercase());
    engine.register_fn("trimmed", |text: &str| text.trim().to_owned());
    engine.register_fn("words", words);
    engine.register_fn("matches", |text: &str, pattern: &str| with(pattern, |regex| regex.is_match(text)));
    engine.register_fn("find", |text: &str, pattern: &str| {
        with(pattern, |regex| regex.find(text).map_or(Dynamic::UNIT, |found| found.as_str().to_owned().into()))
    });
    engine.register_fn("has_any", has_any);
}

fn words(text: &str) -> Fallible<Array> {
    in_time()?;
    let words: Array = text.split_whitespace().take(ENTRIES + 1).map(|word| word.to_owned().into()).collect();
    if words.len() > ENTRIES {
        return Err(EvalAltResult::ErrorDataTooLarge("Size of array".into(), Position::NONE).into());
    }
    Ok(words)
}

/// Upper and lower case are the same.
fn has_any(text: &str, parts: Array) -> Fallible<bool> {
    in_time()?;
    let text = text.to_lowercase();
    for part in parts {
        let part = part.into_immutable_string().map_err(|_| wrong("`has_any` takes a list of texts"))?;
        if text.contains(&part.to_lowercase()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn with<T>(pattern: &str, ask: impl FnOnce(&Regex) -> T) -> Fallible<T> {
    in_time()?;
    PATTERNS.with_borrow_mut(|patterns| {
        if let Some(regex) = patterns.get(pattern) {
            return Ok(ask(regex));
        }
        if pattern.len() > LONGEST {
            return Err(wrong("a pattern is too long").into());
        }
        let regex = RegexBuilder::new(pattern).size_limit(PATTERN).dfa_size_limit(TEXT).build();
        // What is wrong with it would repeat the pattern, which may come of the record.
        let regex = regex.map_err(|_| wrong("a pattern is not a regular expression, or too large"))?;
        if patterns.len() >= KEPT {
            patterns.clear();
        }
        Ok(ask(patterns.entry(pattern.to_owned()).or_insert(regex)))
    })
}

fn wrong(message: &str) -> EvalAltResult {
    EvalAltResult::ErrorSystem(super::problem::OURS.into(), message.into())
}
