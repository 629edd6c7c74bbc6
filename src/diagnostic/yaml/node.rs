use super::at::{At, bytes};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A piece of YAML with its places, for parts whose keys are the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it is used; for block collections only where it begins.
    pub range: Range<usize>,
    /// Where it is spelled out, behind an alias.
    source: Range<usize>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Text, where YAML reads it as text. `None` for what YAML takes for a number, a boolean or null: the
    /// source text decides then, so that `1.50` keeps its zero.
    Scalar(Option<String>),
    List(Vec<Node>),
    Map(Vec<(At<String>, Node)>),
}

impl Node {
    /// The scalar as the author wrote it, without quotes.
    pub fn text<'a>(&'a self, source: &'a str) -> Option<Cow<'a, str>> {
        match &self.content {
            Content::Scalar(Some(text)) => Some(Cow::Borrowed(text)),
            Content::Scalar(None) => Some(Cow::Borrowed(source.get(self.source.clone()).unwrap_or("").trim())),
            Content::List(_) | Content::Map(_) => None,
        }
    }

    /// A scalar without quotes. Only such a `missing` is a word of the language; `"missing"` is text.
    #[must_use]
    pub fn is_plain(&self, source: &str) -> bool {
        let written = source.get(self.source.clone()).unwrap_or("");
        matches!(self.content, Content::Scalar(_)) && !written.starts_with(['"', '\'', '|', '>'])
    }

    /// Nothing, `~` or `null`.
    #[must_use]
    pub fn is_null(&self, source: &str) -> bool {
        matches!(self.content, Content::Scalar(None))
            && matches!(self.text(source).as_deref(), Some("" | "~" | "null" | "Null" | "NULL"))
    }

    /// What it is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.content {
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }

    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Content::Map(entries) = &self.content else { return None };
        entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| node)
    }

    /// On one line, the same however it was laid out: for people to read and to hash.
    #[must_use]
    pub fn one_line(&self, source: &str) -> String {
        match &self.content {
            Content::Scalar(_) => self.scalar_line(source),
            Content::List(items) => {
                let items: Vec<_> = items.iter().map(|item| item.one_line(source)).collect();
                format!("[{}]", items.join(", "))
            }
            Content::Map(_) => format!("{{{}}}", self.entries_line(source)),
        }
    }

    /// As [`Node::one_line`], a mapping without its braces.
    #[must_use]
    pub fn entries_line(&self, source: &str) -> String {
        let Content::Map(entries) = &self.content else { return self.one_line(source) };
        let entries: Vec<_> =
            entries.iter().map(|(key, node)| format!("{}: {}", key.value, node.one_line(source))).collect();
        entries.join(", ")
    }

    fn scalar_line(&self, source: &str) -> String {
        let text = self.text(source).unwrap_or_default();
        if self.is_plain(source) { text.into_owned() } else { format!("{text:?}") }
    }

    /// As JSON. Plain numbers, booleans and null keep their kind, everything else is text.
    #[must_use]
    pub fn to_json(&self, source: &str) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.content {
            Content::Scalar(Some(text)) => Json::String(text.clone()),
            Content::Scalar(None) => {
                let text = self.text(source).unwrap_or_default();
                if self.is_null(source) {
                    Json::Null
                } else {
                    text.parse().unwrap_or_else(|_| Json::String(text.into()))
                }
            }
            Content::List(items) => items.iter().map(|item| item.to_json(source)).collect(),
            Content::Map(entries) => {
                entries.iter().map(|(key, node)| (key.value.clone(), node.to_json(source))).collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self { range: bytes(&spanned.referenced), source: bytes(&spanned.defined), content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value, a list or a mapping")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Scalar(Some(text.to_owned())))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_i128<E: Error>(self, _: i128) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_u128<E: Error>(self, _: u128) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_unit<E: Error>(self) -> Result<Content, E> {
                Ok(Content::Scalar(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Content::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Content::Map(entries))
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

impl JsonSchema for Node {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Node".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!(true)
    }
}
