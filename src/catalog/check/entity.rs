use super::Checker;
use crate::catalog::written::{EntityEntry, PersonEntry};
use crate::catalog::{Column, ColumnType, Consent, ConsentTest, Entity, Expression, KeyType, Origin, Person, Table};
use crate::diagnostic::Finding;
use crate::diagnostic::yaml::{At, Content, Node, ShortOr};
use crate::model::{EntityName, FieldName, Topic};
use std::collections::BTreeSet;

impl Checker {
    pub(super) fn entity(&mut self, name: &At<String>, entry: &EntityEntry, people: &BTreeSet<&str>) -> Entity {
        let entity = EntityName::new(name.as_str());
        let table = self.tables.get(&entity).cloned().flatten();
        let (key, key_type) = self.keys.get(&entity).cloned().unwrap_or((Column::named("id"), KeyType::Unknown));
        let origin = match (&table, &entry.sql) {
            (None, Some(sql)) => Origin::Sql(sql.value.clone()),
            (None, None) if !entry.union.0.is_empty() => Origin::Union(self.members(entry)),
            (table, _) => Origin::Table(table.clone().unwrap_or(Table { schema: None, name: name.value.clone() })),
        };
        let parents = self.parents.get(&entity).into_iter().flatten().map(|(parent, _)| parent.clone()).collect();
        let only = entry.only.as_ref().map_or_else(Vec::new, |node| self.entity_filters(&entity, node));
        let relations = entry
            .relations
            .iter()
            .filter_map(|(name, relation)| self.relation(&entity, name, relation))
            .map(|relation| (relation.name.clone(), relation))
            .collect();
        let recipients = self.recipients(&entity, entry, &relations, people);
        let at = entry.at.as_ref().map(|at| self.time_field(&entity, at));
        let updated_at = entry.updated_at.as_ref().map(|at| self.time_field(&entity, at));
        let last_activity = entry.last_activity.iter().map(|field| self.activity_field(&entity, field)).collect();
        let score = entry.score.as_ref().map(|score| self.field_of(&entity, score));
        let person = entry.person.as_ref().map(|person| self.person(&entity, table.as_ref(), person));
        let consent = self.consents(&entity, table.as_ref(), entry);
        Entity {
            name: entity,
            origin,
            parents,
            key,
            key_type,
            only,
            fields: super::Fields::new(),
            gone: BTreeSet::new(),
            undeclared: BTreeSet::new(),
            relations,
            recipients,
            at,
            updated_at,
            last_activity,
            score,
            survey_kind: entry.kind.as_ref().map(|kind| kind.value.clone()),
            person,
            consent,
            writable: BTreeSet::new(),
            tags: None,
            tag_list: None,
        }
    }

    pub(super) fn key(&mut self, name: &At<String>, entry: &EntityEntry, table: Option<&Table>) -> (Column, KeyType) {
        if !entry.union.0.is_empty() {
            let column = Column { ty: ColumnType::Text, ..Column::named("key") };
            return (column, KeyType::Text);
        }
        let (column, range) = match entry.key.as_ref().map(|key| (&key.value, &key.range)) {
            Some((ShortOr::Short(column), range)) => ((column.clone(), ColumnType::Unknown), range.clone()),
            Some((ShortOr::Long(long), _)) => {
                let ty = long.ty.as_ref().map_or(ColumnType::Unknown, |ty| ty.column_type(&self.zone));
                ((long.column.value.clone(), ty), long.column.range.clone())
            }
            Some((ShortOr::Wrong(kind), range)) => {
                let finding = Finding::error("catalog.key", format!("the key is {kind}"));
                self.report.add(range, finding.help("write a column's name, or `{column: id, type: uuid_binary}`"));
                return (Column::named("id"), KeyType::Unknown);
            }
            None => {
                let finding = Finding::error("catalog.key", format!("entity `{}` has no key", name.value));
                self.report.add(&name.range, finding.help("add `key:` with the column that names a row for ever"));
                return (Column::named("id"), KeyType::Unknown);
            }
        };
        let column = Column { ty: column.1, ..Column::named(column.0) };
        self.used(table, &column, &range);
        let key_type = column.ty.as_key().unwrap_or_else(|| {
            let finding = Finding::error("catalog.key", format!("a key can't be {}", column.ty.in_words()));
            self.report.add(&range, finding.help("keys are int, text, uuid, uuid_text, uuid_binary or bytes"));
            KeyType::Unknown
        });
        (column, key_type)
    }

