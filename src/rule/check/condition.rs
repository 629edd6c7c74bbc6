use super::values::Subject;
use super::{Checker, Scores};
use crate::catalog::{ColumnType, Entity};
use crate::diagnostic::yaml::{At, Content, Node};
use crate::diagnostic::{Finding, suggest};
use crate::model::Value;
use crate::rule::condition::{Condition, Term, Test};
use crate::rule::saved::SavedTest;
use crate::rule::written::Conditions;
use std::ops::Range;

/// What a condition begins with that asks for an answer.
const SAVED: &str = "saved.";

/// All operators of a value, for suggestions.
const OPERATORS: [&str; 19] = [
    "equals",
    "not",
    "in",
    "not_in",
    "at_least",
    "at_most",
    "above",
    "below",
    "between",
    "contains",
    "starts_with",
    "ends_with",
    "missing",
    "present",
    "before",
    "after",
    "older_than",
    "within_last",
    "within_next",
];

impl<'a> Checker<'a> {
    /// The terms of `where` and its like: every key of every mapping is one.
    pub(super) fn terms(&mut self, entity: &'a Entity, written: Option<&Conditions>) -> Vec<Term> {
        written.map_or_else(Vec::new, |conditions| self.terms_of(entity, &conditions.0))
    }

    fn terms_of(&mut self, entity: &'a Entity, node: &Node) -> Vec<Term> {
        match &node.content {
            Content::Map(entries) => entries.iter().filter_map(|(key, node)| self.term(entity, key, node)).collect(),
            Content::List(items) => items.iter().flat_map(|item| self.terms_of(entity, item)).collect(),
            Content::Scalar(_) => {
                let help = "write `- field: value` or `- field: {operator: value}`";
                self.wrong(&node.range, "rule.condition", "expected a condition, found a single value", help);
                Vec::new()
            }
        }
    }

    fn term(&mut self, entity: &'a Entity, key: &At<String>, node: &Node) -> Option<Term> {
        let condition = self.entry(entity, key, node)?;
        let text = format!("{}: {}", key.value, node.one_line(self.report.source()));
        Some(Term { text, condition })
    }

    /// The terms that must hold, one by one also where they stand in an `all`.
    pub(super) fn all_terms(&mut self, entity: &'a Entity, written: &Conditions) -> Option<Vec<Term>> {
        let findings = self.report.count();
        let found = self.single_terms(entity, &written.0);
        self.some_condition(written, !found.is_empty(), findings);
        Some(found).filter(|found| !found.is_empty())
    }

    fn single_terms(&mut self, entity: &'a Entity, node: &Node) -> Vec<Term> {
        match &node.content {
            Content::List(items) => items.iter().flat_map(|item| self.single_terms(entity, item)).collect(),
            Content::Map(entries) => entries
                .iter()
                .flat_map(|(key, inner)| match &inner.content {
                    Content::List(items) if key.as_str() == "all" && !items.is_empty() => {
                        self.single_terms(entity, inner)
                    }
                    _ => self.term(entity, key, inner).into_iter().collect(),
                })
                .collect(),
            Content::Scalar(_) => self.terms_of(entity, node),
        }
    }

    /// Several conditions as one; all must hold.
    pub(super) fn one_condition(&mut self, entity: &'a Entity, written: &Conditions) -> Option<Condition> {
        let findings = self.report.count();
        let found = self.all_of(entity, &written.0);
        self.some_condition(written, found.is_some(), findings);
        found
    }

    /// What is written there and wrong has been told already.
    fn some_condition(&mut self, written: &Conditions, found: bool, findings: usize) {
        if !found && self.report.count() == findings {
            self.wrong(
                &written.0.range,
                "rule.condition",
                "no condition here",
                "write what must hold, or remove the key",
            );
        }
    }

    fn all_of(&mut self, entity: &'a Entity, node: &Node) -> Option<Condition> {
        let mut conditions: Vec<_> = self.terms_of(entity, node).into_iter().map(|term| term.condition).collect();
        match conditions.len() {
            0 | 1 => conditions.pop(),
            _ => Some(Condition::All(conditions)),
        }
    }

