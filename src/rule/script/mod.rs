//! Rhai scripts: pure functions over a record, in a sandbox without I/O, clock or randomness.
//!
//! `eligible` decides who matches, `score` is a number that conditions test, `enrich` adds to what templates see.
//! `docs/scripts.md` has all functions. A script sees only what SQL has left over. Its typos are found at load: every `record.field` is held
//! against the entity's fields, and one dry call runs it on a made-up record.

mod amount;
mod convert;
mod engine;
mod library;
mod parse;
mod problem;
mod scan;
mod sentiment;
mod text;
mod time;

pub use library::{Library, with_imports};

use super::compiled::Facts;
use crate::diagnostic::{Finding, Place, SourceFile};
use engine::{ENGINE, Modules};
use jiff::Timestamp;
use library::NOT_CALLED;
use parse::parse;
use problem::Problem;
use rhai::{AST, CallFnOptions, Dynamic, Scope};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

const ELIGIBLE: &str = "eligible";
const ENRICH: &str = "enrich";
const SCORE: &str = "score";
const FUNCTIONS: [&str; 3] = [ELIGIBLE, ENRICH, SCORE];

/// A checked script with at least one of `eligible(record, now)`, `enrich(record, now)` and `score(record, now)`.
#[derive(Debug, Clone)]
pub struct Script {
    name: Arc<str>,
    ast: Arc<AST>,
    modules: Arc<Modules>,
    has_eligible: bool,
    has_enrich: bool,
    has_score: bool,
}

/// A script that failed: it doesn't match, is counted, and is tried again at the next sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{script}:{line}: {problem}")]
pub struct ScriptError {
    pub script: String,
    pub line: usize,
    pub problem: String,
}

/// Every property name in a script's text, of `record` or of anything else: which of them are fields of
/// the entity, and so must be fetched, the catalog knows.
#[must_use]
pub fn fields_named(text: &str) -> BTreeSet<String> {
    scan::properties(text).into_iter().map(|property| property.name).collect()
}

impl Script {
    /// Compiles a script that imports nothing.
    pub fn compile(file: &Arc<SourceFile>, sample: &Facts) -> Result<Self, Vec<Finding>> {
        Self::compile_with(file, &Library::default(), sample)
    }

    /// Compiles it and calls it once on `sample`, a synthetic record typed by the catalog. `sample.record`
    /// holds every field that scripts may read; a field outside it is a finding.
    pub fn compile_with(file: &Arc<SourceFile>, library: &Library, sample: &Facts) -> Result<Self, Vec<Finding>> {
        let modules = library.imported(file)?.modules;
        let ast = parse(file)?;
        let takes_two = |name: &str| ast.iter_functions().any(|f| f.name == name && f.params.len() == 2);
        let [has_eligible, has_enrich, has_score] = FUNCTIONS.map(takes_two);
        let mut findings = misnamed(file, &ast);
        if !has_eligible && !has_enrich && !has_score && findings.is_empty() {
            let message =
                "the script has none of `eligible(record, now)`, `enrich(record, now)` and `score(record, now)`";
            findings.push(finding(file, 1, 1, "script.no-function", message.into()));
        }
        let (name, ast) = (file.path.as_str().into(), Arc::new(ast));
        let script = Self { name, ast, modules, has_eligible, has_enrich, has_score };
        findings.extend(script.unknown_fields(file, sample));
        if findings.is_empty() {
            findings.extend(script.dry_calls(file, library, sample));
        }
        if findings.is_empty() { Ok(script) } else { Err(findings) }
    }

    /// True where the script has no `eligible`.
    pub fn eligible(&self, facts: &Facts, now: Timestamp) -> Result<bool, ScriptError> {
        if !self.has_eligible {
            return Ok(true);
        }
        let answer = self.call(ELIGIBLE, facts, now).map_err(|problem| self.error(problem))?;
        answer.as_bool().map_err(|_| self.error(wrong_type(ELIGIBLE)))
    }

    /// Extra fields for templates, as a JSON object.
    pub fn enrich(&self, facts: &Facts, now: Timestamp) -> Result<Option<Json>, ScriptError> {
        if !self.has_enrich {
            return Ok(None);
        }
        let answer = self.call(ENRICH, facts, now).map_err(|problem| self.error(problem))?;
        let object = convert::json(&answer).filter(Json::is_object);
        object.map(Some).ok_or_else(|| self.error(wrong_type(ENRICH)))
    }

    #[must_use]
    pub const fn has_eligible(&self) -> bool {
        self.has_eligible
    }

    #[must_use]
    pub const fn has_enrich(&self) -> bool {
        self.has_enrich
    }

    #[must_use]
    pub const fn has_score(&self) -> bool {
        self.has_score
    }

    /// The number that conditions test. Whoever asks has made sure that there is a `score`.
    pub fn score(&self, facts: &Facts, now: Timestamp) -> Result<Decimal, ScriptError> {
        let answer = self.call(SCORE, facts, now).map_err(|problem| self.error(problem))?;
        amount::number(&answer).ok_or_else(|| self.error(wrong_type(SCORE)))
    }

    fn call(&self, function: &str, facts: &Facts, now: Timestamp) -> Result<Dynamic, Problem> {
        self.call_within(engine::DEADLINE, function, facts, now)
    }