    fn person(&mut self, entity: &EntityName, table: Option<&Table>, entry: &PersonEntry) -> Person {
        let channel = entry.channel.as_ref().and_then(|name| self.channel(entity, name));
        let mut column = |name: &Option<At<String>>| name.as_ref().and_then(|n| self.column(Some(entity), table, n));
        Person {
            email: column(&entry.email),
            phone: column(&entry.phone),
            first_name: column(&entry.first_name),
            last_name: column(&entry.last_name),
            zone: column(&entry.zone),
            locale: column(&entry.locale),
            channel,
        }
    }

    /// A declared field, whose words are those of channels where it has any.
    fn channel(&mut self, entity: &EntityName, name: &At<String>) -> Option<FieldName> {
        const CHANNELS: [&str; 3] = ["email", "sms", "task"];
        let declared = self.fields.get(entity).and_then(|fields| fields.get(name.as_str()));
        let problem = match declared.map(|field| &field.expression) {
            None => Some(format!("`{}` is not declared among the fields of `{entity}`", name.value)),
            Some(Expression::Means { words, .. })
                if !words.iter().any(|(word, _)| CHANNELS.contains(&word.as_str())) =>
            {
                Some(format!("none of the words of `{}` is a channel", name.value))
            }
            Some(_) => None,
        };
        let Some(problem) = problem else { return Some(FieldName::new(name.as_str())) };
        let help = format!("write `{}: {{column: …, means: {{email: […], sms: […], task: […]}}}}` there", name.value);
        self.report.add(&name.range, Finding::error("catalog.channel", problem).help(help));
        None
    }

    fn consents(&mut self, entity: &EntityName, table: Option<&Table>, entry: &EntityEntry) -> Vec<Consent> {
        let mut consents = Vec::new();
        for (channel, node) in entry.consent.iter() {
            if !matches!(channel.as_str(), "email" | "phone") {
                let known = ["email", "phone"].map(str::to_owned);
                self.unknown("catalog.unknown-channel", "channel", channel, &known);
                continue;
            }
            let Content::Map(entries) = &node.content else {
                let finding = Finding::error("catalog.consent", format!("expected topics, found {}", node.kind()));
                self.report.add(&node.range, finding.help("write `{offers: news_ok}`, or `{any_topic: news_ok}`"));
                continue;
            };
            let given_at = entries
                .iter()
                .find(|(key, _)| key.as_str() == "given_at")
                .and_then(|(_, node)| self.column_name(node))
                .and_then(|name| self.time_column(entity, table, &name));
            let write_back = entries.iter().find(|(key, _)| key.as_str() == "write_back").map(|(_, node)| node);
            let is_topic = |name: &str| !matches!(name, "given_at" | "write_back");
            let mut refused = Vec::new();
            for (topic, node) in entries.iter().filter(|(key, _)| is_topic(key.as_str())) {
                let Some(test) = self.consent_test(entity, table, node) else { continue };
                let writes = write_back.map_or(Ok(None), |node| self.write_back(table, &test, node));
                let write_back = writes.unwrap_or_else(|why| {
                    refused.push((topic.value.clone(), why));
                    None
                });
                let range = topic.range.clone();
                let topic = (topic.as_str() != "any_topic").then(|| Topic::new(topic.as_str()));
                self.topics.extend(topic.clone().map(|topic| (topic, range)));
                let (channel, given_at) = (channel.value.clone(), given_at.clone());
                consents.push(Consent { channel, topic, test, given_at, write_back });
            }
            if let Some(node) = write_back {
                self.no_write_back(&refused, &node.range);
            }
        }
        consents
    }

    /// `news_ok`, or `{not: do_not_call}`.
    fn consent_test(&mut self, entity: &EntityName, table: Option<&Table>, node: &Node) -> Option<ConsentTest> {
        if let Some(inner) = node.get("not") {
            let name = self.column_name(inner)?;
            return self.column(Some(entity), table, &name).map(ConsentTest::Not);
        }
        let name = self.column_name(node)?;
        self.column(Some(entity), table, &name).map(ConsentTest::Is)
    }

    fn column_name(&mut self, node: &Node) -> Option<At<String>> {
        let text = node.text(self.report.source()).map(std::borrow::Cow::into_owned);
        if text.is_none() {
            let finding = Finding::error("catalog.consent", format!("expected a column, found {}", node.kind()));
            self.report.add(&node.range, finding.help("write the column's name, or `{not: column}`"));
        }
        Some(At { value: text?, range: node.range.clone(), source: node.range.clone() })
    }
}