    fn entry(&mut self, entity: &'a Entity, key: &At<String>, node: &Node) -> Option<Condition> {
        match key.as_str() {
            "any" => self.several(entity, key, node).map(Condition::Any),
            "all" => self.several(entity, key, node).map(Condition::All),
            "not" => self.all_of(entity, node).map(|inner| Condition::Not(Box::new(inner))),
            "score" if self.is_script_score(entity) => self.script_score(key, node),
            name if entity.relations.contains_key(name) => self.related(entity, key, node),
            name if name.starts_with(SAVED) => self.saved_test(key, node),
            _ => {
                let (field, subject) = self.field(entity, key)?;
                let test = self.test(&subject, node)?;
                Some(Condition::Field { field, test })
            }
        }
    }

    /// A field of that name wins, and the build refuses a script that would be hidden by it. Columns that the catalog
    /// doesn't declare don't count: what a rule means must not change with the tables.
    fn is_script_score(&self, entity: &Entity) -> bool {
        self.has_script && self.scores != Scores::OfRelated && !entity.has_score_field()
    }

    /// `score: {at_least: 0.7}`
    fn script_score(&mut self, key: &At<String>, node: &Node) -> Option<Condition> {
        if self.scores == Scores::InTrigger {
            let help = "a trigger is found by SQL alone; test the score under `where`";
            self.wrong(&key.range, "rule.score-place", "a trigger can't ask the script's score", help);
            return None;
        }
        let subject = Subject::plain("score", ColumnType::Decimal);
        let test = self.test(&subject, node)?;
        if is_about_presence(&test) {
            let help = "compare it: `score: {at_least: 0.7}`";
            self.wrong(&node.range, "rule.operator-type", "a script's score is never missing", help);
            return None;
        }
        Some(Condition::Score(test))
    }

    /// The condition of a branch, a wait or an exit, which may ask what earlier steps have kept.
    pub(super) fn later_condition(&mut self, entity: &'a Entity, written: &Conditions) -> Option<Condition> {
        self.may_ask_saved = true;
        let condition = self.one_condition(entity, written);
        self.may_ask_saved = false;
        condition
    }

    /// `saved.lead.score: {at_least: 50}`
    fn saved_test(&mut self, key: &At<String>, node: &Node) -> Option<Condition> {
        if !self.may_ask_saved || self.scores == Scores::OfRelated {
            let help = "ask for it in a `branch`, `wait: {until: {when: …}}` or `exit_when`, of the record itself";
            self.wrong(&key.range, "rule.saved-place", "nothing is kept yet where this is asked", help);
            return None;
        }
        let path = key.strip_prefix(SAVED).unwrap_or_default();
        let name = path.split('.').next().unwrap_or_default();
        if !self.saved.contains(name) {
            let finding = Finding::error("rule.saved-name", format!("no step before this one keeps `{name}`"));
            let known: Vec<String> = self.saved.iter().cloned().collect();
            let help = suggest::help(name, known.iter().map(String::as_str));
            let help =
                help.unwrap_or_else(|| "keep an answer with `save:` of a webhook, or a code with `claim`".to_owned());
            self.report.add(&key.range, finding.help(help));
            return None;
        }
        let subject = Subject::plain(&key.value, ColumnType::Unknown);
        let test = self.test(&subject, node)?;
        if is_about_time(&test) {
            let help = "compare it as text, as a number, or with true or false";
            self.wrong(&node.range, "rule.operator-type", "an answer says nothing of what is a date or a time", help);
            return None;
        }
        Some(Condition::Saved(SavedTest { path: path.to_owned(), test }))
    }

    fn several(&mut self, entity: &'a Entity, key: &At<String>, node: &Node) -> Option<Vec<Condition>> {
        let Content::List(items) = &node.content else {
            let help = format!("write `{}: [{{field: value}}, {{field: value}}]`", key.value);
            self.wrong(&node.range, "rule.condition", format!("`{}` takes a list of conditions", key.value), &help);
            return None;
        };
        if items.is_empty() {
            self.wrong(
                &key.range,
                "rule.condition",
                format!("`{}` has no conditions", key.value),
                "fill it in or remove it",
            );
            return None;
        }
        Some(items.iter().filter_map(|item| self.all_of(entity, item)).collect())
    }

