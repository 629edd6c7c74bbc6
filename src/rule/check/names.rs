use super::Checker;
use super::values::Subject;
use crate::catalog::{ColumnType, Consent, Entity, Expression, Field, Origin, Recipient, Relation};
use crate::diagnostic::yaml::At;
use crate::diagnostic::{Finding, suggest};
use crate::model::{EntityName, FieldName, RelationName, RoleName, Topic};
use crate::rule::checked::Node;
use crate::rule::write::ASSIGNED;
use crate::rule::written::RuleFile;
use std::ops::Range;

impl<'a> Checker<'a> {
    /// The related entity of a relation, with an error if there is no such relation.
    pub(super) fn related_entity(
        &mut self,
        entity: &'a Entity,
        name: &At<String>,
    ) -> Option<(RelationName, &'a Entity)> {
        let Some(relation) = entity.relations.get(name.as_str()) else {
            let message = format!("`{}` has no relation `{}`", entity.name, name.value);
            self.unknown_as("rule.unknown-relation", message, name, entity.relations.keys().map(RelationName::as_str));
            return None;
        };
        let related = self.known.catalog.entity(&relation.entity)?;
        Some((relation.name.clone(), related))
    }

    /// A field by name. `at` and `score` stand for the fields that the catalog names so.
    pub(super) fn field(&mut self, entity: &'a Entity, name: &At<String>) -> Option<(FieldName, Subject)> {
        let by_role = match name.as_str() {
            "at" => entity.at.as_ref(),
            "score" => entity.score.as_ref(),
            _ => None,
        };
        let declared = entity.fields.get(name.as_str()).or_else(|| entity.fields.get(by_role?));
        if let Some(field) = declared {
            return Some((field.name.clone(), self.subject(entity, field)));
        }
        if let Some(relation) = entity.relations.get(name.as_str()).filter(|_| self.columns_are_known(entity)) {
            let message = format!("`{}` of `{}` is a relation, not a field", name.value, entity.name);
            self.wrong(&name.range, "rule.unknown-field", message, &relation_help(relation));
            return None;
        }
        if self.columns_are_known(entity) {
            let known = entity.fields.keys().map(FieldName::as_str);
            let names: Vec<_> = known.chain(entity.relations.keys().map(RelationName::as_str)).collect();
            let message = format!("`{}` has no field or relation `{}`", entity.name, name.value);
            self.unknown_as("rule.unknown-field", message, name, names);
            return None;
        }
        self.assume(entity, name, &name.range);
        let subject = Subject::plain(&name.value, ColumnType::Unknown);
        Some((FieldName::new(name.as_str()), subject))
    }

    fn columns_are_known(&self, entity: &Entity) -> bool {
        if matches!(entity.origin, Origin::Union(_)) {
            return true;
        }
        self.known.schema.and_then(|schema| schema.of(entity)).is_some_and(|table| table.exists)
    }

    /// Warns once of a field that nobody has declared.
    pub(super) fn assume(&mut self, entity: &Entity, name: &str, place: &Range<usize>) {
        if self.assumed.insert((entity.name.clone(), FieldName::new(name))) {
            self.report.add(place, undeclared("rule.undeclared-field", entity, name, name));
        }
    }

    pub(super) fn subject(&self, entity: &Entity, field: &Field) -> Subject {
        let words = match &field.expression {
            Expression::Means { words, .. } => Some(words.iter().map(|(word, _)| word.clone()).collect()),
            _ => None,
        };
        Subject {
            name: field.name.as_str().to_owned(),
            ty: self.known.catalog.field_type(entity, field),
            words,
            labels: match &field.expression {
                Expression::Column(column) => column.labels.clone(),
                Expression::Means { .. } | Expression::Aggregate(_) => Vec::new(),
            },
            currency: self.known.catalog.currency(entity, field).map(str::to_owned),
            array: array_of(field),
        }
    }

    /// A field that holds dates or times.
    pub(super) fn time_field(&mut self, entity: &'a Entity, name: &At<String>) -> Option<FieldName> {
        let (field, subject) = self.field(entity, name)?;
        if subject.ty.is_time() || subject.ty == ColumnType::Unknown {
            return Some(field);
        }
        let message = format!("`{}` is {}, not a date or a time", name.value, subject.ty.in_words());
        self.wrong(
            &name.range,
            "rule.not-a-time",
            message,
            "name a date or time field, or declare its `type` in the catalog",
        );
        None
    }

    /// As [`Checker::time_field`], and kept in a column, so that a window of it can be read by an index.
    pub(super) fn stored_time(&mut self, entity: &'a Entity, name: &At<String>) -> Option<FieldName> {
        let field = self.time_field(entity, name)?;
        let computed =
            entity.fields.get(&field).is_some_and(|field| matches!(field.expression, Expression::Aggregate(_)));
        if computed {
            let message = format!("`{}` is computed from other rows", name.value);
            self.wrong(&name.range, "rule.computed-time", message, "a trigger needs a time that is kept in a column");
            return None;
        }
        Some(field)
    }

