use super::Checker;
use crate::catalog::{Column, ColumnType, Expression, Filter, FilterTest, Literal, Table};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Content, Node};
use crate::model::{EntityName, Value};

impl Checker {
    /// A filter over an entity's rows, by its fields or columns.
    pub(super) fn entity_filters(&mut self, entity: &EntityName, node: &Node) -> Vec<Filter> {
        let table = self.tables.get(entity).cloned().flatten();
        self.filters(Some(entity), table.as_ref(), node)
    }

    /// `{is_active: true, status: [paid, shipped], merged_into: missing, kind: {not_in: [test]}}`
    pub(super) fn filters(&mut self, entity: Option<&EntityName>, table: Option<&Table>, node: &Node) -> Vec<Filter> {
        let Content::Map(entries) = &node.content else {
            let finding =
                Finding::error("catalog.filter", format!("expected a mapping of columns, found {}", node.kind()));
            self.report.add(&node.range, finding.help("write `{column: value}`"));
            return Vec::new();
        };
        entries.iter().filter_map(|(name, test)| self.filter(entity, table, name, test)).collect()
    }

    fn filter(
        &mut self,
        entity: Option<&EntityName>,
        table: Option<&Table>,
        name: &At<String>,
        node: &Node,
    ) -> Option<Filter> {
        let words = self.words_of(entity, name);
        let recorded = self.uses.len();
        let column = self.column(entity, table, name)?;
        let test = self.test(node, &column, words.as_deref())?;
        // A field that stands elsewhere than in its row's column records no use, and the last one is another's.
        if let (Some(recorded), FilterTest::In(literals) | FilterTest::NotIn(literals)) =
            (self.uses.get_mut(recorded), &test)
        {
            recorded.literals.clone_from(literals);
        }
        Some(Filter { column, test })
    }

    /// The words of a field with `means`, which a filter may use as rules do.
    fn words_of(&self, entity: Option<&EntityName>, name: &At<String>) -> Option<Vec<(String, Vec<Literal>)>> {
        match &self.fields.get(entity?)?.get(name.as_str())?.expression {
            Expression::Means { words, .. } => Some(words.clone()),
            _ => None,
        }
    }

    fn test(&mut self, node: &Node, column: &Column, words: Option<&[(String, Vec<Literal>)]>) -> Option<FilterTest> {
        let source = self.report.source().to_owned();
        if let Content::Map(entries) = &node.content {
            let [(operator, operand)] = entries.as_slice() else {
                let finding = Finding::error("catalog.filter", "one operator is expected here");
                self.report.add(&node.range, finding.help("write `not_in: [a, b]` or `not: a`"));
                return None;
            };
            return match operator.as_str() {
                "in" => Some(FilterTest::In(self.meant(operand, column, words))),
                "not_in" | "not"
                    if operand.is_plain(&source) && operand.text(&source).as_deref() == Some("missing") =>
                {
                    Some(FilterTest::Present)
                }
                "not_in" | "not" => Some(FilterTest::NotIn(self.meant(operand, column, words))),
                _ => {
                    let known = ["in", "not_in", "not"].map(str::to_owned);
                    self.unknown("catalog.unknown-operator", "operator", operator, &known);
                    None
                }
            };
        }
        if node.is_plain(&source) {
            match node.text(&source).as_deref() {
                Some("missing") => return Some(FilterTest::Missing),
                Some("present") => return Some(FilterTest::Present),
                _ => {}
            }
        }
        Some(FilterTest::In(self.meant(node, column, words)))
    }

    /// The stored values behind the words of a field with `means`, or the constants themselves.
    fn meant(&mut self, node: &Node, column: &Column, words: Option<&[(String, Vec<Literal>)]>) -> Vec<Literal> {
        let Some(words) = words else { return self.literals(node, &column.ty) };
        let source = self.report.source().to_owned();
        let mut stored = Vec::new();
        for item in items(node) {
            let Some(text) = item.text(&source) else { continue };
            if let Some((_, literals)) = words.iter().find(|(word, _)| *word == text) {
                stored.extend(literals.iter().cloned());
            } else {
                let known: Vec<_> = words.iter().map(|(word, _)| word.clone()).collect();
                let name = At { value: text.into_owned(), range: item.range.clone(), source: item.range.clone() };
                self.unknown("catalog.unknown-word", "word", &name, &known);
            }
        }
        stored
    }

    /// One constant or a list of them. A plain `missing` among them is the empty text.
    pub(super) fn literals(&mut self, node: &Node, ty: &ColumnType) -> Vec<Literal> {
        let source = self.report.source().to_owned();
        let mut literals = Vec::new();
        for item in items(node) {
            let Some(text) = item.text(&source) else {
                let finding = Finding::error("catalog.constant", format!("expected a constant, found {}", item.kind()));
                self.report.add(&item.range, finding);
                continue;
            };
            let plain = item.is_plain(&source);
            if item.is_null(&source) {
                let finding = Finding::error("catalog.constant", "null is not a constant");
                self.report.add(&item.range, finding.help("write `missing` for rows without a value"));
            } else if plain && text == "missing" {
                literals.push(Literal { text: String::new(), value: Value::Null });
            } else {
                match Literal::read(&text, plain, ty, &self.zone) {
                    Ok(literal) => literals.push(literal),
                    Err(misfit) => {
                        let finding = Finding::error("catalog.constant", misfit.to_string());
                        self.report.add(&item.range, finding.label("does not fit the declared type"));
                    }
                }
            }
        }
        literals
    }
}

fn items(node: &Node) -> &[Node] {
    if let Content::List(items) = &node.content { items } else { std::slice::from_ref(node) }
}
