//! Steps that write into the CRM: nothing that the catalog doesn't allow by name.

use super::{Checker, Scores};
use crate::catalog::{self, ColumnType, Entity, Expression};
use crate::diagnostic::yaml::{At, Content, Node};
use crate::diagnostic::{Finding, suggest};
use crate::model::{EntityName, FieldName};
use crate::rule::checked::{Action, Step};
use crate::rule::write::{ASSIGNED, Among, Assign, Balance, Claim, NewValue, Update, WhenEmpty};
use crate::rule::written::{AssignEntry, BalanceWord, ClaimEntry, UpdateEntry, WhenEmptyWord};
use std::ops::Range;

impl<'a> Checker<'a> {
    pub(super) fn update(&mut self, entity: &'a Entity, written: &UpdateEntry, at: &Range<usize>) -> Option<Step> {
        let mut update = Update::default();
        for (name, node) in written.set.iter() {
            let field = self.writable(entity, name);
            let value = field.as_ref().and_then(|_| self.new_value(entity, name, node));
            update.set.extend(field.zip(value));
        }
        update.add_tags = self.tags(entity, &written.add_tags);
        update.remove_tags = self.tags(entity, &written.remove_tags);
        if let Some(both) = written.add_tags.iter().find(|tag| update.remove_tags.contains(&tag.value)) {
            let message = format!("the tag `{}` is added and removed", both.value);
            self.wrong(&both.range, "rule.update", message, "keep one");
        }
        if written.set.0.is_empty() && written.add_tags.is_empty() && written.remove_tags.is_empty() {
            let help = "write `update: {set: {stage: won}}`, or `add_tags:` and `remove_tags:`";
            self.wrong(at, "rule.update", "an update that changes nothing", help);
            return None;
        }
        Some(Step::Act(Action::Update(update)))
    }

    /// A field that the catalog says may be written.
    fn writable(&mut self, entity: &'a Entity, name: &At<String>) -> Option<FieldName> {
        let (field, subject) = self.field(entity, name)?;
        if entity.writable.contains(&field) && subject.ty != ColumnType::BoolText {
            return Some(field);
        }
        if subject.ty == ColumnType::BoolText {
            let message = format!("`{}` can't be written: {}", name.value, catalog::IN_WORDS);
            self.wrong(&name.range, "rule.not-writable", message, catalog::WORDS_HELP);
            return None;
        }
        let message = format!("the catalog doesn't let steps write `{}` of `{}`", name.value, entity.name);
        let column = match entity.fields.get(&field).map(|field| &field.expression) {
            Some(Expression::Column(column)) if column.name != name.value => format!("column: {}, ", column.name),
            _ => String::new(),
        };
        let written = format!("{{{}: {{{column}writable: true}}}}", name.value);
        let mut help = format!("if they may, say so in the entity `{}`: `fields: {written}`", entity.name);
        let known: Vec<&str> = entity.writable.iter().map(FieldName::as_str).collect();
        if let Some(near) = suggest::nearest(name, known.iter().copied()) {
            help = format!("did you mean `{near}`? Otherwise, {help}");
        } else if !known.is_empty() {
            help = format!("{help}; writable are: {}", known.join(", "));
        }
        self.report.add(&name.range, Finding::error("rule.not-writable", message).help(help));
        None
    }

    fn new_value(&mut self, entity: &'a Entity, name: &At<String>, node: &Node) -> Option<NewValue> {
        let source = self.report.source().to_owned();
        if node.is_null(&source) {
            return Some(NewValue::Null);
        }
        let (field, subject) = self.field(entity, name)?;
        if let Content::Scalar(Some(text)) = &node.content {
            if text.contains("{{") || text.contains("{%") {
                self.line(entity, text, &node.range);
                return Some(NewValue::Template(text.clone()));
            }
            let timely = subject.ty.is_time() || subject.ty == ColumnType::Unknown;
            if timely && node.is_plain(&source) && text.trim() == "now" {
                return Some(NewValue::Now);
            }
        }
        let value = self.constant(&subject, node)?;
        let may_not_fit = matches!(subject.ty, ColumnType::Text | ColumnType::Unknown);
        if let Some(text) = node.text(&source).filter(|_| may_not_fit) {
            self.held_by_field(entity, &field, &text, &node.range);
        }
        Some(NewValue::Constant(value))
    }

    fn tags(&mut self, entity: &'a Entity, written: &[At<String>]) -> Vec<String> {
        let Some(first) = written.first() else { return Vec::new() };
        if entity.tags.is_none() && entity.tag_list.is_none() {
            let message = format!("the catalog doesn't say where tags of `{}` are kept", entity.name);
            let help = format!(
                "add `tags: {{table: …, record: …, tag: …}}`, or `tags: {{column: …, separator: \",\"}}`, to the entity `{}`",
                entity.name
            );
            self.report.add(&first.range, Finding::error("rule.no-tags", message).help(help));
            return Vec::new();
        }
        for tag in written {
            self.line(entity, tag, &tag.range);
        }
        written.iter().map(|tag| tag.value.clone()).collect()
    }

