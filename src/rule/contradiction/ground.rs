//! What the catalog alone says of a row: its filters keep the others out, and a placeholder is no value.

use super::{excluded, may_pass};
use crate::catalog::{Catalog, Column, Entity, Expression, Filter, FilterTest, Literal};
use crate::model::{RelationName, Value};
use crate::rule::condition::Test;

type Words = [(String, Vec<Literal>)];

/// The rows that conditions are asked of.
#[derive(Clone, Copy)]
pub(in crate::rule) struct Ground<'a> {
    catalog: &'a Catalog,
    entity: &'a Entity,
    /// Beside the entity's own filter.
    only: &'a [Filter],
}

/// What holds of a field in every row.
enum Fact {
    Missing,
    Present,
    /// Missing, or one of these. A column's own collation may take another spelling for the same text.
    Among(Vec<Value>),
    /// Missing, or none of these.
    Never(Vec<Value>),
}

impl<'a> Ground<'a> {
    pub fn of(catalog: &'a Catalog, entity: &'a Entity) -> Self {
        Self { catalog, entity, only: &[] }
    }

    /// The rows that a relation leads to.
    pub(super) fn related(self, relation: &RelationName) -> Option<Self> {
        let relation = self.entity.relations.get(relation)?;
        Some(Self { entity: self.catalog.entity(&relation.entity)?, only: &relation.only, ..self })
    }

    /// No row passes all of these tests of a field.
    pub(super) fn refutes(self, field: &str, tests: &[&Test]) -> bool {
        self.facts(field).iter().any(|fact| fact.refutes(tests))
    }

    fn facts(self, field: &str) -> Vec<Fact> {
        let undeclared = Column::named(field);
        let (column, words) = match self.entity.fields.get(field).map(|field| &field.expression) {
            Some(Expression::Column(column)) => (column, None),
            Some(Expression::Means { column, words }) => (column, Some(words.as_slice())),
            Some(Expression::Aggregate(_)) => return Vec::new(),
            None => (&undeclared, None),
        };
        let filters = self.entity.only.iter().chain(self.only);
        let same_cell =
            filters.filter(|filter| (&filter.column.name, &filter.column.place) == (&column.name, &column.place));
        let mut facts: Vec<Fact> = same_cell.flat_map(|filter| told_by(filter, column, words)).collect();
        if words.is_none() {
            facts.push(Fact::Never(values(&column.missing)));
        }
        facts
    }
}

impl Fact {
    fn refutes(&self, tests: &[&Test]) -> bool {
        let asks_missing = tests.iter().any(|test| matches!(test, Test::Missing));
        match self {
            Self::Missing => tests.iter().any(|test| !matches!(test, Test::Missing)),
            Self::Present => asks_missing,
            Self::Among(values) => {
                !asks_missing && !values.iter().any(|value| tests.iter().all(|test| fits(value, test)))
            }
            Self::Never(values) => {
                let never = Test::NotIn(values.clone());
                !asks_missing && excluded(&[tests, &[&never]].concat())
            }
        }
    }
}

/// What a filter says of a field that reads the filter's cell.
fn told_by(filter: &Filter, column: &Column, words: Option<&Words>) -> Vec<Fact> {
    let word_for_nothing =
        words.is_some_and(|words| words.iter().any(|(_, stored)| values(stored).len() < stored.len()));
    let read_alike = filter.column == *column && !word_for_nothing;
    match &filter.test {
        FilterTest::Missing if read_alike => vec![Fact::Missing],
        FilterTest::Present if read_alike => vec![Fact::Present],
        FilterTest::Missing | FilterTest::Present => Vec::new(),
        FilterTest::In(literals) => {
            let named = values(literals);
            let all_named = named.len() == literals.len();
            let mut facts = vec![Fact::Among(words.map_or(named, |words| shown(words, literals)))];
            if all_named && read_alike && column.missing.is_empty() {
                facts.push(Fact::Present);
            }
            facts
        }
        FilterTest::NotIn(literals) => {
            let never = words.is_none().then(|| Fact::Never(values(literals)));
            never.into_iter().chain(read_alike.then_some(Fact::Present)).collect()
        }
    }
}

fn values(literals: &[Literal]) -> Vec<Value> {
    literals.iter().map(|literal| literal.value.clone()).filter(|value| !value.is_missing()).collect()
}

/// The words that stored values can show as, and the values themselves, which stay what they are without a word.
fn shown(words: &Words, literals: &[Literal]) -> Vec<Value> {
    let worded = words
        .iter()
        .filter(|(_, stored)| stored.iter().any(|one| literals.iter().any(|other| other.value == one.value)));
    let texts = worded.map(|(word, _)| word).chain(literals.iter().map(|literal| &literal.text));
    texts.filter(|text| !text.is_empty()).map(|text| Value::Text(text.clone())).collect()
}

/// As [`may_pass`], with room for the spelling of texts.
fn fits(value: &Value, test: &Test) -> bool {
    let Some(own) = value.as_text() else { return may_pass(value, test) };
    let folded = |text: &str| text.trim_end().to_lowercase();
    let alike = |other: &Value| other.as_text().is_none_or(|other| folded(other) == folded(own));
    match test {
        Test::Equals(other) => alike(other),
        Test::In(others) => others.iter().any(alike),
        Test::Contains(part) | Test::StartsWith(part) | Test::EndsWith(part) => folded(own).contains(&folded(part)),
        _ => true,
    }
}
