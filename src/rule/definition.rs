//! Two hashes of a rule: what an enrollment pins, and what its baseline depends on.
//!
//! The second one covers the rule and its catalog *as written*. Types that come from the live schema are
//! left out: a new column, or a source that is down at start, must not set a baseline anew.

use super::checked::{Abandoned, CheckedRule, Trigger};
use super::condition::{Condition, Quantity};
use crate::catalog::{Attribute, Catalog, Entity, Expression, Filter, FilterTest, Join, Literal, Origin, Place};
use crate::diagnostic::SourceFile;
use crate::diagnostic::yaml::{self, Content, Node};
use crate::model::{EntityName, FieldName, RelationName, VersionHash};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// Keys of a rule file that running enrollments keep.
const PINNED: [&str; 6] = ["for_each", "to", "steps", "offsets", "spread", "calendar"];
/// Keys that decide who matches, and when.
const DEFINING: [&str; 5] = ["for_each", "trigger", "where", "only_at_entry", "script"];

/// Of steps, waits and entries.
pub(super) fn version(rule: &CheckedRule, text: &Arc<str>) -> VersionHash {
    let lines =
        lines(text, &PINNED).unwrap_or_else(|| format!("{:?}\n{:?}\n{:?}", rule.entries, rule.nodes, rule.spread));
    hash(&lines)
}

/// Of trigger, `where` and the mapping of every entity these touch. The text of a script is added by
/// [`with_script`].
pub(super) fn definition(rule: &CheckedRule, text: &Arc<str>, catalog: &Catalog) -> VersionHash {
    let mut written = Written { catalog, text: String::new(), entities: BTreeSet::new() };
    written.line(catalog.time_zone.iana_name().unwrap_or_default());
    written.line(&lines(text, &DEFINING).unwrap_or_else(|| format!("{} {:?}", rule.for_each, rule.trigger)));
    for entry in &rule.entries {
        written.line(&entry.offset.map_or_else(String::new, |offset| format!("{} {}", offset.before, offset.period)));
    }
    written.entity(&rule.for_each);
    if let Some(entity) = catalog.entity(&rule.for_each) {
        match &rule.trigger {
            Trigger::Inactivity(inactivity) => {
                written.relation(entity, &inactivity.of);
                written.fields(entity, inactivity.fallback.as_ref());
            }
            Trigger::Survey(survey) => {
                written.relation(entity, &survey.of);
                let answers = entity.relations.get(&survey.of).and_then(|found| catalog.entity(&found.entity));
                written.line(answers.and_then(|answers| answers.survey_kind.as_deref()).unwrap_or_default());
            }
            Trigger::Date(date) => written.fields(entity, Some(&date.field)),
            Trigger::Created(created) => written.fields(entity, Some(&created.at)),
            Trigger::Abandoned(abandoned) => written.abandoned(entity, abandoned),
            Trigger::Yearly(yearly) => written.fields(entity, Some(&yearly.field)),
            Trigger::Changed(changed) => written.fields(entity, Some(&changed.field)),
            Trigger::Segment(segment) => {
                segment.when.iter().for_each(|term| written.condition(entity, &term.condition));
            }
            Trigger::Schedule(_)
            | Trigger::Query(_)
            | Trigger::Event(_)
            | Trigger::Count(_)
            | Trigger::Decline(_)
            | Trigger::Enrolled => {}
        }
        if let Some(tide) = rule.trigger.tide() {
            written.relation(entity, tide.of);
            let related = entity.relations.get(tide.of).and_then(|found| catalog.entity(&found.entity));
            if let Some(related) = related {
                tide.only.iter().for_each(|part| written.condition(related, part));
            }
        }
        for term in rule.conditions.iter().chain(&rule.only_at_entry) {
            written.condition(entity, &term.condition);
        }
    }
    hash(&written.text)
}

