use super::values::Subject;
use super::{Checker, Scores};
use crate::catalog::{ColumnType, Entity};
use crate::diagnostic::yaml::{At, Content, Node};
use crate::model::{FieldName, RelationName};
use crate::rule::condition::{Condition, Quantity, Related, Test};
use std::borrow::Cow;

const KEYS: [&str; 13] = [
    "some",
    "none",
    "count",
    "sum",
    "min",
    "max",
    "only",
    "since",
    "before",
    "after",
    "older_than",
    "within_last",
    "within_next",
];

impl<'a> Checker<'a> {
    /// `tickets: {none: {status: open}, within_last: 30 days}`
    pub(super) fn related(&mut self, entity: &'a Entity, name: &At<String>, node: &Node) -> Option<Condition> {
        let (relation, related) = self.related_entity(entity, name)?;
        let outside = std::mem::replace(&mut self.scores, Scores::OfRelated);
        let found = self.relation_test(relation, related, name, node);
        self.scores = outside;
        found.map(Condition::Related)
    }

    fn relation_test(
        &mut self,
        relation: RelationName,
        related: &'a Entity,
        name: &At<String>,
        node: &Node,
    ) -> Option<Related> {
        let mut found =
            Related { relation, filter: Vec::new(), at: None, since_entry: false, quantity: Quantity::Some };
        let source = self.report.source().to_owned();
        match &node.content {
            Content::Map(entries) => {
                self.quantity(related, name, entries, &mut found)?;
                self.bounds(related, entries, &mut found)?;
            }
            Content::Scalar(_) if node.is_plain(&source) => {
                match node.text(&source).unwrap_or(Cow::Borrowed("")).as_ref() {
                    "some" | "present" => {}
                    "none" | "missing" => found.quantity = Quantity::None,
                    _ => return self.not_a_quantity(name, node),
                }
            }
            _ => return self.not_a_quantity(name, node),
        }
        Some(found)
    }

    fn not_a_quantity(&mut self, name: &At<String>, node: &Node) -> Option<Related> {
        let message = format!("`{}` leads to many rows and can't be compared with {}", name.value, node.kind());
        let help = format!("write `{0}: some`, `{0}: none`, or `{0}: {{count: {{at_least: 3}}}}`", name.value);
        self.wrong(&node.range, "rule.relation", message, &help);
        None
    }

    fn quantity(
        &mut self,
        related: &'a Entity,
        name: &At<String>,
        entries: &[(At<String>, Node)],
        found: &mut Related,
    ) -> Option<()> {
        let mut chosen: Option<&At<String>> = None;
        let mut fine = true;
        for (key, node) in entries {
            match key.as_str() {
                "some" | "none" | "count" | "sum" | "min" | "max" => {
                    if let Some(first) = chosen {
                        let message = format!("both `{}` and `{}`", first.value, key.value);
                        self.wrong(&key.range, "rule.relation", message, "write two conditions");
                        fine = false;
                        continue;
                    }
                    chosen = Some(key);
                    match self.quantity_of(related, key, node, found) {
                        Some(quantity) => found.quantity = quantity,
                        None => fine = false,
                    }
                }
                "only" => fine &= self.filter(related, node, found),
                known if KEYS.contains(&known) => {}
                _ => {
                    let message = format!("`{}` can't be asked `{}`", name.value, key.value);
                    self.unknown_as("rule.unknown-operator", message, key, KEYS);
                    fine = false;
                }
            }
        }
        fine.then_some(())
    }

    fn quantity_of(
        &mut self,
        related: &'a Entity,
        key: &At<String>,
        node: &Node,
        found: &mut Related,
    ) -> Option<Quantity> {
        match key.as_str() {
            "some" => self.filter(related, node, found).then_some(Quantity::Some),
            "none" => self.filter(related, node, found).then_some(Quantity::None),
            "count" => {
                let subject = Subject::plain("count", ColumnType::Int);
                self.test(&subject, node).map(Quantity::Count)
            }
            word => {
                let (field, test) = self.aggregate(related, key, node)?;
                Some(match word {
                    "sum" => Quantity::Sum { field, test },
                    "min" => Quantity::Min { field, test },
                    _ => Quantity::Max { field, test },
                })
            }
        }
    }

    /// Conditions that a row must meet to count. Nothing at all is fine: any row counts.
    fn filter(&mut self, related: &'a Entity, node: &Node, found: &mut Related) -> bool {
        if node.is_null(self.report.source()) {
            return true;
        }
        let expected = match &node.content {
            Content::Map(entries) => entries.len(),
            Content::List(items) => items.len(),
            Content::Scalar(_) => usize::MAX,
        };
        let conditions: Vec<_> = self
            .terms(related, Some(&crate::rule::written::Conditions(node.clone())))
            .into_iter()
            .map(|term| term.condition)
            .collect();
        let fine = conditions.len() >= expected;
        found.filter.extend(conditions);
        fine
    }

    /// `{total: {at_least: 500}}`
    fn aggregate(&mut self, related: &'a Entity, key: &At<String>, node: &Node) -> Option<(FieldName, Test)> {
        let Content::Map(entries) = &node.content else { return self.no_field(key, node) };
        let [(name, node)] = entries.as_slice() else { return self.no_field(key, node) };
        let (field, mut subject) = self.field(related, name)?;
        let summable = subject.ty.is_number() || subject.ty == ColumnType::Unknown;
        let comparable = summable || subject.ty.is_time();
        if subject.words.is_some() || (key.as_str() == "sum" && !summable) || !comparable {
            let message =
                format!("`{}` can't be taken of `{}`, which is {}", key.value, name.value, subject.ty.in_words());
            self.wrong(&name.range, "rule.operator-type", message, "name a field that holds numbers");
            return None;
        }
        if key.as_str() == "sum" && subject.ty == ColumnType::Int {
            subject.ty = ColumnType::Decimal;
        }
        self.test(&subject, node).map(|test| (field, test))
    }

    fn no_field(&mut self, key: &At<String>, node: &Node) -> Option<(FieldName, Test)> {
        let message = format!("`{}` needs one field and a test of it", key.value);
        self.wrong(
            &node.range,
            "rule.relation",
            message,
            &format!("write `{}: {{total: {{at_least: 500}}}}`", key.value),
        );
        None
    }

    fn bounds(&mut self, related: &'a Entity, entries: &[(At<String>, Node)], found: &mut Related) -> Option<()> {
        let mut tests = Vec::new();
        let mut fine = true;
        for (key, node) in entries {
            match key.as_str() {
                "before" | "after" | "older_than" | "within_last" | "within_next" => {
                    let test = self.time_range(&key.range, related).and_then(|()| self.time_test(key, node));
                    fine &= test.is_some();
                    tests.extend(test);
                }
                "since" => {
                    fine &= self.time_range(&key.range, related).is_some();
                    if node.text(self.report.source()).as_deref() == Some("entry") {
                        found.since_entry = true;
                    } else {
                        self.wrong(
                            &node.range,
                            "rule.relation",
                            "`since` takes `entry`",
                            "or use `within_last: 30 days`",
                        );
                        fine = false;
                    }
                }
                _ => {}
            }
        }
        found.at = if tests.len() > 1 { Some(Test::Both(tests)) } else { tests.pop() };
        fine.then_some(())
    }
}