    /// What a value is tested for: a constant, a list, `missing`, `present`, or operators.
    pub(super) fn test(&mut self, subject: &Subject, node: &Node) -> Option<Test> {
        let source = self.report.source().to_owned();
        match &node.content {
            Content::List(_) => self.list(subject, node).map(Test::In),
            Content::Scalar(_) => match node.text(&source).as_deref() {
                Some("missing") if node.is_plain(&source) => Some(Test::Missing),
                Some("present") if node.is_plain(&source) => Some(Test::Present),
                _ => self.constant(subject, node).map(Test::Equals),
            },
            Content::Map(entries) => {
                let mut tests: Vec<_> =
                    entries.iter().filter_map(|(operator, node)| self.operator(subject, operator, node)).collect();
                match tests.len() {
                    0 if entries.is_empty() => {
                        self.wrong(&node.range, "rule.condition", "no operator here", "write `{at_least: 5}`");
                        None
                    }
                    0 | 1 => tests.pop(),
                    _ => Some(Test::Both(tests)),
                }
            }
        }
    }

    fn operator(&mut self, subject: &Subject, operator: &At<String>, node: &Node) -> Option<Test> {
        let source = self.report.source().to_owned();
        let word = node.text(&source).filter(|_| node.is_plain(&source));
        match operator.as_str() {
            "equals" => self.constant(subject, node).map(Test::Equals),
            "not" if word.as_deref() == Some("missing") => Some(Test::Present),
            "not" if word.as_deref() == Some("present") => Some(Test::Missing),
            "not" if matches!(node.content, Content::List(_)) => self.list(subject, node).map(Test::NotIn),
            "not" if matches!(node.content, Content::Map(_)) => {
                let help = format!("write `not: {{{}: {{…}}}}` around the condition", subject.name);
                self.wrong(&node.range, "rule.condition", "`not` takes a value or a list here", &help);
                None
            }
            "not" => self.constant(subject, node).map(Test::NotEquals),
            "in" => self.list(subject, node).map(Test::In),
            "not_in" => self.list(subject, node).map(Test::NotIn),
            "at_least" => self.bound(subject, operator, node).map(Test::AtLeast),
            "at_most" => self.bound(subject, operator, node).map(Test::AtMost),
            "above" => self.bound(subject, operator, node).map(Test::Above),
            "below" => self.bound(subject, operator, node).map(Test::Below),
            "between" => self.between(subject, operator, node),
            "contains" => self.part(subject, operator, node).map(Test::Contains),
            "starts_with" => self.part(subject, operator, node).map(Test::StartsWith),
            "ends_with" => self.part(subject, operator, node).map(Test::EndsWith),
            "missing" => self.flag(node).map(|holds| if holds { Test::Missing } else { Test::Present }),
            "present" => self.flag(node).map(|holds| if holds { Test::Present } else { Test::Missing }),
            "before" | "after" | "older_than" | "within_last" | "within_next" => {
                self.fits(subject, operator, subject.ty.is_time(), "a date or a time")?;
                self.time_test(operator, node)
            }
            _ => {
                self.unknown("rule.unknown-operator", "operator", operator, OPERATORS);
                None
            }
        }
    }

    /// A test of a point in time.
    pub(super) fn time_test(&mut self, operator: &At<String>, node: &Node) -> Option<Test> {
        match operator.as_str() {
            "before" => self.moment(node).map(Test::Before),
            "after" => self.moment(node).map(Test::After),
            "older_than" => self.period_in(node).map(Test::OlderThan),
            "within_last" => self.period_in(node).map(Test::WithinLast),
            _ => self.period_in(node).map(Test::WithinNext),
        }
    }

    fn list(&mut self, subject: &Subject, node: &Node) -> Option<Vec<Value>> {
        let Content::List(items) = &node.content else {
            self.wrong(&node.range, "rule.value", format!("expected a list, found {}", node.kind()), "write `[a, b]`");
            return None;
        };
        if items.is_empty() {
            self.wrong(&node.range, "rule.value", "an empty list holds for nobody", "name at least one value");
            return None;
        }
        let values: Vec<_> = items.iter().filter_map(|item| self.constant(subject, item)).collect();
        (values.len() == items.len()).then_some(values)
    }

    fn bound(&mut self, subject: &Subject, operator: &At<String>, node: &Node) -> Option<Value> {
        let comparable = subject.words.is_none() && (subject.ty.is_number() || subject.ty.is_time());
        self.fits(subject, operator, comparable, "a number, a date or a time")?;
        self.constant(subject, node)
    }

