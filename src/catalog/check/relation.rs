use super::Checker;
use crate::catalog::written::{RelationEntry, WayEntry};
use crate::catalog::{Hop, Join, Path, Relation};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::At;
use crate::model::{EntityName, RelationName};

impl Checker {
    pub(super) fn relation(
        &mut self,
        from: &EntityName,
        name: &At<String>,
        entry: &At<RelationEntry>,
    ) -> Option<Relation> {
        self.name(name);
        if self.fields.get(from).is_some_and(|fields| fields.contains_key(name.as_str())) {
            let finding = Finding::error("catalog.name", format!("`{}` is a field already", name.value));
            self.report.add(&name.range, finding.help("rules name fields and relations alike: rename one of them"));
        }
        let entity = EntityName::new(entry.entity.as_str());
        if !self.fields.contains_key(&entity) {
            let known: Vec<_> = self.fields.keys().map(|name| name.as_str().to_owned()).collect();
            self.unknown("catalog.unknown-entity", "entity", &entry.entity, &known);
            return None;
        }
        let join = self.join(from, &entity, name, entry)?;
        let when = entry.when.as_ref().map_or_else(Vec::new, |node| self.entity_filters(from, node));
        let only = entry.only.as_ref().map_or_else(Vec::new, |node| self.entity_filters(&entity, node));
        Some(Relation { name: RelationName::new(name.as_str()), entity, join, when, only })
    }

    pub(super) fn way(
        &mut self,
        from: &EntityName,
        entity: &EntityName,
        name: &At<String>,
        entry: &WayEntry,
    ) -> Option<Join> {
        if !entry.hops.is_empty() {
            if let Some(to) = entry.to.as_ref().or(entry.through.as_ref()).or(entry.from.as_ref()) {
                let finding = Finding::error("catalog.relation", "`hops` name their tables and columns themselves");
                let help = "beside them: `start` (our field) and `by` (theirs), where these aren't the keys";
                self.report.add(&to.range, finding.help(help));
                return None;
            }
            return self.hops(from, entity, entry);
        }
        if let Some(start) = &entry.start {
            let finding = Finding::error("catalog.relation", "`start` needs `hops`");
            self.report.add(&start.range, finding.help("with one table between, write `through`, `from` and `to`"));
        }
        if let Some(through) = &entry.through {
            return self.through(name, entry, through);
        }
        for (misplaced, key) in [
            (entry.from.as_ref().map(|from| &from.range), "from"),
            (entry.through_only.as_ref().map(|only| &only.range), "through_only"),
        ] {
            if let Some(range) = misplaced {
                let finding = Finding::error("catalog.relation", format!("`{key}` needs `through`"));
                self.report.add(range, finding.help("name the join table: `through: crm.account_people`"));
            }
        }
        match (&entry.by, &entry.to) {
            (Some(by), None) => Some(Join::By(self.field_of(entity, by))),
            (None, Some(to)) => Some(Join::To(self.field_of(from, to))),
            (Some(_), Some(to)) => {
                let finding = Finding::error("catalog.relation", "both `by` and `to`");
                let help = "`by` is a field of the related rows, `to` one of ours: keep the one that holds the key";
                self.report.add(&to.range, finding.help(help));
                None
            }
            (None, None) => {
                let finding =
                    Finding::error("catalog.relation", format!("relation `{}` doesn't say how rows meet", name.value));
                let help = "add `by:` (their field with our key), `to:` (our field with theirs), or `through:`";
                self.report.add(&name.range, finding.help(help));
                None
            }
        }
    }

    fn through(&mut self, name: &At<String>, entry: &WayEntry, through: &At<String>) -> Option<Join> {
        let (Some(from), Some(to)) = (&entry.from, &entry.to) else {
            let finding = Finding::error("catalog.relation", format!("relation `{}` lacks a column", name.value));
            let help = "with `through`, name both of its columns: `from:` (our key) and `to:` (theirs)";
            self.report.add(&through.range, finding.help(help));
            return None;
        };
        if let Some(by) = &entry.by {
            let finding = Finding::error("catalog.relation", "both `by` and `through`");
            self.report.add(&by.range, finding.help("keep one"));
        }
        let table = self.table(through)?;
        let from = self.column(None, Some(&table), from)?;
        let to = self.column(None, Some(&table), to)?;
        let only = entry.through_only.as_ref().map_or_else(Vec::new, |node| self.filters(None, Some(&table), node));
        Some(Join::Through(Path { start: None, hops: vec![Hop { table, from, to, only }], end: None }))
    }
}
