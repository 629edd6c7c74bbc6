//! Tags that lie in one column of the record: text with something between them, or a list. Only our own tags are touched;
//! everything else stays as it is written there, also what is no text.

use super::update::{UnfitValue, Update, Writer};
use crate::catalog::{ColumnType, ListForm, TagList};
use crate::model::Value;
use crate::rule::sql::Fragment;
use crate::rule::statement::Dialect;
use serde_json::Value as Json;

/// What the column holds.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Nothing,
    Parts(Vec<String>),
    Items(Vec<Json>),
}

impl TagList {
    fn unfit(&self, why: &str) -> UnfitValue {
        UnfitValue { field: self.column.name.clone(), why: why.to_owned() }
    }

    fn read(&self, held: &Value) -> Result<Held, UnfitValue> {
        let text = match held {
            Value::Null => return Ok(Held::Nothing),
            Value::Text(text) => text,
            _ => return Err(self.unfit("it holds no text")),
        };
        match &self.form {
            ListForm::Separated(_) if text.trim().is_empty() => Ok(Held::Nothing),
            ListForm::Separated(separator) => Ok(Held::Parts(text.split(mark(separator)).map(str::to_owned).collect())),
            ListForm::Json | ListForm::Array => match serde_json::from_str(text) {
                Ok(Json::Array(items)) => Ok(Held::Items(items)),
                Ok(Json::Null) => Ok(Held::Nothing),
                _ if text.trim().is_empty() => Ok(Held::Nothing),
                _ => Err(self.unfit("it holds no JSON list")),
            },
        }
    }

    /// Whether each of these is there.
    pub(super) fn has(&self, held: &Value, tags: &[&String]) -> Result<Vec<bool>, UnfitValue> {
        let held = self.read(held)?;
        Ok(tags.iter().map(|tag| held.has(tag)).collect())
    }

    /// What the column is to hold; `None`: what it holds.
    pub(super) fn changed(&self, held: &Value, update: &Update) -> Result<Option<Value>, UnfitValue> {
        if let ListForm::Separated(separator) = &self.form {
            let tags = update.add_tags.iter().chain(&update.remove_tags);
            if let Some(tag) = tags.into_iter().find(|tag| tag.contains(mark(separator))) {
                let why = format!("the tag `{tag}` has `{separator}` in it, which stands between tags");
                return Err(self.unfit(&why));
            }
        }
        let before = self.read(held)?;
        let mut after = before.clone();
        for tag in &update.remove_tags {
            after.remove(tag);
        }
        for tag in update.add_tags.iter().filter(|tag| !tag.trim().is_empty()) {
            if !after.has(tag) {
                after.add(tag, &self.form);
            }
        }
        Ok((after != before).then(|| Value::Text(after.written(&self.form))))
    }
}

/// What stands between tags, whatever blanks are around it.
fn mark(separator: &str) -> &str {
    Some(separator.trim()).filter(|mark| !mark.is_empty()).unwrap_or(separator)
}

impl Held {
    fn has(&self, tag: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Parts(parts) => parts.iter().any(|part| part.trim() == tag),
            Self::Items(items) => items.iter().any(|item| item.as_str() == Some(tag)),
        }
    }

    fn remove(&mut self, tag: &str) {
        match self {
            Self::Nothing => {}
            Self::Parts(parts) => parts.retain(|part| part.trim() != tag),
            Self::Items(items) => items.retain(|item| item.as_str() != Some(tag)),
        }
    }

    fn add(&mut self, tag: &str, form: &ListForm) {
        if matches!(self, Self::Nothing) {
            *self = match form {
                ListForm::Separated(_) => Self::Parts(Vec::new()),
                ListForm::Json | ListForm::Array => Self::Items(Vec::new()),
            };
        }
        match (self, form) {
            (Self::Parts(parts), ListForm::Separated(separator)) => {
                // `a, b` is split at the comma: the blank belongs to the part behind it.
                let blanks = separator.split(mark(separator)).nth(1).filter(|_| !parts.is_empty());
                parts.push(format!("{}{tag}", blanks.unwrap_or_default()));
            }
            (Self::Items(items), _) => items.push(Json::String(tag.to_owned())),
            (Self::Parts(_) | Self::Nothing, _) => {}
        }
    }

    fn written(&self, form: &ListForm) -> String {
        match (self, form) {
            (Self::Parts(parts), ListForm::Separated(separator)) => parts.join(mark(separator)).trim_start().to_owned(),
            (Self::Items(items), _) => Json::Array(items.clone()).to_string(),
            (Self::Parts(_) | Self::Nothing, _) => String::new(),
        }
    }
}