    pub(super) fn assign(&mut self, entity: &'a Entity, written: &AssignEntry, at: &Range<usize>) -> Option<Step> {
        if entity.recipients.contains_key(ASSIGNED) {
            let message = format!("`{}` has a recipient `{ASSIGNED}` already", entity.name);
            let help = "steps after an `assign` mean the chosen colleague by it: rename that role in the catalog";
            self.wrong(at, "rule.assign", message, help);
        }
        let among = match (written.among.as_slice(), &written.from) {
            ([], None) => {
                let help = "write `among: [ada@acme.example, bo@acme.example]`, or `from:` with an entity";
                self.wrong(at, "rule.assign", "nobody to choose from", help);
                None
            }
            ([], Some(from)) => self.staff(from, written),
            (_, Some(from)) => {
                self.wrong(&from.range, "rule.assign", "both `among` and `from`", "keep one");
                None
            }
            (among, None) => {
                if let Some(only) = &written.only {
                    self.wrong(&only.0.range, "rule.assign", "`only` without `from`", "remove it");
                }
                self.addresses(among)
            }
        };
        let set = match &written.set {
            Some(name) => Some(self.writable(entity, name)?),
            None => None,
        };
        let by = match written.by.as_ref().map(|by| by.value) {
            Some(BalanceWord::LeastLoaded) => Balance::LeastLoaded,
            Some(BalanceWord::RoundRobin) | None => Balance::RoundRobin,
        };
        self.assigned = true;
        self.saved.insert(ASSIGNED.to_owned());
        let rotation = written.rotation.as_ref().map(|name| name.value.clone());
        Some(Step::Act(Action::Assign(Assign { among: among?, by, set, rotation })))
    }

    fn addresses(&mut self, among: &[At<String>]) -> Option<Among> {
        let mut addresses: Vec<String> = Vec::new();
        for address in among {
            let plain = address.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
            if !plain || address.chars().any(char::is_whitespace) {
                let message = format!("`{}` is not an address", address.value);
                self.wrong(&address.range, "rule.assign", message, "write `ada@acme.example`");
                return None;
            }
            if addresses.contains(&address.value) {
                let message = format!("`{}` stands twice", address.value);
                self.wrong(&address.range, "rule.assign", message, "each takes turns once; remove one");
                return None;
            }
            addresses.push(address.value.clone());
        }
        Some(Among::Addresses(addresses))
    }

    fn staff(&mut self, from: &At<String>, written: &AssignEntry) -> Option<Among> {
        let Some(staff) = self.known.catalog.entities.get(from.as_str()) else {
            let known = self.known.catalog.entities.keys().map(EntityName::as_str);
            self.unknown("rule.unknown-entity", "entity", from, known);
            return None;
        };
        if staff.person.as_ref().is_none_or(|person| person.email.is_none()) {
            let message = format!("`{}` is not an entity of people with addresses", staff.name);
            let help = format!("add `person: {{email: COLUMN}}` to the entity `{}`", staff.name);
            self.wrong(&from.range, "rule.assign", message, &help);
        }
        let scores = std::mem::replace(&mut self.scores, Scores::OfRelated);
        let only = written.only.as_ref().map(|only| (self.one_condition(staff, only), only));
        self.scores = scores;
        if let Some((Some(condition), only)) = &only
            && condition.counts_since_entry()
        {
            let help = "it is about colleagues, who entered nothing: use `within_last`";
            self.wrong(&only.0.range, "rule.assign", "`since: entry` of a colleague", help);
        }
        Some(Among::Records {
            entity: staff.name.clone(),
            only: only.and_then(|(condition, _)| condition).into_iter().collect(),
        })
    }

    pub(super) fn claim(&mut self, written: &ClaimEntry) -> Step {
        if !self.known.catalog.pools.contains_key(written.pool.as_str()) {
            let known: Vec<String> = self.known.catalog.pools.keys().cloned().collect();
            self.unknown("rule.unknown-pool", "pool", &written.pool, known.iter().map(String::as_str));
        }
        if written.save.as_str() == ASSIGNED {
            let help = "later steps mean the chosen colleague by it: use another name";
            self.wrong(&written.save.range, "rule.claim", format!("a code can't be saved as `{ASSIGNED}`"), help);
        }
        let when_empty = match written.when_empty.as_ref().map(|word| word.value) {
            Some(WhenEmptyWord::Skip) => WhenEmpty::Skip,
            Some(WhenEmptyWord::Hold) | None => WhenEmpty::Hold,
        };
        let (pool, save) = (written.pool.value.clone(), written.save.value.clone());
        self.saved.insert(save.clone());
        Step::Act(Action::Claim(Claim { pool, save, when_empty }))
    }
}
