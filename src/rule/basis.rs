//! Whether history can tell what a rule would have said at an earlier time.

use super::CheckedRule;
use super::checked::{Abandoned, Trigger};
use super::condition::{Condition, Quantity, Related};
use super::operands::{comparisons, name_of};
use crate::catalog::{Catalog, Entity, Expression, Filter, Join, Relation};
use crate::model::{FieldName, RelationName};
use std::collections::BTreeSet;

/// Whether history can tell what a term would have said at an earlier time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Only by rows that bear the time they happened: as it was then.
    AsOf,
    /// By columns that are overwritten: as they stand today.
    Current,
}

impl Basis {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AsOf => "as of then",
            Self::Current => "current",
        }
    }
}

/// What a term goes by. Rows that bear their time are counted as of then, if all of them count: a condition on their
/// columns, a filter of the catalog over them, or what is summed of them is answered by what stands there today, and so
/// is a column of the record. Only the time when the record itself happened counts as its own history.
pub fn basis(catalog: &Catalog, entity: &Entity, condition: &Condition) -> Basis {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            parts.iter().map(|part| basis(catalog, entity, part)).max().unwrap_or(Basis::AsOf)
        }
        Condition::Not(inner) => basis(catalog, entity, inner),
        Condition::Field { field, .. } => of_field(catalog, entity, field),
        // It sees the fields as they stand today; an answer is as it was kept.
        Condition::Score(_) | Condition::Saved(_) => Basis::Current,
        Condition::Related(Related { relation, filter, quantity, .. }) => {
            let field = match quantity {
                Quantity::Some | Quantity::None | Quantity::Count(_) => None,
                Quantity::Sum { field, .. } | Quantity::Min { field, .. } | Quantity::Max { field, .. } => Some(field),
            };
            if filter.is_empty() { of_rows(catalog, entity, relation, field) } else { Basis::Current }
        }
    }
}

fn of_field(catalog: &Catalog, entity: &Entity, field: &FieldName) -> Basis {
    if entity.at.as_ref() == Some(field) {
        return Basis::AsOf;
    }
    match entity.fields.get(field).map(|field| &field.expression) {
        Some(Expression::Aggregate(aggregate)) if aggregate.only.is_empty() => {
            of_rows(catalog, entity, &aggregate.relation, aggregate.field.as_ref())
        }
        _ => Basis::Current,
    }
}

/// How many rows of a relation there are, or what one of their fields comes to.
fn of_rows(catalog: &Catalog, entity: &Entity, name: &RelationName, field: Option<&FieldName>) -> Basis {
    let Some(relation) = entity.relations.get(name) else { return Basis::Current };
    let Some(related) = catalog.entity(&relation.entity) else { return Basis::Current };
    let told = related.at.is_some() && field.is_none_or(|field| related.at.as_ref() == Some(field));
    if told && filters(relation, entity, related).is_empty() { Basis::AsOf } else { Basis::Current }
}

/// Every column that decides, by a constant of the catalog, which rows of the relation count.
fn filters(relation: &Relation, entity: &Entity, related: &Entity) -> Vec<String> {
    fn hops<'a>(join: &'a Join, found: &mut Vec<(&'a str, &'a [Filter])>) {
        match join {
            Join::Through(path) => {
                found.extend(path.hops.iter().map(|hop| (hop.table.name.as_str(), hop.only.as_slice())));
            }
            Join::AnyOf(ways) => ways.iter().for_each(|way| hops(way, found)),
            Join::By(_) | Join::To(_) => {}
        }
    }
    let mut of: Vec<(&str, &[Filter])> = vec![
        (entity.name.as_str(), &relation.when),
        (related.name.as_str(), &relation.only),
        (related.name.as_str(), &related.only),
    ];
    hops(&relation.join, &mut of);
    of.into_iter().flat_map(|(owner, filters)| filters.iter().map(move |one| column(owner, one))).collect()
}

fn column(owner: &str, filter: &Filter) -> String {
    format!("{owner}.{}", filter.column.name)
}