/// A script decides who matches as much as `where` does, and so do the modules it imports. The two parts stay apart:
/// whoever repairs a script that the rule was held for must not lose those it was held with.
pub(super) fn with_script<'a>(
    definition: &VersionHash,
    scripts: impl IntoIterator<Item = &'a SourceFile>,
) -> VersionHash {
    let mut text = String::new();
    for script in scripts {
        let _ = writeln!(text, "{} {}\n{}", script.path, script.text.len(), script.text);
    }
    VersionHash::new(format!("{definition}.{}", hash(&text)))
}

/// The parts of a rule file on one line each, so that comments, quotes and layout make no difference. `None`
/// for a rule that was built by hand and has no file.
fn lines(text: &Arc<str>, keys: &[&str]) -> Option<String> {
    let file = Arc::new(SourceFile { path: String::new(), text: text.to_string() });
    let node = yaml::read::<Node>(&file).ok().filter(|node| matches!(node.content, Content::Map(_)))?;
    let lines = keys.iter().map(|key| node.get(key).map_or_else(String::new, |node| node.one_line(text)));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

fn hash(text: &str) -> VersionHash {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    VersionHash::new(hex)
}

/// Collects the mapping that a rule touches, by names alone.
struct Written<'a> {
    catalog: &'a Catalog,
    text: String,
    entities: BTreeSet<EntityName>,
}

