//! The schema of rule files with the names of one installation, for editors to suggest.
//!
//! A name that isn't among them stays right for the editor: whether there is such a one, `nudged check` knows, of the
//! entity that is meant and as things are then.

use super::rule;
use crate::catalog::{Catalog, Entity};
use crate::rule::generation::{Checked, Surroundings, Tree};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Entity,
    Field,
    Relation,
    Role,
    Template,
    Script,
    Survey,
    Pool,
    Calendar,
    Rule,
    Topic,
    Destination,
    Chat,
    Gateway,
    Sender,
    Event,
}

/// Where names stand: in which definition (none: in the rule itself) and under which key.
const PLACES: [(&str, &str, Kind); 36] = [
    ("", "for_each", Kind::Entity),
    ("", "to", Kind::Role),
    ("", "purpose", Kind::Topic),
    ("", "sender", Kind::Sender),
    ("", "script", Kind::Script),
    ("", "calendar", Kind::Calendar),
    ("InactivityEntry", "of", Kind::Relation),
    ("InactivityEntry", "fallback", Kind::Field),
    ("SurveyEntry", "of", Kind::Relation),
    ("DateEntry", "field", Kind::Field),
    ("YearlyEntry", "field", Kind::Field),
    ("CreatedEntry", "at", Kind::Field),
    ("ChangedEntry", "field", Kind::Field),
    ("AbandonedEntry", "of", Kind::Relation),
    ("AbandonedEntry", "changed_at", Kind::Field),
    ("AbandonedEntry", "unless", Kind::Relation),
    ("CountEntry", "of", Kind::Relation),
    ("DeclineEntry", "of", Kind::Relation),
    ("EventEntry", "name", Kind::Event),
    ("UntilEntry", "date", Kind::Field),
    ("EmailEntry", "template", Kind::Template),
    ("EmailEntry", "to", Kind::Role),
    ("EmailEntry", "confirms", Kind::Topic),
    ("EmailEntry", "asks", Kind::Survey),
    ("DigestEntry", "template", Kind::Template),
    ("DigestEntry", "to", Kind::Role),
    ("SmsEntry", "to", Kind::Role),
    ("SmsEntry", "via", Kind::Gateway),
    ("WebhookEntry", "to", Kind::Destination),
    ("ChatEntry", "to", Kind::Chat),
    ("TaskEntry", "assign_to", Kind::Role),
    ("EnrollEntry", "rule", Kind::Rule),
    ("AssignEntry", "from", Kind::Entity),
    ("AssignEntry", "set", Kind::Field),
    ("ClaimEntry", "pool", Kind::Pool),
    ("EventToldEntry", "name", Kind::Event),
];

/// The names of one installation.
#[derive(Debug, Clone, Default)]
pub struct Names {
    of: BTreeMap<Kind, BTreeSet<String>>,
    /// Fields and relations, which are keys of conditions, with the entities that have them.
    keys: BTreeMap<String, BTreeSet<String>>,
    writable: BTreeSet<String>,
}

impl Names {
    /// Those of a rules directory and of the configuration around it. `catalog` has the live columns where they are
    /// known.
    #[must_use]
    pub fn of(tree: &Tree, catalog: &Catalog, around: &Surroundings) -> Self {
        let mut names = Self::default();
        catalog.entities.values().for_each(|entity| names.entity(entity));
        names.add(Kind::Role, ["assigned"]);
        names.add(Kind::Survey, catalog.surveys.keys());
        names.add(Kind::Pool, catalog.pools.keys());
        names.add(Kind::Calendar, catalog.calendars.keys());
        let (templates, scripts) = tree.names();
        names.add(Kind::Template, templates);
        names.add(Kind::Script, scripts);
        names.add(Kind::Rule, Checked::of(tree, around).rules.iter().map(|(rule, _)| rule.id.as_str()));
        names.add(Kind::Topic, around.topics.iter().map(AsRef::as_ref).chain(["service", "staff"]));
        names.add(Kind::Destination, &around.destinations);
        names.add(Kind::Chat, &around.chats);
        names.add(Kind::Gateway, &around.gateways.names);
        names
    }

