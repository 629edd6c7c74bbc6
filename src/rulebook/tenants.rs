//! Whether the database shows every tenant its rows: `per_transaction` may bind what no policy asks for, which only reading
//! tells.

use super::inspect::at_line;
use crate::catalog::Entity;
use crate::diagnostic::Finding;
use crate::engine::port::{Source, SourceError};
use crate::model::{EntityName, Tenant};
use crate::rule::compiled::any_cell;
use crate::rule::generation::Generation;
use futures::TryStreamExt;
use std::collections::BTreeSet;

/// What fails of the reading.
#[derive(Default)]
pub(super) struct Unshown {
    /// Errors, by what rules are about.
    pub entities: Vec<(EntityName, Finding)>,
    /// Warnings of what no rule is about.
    pub others: Vec<Finding>,
}

/// Reads one row of each entity: what rules are about as every tenant, and the others as the first.
pub(super) async fn unshown(generation: &Generation, source: &dyn Source) -> Unshown {
    let mut unshown = Unshown::default();
    let Some(tenants) = &generation.catalog.tenants else { return unshown };
    let watched: BTreeSet<&EntityName> = generation.rules.values().map(|rule| &rule.rule.for_each).collect();
    for entity in generation.catalog.entities.values() {
        let is_watched = watched.contains(&entity.name);
        let asked = if is_watched { tenants.names.len() } else { 1 };
        for tenant in tenants.names.iter().take(asked) {
            let Some(problem) = problem(generation, source, entity, tenant).await else { continue };
            let help = "compare what `per_transaction` sets with what the policies and views of its tables read";
            let told = |finding: Finding| at_line(finding.help(help), generation, "tenants:");
            if is_watched {
                unshown.entities.push((entity.name.clone(), told(Finding::error("catalog.tenant-refused", problem))));
            } else {
                unshown.others.push(told(Finding::warning("catalog.tenant-refused", problem)));
            }
            break;
        }
    }
    unshown
}

async fn problem(generation: &Generation, source: &dyn Source, entity: &Entity, tenant: &Tenant) -> Option<String> {
    let statement = any_cell(&generation.catalog, source.dialect(), entity, None)?;
    match source.rows(tenant, statement).try_next().await {
        Err(error @ SourceError::Refused(_)) => {
            Some(format!("the database does not show `{}` to the tenant `{tenant}`: {error}", entity.name))
        }
        _ => None,
    }
}
