use super::Checker;
use crate::catalog::written::{CatalogFile, EntityEntry, FieldEntry, TypeWord};
use crate::catalog::{
    Aggregate, AggregateFunction, Column, ColumnType, DateStorage, Expression, Field, InstantStorage, Literal, Place,
    UuidStorage,
};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Content, Node, ShortOr};
use crate::model::{EntityName, FieldName, RelationName};
use jiff::tz::TimeZone;

impl TypeWord {
    /// The column type; `zone` is that of naive times.
    pub(in crate::catalog) fn column_type(self, zone: &TimeZone) -> ColumnType {
        match self {
            Self::Bool => ColumnType::Bool,
            Self::BoolText => ColumnType::BoolText,
            Self::Int => ColumnType::Int,
            Self::Decimal => ColumnType::Decimal,
            Self::Float => ColumnType::Float,
            Self::NumberText => ColumnType::NumberText,
            Self::Text => ColumnType::Text,
            Self::Uuid => ColumnType::Uuid(UuidStorage::Native),
            Self::UuidText => ColumnType::Uuid(UuidStorage::Text),
            Self::UuidBinary => ColumnType::Uuid(UuidStorage::Binary),
            Self::Bytes => ColumnType::Bytes,
            Self::Json => ColumnType::Json,
            Self::Date => ColumnType::Date(DateStorage::Native),
            Self::DateText => ColumnType::Date(DateStorage::Text),
            Self::Instant => ColumnType::Instant(InstantStorage::Native),
            Self::InstantNaive => ColumnType::Instant(InstantStorage::Naive(zone.clone())),
            Self::InstantText => ColumnType::Instant(InstantStorage::Text(zone.clone())),
            Self::EpochSeconds => ColumnType::Instant(InstantStorage::EpochSeconds),
            Self::EpochMillis => ColumnType::Instant(InstantStorage::EpochMillis),
        }
    }
}

impl Checker {
    /// Fields of all entities: first those with a place of their own, then those looked up in other entities,
    /// then those computed over related rows, which need the former.
    pub(super) fn all_fields(&mut self, written: &CatalogFile) {
        for (name, entry) in written.entities.iter() {
            let entity = EntityName::new(name.as_str());
            self.fields.entry(entity.clone()).or_default();
            for (field, at) in entry.fields.iter() {
                self.name(field);
                match &at.value {
                    ShortOr::Long(long) if long.look_up.is_some() || aggregate_of(long).is_some() => {}
                    _ => self.add_field(&entity, field, |checker| checker.field(field, at, &entity)),
                }
            }
            self.inherited(&entity);
            if !entry.union.0.is_empty() {
                self.union_fields(&entity, name, entry);
            }
        }
        self.look_ups(written);
        for (name, entry) in written.entities.iter() {
            let entity = EntityName::new(name.as_str());
            for (field, at) in entry.fields.iter() {
                if let ShortOr::Long(long) = &at.value
                    && let Some((function, path)) = aggregate_of(long)
                    && self.one_source(field, long)
                {
                    self.add_field(&entity, field, |checker| {
                        let expression = checker.aggregate(function, path, long, entry)?;
                        Some((expression, long.currency.as_ref().map(|code| checker.currency(code))))
                    });
                }
            }
        }
    }

    pub(super) fn add_field(
        &mut self,
        entity: &EntityName,
        name: &At<String>,
        build: impl FnOnce(&mut Self) -> Option<(Expression, Option<String>)>,
    ) {
        if let Some((expression, currency)) = build(self) {
            let field = Field { name: FieldName::new(name.as_str()), expression, currency };
            self.fields.entry(entity.clone()).or_default().insert(field.name.clone(), field);
        }
    }

