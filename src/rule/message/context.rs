//! What templates see: `record`, `to`, `occasion`, `saved`, `sender`, and the mail's own links.

use super::inner::inner;
use super::reader::Reader;
use super::{MessageContext, MessageLinks, MessageRow, Regional};
use crate::model;
use crate::rule::compiled::{Facts, PersonFacts};
use minijinja::Value;
use minijinja::value::{Object, ObjectRepr};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// Under this name the context holds the [`Reader`]. No template can write it.
pub(super) const READER: &str = "@reader";

/// An amount whose currency the catalog knows. Printed it is the number alone; `money` writes both.
#[derive(Debug)]
pub(super) struct Amount {
    pub text: String,
    pub currency: String,
}

impl Object for Amount {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A field as templates see it: amounts know their currency.
fn field(value: &model::Value, currency: Option<&String>) -> Value {
    let Some(currency) = currency else { return cell(value) };
    match value {
        model::Value::Int(whole) => amount(whole.to_string(), currency),
        model::Value::Decimal(exact) => amount(exact.normalize().to_string(), currency),
        model::Value::Float(float) => amount(model::without_noise(*float).to_string(), currency),
        model::Value::Text(text) if text.trim().parse::<Decimal>().is_ok() => amount(text.clone(), currency),
        other => cell(other),
    }
}

fn amount(text: String, currency: &str) -> Value {
    Value::from_object(Amount { text, currency: currency.to_owned() })
}

/// Missing becomes none, which `if`, `or` and `default` understand and printing refuses.
fn cell(value: &model::Value) -> Value {
    if value.is_missing() {
        return Value::from(());
    }
    match value {
        model::Value::Text(text) => Value::from(text.as_str()),
        model::Value::Int(whole) => Value::from(*whole),
        model::Value::Bool(truth) => Value::from(*truth),
        other => inner(&other.to_shown_json()),
    }
}

/// What nudged itself puts together: its own names are all there are.
fn named(value: &Json) -> Value {
    let names = value.as_object().into_iter().flatten();
    Value::from_pairs(names.map(|(name, value)| (name.as_str(), inner(value))))
}

fn text(value: Option<&str>) -> Value {
    value.filter(|text| !text.is_empty()).map_or_else(|| Value::from(()), Value::from)
}

fn person(person: &PersonFacts) -> Value {
    let names: Vec<&str> = [&person.first_name, &person.last_name].into_iter().flatten().map(String::as_str).collect();
    Value::from_pairs([
        ("key", text(person.key.as_ref().map(model::Key::as_str))),
        ("email", text(person.email.as_deref())),
        ("phone", text(person.phone.as_deref())),
        ("first_name", text(person.first_name.as_deref())),
        ("last_name", text(person.last_name.as_deref())),
        ("name", text(Some(names.join(" ").trim()))),
        ("zone", text(person.zone.as_deref())),
        ("locale", text(person.locale.as_deref())),
    ])
}

fn record(facts: &Facts, enriched: Option<&Json>, regional: &Regional) -> Value {
    let currency = |name: &str| regional.currencies.get(name);
    let own = facts.record.iter().map(|(name, value)| (name.as_str(), field(value, currency(name))));
    let key = std::iter::once(("key", Value::from(facts.key.as_str())));
    // `enrich` comes last: what a script computes outranks the column of the same name.
    let enriched = enriched.and_then(Json::as_object).into_iter().flatten();
    let enriched = enriched.map(|(name, value)| (name.as_str(), inner(value)));
    Value::from_pairs(key.chain(own).chain(enriched))
}

/// The occasion, whose row knows the currencies of its amounts as the record does.
fn occasion(occasion: &Json, regional: &Regional) -> Value {
    let cells = |row: &Json| {
        let cells = row.as_object().into_iter().flatten();
        Value::from_pairs(cells.map(|(name, cell)| (name.as_str(), told(cell, regional.of_row.get(name)))))
    };
    let part =
        |(name, part): (&'_ String, &'_ Json)| (name.clone(), if name == "row" { cells(part) } else { inner(part) });
    Value::from_pairs(occasion.as_object().into_iter().flatten().map(part))
}

/// As [`field`], of a value that was told as JSON.
fn told(value: &Json, currency: Option<&String>) -> Value {
    match (value, currency) {
        (Json::Number(number), Some(currency)) => amount(number.to_string(), currency),
        (Json::String(text), Some(currency)) if text.trim().parse::<Decimal>().is_ok() => {
            amount(text.clone(), currency)
        }
        _ => inner(value),
    }
}

/// What a message that tells of several matches says of each.
fn rows(context: &MessageContext<'_>) -> Value {
    let alone = [MessageRow {
        facts: context.facts,
        occasion: context.occasion,
        saved: context.saved,
        enriched: context.enriched,
    }];
    let rows = if context.rows.is_empty() { &alone } else { context.rows };
    let row = |row: &MessageRow<'_>| {
        Value::from_pairs([
            ("record", record(row.facts, row.enriched, context.regional)),
            ("occasion", occasion(row.occasion, context.regional)),
            ("saved", named(row.saved)),
        ])
    };
    rows.iter().map(row).collect()
}

pub(super) fn roots(context: &MessageContext<'_>, reader: Reader) -> Vec<(&'static str, Value)> {
    let link =
        |link: fn(&MessageLinks) -> &Option<String>| text(context.links.and_then(|links| link(links).as_deref()));
    let rows = rows(context);
    vec![
        ("combined", rows.clone()),
        ("count", Value::from(context.rows.len().max(1) + context.more)),
        ("more", Value::from(context.more)),
        ("rows", rows),
        ("record", record(context.facts, context.enriched, context.regional)),
        ("to", context.to.map_or_else(|| named(&serde_json::json!({})), person)),
        ("occasion", occasion(context.occasion, context.regional)),
        ("saved", named(context.saved)),
        ("sender", named(context.sender)),
        ("unsubscribe_url", link(|links| &links.unsubscribe)),
        ("preferences_url", link(|links| &links.preferences)),
        ("confirm_url", link(|links| &links.confirm)),
        ("answer_url", link(|links| &links.answer)),
        (READER, Value::from_object(reader)),
    ]
}
