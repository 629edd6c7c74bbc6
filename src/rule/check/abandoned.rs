use super::Checker;
use crate::catalog::Entity;
use crate::diagnostic::yaml::At;
use crate::model::{FieldName, RelationName};
use crate::rule::checked::Abandoned;
use crate::rule::condition::Term;
use crate::rule::written::AbandonedEntry;
use std::ops::Range;

impl<'a> Checker<'a> {
    pub(super) fn abandoned(
        &mut self,
        entity: &'a Entity,
        written: &AbandonedEntry,
        range: &Range<usize>,
    ) -> Option<Abandoned> {
        let (of, cart) = match &written.of {
            Some(name) => self.related_entity(entity, name).map(|(of, cart)| (Some(of), cart))?,
            None => (None, entity),
        };
        let open = self.open(cart, written);
        let idle = self.clock_period(Some(&written.idle));
        let changed_at = self.changed_at(cart, written.changed_at.as_ref(), range);
        let unless = match &written.unless {
            Some(name) => Some(self.dated_relation(entity, name)?),
            None => None,
        };
        Some(Abandoned { of, open: open?, idle: idle?, changed_at: changed_at?, unless })
    }

    /// Nobody has entered while this is asked.
    fn open(&mut self, cart: &'a Entity, written: &AbandonedEntry) -> Option<Vec<Term>> {
        let open = self.all_terms(cart, &written.open)?;
        if open.iter().any(|term| term.condition.counts_since_entry()) {
            let help = "use `within_last`, or name the relation to the orders in `unless`";
            self.wrong(&written.open.0.range, "rule.since-entry", "`since: entry` before anybody has entered", help);
            return None;
        }
        Some(open)
    }

    fn changed_at(
        &mut self,
        cart: &'a Entity,
        written: Option<&At<String>>,
        range: &Range<usize>,
    ) -> Option<FieldName> {
        if let Some(name) = written {
            return self.stored_time(cart, name);
        }
        let known = cart.updated_at.as_ref().or(cart.at.as_ref());
        if known.is_none() {
            let message = format!("the catalog doesn't say when a row of `{}` last changed", cart.name);
            let help = "name its time field: `changed_at: updated_at`, or add `updated_at:` to the entity";
            self.wrong(range, "rule.no-time", message, help);
        }
        known.cloned()
    }

    fn dated_relation(&mut self, entity: &'a Entity, name: &At<String>) -> Option<RelationName> {
        let (relation, related) = self.related_entity(entity, name)?;
        self.time_range(&name.range, related)?;
        Some(relation)
    }
}
