//! Whether the database lets this login write what people decide by the links of their mails.

use super::inspect::in_catalog;
use crate::diagnostic::Finding;
use crate::engine::port::{Deed, Source, SourceError};
use crate::model::Tenant;
use crate::rule::generation::Generation;
use crate::rule::write;

/// Warnings, as a decision also holds where it can't be written: it is tried again until it can.
pub(super) async fn unwritten(generation: &Generation, source: &dyn Source) -> Vec<Finding> {
    let catalog = &generation.catalog;
    let first = catalog.tenants.as_ref().and_then(|tenants| tenants.names.first());
    let tenant = first.cloned().unwrap_or_else(|| Tenant::new(""));
    let mut findings = Vec::new();
    for (entity, columns, statement) in write::consent_probes(catalog, source.dialect()) {
        let Some(table) = entity.table() else { continue };
        let answer = source.transact(&tenant, vec![Deed::Read(statement)]).await;
        if let Err(error @ SourceError::Refused(_)) = answer {
            let named: Vec<String> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
            let columns = named.join(" and ");
            let message = format!(
                "the database does not allow what people decide to be written to {columns} of `{table}`: {error}"
            );
            let help =
                "`nudged catalog grants` prints what this login needs; until then their decisions hold in nudged alone";
            findings.push(in_catalog(Finding::warning("catalog.write-refused", message).help(help), generation, table));
        }
    }
    findings
}