    /// With those of senders and events, which no check of the rules alone knows.
    #[must_use]
    pub fn and(mut self, senders: &BTreeSet<String>, events: &BTreeSet<String>) -> Self {
        self.add(Kind::Sender, senders);
        self.add(Kind::Event, events);
        self
    }

    fn add<N: Into<String>>(&mut self, kind: Kind, names: impl IntoIterator<Item = N>) {
        self.of.entry(kind).or_default().extend(names.into_iter().map(Into::into));
    }

    fn entity(&mut self, entity: &Entity) {
        self.add(Kind::Entity, [entity.name.as_str()]);
        self.add(Kind::Field, entity.fields.keys().map(AsRef::as_ref));
        self.add(Kind::Relation, entity.relations.keys().map(AsRef::as_ref));
        self.add(Kind::Role, entity.recipients.keys().map(AsRef::as_ref));
        self.writable.extend(entity.writable.iter().map(ToString::to_string));
        let relations = entity.relations.keys().map(ToString::to_string);
        for key in entity.fields.keys().map(ToString::to_string).chain(relations) {
            self.keys.entry(key).or_default().insert(entity.name.to_string());
        }
    }
}

/// The schema of rule files, with names to suggest.
#[must_use]
pub fn rule_with(names: &Names) -> Value {
    let mut schema = rule();
    for (definition, key, kind) in PLACES {
        let place = if definition.is_empty() { "/properties" } else { &format!("/$defs/{definition}/properties") };
        let property = schema.pointer_mut(place).and_then(|properties| properties.get_mut(key));
        if let (Some(property), Some(known)) = (property, names.of.get(&kind)) {
            suggest(property, known);
        }
    }
    suggest_written(&mut schema, names);
    suggest_keys(&mut schema, names);
    schema
}

/// One of these, or anything else that was right before.
fn suggest(property: &mut Value, known: &BTreeSet<String>) {
    if known.is_empty() {
        return;
    }
    let mut other = property.take();
    let description = other.as_object_mut().and_then(|other| other.remove("description"));
    *property = json!({"anyOf": [{"enum": known}, other]});
    if let Some(description) = description {
        property["description"] = description;
    }
}

fn suggest_written(schema: &mut Value, names: &Names) {
    if let Some(Value::Object(set)) = schema.pointer_mut("/$defs/UpdateEntry/properties/set") {
        let fields: Map<_, _> = names.writable.iter().map(|field| (field.clone(), json!({}))).collect();
        set.insert("properties".to_owned(), Value::Object(fields));
    }
}

/// Names of conditions beside `any`, `all` and `not`, with the same values as any other has.
fn suggest_keys(schema: &mut Value, names: &Names) {
    let Some(Value::Object(conditions)) = schema.pointer_mut("/$defs/Conditions/anyOf/1") else { return };
    let test = conditions.insert("additionalProperties".to_owned(), json!({"$ref": "#/$defs/Test"}));
    if let Some(Value::Object(known)) = conditions.get_mut("properties") {
        for (key, entities) in &names.keys {
            let of = entities.iter().map(|entity| format!("`{entity}`")).collect::<Vec<_>>().join(", ");
            let described = || json!({"description": format!("Of {of}."), "$ref": "#/$defs/Test"});
            known.entry(key).or_insert_with(described);
        }
    }
    if let (Some(test), Some(Value::Object(definitions))) = (test, schema.get_mut("$defs")) {
        definitions.insert("Test".to_owned(), test);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_for_names_is_one_of_the_schema() {
        let schema = rule();
        let is_there = |definition: &str, key: &str| {
            let whole = if definition.is_empty() { &schema } else { &schema["$defs"][definition] };
            whole["properties"][key]["type"] == "string"
        };
        let astray: Vec<_> = PLACES.iter().filter(|(definition, key, _)| !is_there(definition, key)).collect();
        assert!(astray.is_empty(), "{astray:?}");
    }
}
