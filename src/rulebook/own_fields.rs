//! Fields with SQL of the catalog's own: what the database refuses of one is told once, at the field, and not of each rule
//! that reads it.

use crate::catalog::{self, Expression, OwnSql};
use crate::diagnostic::{Finding, Place};
use crate::engine::port::{Source, SourceError};
use crate::rule::compiled::any_cell;
use crate::rule::generation::Generation;
use std::collections::HashMap;
use std::sync::Arc;

/// By the database's words, the first field that it says them of. Asked only once it has said something of a rule.
pub(super) async fn refused(generation: &Generation, source: &dyn Source) -> HashMap<String, Finding> {
    let mut found = HashMap::new();
    for entity in generation.catalog.entities.values() {
        let refusal = async |name| {
            let statement = any_cell(&generation.catalog, source.dialect(), entity, name)?;
            match source.prepare(&statement).await {
                Err(error @ SourceError::Refused(_)) => Some(error.to_string()),
                _ => None,
            }
        };
        let own = entity.fields.iter().filter_map(|(name, field)| match &field.expression {
            Expression::Column(column) | Expression::Means { column, .. } => Some((name, column.own_sql()?)),
            Expression::Aggregate(_) => None,
        });
        let own: Vec<_> = own.collect();
        // Where it refuses the entity itself, no field is to blame.
        if own.is_empty() || refusal(None).await.is_some() {
            continue;
        }
        for (name, sql) in own {
            let Some(error) = refusal(Some(name)).await else { continue };
            let message = format!("the database does not accept the field `{name}` of `{}`: {error}", entity.name);
            let help = "compare its SQL with the tables, and with what this login may read";
            let finding = Finding::error("catalog.field-refused", message).help(help);
            found.entry(error).or_insert_with(|| at_field(finding, generation, sql));
        }
    }
    found
}

fn at_field(finding: Finding, generation: &Generation, sql: &OwnSql) -> Finding {
    let Some(file) = generation.tree.files.iter().find(|file| file.path == "catalog.yaml") else { return finding };
    let expressions = catalog::read(file).expressions;
    let range = expressions.into_iter().find(|(found, ..)| found == sql).map_or(0..0, |(_, name, _)| name);
    finding.at(Place { file: Arc::clone(file), range })
}