    fn call_within(
        &self,
        deadline: Duration,
        function: &str,
        facts: &Facts,
        now: Timestamp,
    ) -> Result<Dynamic, Problem> {
        let zone = Arc::new(facts.zone.clone());
        let record = convert::record(facts, &zone);
        let now = time::Moment { at: now, zone };
        let options = CallFnOptions::new();
        // The engine is not ours: should it panic over a script, that script has failed, not the sweep.
        let result = catch_unwind(AssertUnwindSafe(|| {
            engine::timed(deadline, &self.modules, || {
                let mut scope = Scope::new();
                ENGINE.call_fn_with_options::<Dynamic>(options, &mut scope, &self.ast, function, (record, now))
            })
        }));
        let Ok(result) = result else {
            return Err(structural("the script engine failed".into()));
        };
        result.map_err(|error| {
            let fields: Vec<&str> = facts.record.keys().map(String::as_str).collect();
            problem::of(&error, &fields)
        })
    }

    fn error(&self, problem: Problem) -> ScriptError {
        let script = problem.file.unwrap_or_else(|| self.name.to_string());
        ScriptError { script, line: problem.line, problem: problem.text }
    }

    /// Holds every `record.field` against the sample, in branches too that the dry call doesn't take.
    fn unknown_fields(&self, file: &Arc<SourceFile>, sample: &Facts) -> Vec<Finding> {
        let main = self.ast.iter_functions().filter(|f| FUNCTIONS.contains(&f.name));
        let roots: BTreeSet<&str> = main.filter_map(|function| function.params.first().copied()).collect();
        let mut known: Vec<&str> = sample.record.keys().map(String::as_str).collect();
        known.push("key");
        let properties = scan::properties(&file.text).into_iter();
        let unknown = properties.filter(|p| roots.contains(p.variable.as_str()) && !known.contains(&p.name.as_str()));
        let findings = unknown.map(|property| {
            let message = format!("`{}` has no `{}`", property.variable, property.name);
            let finding = Finding::error("script.unknown-field", message)
                .at(Place { file: Arc::clone(file), range: property.range });
            match problem::nearest(&property.name, &known) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding,
            }
        });
        findings.collect()
    }

    /// Errors that lie in the record (a division, an index) are no findings: the sample is made up.
    fn dry_calls(&self, file: &Arc<SourceFile>, library: &Library, sample: &Facts) -> Vec<Finding> {
        let there = [(ELIGIBLE, self.has_eligible), (ENRICH, self.has_enrich), (SCORE, self.has_score)];
        let functions = there.into_iter().filter_map(|(function, is_there)| is_there.then_some(function));
        let problems = functions.filter_map(|function| self.dry_call(function, library, sample));
        problems.filter(|problem| problem.structural).map(|problem| dry_finding(file, problem)).collect()
    }

    fn dry_call(&self, function: &'static str, library: &Library, sample: &Facts) -> Option<Problem> {
        match library.call(|| self.call(function, sample, Timestamp::UNIX_EPOCH)) {
            Some(Ok(answer)) => (!is_answer(function, &answer)).then(|| wrong_type(function)),
            Some(Err(problem)) => Some(problem),
            None => Some(structural(NOT_CALLED.into())),
        }
    }
}

fn is_answer(function: &str, answer: &Dynamic) -> bool {
    match function {
        ELIGIBLE => answer.is_bool(),
        ENRICH => convert::json(answer).is_some_and(|json| json.is_object()),
        _ => amount::number(answer).is_some(),
    }
}

fn wrong_type(function: &str) -> Problem {
    let wanted = match function {
        ELIGIBLE => "true or false",
        ENRICH => "a map of values, such as `#{ discount: 10 }`",
        _ => "a number",
    };
    structural(format!("`{function}` must return {wanted}"))
}

/// A problem of a script as a whole.
const fn structural(text: String) -> Problem {
    Problem { file: None, line: 1, column: 1, text, structural: true }
}

fn dry_finding(file: &Arc<SourceFile>, problem: Problem) -> Finding {
    match problem.file.filter(|path| *path != file.path) {
        // A module's place is told in words: the finding points at the script that called it.
        Some(path) => finding(file, 1, 1, "script.dry-call", format!("{path}:{}: {}", problem.line, problem.text)),
        None => finding(file, problem.line, problem.column, "script.dry-call", problem.text),
    }
}

/// A function whose name or number of parameters is nearly right would never be called.
fn misnamed(file: &Arc<SourceFile>, ast: &AST) -> Vec<Finding> {
    let wrong = ast.iter_functions().filter_map(|function| {
        let near = problem::nearest(function.name, &FUNCTIONS)
            .filter(|near| function.name == *near || strsim::levenshtein(function.name, near) <= 2)?;
        // A helper may well be called `core` or `store`.
        let nearly = function.name != near && near == SCORE;
        if nearly || (function.name == near && function.params.len() == 2) {
            return None;
        }
        let at = file.text.find(&format!("fn {}", function.name)).unwrap_or(0);
        let message = format!("nobody calls `{}` with {} parameters", function.name, function.params.len());
        let place = Place { file: Arc::clone(file), range: at..at + 3 + function.name.len() };
        let finding = Finding::error("script.misnamed-function", message).at(place);
        Some(finding.help(format!("did you mean `{near}(record, now)`?")))
    });
    wrong.collect()
}

fn finding(file: &Arc<SourceFile>, line: usize, column: usize, code: &'static str, message: String) -> Finding {
    let start: usize = file.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let text = file.text[start..].lines().next().unwrap_or_default();
    let offset = text.char_indices().nth(column.saturating_sub(1)).map_or(text.len(), |(offset, _)| offset);
    let rest = &text[offset..];
    let length =
        rest.find(|c: char| !c.is_alphanumeric() && c != '_').filter(|length| *length > 0).unwrap_or(rest.len());
    Finding::error(code, message).at(Place { file: Arc::clone(file), range: start + offset..start + offset + length })
}

#[cfg(test)]
mod tests;