    fn between(&mut self, subject: &Subject, operator: &At<String>, node: &Node) -> Option<Test> {
        let Content::List(items) = &node.content else {
            self.wrong(&node.range, "rule.value", "`between` takes two values", "write `between: [7, 8]`");
            return None;
        };
        let [low, high] = items.as_slice() else {
            self.wrong(&node.range, "rule.value", "`between` takes two values", "write `between: [7, 8]`");
            return None;
        };
        let (low, high) = (self.bound(subject, operator, low), self.bound(subject, operator, high));
        let (low, high) = (low?, high?);
        if is_above(&low, &high) {
            self.wrong(&node.range, "rule.value", "the first value is above the second", "put the smaller one first");
            return None;
        }
        Some(Test::Between(low, high))
    }

    fn part(&mut self, subject: &Subject, operator: &At<String>, node: &Node) -> Option<String> {
        let is_text = matches!(subject.ty, ColumnType::Text | ColumnType::Json) && subject.words.is_none();
        self.fits(subject, operator, is_text, "text")?;
        let source = self.report.source().to_owned();
        let text = node.text(&source).map(std::borrow::Cow::into_owned);
        let operator = &operator.value;
        match &text {
            None => self.wrong(&node.range, "rule.value", format!("`{operator}` takes text"), "write it in quotes"),
            Some(empty) if empty.is_empty() => {
                let message = format!("every text has `\"\"` in it: `{operator}` needs some letters");
                self.wrong(&node.range, "rule.value", message, "write `present` to ask whether there is a text at all");
            }
            Some(_) => {}
        }
        text.filter(|text| !text.is_empty())
    }

    fn flag(&mut self, node: &Node) -> Option<bool> {
        match node.text(self.report.source()).as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => {
                self.wrong(&node.range, "rule.value", "expected `true` or `false`", "or write `field: missing` alone");
                None
            }
        }
    }

    fn fits(&mut self, subject: &Subject, operator: &At<String>, fits: bool, needed: &str) -> Option<()> {
        if fits || (subject.ty == ColumnType::Unknown && subject.words.is_none()) {
            return Some(());
        }
        let message = format!("`{}` needs {needed}", operator.value);
        let finding = Finding::error("rule.operator-type", message)
            .label(format!("`{}` is {}", subject.name, described(subject)))
            .help("use another operator, or declare the field's `type` in the catalog");
        self.report.add(&operator.range, finding);
        None
    }

    pub(super) fn time_range(&mut self, range: &Range<usize>, entity: &Entity) -> Option<()> {
        if entity.at.is_some() {
            return Some(());
        }
        let message = format!("the catalog doesn't say when a row of `{}` happened", entity.name);
        self.wrong(
            range,
            "rule.no-time",
            message,
            &format!("add `at:` with its time column to the entity `{}`", entity.name),
        );
        None
    }
}

fn is_about_time(test: &Test) -> bool {
    let is_time = |value: &Value| matches!(value, Value::Date(_) | Value::Instant(_) | Value::Naive(_));
    match test {
        Test::Before(_) | Test::After(_) | Test::OlderThan(_) | Test::WithinLast(_) | Test::WithinNext(_) => true,
        Test::AtLeast(value) | Test::AtMost(value) | Test::Above(value) | Test::Below(value) => is_time(value),
        Test::Between(low, high) => is_time(low) || is_time(high),
        Test::Both(tests) => tests.iter().any(is_about_time),
        _ => false,
    }
}

fn is_about_presence(test: &Test) -> bool {
    match test {
        Test::Missing | Test::Present => true,
        Test::Both(tests) => tests.iter().any(is_about_presence),
        _ => false,
    }
}

fn described(subject: &Subject) -> String {
    subject
        .words
        .as_ref()
        .map_or_else(|| subject.ty.in_words().to_owned(), |words| format!("one of the words {}", words.join(", ")))
}

fn is_above(low: &Value, high: &Value) -> bool {
    match (low, high) {
        (Value::Int(low), Value::Int(high)) => low > high,
        (Value::Decimal(low), Value::Decimal(high)) => low > high,
        (Value::Float(low), Value::Float(high)) => low > high,
        (Value::Date(low), Value::Date(high)) => low > high,
        (Value::Instant(low), Value::Instant(high)) => low > high,
        _ => false,
    }
}
