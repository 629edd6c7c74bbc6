//! Columns that the catalog maps and the database has no more: which rules can do without.

use crate::catalog::{Catalog, Column, Entity, Place, Schema, SuppressionTable};
use crate::rule::CheckedRule;
use crate::rule::checked::Action;

/// What the live schema lacks.
pub(super) struct Lost<'a> {
    pub schema: &'a Schema,
}

impl Lost<'_> {
    pub fn any(&self, catalog: &Catalog) -> bool {
        let of_person = |entity: &Entity| {
            let person = entity.person.iter();
            person
                .flat_map(|person| {
                    [&person.email, &person.phone, &person.first_name, &person.last_name, &person.locale]
                })
                .flatten()
                .any(|column| self.has_lost(entity, column))
        };
        catalog.entities.values().any(|entity| !entity.gone.is_empty() || of_person(entity))
            || catalog.suppressions.iter().any(|table| self.has_lost_list(table))
    }

    /// A column of the record's own row.
    fn has_lost(&self, entity: &Entity, column: &Column) -> bool {
        let table = self.schema.of(entity).filter(|table| table.exists);
        matches!(column.place, Place::Row) && table.is_some_and(|table| table.column(&column.name).is_none())
    }

    fn has_lost_list(&self, list: &SuppressionTable) -> bool {
        let Some(table) = self.schema.table(&list.table) else { return false };
        let columns = || [&list.email, &list.phone].into_iter().flatten();
        !table.exists || columns().any(|column| table.column(&column.name).is_none())
    }

    /// Takes out what is lost and the rule doesn't need. Whoever writes to people needs to know who doesn't want that, and
    /// in which language they read; everybody needs the hours that people live by.
    pub fn leave_out(&self, catalog: &mut Catalog, rule: &CheckedRule, named: impl Fn(&str) -> bool) {
        let actions = || rule.nodes.iter().filter_map(|node| node.step.action()).flat_map(Action::ways);
        let texts = actions().any(|action| matches!(action, Action::Sms(_)));
        let mails = actions().any(|action| matches!(action, Action::Email(_)));
        let tells_systems = actions().all(|action| {
            matches!(action, Action::Webhook(_) | Action::Chat(_) | Action::Update(_) | Action::Claim(_))
        });
        for entity in catalog.entities.values_mut() {
            let gone = &entity.gone;
            entity.fields.retain(|name, _| !gone.contains(name) || named(name.as_str()));
            let Some(mut person) = entity.person.take() else { continue };
            let needed = [
                (&mut person.email, !tells_systems || named("email")),
                (&mut person.phone, texts || named("phone")),
                (&mut person.first_name, named("first_name")),
                (&mut person.last_name, named("last_name")),
                (&mut person.locale, mails || texts),
            ];
            for (column, is_needed) in needed {
                if !is_needed && column.as_ref().is_some_and(|column| self.has_lost(entity, column)) {
                    *column = None;
                }
            }
            entity.person = Some(person);
        }
        if !mails && !texts {
            catalog.suppressions.retain(|list| !self.has_lost_list(list));
        }
    }
}

/// Whether a rule's file says the name as YAML says names: as a key, as a whole value or item, or in a path. A word of a
/// sentence is none.
pub(super) fn mentions(text: &str, name: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(start, _)| {
        let (before, after) = (&text[..start], &text[start + name.len()..]);
        if before.ends_with(part) || after.starts_with(part) {
            return false;
        }
        let is_path = before.ends_with('.') || before.ends_with('$');
        let begins = before.trim_end_matches([' ', '"', '\'']).ends_with(['\n', ':', ',', '-', '[', '{', '('])
            || before.is_empty();
        let ends = after.trim_start_matches([' ', '"', '\'']).starts_with(['\n', ':', ',', ']', '}', ')', '#', '|']);
        is_path || begins && (ends || after.trim().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_mentioned_as_a_key_a_value_an_item_or_in_a_path() {
        for text in [
            "where:\n  - class: A",
            "where: [{class: A}]",
            "date: {field: class, at: \"09:00\"}",
            "row: [class]",
            "row: [id, class]",
            "field: class",
            "field: \"class\"\n",
            "body: {text: \"{{ record.class }}\"}",
            "score: $row.class",
            "- class # that one",
        ] {
            assert!(mentions(text, "class"), "{text}");
        }
        for text in ["description: a first class rule", "text: <p class=x>", "where:\n  - classes: A", "sub_class: 1"] {
            assert!(!mentions(text, "class"), "{text}");
        }
    }
}
