//! Ways over several tables, several ways to the same rows, and entities that are the rows of others.

use super::Checker;
use crate::catalog::written::{EntityEntry, HopEntry, RelationEntry, WayEntry};
use crate::catalog::{Column, Expression, Hop, Join, Member, Path};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::At;
use crate::model::{EntityName, FieldName};

impl Checker {
    /// The one way of a relation, or the several of `any_of`.
    pub(super) fn join(
        &mut self,
        from: &EntityName,
        entity: &EntityName,
        name: &At<String>,
        entry: &At<RelationEntry>,
    ) -> Option<Join> {
        if entry.any_of.is_empty() {
            return self.way(from, entity, name, &entry.way());
        }
        let own = entry.way();
        if own.by.is_some() || own.to.is_some() || own.through.is_some() || !own.hops.is_empty() {
            let finding = Finding::error("catalog.relation", "`any_of` and a way beside it");
            self.report.add(&name.range, finding.help("put every way into the list"));
            return None;
        }
        let ways: Vec<Join> = entry.any_of.iter().filter_map(|way| self.way(from, entity, name, way)).collect();
        (ways.len() == entry.any_of.len()).then_some(Join::AnyOf(ways))
    }

    pub(super) fn hops(&mut self, from: &EntityName, entity: &EntityName, way: &WayEntry) -> Option<Join> {
        let start = way.start.as_ref().map(|field| self.field_of(from, field));
        let end = way.by.as_ref().map(|field| self.field_of(entity, field));
        let hops: Vec<Hop> = way.hops.iter().filter_map(|hop| self.hop(hop)).collect();
        (hops.len() == way.hops.len()).then_some(Join::Through(Path { start, hops, end }))
    }

    fn hop(&mut self, hop: &HopEntry) -> Option<Hop> {
        let table = self.table(&hop.table)?;
        let from = self.column(None, Some(&table), &hop.from)?;
        let to = self.column(None, Some(&table), &hop.to)?;
        let only = hop.only.as_ref().map_or_else(Vec::new, |node| self.filters(None, Some(&table), node));
        Some(Hop { table, from, to, only })
    }

    /// The fields of a union are those of its first member's list.
    pub(super) fn union_fields(&mut self, entity: &EntityName, name: &At<String>, entry: &EntityEntry) {
        let Some((_, first)) = entry.union.0.first() else { return };
        if let Some((field, _)) = entry.fields.iter().next() {
            let finding = Finding::error("catalog.union", format!("`{}` is a union and has no `fields`", name.value));
            self.report.add(&field.range, finding.help("list them under every member"));
        }
        let names: Vec<&str> = first.fields.iter().map(|(field, _)| field.as_str()).collect();
        for (member, written) in entry.union.iter().skip(1) {
            let theirs: Vec<&str> = written.fields.iter().map(|(field, _)| field.as_str()).collect();
            let missing = names.iter().find(|name| !theirs.contains(name));
            let more = theirs.iter().find(|name| !names.contains(name));
            if let Some(odd) = missing.or(more) {
                let message = format!("the members of `{}` don't all have `{odd}`", name.value);
                let finding = Finding::error("catalog.union", message);
                self.report.add(&member.range, finding.help("every member fills the same fields"));
            }
        }
        self.unions.push((entity.clone(), name.range.clone()));
        for (field, _) in first.fields.iter() {
            self.name(field);
            self.add_field(entity, field, |_| Some((Expression::Column(Column::named(field.as_str())), None)));
        }
    }

    pub(super) fn members(&mut self, entry: &EntityEntry) -> Vec<Member> {
        let first = entry.union.0.first().into_iter().flat_map(|(_, first)| first.fields.iter());
        let order: Vec<String> = first.map(|(field, _)| field.value.clone()).collect();
        let mut members = Vec::new();
        for (name, written) in entry.union.iter() {
            let entity = EntityName::new(name.as_str());
            if !self.fields.contains_key(&entity) {
                let known: Vec<_> = self.fields.keys().map(|name| name.as_str().to_owned()).collect();
                self.unknown("catalog.unknown-entity", "entity", name, &known);
                continue;
            }
            let mut fields = Vec::new();
            for ours in &order {
                let Some((_, theirs)) = written.fields.iter().find(|(field, _)| field.value == *ours) else { continue };
                fields.push((FieldName::new(ours.as_str()), self.field_of(&entity, theirs)));
            }
            let only = written.only.as_ref().map_or_else(Vec::new, |node| self.entity_filters(&entity, node));
            members.push(Member { entity, fields, only });
        }
        members
    }
}
