use super::Checker;
use crate::catalog::written::{EntityEntry, RecipientEntry};
use crate::catalog::{PickOne, Rank, Recipient, Relation};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::At;
use crate::model::{EntityName, RelationName, RoleName, is_address};
use std::collections::{BTreeMap, BTreeSet};

impl Checker {
    pub(super) fn recipients(
        &mut self,
        entity: &EntityName,
        entry: &EntityEntry,
        relations: &BTreeMap<RelationName, Relation>,
        people: &BTreeSet<&str>,
    ) -> BTreeMap<RoleName, Recipient> {
        let mut recipients = BTreeMap::new();
        for (name, written) in entry.recipients.iter() {
            self.name(name);
            let pick = self.pick(entity, name, written, relations, people);
            let (otherwise, fixed) = self.fallback(written, entry);
            let recipient =
                Recipient { name: RoleName::new(name.as_str()), pick, staff: written.staff, otherwise, fixed };
            recipients.insert(recipient.name.clone(), recipient);
        }
        self.circles(entry, &recipients);
        recipients
    }

    fn pick(
        &mut self,
        entity: &EntityName,
        name: &At<String>,
        written: &At<RecipientEntry>,
        relations: &BTreeMap<RelationName, Relation>,
        people: &BTreeSet<&str>,
    ) -> Option<PickOne> {
        let ways = usize::from(written.first_of.is_some())
            + usize::from(written.itself)
            + usize::from(written.address.is_some());
        if ways != 1 {
            let finding =
                Finding::error("catalog.recipient", format!("recipient `{}` needs one way to be found", name.value));
            let help = "write one of `first_of: RELATION`, `self: true`, `address: name@example.com`";
            self.report.add(&name.range, finding.help(help));
            return None;
        }
        let (relation, person, range) = match &written.first_of {
            Some(first_of) => {
                let Some(relation) = relations.get(first_of.as_str()) else {
                    let known: Vec<_> = relations.keys().map(|name| name.as_str().to_owned()).collect();
                    self.unknown("catalog.unknown-relation", "relation", first_of, &known);
                    return None;
                };
                (Some(relation.name.clone()), relation.entity.clone(), &first_of.range)
            }
            None if written.itself => (None, entity.clone(), &name.range),
            None => return None,
        };
        if !people.contains(person.as_str()) {
            let finding = Finding::error("catalog.recipient", format!("rows of `{person}` are not people"));
            let help = format!("add `person: {{email: …}}` to the entity `{person}`");
            self.report.add(range, finding.help(help));
        }
        let only = written.only.as_ref().map_or_else(Vec::new, |node| self.entity_filters(&person, node));
        let order = written.order.iter().filter_map(|term| self.order(&person, term)).collect();
        Some(PickOne { relation, only, order })
    }

    /// `is_primary desc nulls last`
    fn order(&mut self, entity: &EntityName, term: &At<String>) -> Option<Rank> {
        let words: Vec<&str> = term.split_whitespace().collect();
        let (order, nulls_last) = match words.as_slice() {
            [order @ .., "nulls", "last"] => (order, true),
            order => (order, false),
        };
        let (name, descending) = match order {
            [name] | [name, "asc"] => ((*name).to_owned(), false),
            [name, "desc"] => ((*name).to_owned(), true),
            _ => {
                let finding = Finding::error("catalog.recipient", format!("`{}` is not an order", term.value));
                let help =
                    "write a field, `desc` for the greatest first, and `nulls last`: `is_primary desc nulls last`";
                self.report.add(&term.range, finding.help(help));
                return None;
            }
        };
        let table = self.tables.get(entity).cloned().flatten();
        let name = At { value: name, range: term.range.clone(), source: term.source.clone() };
        self.column(Some(entity), table.as_ref(), &name).map(|column| Rank { column, descending, nulls_last })
    }

    /// `else:` names another role, or is an address.
    fn fallback(&mut self, written: &RecipientEntry, entry: &EntityEntry) -> (Option<RoleName>, Option<String>) {
        if let Some(address) = &written.address {
            self.address(address);
            return (None, Some(address.value.clone()));
        }
        let Some(otherwise) = &written.otherwise else { return (None, None) };
        if otherwise.contains('@') {
            self.address(otherwise);
            return (None, Some(otherwise.value.clone()));
        }
        if entry.recipients.iter().any(|(name, _)| name.value == otherwise.value) {
            return (Some(RoleName::new(otherwise.as_str())), None);
        }
        let known: Vec<_> = entry.recipients.iter().map(|(name, _)| name.value.clone()).collect();
        self.unknown("catalog.unknown-recipient", "recipient", otherwise, &known);
        (None, None)
    }

    fn address(&mut self, address: &At<String>) {
        let is_public = address.rsplit_once('@').is_some_and(|(_, domain)| domain.contains('.'));
        if !is_public || !is_address(address) {
            let finding = Finding::error("catalog.address", format!("`{}` is not an email address", address.value));
            self.report.add(&address.range, finding.help("write `name@example.com`"));
        }
    }

    fn circles(&mut self, entry: &EntityEntry, recipients: &BTreeMap<RoleName, Recipient>) {
        for (name, _) in entry.recipients.iter() {
            let mut seen = BTreeSet::new();
            let mut at = recipients.get(name.as_str());
            while let Some(recipient) = at {
                if !seen.insert(&recipient.name) {
                    if recipient.name.as_str() == name.as_str() {
                        let finding =
                            Finding::error("catalog.circle", format!("`else` of `{}` leads back to it", name.value));
                        self.report.add(&name.range, finding.help("let the last one end at an address, or at nobody"));
                    }
                    break;
                }
                at = recipient.otherwise.as_ref().and_then(|next| recipients.get(next));
            }
        }
    }
}