impl<'a> Written<'a> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn entity(&mut self, name: &EntityName) -> Option<&'a Entity> {
        let entity = self.catalog.entity(name)?;
        if self.entities.insert(name.clone()) {
            let origin = match &entity.origin {
                Origin::Table(table) => format!("{table:?}"),
                Origin::Sql(sql) => sql.clone(),
                Origin::Union(members) => format!("{:?}", members.iter().map(|m| &m.fields).collect::<Vec<_>>()),
            };
            self.line(&format!("{name} {origin} {}", entity.key.name));
            for parent in &entity.parents {
                self.line(&format!("{} {}", parent.table, parent.key.name));
            }
            self.filters(&entity.only);
            self.fields(entity, entity.at.as_ref());
            self.fields(entity, entity.score.as_ref());
            if let Origin::Union(members) = &entity.origin {
                for member in members {
                    self.filters(&member.only);
                    if let Some(theirs) = self.entity(&member.entity) {
                        member.fields.iter().for_each(|(_, field)| self.fields(theirs, Some(field)));
                    }
                }
            }
        }
        Some(entity)
    }

    fn abandoned(&mut self, entity: &'a Entity, abandoned: &Abandoned) {
        for relation in abandoned.of.iter().chain(&abandoned.unless) {
            self.relation(entity, relation);
        }
        let carts = abandoned.of.as_ref().and_then(|of| entity.relations.get(of));
        let cart = carts.map_or(Some(entity), |carts| self.catalog.entity(&carts.entity));
        if let Some(cart) = cart {
            self.fields(cart, Some(&abandoned.changed_at));
            abandoned.open.iter().for_each(|term| self.condition(cart, &term.condition));
        }
    }

    fn relation(&mut self, entity: &Entity, name: &RelationName) {
        let Some(relation) = entity.relations.get(name) else { return };
        self.line(&format!("{name} {}", relation.entity));
        self.filters(&relation.when);
        self.filters(&relation.only);
        let related = self.entity(&relation.entity);
        self.join(entity, related, &relation.join);
    }

    fn join(&mut self, entity: &Entity, related: Option<&Entity>, join: &Join) {
        match join {
            Join::To(field) => self.fields(entity, Some(field)),
            Join::Through(path) => {
                self.fields(entity, path.start.as_ref());
                for hop in &path.hops {
                    self.line(&format!("{:?} {} {}", hop.table, hop.from.name, hop.to.name));
                    self.filters(&hop.only);
                }
                if let Some(related) = related {
                    self.fields(related, path.end.as_ref());
                }
            }
            Join::By(field) => {
                if let Some(related) = related {
                    self.fields(related, Some(field));
                }
            }
            Join::AnyOf(ways) => ways.iter().for_each(|way| self.join(entity, related, way)),
        }
    }

    /// Where a column stands, if not in its row.
    fn place(&mut self, place: &Place) {
        match place {
            Place::Row => {}
            Place::Parent(number) => self.line(&format!("parent {number}")),
            Place::Json(holder, path) => {
                self.line(&format!("{} {path:?}", holder.name));
                self.place(&holder.place);
            }
            Place::Attribute(attribute) => {
                let Attribute { table, record, value, only, .. } = &**attribute;
                self.line(&format!("{table} {} {}", record.name, value.name));
                self.filters(only);
            }
            Place::LookUp(look_up) => {
                self.line(&format!("{} {}", look_up.by.name, look_up.cell.name));
                self.entity(&look_up.entity);
                self.filters(&look_up.only);
                self.place(&look_up.cell.place);
            }
            Place::Where(inner, only) => {
                self.line(&inner.name);
                self.place(&inner.place);
                self.filters(only);
            }
            Place::Sql(sql) => self.line(&format!("{sql:?}")),
            // How a column is stored is no part of what it means.
            Place::Number(inner) => self.place(&inner.place),
        }
    }

    fn fields(&mut self, entity: &Entity, name: Option<&FieldName>) {
        let Some(name) = name else { return };
        match entity.fields.get(name).map(|field| &field.expression) {
            None => self.line(name.as_str()),
            Some(Expression::Column(column)) => {
                self.line(&format!("{name} {} {}", column.name, texts(&column.missing)));
                self.place(&column.place);
            }
            Some(Expression::Means { column, words }) => {
                let words: Vec<String> =
                    words.iter().map(|(word, literals)| format!("{word}: {}", texts(literals))).collect();
                self.line(&format!("{name} {} {words:?}", column.name));
                self.place(&column.place);
            }
            Some(Expression::Aggregate(aggregate)) => {
                self.line(&format!("{name} {:?} {:?}", aggregate.function, aggregate.field));
                self.filters(&aggregate.only);
                self.relation(entity, &aggregate.relation);
            }
        }
    }

    fn filters(&mut self, filters: &[Filter]) {
        for filter in filters {
            let test = match &filter.test {
                FilterTest::In(literals) => format!("in {}", texts(literals)),
                FilterTest::NotIn(literals) => format!("not in {}", texts(literals)),
                FilterTest::Missing => "missing".to_owned(),
                FilterTest::Present => "present".to_owned(),
            };
            self.line(&format!("{} {test}", filter.column.name));
            self.place(&filter.column.place);
        }
    }

    fn condition(&mut self, entity: &'a Entity, condition: &Condition) {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                for part in parts {
                    self.condition(entity, part);
                }
            }
            Condition::Not(inner) => self.condition(entity, inner),
            Condition::Field { field, .. } => self.fields(entity, Some(field)),
            // The script's text is added by [`with_script`].
            Condition::Score(_) | Condition::Saved(_) => {}
            Condition::Related(related) => {
                self.relation(entity, &related.relation);
                let found = entity.relations.get(&related.relation);
                if let Some(inner) = found.and_then(|relation| self.catalog.entity(&relation.entity)) {
                    related.filter.iter().for_each(|part| self.condition(inner, part));
                    self.fields(inner, quantified(&related.quantity));
                }
            }
        }
    }
}

/// The related field that is summed or compared.
const fn quantified(quantity: &Quantity) -> Option<&FieldName> {
    match quantity {
        Quantity::Some | Quantity::None | Quantity::Count(_) => None,
        Quantity::Sum { field, .. } | Quantity::Min { field, .. } | Quantity::Max { field, .. } => Some(field),
    }
}

fn texts(literals: &[Literal]) -> String {
    let texts: Vec<&str> = literals.iter().map(|literal| literal.text.as_str()).collect();
    format!("{texts:?}")
}