/// The columns by which a rule's crossings are found that are overwritten, so that its past is told by what stands in
/// them today: filters of the catalog, the trigger's own conditions, a date.
pub fn crosses_by_current(catalog: &Catalog, rule: &CheckedRule) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Some(entity) = catalog.entity(&rule.for_each) else { return found };
    found.extend(entity.only.iter().map(|filter| column(entity.name.as_str(), filter)));
    let of = |name: &RelationName| {
        let relation = entity.relations.get(name)?;
        Some((relation, catalog.entity(&relation.entity)?))
    };
    let rows = |found: &mut BTreeSet<String>, name: &RelationName| {
        found.extend(of(name).into_iter().flat_map(|(relation, related)| filters(relation, entity, related)));
    };
    let asked = |found: &mut BTreeSet<String>, of: &Entity, condition: &Condition| {
        let leaves = comparisons(condition).into_iter().filter(|leaf| basis(catalog, of, leaf) == Basis::Current);
        found.extend(leaves.map(|leaf| format!("{}.{}", of.name, name_of(leaf))));
    };
    match &rule.trigger {
        Trigger::Inactivity(inactivity) => rows(&mut found, &inactivity.of),
        Trigger::Survey(survey) => {
            rows(&mut found, &survey.of);
            if let Some((_, response)) = of(&survey.of) {
                let score = response.score.as_ref().filter(|_| survey.score.is_some());
                let kind = response.survey_kind.as_ref().filter(|_| survey.kind.is_some());
                let kind = kind.and_then(|kind| response.fields.keys().find(|field| field.as_str() == kind));
                found.extend(score.into_iter().chain(kind).map(|field| format!("{}.{field}", response.name)));
            }
        }
        Trigger::Date(date) => drop(found.insert(format!("{}.{}", entity.name, date.field))),
        Trigger::Yearly(yearly) => drop(found.insert(format!("{}.{}", entity.name, yearly.field))),
        Trigger::Abandoned(abandoned) => {
            let Abandoned { of: carts, open, changed_at, unless, .. } = &**abandoned;
            carts.iter().chain(unless).for_each(|name| rows(&mut found, name));
            if let Some(cart) = carts.as_ref().map_or(Some(entity), |name| of(name).map(|(_, cart)| cart)) {
                for term in open {
                    asked(&mut found, cart, &term.condition);
                }
                found.insert(format!("{}.{changed_at}", cart.name));
            }
        }
        Trigger::Count(_) | Trigger::Decline(_) => {
            if let Some(tide) = rule.trigger.tide() {
                rows(&mut found, tide.of);
                if let Some((_, related)) = of(tide.of) {
                    for one in tide.only {
                        asked(&mut found, related, one);
                    }
                }
            }
        }
        Trigger::Created(_)
        | Trigger::Schedule(_)
        | Trigger::Query(_)
        | Trigger::Event(_)
        | Trigger::Segment(_)
        | Trigger::Changed(_)
        | Trigger::Enrolled => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::SourceFile;
    use crate::rule::generation::{Gateways, Generation, Surroundings, Tree};
    use crate::rule::statement::Dialect;
    use std::sync::Arc;

    const CATALOG: &str = "
version: 1
time_zone: UTC
entities:
  customer:
    table: accounts
    key: id
    at: created_at
    fields:
      created_at: {column: created_at, type: instant}
      seen_at: {column: seen_at, type: instant}
      country: country
      answers: {count: responses}
      last_answer: {max: responses.answered_at}
      best_answer: {max: responses.rating}
      open_answers: {count: responses, only: {kind: open}}
      paid: {count: orders}
    relations:
      responses: {entity: response, by: customer}
      scores: {entity: response, by: customer, only: {kind: nps}}
      orders: {entity: order, by: customer}
      notes: {entity: note, by: customer}
      managers: {entity: visit, through: account_people, from: account_id, to: id}
      owners: {entity: visit, through: account_people, from: account_id, to: id, through_only: {role: owner}}
  response:
    table: surveys
    key: id
    at: answered_at
    fields: {customer: account_id, answered_at: {column: answered_at, type: instant}, rating: {column: rating, type: int}}
  order: {table: orders, key: id, at: placed_at, only: {status: paid}, fields: {customer: account_id, placed_at: {column: placed_at, type: instant}}}
  visit: {table: visits, key: id, at: made_at, fields: {made_at: {column: made_at, type: instant}}}
  note: {table: notes, key: id, fields: {customer: account_id}}
";

    /// Each with what it goes by.
    const TERMS: [(&str, Basis); 22] = [
        ("responses: some", Basis::AsOf),
        ("responses: {none: {}, within_last: 5 days}", Basis::AsOf),
        ("responses: {count: {at_least: 2}, within_last: 5 days}", Basis::AsOf),
        ("responses: {max: {answered_at: {older_than: 5 days}}}", Basis::AsOf),
        ("managers: some", Basis::AsOf),
        ("created_at: {older_than: 5 days}", Basis::AsOf),
        ("answers: {at_least: 2}", Basis::AsOf),
        ("last_answer: {older_than: 5 days}", Basis::AsOf),
        ("not: {responses: some}", Basis::AsOf),
        ("any: [{responses: some}, {managers: some}]", Basis::AsOf),
        ("responses: {none: {kind: nps}, within_last: 5 days}", Basis::Current),
        ("responses: {max: {rating: {at_least: 9}}}", Basis::Current),
        ("scores: some", Basis::Current),
        ("orders: some", Basis::Current),
        ("notes: some", Basis::Current),
        ("owners: some", Basis::Current),
        ("seen_at: {older_than: 5 days}", Basis::Current),
        ("country: AT", Basis::Current),
        ("best_answer: {at_least: 9}", Basis::Current),
        ("open_answers: {at_least: 1}", Basis::Current),
        ("paid: {at_least: 1}", Basis::Current),
        ("any: [{responses: some}, {not: {country: AT}}]", Basis::Current),
    ];

    #[test]
    fn only_times_of_rows_that_all_count_are_history() {
        let terms: Vec<String> = TERMS.iter().map(|(term, _)| format!("  - {term}")).collect();
        let terms = terms.join("\n");
        let rule = format!(
            "version: 1\nid: told\nmode: live\npurpose: staff\nfor_each: customer\n\
             trigger: {{schedule: {{cron: \"0 9 * * *\"}}}}\nwhere:\n{terms}\nsteps: [webhook: {{to: sink}}]\n"
        );
        let files = [("catalog.yaml", CATALOG), ("told.yaml", &rule)];
        let files = files.map(|(path, text)| Arc::new(SourceFile { path: path.into(), text: text.into() }));
        let surroundings = Surroundings {
            dialect: Dialect::Sqlite,
            schema: None,
            destinations: ["sink".to_owned()].into(),
            chats: [].into(),
            gateways: Gateways::default(),
            topics: [].into(),
        };
        let built = Generation::build(Arc::new(Tree { files: files.to_vec() }), &surroundings);
        let generation = built.unwrap_or_else(|findings| panic!("{findings:#?}"));
        let (catalog, rule) = (&generation.catalog, &generation.rules["told"].rule);
        let entity = catalog.entity(&rule.for_each).unwrap();
        let told: Vec<Basis> = rule.conditions.iter().map(|term| basis(catalog, entity, &term.condition)).collect();
        for ((term, expected), told) in TERMS.iter().zip(&told) {
            assert_eq!(told, expected, "{term}");
        }
        assert_eq!(told.len(), TERMS.len());
    }
}