    fn field(
        &mut self,
        name: &At<String>,
        written: &At<ShortOr<FieldEntry>>,
        entity: &EntityName,
    ) -> Option<(Expression, Option<String>)> {
        let table = self.tables.get(entity).cloned().flatten();
        match &written.value {
            ShortOr::Short(column) => {
                let column = self.placed(Some(entity), table.as_ref(), column, ColumnType::Unknown, &written.range);
                Some((Expression::Column(column), None))
            }
            ShortOr::Wrong(kind) => {
                let finding = Finding::error("catalog.field", format!("field `{}` is {kind}", name.value));
                let help = "write a column's name, or a mapping such as `{column: class, type: text}`";
                self.report.add(&written.range, finding.help(help));
                None
            }
            ShortOr::Long(long) => {
                if !self.one_source(name, long) {
                    return None;
                }
                let currency = long.currency.as_ref().map(|code| self.currency(code));
                let expression = self.column_expression(name, written, long, entity)?;
                Some((expression, currency))
            }
        }
    }

    pub(super) fn currency(&mut self, code: &At<String>) -> String {
        if code.len() != 3 || !code.chars().all(|c| c.is_ascii_uppercase()) {
            let finding = Finding::error("catalog.currency", format!("`{}` is not a currency code", code.value));
            self.report.add(&code.range, finding.help("write three capital letters, such as `EUR`"));
        }
        code.value.clone()
    }

    fn column_expression(
        &mut self,
        name: &At<String>,
        at: &At<ShortOr<FieldEntry>>,
        long: &FieldEntry,
        entity: &EntityName,
    ) -> Option<Expression> {
        let ty = self.declared_type(long);
        let mut column = if let Some(attribute) = &long.attribute {
            self.attribute(entity, attribute, ty)?
        } else if let Some(sql) = &long.sql {
            self.own_sql(name, sql, ty)?
        } else {
            let table = self.tables.get(entity).cloned().flatten();
            let written = long.column.as_ref().unwrap_or(name);
            let range = long.column.as_ref().map_or(&at.range, |column| &column.range);
            match &long.path {
                None => self.placed(Some(entity), table.as_ref(), written, ty, range),
                Some(path) => {
                    let holder = self.placed(Some(entity), table.as_ref(), written, ColumnType::Unknown, range);
                    self.in_json(name, holder, path, &ty)?
                }
            }
        };
        if let Some(only) = &long.only {
            let only = self.entity_filters(entity, only);
            let (name, ty, whole) = (column.name.clone(), column.ty.clone(), column.whole);
            column = Column { ty, place: Place::Where(Box::new(column), only), whole, ..Column::named(name) };
        }
        if let Some(missing) = &long.missing {
            column.missing = self.placeholders(missing, &column.ty);
        }
        let Some(means) = &long.means else { return Some(Expression::Column(column)) };
        let words = means.iter().map(|(word, node)| (word.value.clone(), self.literals(node, &column.ty))).collect();
        Some(Expression::Means { column, words })
    }

    /// What `type` and `zone` say.
    fn declared_type(&mut self, long: &FieldEntry) -> ColumnType {
        let zone = long.zone.as_ref().and_then(|zone| self.zone_named(zone));
        let own_zone = zone.clone().unwrap_or_else(|| self.zone.clone());
        let ty = match (&long.ty, &zone) {
            // A zone of its own says that the column is wall time; the live schema says how it is stored.
            (None, Some(zone)) => ColumnType::Instant(InstantStorage::Naive(zone.clone())),
            (Some(word), Some(zone)) if word.value == TypeWord::Instant => {
                ColumnType::Instant(InstantStorage::Naive(zone.clone()))
            }
            (Some(word), _) => word.value.column_type(&own_zone),
            (None, None) => ColumnType::Unknown,
        };
        if let (Some(written), false) = (&long.zone, matches!(ty, ColumnType::Instant(_) | ColumnType::Unknown)) {
            let finding = Finding::error("catalog.type", format!("a zone has no meaning for {}", ty.in_words()));
            self.report.add(&written.range, finding.help("remove `zone`, or declare `type: instant`"));
        }
        ty
    }