    pub(super) fn recipient(&mut self, entity: &'a Entity, name: &At<String>) -> Option<RoleName> {
        if let Some(recipient) = entity.recipients.get(name.as_str()) {
            return Some(recipient.name.clone());
        }
        if name.as_str() == ASSIGNED && self.assigned {
            return Some(RoleName::new(ASSIGNED));
        }
        let known = entity.recipients.keys().map(RoleName::as_str).chain(self.assigned.then_some(ASSIGNED));
        let message = format!("`{}` has no recipient `{}`", entity.name, name.value);
        if known.clone().next().is_none() {
            let help = "say who that is under `recipients` of the entity in the catalog";
            self.wrong(&name.range, "rule.unknown-recipient", message, help);
        } else {
            self.unknown_as("rule.unknown-recipient", message, name, known);
        }
        None
    }

    /// The entity whose rows a role's people are.
    pub(super) fn person_of(&self, entity: &'a Entity, recipient: &Recipient) -> Option<&'a Entity> {
        let pick = recipient.pick.as_ref()?;
        match &pick.relation {
            None => Some(entity),
            Some(relation) => self.known.catalog.entity(&entity.relations.get(relation)?.entity),
        }
    }

    /// A role that mail goes to must lead to addresses.
    pub(super) fn mailable(&mut self, entity: &'a Entity, role: &RoleName, at: &At<String>) {
        let Some(recipient) = entity.recipients.get(role) else { return };
        let Some(person) = self.person_of(entity, recipient) else { return };
        if person.person.as_ref().is_some_and(|person| person.email.is_none()) {
            let message = format!("people of `{}` have no email address in the catalog", person.name);
            self.wrong(&at.range, "rule.no-address", message, "add `email:` to that entity's `person`");
        }
    }

    /// Missing consent means no: a rule on a topic that nobody can have agreed to would reach nobody.
    pub(super) fn consent(
        &mut self,
        entity: &'a Entity,
        topic: &Topic,
        written: &RuleFile,
        (to, nodes): (Option<&RoleName>, &[Node]),
    ) {
        let Some(recipient) = to.and_then(|to| entity.recipients.get(to)) else { return };
        let Some(person) = self.person_of(entity, recipient).filter(|_| !recipient.staff) else { return };
        let covers = |consent: &Consent| consent.topic.as_ref().is_none_or(|covered| covered == topic);
        let Some(purpose) = &written.purpose else { return };
        let ways = || nodes.iter().filter_map(|node| node.step.action());
        let texts = ways().any(|action| action.sms().is_some());
        let mails = !texts || ways().any(|action| action.email().is_some());
        for (channel, by, _) in
            [("email", "", mails), ("phone", " by text message", texts)].into_iter().filter(|way| way.2)
        {
            if person.consent.iter().any(|consent| consent.channel == channel && covers(consent)) {
                continue;
            }
            let whom = &person.name;
            let message =
                format!("the catalog maps no consent of `{whom}` to `{topic}`{by}, so nobody would be written to");
            let finding = Finding::warning("rule.no-consent", message);
            let help = format!("add `consent: {{{channel}: {{{topic}: COLUMN}}}}` to the entity `{whom}`");
            self.report.add(&purpose.range, finding.help(help));
        }
    }

    /// The name of an entity in the rule's tests.
    pub(super) fn entity_named(&mut self, name: &At<String>) -> Option<&'a Entity> {
        let found = self.known.catalog.entities.get(name.as_str());
        if found.is_none() {
            let known = self.known.catalog.entities.keys().map(EntityName::as_str);
            self.unknown("rule.unknown-entity", "entity", name, known);
        }
        found
    }
}

/// What stands for the rows of a relation where one value is asked for.
pub(super) fn relation_help(relation: &Relation) -> String {
    format!(
        "it leads to rows of `{}`; one value of them, such as their number, can be declared under `fields` of the catalog",
        relation.entity
    )
}

/// That a name, written so, is taken for a column; without the database nobody knows.
/// The column of several values that a field is, and its type.
fn array_of(field: &Field) -> Option<(String, String)> {
    let Expression::Column(column) = &field.expression else { return None };
    let declared = column.declared.as_ref().filter(|declared| declared.ends_with("[]"))?;
    Some((column.name.clone(), declared.clone()))
}

pub(super) fn undeclared(code: &'static str, entity: &Entity, name: &str, written: &str) -> Finding {
    if let Some(relation) = entity.relations.get(name) {
        let message = format!("`{written}` is a relation and no declared field, so it is taken for a column");
        return Finding::warning(code, message).help(relation_help(relation));
    }
    let message = format!("`{written}` is not declared in the catalog, so it is taken for a column");
    let finding = Finding::warning(code, message);
    let known = entity.fields.keys().map(FieldName::as_str).chain(entity.relations.keys().map(RelationName::as_str));
    match suggest::nearest(name, known) {
        Some(near) => finding.help(format!("did you mean `{near}`? With the database at hand this is checked")),
        None => finding,
    }
}
