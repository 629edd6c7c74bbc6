//! Texts of rules that the columns they are written to can't hold.

use super::Checker;
use crate::catalog::{Entity, Expression, InsertValue};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::At;
use crate::model::FieldName;
use crate::rule::statement::Dialect;
use std::ops::Range;

impl Checker<'_> {
    /// A title, or a body, for the columns that the catalog's recipe puts it into. What placeholders add isn't known.
    pub(super) fn held_by_tasks(&mut self, text: &At<String>, supplied: &InsertValue) {
        let Some((length, placeholders)) = shortest(text).filter(|_| self.keeps_lengths()) else { return };
        let inserts = self.known.catalog.tasks.iter().flat_map(|tasks| &tasks.inserts);
        let mut cells =
            inserts.flat_map(|insert| insert.set.iter().map(|(column, value)| (&insert.table, column, value)));
        let too_short = cells.find(|(_, column, value)| {
            value.parts().any(|part| part == supplied) && column.longest().is_some_and(|longest| length > longest)
        });
        let Some((table, column, _)) = too_short else { return };
        let least = if placeholders { "at least " } else { "" };
        let (name, declared) = (&column.name, column.declared.as_deref().unwrap_or_default());
        let message =
            format!("this is {least}{length} characters long, but `{name}` of `{table}` is {declared} in the database");
        let finding = Finding::error("rule.long-text", message).help("make it shorter, or the column longer");
        self.report.add(&text.range, finding);
    }

    /// A constant for a field that keeps text, or something that nudged knows nothing of.
    pub(super) fn held_by_field(&mut self, entity: &Entity, field: &FieldName, text: &str, range: &Range<usize>) {
        let Some(Expression::Column(column)) = entity.fields.get(field).map(|field| &field.expression) else { return };
        if let Some(problem) = column.refuses(text).filter(|_| self.keeps_lengths()) {
            self.report.add(range, Finding::error("rule.value", problem));
        }
    }

    fn keeps_lengths(&self) -> bool {
        self.known.dialect != Dialect::Sqlite
    }
}

/// How long a template is at least, and whether it has placeholders. `None` where blocks decide, or blanks are cut off.
fn shortest(text: &str) -> Option<(usize, bool)> {
    if ["{%", "{#", "{{-", "-}}"].iter().any(|tag| text.contains(tag)) {
        return None;
    }
    let mut parts = text.split("{{");
    let mut fixed = parts.next().unwrap_or_default().to_owned();
    let mut placeholders = false;
    for part in parts {
        let (_, after) = part.split_once("}}")?;
        fixed.push_str(after);
        placeholders = true;
    }
    Some((fixed.trim().chars().count(), placeholders))
}

#[cfg(test)]
mod tests {
    use super::shortest;

    #[test]
    fn what_placeholders_add_is_not_counted() {
        assert_eq!(shortest("Call them "), Some((9, false)));
        assert_eq!(shortest("Call {{ record.name }} über {{ a }}!"), Some((12, true)));
        assert_eq!(shortest("Call {% if a %}them{% endif %}"), None);
        assert_eq!(shortest("Call {{- a }}"), None);
    }
}