impl Writer<'_> {
    /// The column in a form that can be read here.
    pub(super) fn held(&self, list: &TagList) -> Fragment {
        let name = Fragment::name(self.renderer.dialect, &list.column.name);
        let read = match (self.renderer.dialect, &list.form) {
            (Dialect::Postgres, ListForm::Array) => "CAST(array_to_json({}) AS text)",
            (Dialect::Postgres, _) => "CAST({} AS text)",
            (Dialect::MySql, _) => "CAST({} AS CHAR)",
            (Dialect::Sqlite, _) => "CAST({} AS TEXT)",
        };
        Fragment::of(read, &[&name])
    }

    /// The new list as the column takes it.
    pub(super) fn list_value(&self, list: &TagList, value: &Value) -> Fragment {
        let bound = Self::bound(value);
        match (self.renderer.dialect, &list.form) {
            (Dialect::Postgres, ListForm::Array) => {
                Fragment::of("ARRAY(SELECT jsonb_array_elements_text(CAST(CAST({} AS text) AS jsonb)))", &[&bound])
            }
            (Dialect::Postgres, ListForm::Json) if list.column.ty == ColumnType::Json => {
                Fragment::of("CAST(CAST({} AS text) AS jsonb)", &[&bound])
            }
            _ => bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Column;
    use rstest::rstest;

    fn list(form: ListForm) -> TagList {
        TagList { column: Column::named("labels"), form }
    }

    fn separated(by: &str) -> ListForm {
        ListForm::Separated(by.to_owned())
    }

    #[rstest]
    #[case::first(separated(","), None, "new", "", Some("new"))]
    #[case::one_more(separated(","), Some("a,b"), "new", "", Some("a,b,new"))]
    #[case::blanks_stay(separated(", "), Some("a, b"), "new", "", Some("a, b, new"))]
    #[case::theirs_stay(separated(","), Some("a, b ,,c"), "new", "b", Some("a,,c,new"))]
    #[case::there(separated(","), Some("a, new"), "new", "", None)]
    #[case::part_of_a_word(separated(","), Some("newest"), "new", "old", Some("newest,new"))]
    #[case::last_one(separated(";"), Some("old"), "", "old", Some(""))]
    #[case::first_of(separated(", "), Some("old, a"), "", "old", Some("a"))]
    #[case::json(ListForm::Json, Some("[\"a\", 7, {\"x\": 1}]"), "new", "a", Some("[7,{\"x\":1},\"new\"]"))]
    #[case::no_json_yet(ListForm::Json, None, "new", "", Some("[\"new\"]"))]
    #[case::json_there(ListForm::Json, Some("[ \"new\" ]"), "new", "", None)]
    fn only_our_own_tags_are_touched(
        #[case] form: ListForm,
        #[case] held: Option<&str>,
        #[case] add: &str,
        #[case] remove: &str,
        #[case] expected: Option<&str>,
    ) {
        let tags = |tag: &str| Some(tag.to_owned()).filter(|tag| !tag.is_empty()).into_iter().collect();
        let update = Update { set: Vec::new(), add_tags: tags(add), remove_tags: tags(remove) };
        let held = held.map_or(Value::Null, |held| Value::Text(held.to_owned()));
        let changed = list(form).changed(&held, &update).unwrap();
        assert_eq!(changed, expected.map(|text| Value::Text(text.to_owned())));
    }

    #[test]
    fn what_is_no_list_and_a_tag_with_the_separator_are_told() {
        let update = |tag: &str| Update { add_tags: vec![tag.to_owned()], ..Update::default() };
        let no_list = list(ListForm::Json).changed(&Value::Text("{\"a\": 1}".to_owned()), &update("x")).unwrap_err();
        assert_eq!(no_list.to_string(), "`labels` can't be written: it holds no JSON list");
        let inside = list(separated(",")).changed(&Value::Null, &update("a,b")).unwrap_err();
        assert!(inside.to_string().contains("`a,b` has `,` in it"), "{inside}");
    }
}
