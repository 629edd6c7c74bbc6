//! Who reads a message: the zone and the language that dates, numbers and plurals are written in.

use super::MessageContext;
use crate::catalog::{Catalog, Entity, Field};
use crate::model::{Locale, locale_or_default, zone_or_default};
use crate::rule::checked::{CheckedRule, Trigger};
use jiff::tz::TimeZone;
use minijinja::value::{Object, ObjectRepr};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the catalog says of how records are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Regional {
    /// Of people whose locale isn't known.
    pub locale: Locale,
    /// Of the entity's own amounts, by field.
    pub currencies: BTreeMap<String, String>,
    /// The same of the row that is the occasion: the cart, the response.
    pub of_row: BTreeMap<String, String>,
}

impl Regional {
    /// Of a rule's messages.
    #[must_use]
    pub fn of(catalog: &Catalog, rule: &CheckedRule) -> Self {
        let entity = catalog.entity(&rule.for_each);
        let row = entity.and_then(|entity| row_of(catalog, entity, &rule.trigger));
        let currencies = |entity: Option<&Entity>| entity.map(|entity| currencies(catalog, entity)).unwrap_or_default();
        Self { locale: catalog.locale.clone(), currencies: currencies(entity), of_row: currencies(row) }
    }
}

/// Whose row templates see as `occasion.row`.
fn row_of<'c>(catalog: &'c Catalog, entity: &'c Entity, trigger: &Trigger) -> Option<&'c Entity> {
    let of = match trigger {
        Trigger::Survey(survey) => &survey.of,
        Trigger::Abandoned(abandoned) => match &abandoned.of {
            Some(of) => of,
            None => return Some(entity),
        },
        _ => return None,
    };
    catalog.entity(&entity.relations.get(of)?.entity)
}

fn currencies(catalog: &Catalog, entity: &Entity) -> BTreeMap<String, String> {
    let known = |field: &Field| Some((field.name.to_string(), catalog.currency(entity, field)?.to_owned()));
    entity.fields.values().filter_map(known).collect()
}

#[derive(Debug)]
pub(super) struct Reader {
    pub zone: TimeZone,
    pub locale: Locale,
}

impl Reader {
    /// The recipient's own zone and locale; else the record's zone and the catalog's locale. Unknown names are
    /// reported where records are judged, and never keep a message back. A message that is `written` in one
    /// language stays in it.
    pub(super) fn of(context: &MessageContext<'_>, written: Option<&Locale>) -> Self {
        let (zone, _) = zone_or_default(context.to.and_then(|to| to.zone.as_deref()), &context.facts.zone);
        let locale = || locale_or_default(context.to.and_then(|to| to.locale.as_deref()), &context.regional.locale).0;
        Self { zone, locale: written.cloned().unwrap_or_else(locale) }
    }
}

/// Templates can't look inside.
impl Object for Reader {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}