    /// A placeholder need not be a value of its type: `0000-00-00` is no date.
    fn placeholders(&mut self, node: &Node, ty: &ColumnType) -> Vec<Literal> {
        let source = self.report.source().to_owned();
        let items =
            if let Content::List(items) = &node.content { items.as_slice() } else { std::slice::from_ref(node) };
        let mut literals = Vec::new();
        for item in items {
            let Some(text) = item.text(&source) else {
                let finding = Finding::error("catalog.constant", format!("expected a constant, found {}", item.kind()));
                self.report.add(&item.range, finding);
                continue;
            };
            let literal = Literal::read(&text, item.is_plain(&source), ty, &self.zone).unwrap_or_else(|_| Literal {
                text: text.to_string(),
                value: crate::model::Value::Text(text.to_string()),
            });
            literals.push(literal);
        }
        literals
    }

    fn aggregate(
        &mut self,
        function: AggregateFunction,
        path: &At<String>,
        long: &FieldEntry,
        entry: &EntityEntry,
    ) -> Option<Expression> {
        let (relation, field) = match path.split_once('.') {
            Some((relation, field)) => (relation, Some(field)),
            None => (path.as_str(), None),
        };
        let Some((_, related)) = entry.relations.iter().find(|(name, _)| name.as_str() == relation) else {
            let known: Vec<_> = entry.relations.iter().map(|(name, _)| name.value.clone()).collect();
            let name = At { value: relation.to_owned(), range: path.range.clone(), source: path.source.clone() };
            self.unknown("catalog.unknown-relation", "relation", &name, &known);
            return None;
        };
        let complaint = match (function, field) {
            (AggregateFunction::Count, Some(_)) => Some("`count` takes a relation alone, such as `orders`"),
            (AggregateFunction::Count, None) | (_, Some(_)) => None,
            (_, None) => Some("write the relation and the field: `orders.total`"),
        };
        if let Some(help) = complaint {
            let finding = Finding::error("catalog.aggregate", format!("`{}` can't be computed", path.value));
            self.report.add(&path.range, finding.help(help));
            return None;
        }
        for (misplaced, key) in [(&long.column, "column"), (&long.zone, "zone")] {
            if let Some(misplaced) = misplaced {
                let finding = Finding::error("catalog.aggregate", format!("a computed field has no `{key}`"));
                self.report.add(&misplaced.range, finding.help("remove it"));
            }
        }
        let related = EntityName::new(related.entity.as_str());
        let only = long.only.as_ref().map_or_else(Vec::new, |node| self.entity_filters(&related, node));
        let field = field.map(|field| {
            let name = At { value: field.to_owned(), range: path.range.clone(), source: path.source.clone() };
            self.field_of(&related, &name)
        });
        if let (Some(written), Some(field)) = (&long.currency, &field) {
            let theirs = self.fields.get(&related).and_then(|fields| fields.get(field));
            if let Some(theirs) = theirs.and_then(|field| field.currency.clone()).filter(|code| *code != written.value)
            {
                let message = format!("`{}` is in {theirs}, not in {}", path.value, written.value);
                let finding = Finding::error("catalog.currency", message);
                self.report.add(&written.range, finding.help("amounts are not converted: name its own currency"));
            }
        }
        Some(Expression::Aggregate(Aggregate { function, relation: RelationName::new(relation), field, only }))
    }
}

pub(super) fn aggregate_of(long: &FieldEntry) -> Option<(AggregateFunction, &At<String>)> {
    [
        (AggregateFunction::Sum, &long.sum),
        (AggregateFunction::Count, &long.count),
        (AggregateFunction::Min, &long.min),
        (AggregateFunction::Max, &long.max),
        (AggregateFunction::Average, &long.average),
    ]
    .into_iter()
    .find_map(|(function, path)| path.as_ref().map(|path| (function, path)))
}
