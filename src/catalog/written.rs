//! `catalog.yaml` as people write it. Nothing is resolved here; `check` turns it into a [`Catalog`].
//!
//! The descriptions are what editors show.
//!
//! [`Catalog`]: super::Catalog

use crate::diagnostic::yaml::{At, Named, Node, ShortOr};
use schemars::JsonSchema;
use serde::Deserialize;

/// The mapping of a CRM database: which entities live in which tables, and what their columns mean.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "nudged catalog")]
pub struct CatalogFile {
    /// The version of this format: 1.
    #[schemars(required)]
    pub version: Option<At<u64>>,
    /// The IANA zone of timestamps that carry none, and of people whose zone is not known: `Europe/Vienna`.
    #[schemars(required)]
    pub time_zone: Option<At<String>>,
    /// The language of people whose locale is not known: `de-AT`. If left out: `en`.
    pub locale: Option<At<String>>,
    /// The kinds of records, by the name that rules use.
    #[serde(default)]
    pub entities: Named<At<EntityEntry>>,
    /// Tables of addresses that must never be written to, read before every message.
    #[serde(default)]
    pub suppressions: Vec<At<SuppressionEntry>>,
    /// How tasks are written into the CRM. Without it, tasks go to a list of nudged's own.
    pub tasks: Option<TasksEntry>,
    /// Surveys that mails ask, by the name that rules use: which scores there are, and where answers go.
    #[serde(default)]
    pub surveys: Named<At<QuestionEntry>>,
    /// Several customers' data in one database.
    pub tenants: Option<TenantsEntry>,
    /// Which days are worked, by a name that rules use.
    #[serde(default)]
    pub calendars: Named<At<CalendarEntry>>,
    /// The calendar of rules that name none: one of `calendars`, or a country. Monday to Friday if left out.
    pub calendar: Option<At<String>>,
    /// Tables of codes that `claim` steps take from, one code a row, by a name that rules use.
    #[serde(default)]
    pub pools: Named<At<PoolEntry>>,
}

/// A table of codes, each given away once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolEntry {
    pub table: At<String>,
    /// The column with the code. No two rows may have the same.
    pub code: At<String>,
    /// What marks a code as taken: `{taken_by: $ref, taken_at: $now}`. The column with `$ref` is empty as long as the code is
    /// free; the others take constants, `$now`, `$record.key` and `$record.FIELD`.
    pub taken: Named<Node>,
    /// Which rows belong to the pool: `{campaign: spring}`.
    pub only: Option<Node>,
    /// The rule's owner is told once when no more than so many are left.
    pub low_water: Option<At<u32>>,
}

/// Which days are worked.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CalendarEntry {
    /// Countries and regions whose public holidays are free: `[AT]`, `[DE-BY]`.
    pub holidays: Vec<At<String>>,
    /// A file of `calendars/` with more free days, one date a line.
    pub file: Option<At<String>>,
    /// The days that are worked; Monday to Friday if left out.
    pub workdays: Vec<At<WorkdayWord>>,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum WorkdayWord {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// One kind of record.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntityEntry {
    /// A table or view, `schema.table` or `table`. Case is kept, odd names need no quotes of their own.
    pub table: Option<At<String>>,
    /// Read-only SQL that yields the rows, in place of `table`.
    pub sql: Option<At<String>>,
    /// The rows of other entities, in place of `table`, by entity: activity that is orders and invoices.
    #[serde(default)]
    pub union: Named<At<MemberEntry>>,
    /// Tables that hold more columns of the same record, under the same key.
    #[serde(default)]
    pub parents: Vec<At<ParentEntry>>,
    /// Tables with one row per record and attribute, by a name that fields use: `{custom: {table: …}}`.
    #[serde(default)]
    pub attributes: Named<At<AttributesEntry>>,
    /// The column that names a row for ever: `id`, or `{column: id, type: uuid_binary}`.
    pub key: Option<At<ShortOr<KeyEntry>>>,
    /// Base filter: rows outside it are not records. `{is_active: true, status: [paid, shipped], merged_into: missing}`
    pub only: Option<Node>,
    /// Fields by the name that rules use. Columns that are not listed are reachable by their column name.
    #[serde(default)]
    pub fields: Named<At<ShortOr<FieldEntry>>>,
    /// Ways to related rows.
    #[serde(default)]
    pub relations: Named<At<RelationEntry>>,
    /// Roles that messages and tasks can be sent to.
    #[serde(default)]
    pub recipients: Named<At<RecipientEntry>>,
    /// When the row happened: the time of an order, an answer, a ticket.
    pub at: Option<At<String>>,
    /// When the row last changed. Lets late edits be seen at the next sweep.
    pub updated_at: Option<At<String>>,
    /// Declared fields that say when the record was last heard of: the last order, login or reply. The latest of them
    /// counts for the configuration's `sunset`.
    #[serde(default)]
    pub last_activity: Vec<At<String>>,
    /// The score of a survey response.
    pub score: Option<At<String>>,
    /// The kind of a survey response: a field or column, else a constant that holds for all rows, such as `nps`.
    pub kind: Option<At<String>>,
    /// Set where the rows are people.
    pub person: Option<PersonEntry>,
    /// What people agreed to, by channel: `{email: {offers: news_ok, given_at: news_ok_at}}`. With `write_back: true` beside the
    /// topics, what people say by the links of mails is written there; `write_back: {yes: Y, no: N}` says in which words.
    #[serde(default)]
    pub consent: Named<Node>,
    /// Where the tags are that `update` steps add and remove: a table with one row per record and tag, or a column with all of
    /// them.
    pub tags: Option<At<TagsEntry>>,
}

/// Where tags are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TagsEntry {
    /// A table with one row per record and tag.
    pub table: Option<At<String>>,
    /// Its column that holds our key.
    pub record: Option<At<String>>,
    /// Its column with the tag's text.
    pub tag: Option<At<String>>,
    /// In place of a table: the record's own column with all of its tags.
    pub column: Option<At<String>>,
    /// What stands between tags in a column of text: `","`.
    pub separator: Option<At<String>>,
    /// What list the column holds, if it isn't text with a separator.
    pub list: Option<ListWord>,
}

/// How a column holds a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListWord {
    /// JSON, in a column of that type or of text.
    Json,
    /// An array of PostgreSQL.
    Array,
}

/// What an entity adds to a union.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// The union's fields by the member's: `{customer: account_id, at: issued_on}`. The same for all members.
    pub fields: Named<At<String>>,
    /// Which of its records count here.
    pub only: Option<Node>,
}

/// A table that holds more columns of the same record.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParentEntry {
    pub table: At<String>,
    /// Its column that holds our key.
    pub key: At<String>,
    /// The columns that are read from it, named as if they stood in the entity's own table.
    pub columns: Vec<At<String>>,
}

/// A table with one row per record and attribute.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributesEntry {
    pub table: At<String>,
    /// Its column that holds our key.
    pub record: At<String>,
    /// Its column that names the attribute, or points to its name.
    pub name: At<String>,
    pub value: At<String>,
    /// Which of its rows are about this entity: `{entity_type: customer}`.
    pub only: Option<Node>,
    /// The table of names, where `name` holds a key of it.
    pub names: Option<NamesEntry>,
}

/// Where the names of attributes stand.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamesEntry {
    pub table: At<String>,
    pub key: At<String>,
    pub name: At<String>,
}

/// A key with its type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    pub column: At<String>,
    /// Needed for binary UUIDs; otherwise read from the database.
    #[serde(rename = "type")]
    pub ty: Option<At<TypeWord>>,
}

/// What the cells of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TypeWord {
    Bool,
    /// `Y`/`N`, `t`/`f`, `yes`/`no` or `1`/`0`, kept as text.
    BoolText,
    Int,
    Decimal,
    Float,
    /// Numbers kept as text; what isn't a number is missing.
    NumberText,
    Text,
    /// In the database's own type.
    Uuid,
    UuidText,
    /// 16 bytes in network order.
    UuidBinary,
    Bytes,
    Json,
    Date,
    /// ISO 8601 text.
    DateText,
    /// A point in time. How it is stored is read from the database.
    Instant,
    /// Wall time without a zone.
    InstantNaive,
    /// ISO 8601 text, with or without an offset.
    InstantText,
    EpochSeconds,
    EpochMillis,
}

/// A field with more to say than its column, or one that is computed from related rows.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FieldEntry {
    /// The column; the field's own name if left out.
    pub column: Option<At<String>>,
    /// What its cells are; read from the database if left out.
    #[serde(rename = "type")]
    pub ty: Option<At<TypeWord>>,
    /// Words for stored values: `{vip: [A, A+], standard: [B, C]}`. Rules use the words.
    pub means: Option<Named<Node>>,
    /// Stored values that stand for "missing": `[1900-01-01]`.
    pub missing: Option<Node>,
    /// The IANA zone of a timestamp that carries none.
    pub zone: Option<At<String>>,
    /// ISO 4217 code of an amount: `EUR`.
    pub currency: Option<At<String>>,
    /// Where in the JSON of the column: `plan.seats`, `tags.0`. What isn't of the type is missing.
    pub path: Option<At<String>>,
    /// `attributes.name`: the value of an attribute. What isn't of the type is missing.
    pub attribute: Option<At<String>>,
    /// `relation.field`: a field of the one row that a relation with `to` leads to.
    pub look_up: Option<At<String>>,
    /// An expression in SQL, or one per dialect (`{postgres: …, mysql: …, sqlite: …}`). `$row` is the row.
    pub sql: Option<Node>,
    /// `relation.field`: the sum over related rows.
    pub sum: Option<At<String>>,
    /// A relation: how many related rows there are.
    pub count: Option<At<String>>,
    /// `relation.field`: the smallest.
    pub min: Option<At<String>>,
    /// `relation.field`: the greatest.
    pub max: Option<At<String>>,
    /// `relation.field`: the mean.
    pub average: Option<At<String>>,
    /// Which related rows count; of a column: where it has a value at all, such as `{currency: EUR}`.
    pub only: Option<Node>,
    /// `true`: `update` and `assign` steps may write the column. No other column is ever written.
    pub writable: bool,
}

/// A way from a record to related rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RelationEntry {
    /// The entity of the related rows.
    pub entity: At<String>,
    /// The field of the related row that holds our key.
    pub by: Option<At<String>>,
    /// Our field that holds the related row's key; with `through`, the join table's column that does.
    pub to: Option<At<String>>,
    /// A join table that holds both keys, in the columns `from` and `to`.
    pub through: Option<At<String>>,
    /// The join table's column that holds our key.
    pub from: Option<At<String>>,
    /// Which rows of the join table count: `{role: owner}`.
    pub through_only: Option<Node>,
    /// Several tables on the way, in order. `by` is then the field of the related row that the last one leads to.
    #[serde(default)]
    pub hops: Vec<At<HopEntry>>,
    /// With `hops`: our field that the first table holds, if it isn't our key.
    pub start: Option<At<String>>,
    /// Several ways to the same rows. A row counts once, whichever of them leads to it.
    #[serde(default)]
    pub any_of: Vec<At<WayEntry>>,
    /// Which of our rows have this relation at all: `{parent_type: Account}`.
    pub when: Option<Node>,
    /// Which related rows count: `{status: paid}`.
    pub only: Option<Node>,
}

/// A table on the way to related rows.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HopEntry {
    pub table: At<String>,
    /// Its column that holds what we come from.
    pub from: At<String>,
    /// Its column that leads on.
    pub to: At<String>,
    /// Which of its rows count.
    pub only: Option<Node>,
}

/// One of several ways to the same related rows.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WayEntry {
    /// The field of the related row that holds our key.
    pub by: Option<At<String>>,
    /// Our field that holds the related row's key; with `through`, the join table's column that does.
    pub to: Option<At<String>>,
    /// A join table that holds both keys, in the columns `from` and `to`.
    pub through: Option<At<String>>,
    /// The join table's column that holds our key.
    pub from: Option<At<String>>,
    /// Which rows of the join table count.
    pub through_only: Option<Node>,
    /// Several tables on the way, in order.
    pub hops: Vec<At<HopEntry>>,
    /// With `hops`: our field that the first table holds, if it isn't our key.
    pub start: Option<At<String>>,
}

impl RelationEntry {
    /// The one way that the relation itself names.
    pub(super) fn way(&self) -> WayEntry {
        WayEntry {
            by: self.by.clone(),
            to: self.to.clone(),
            through: self.through.clone(),
            from: self.from.clone(),
            through_only: self.through_only.clone(),
            hops: self.hops.clone(),
            start: self.start.clone(),
        }
    }
}

/// A role: how to find the one person that a message goes to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipientEntry {
    /// The relation whose first row is the person.
    pub first_of: Option<At<String>>,
    /// The record is the person.
    #[serde(rename = "self", default)]
    pub itself: bool,
    /// Which of the related people may be chosen: `{role: billing}`.
    pub only: Option<Node>,
    /// Who comes first: `[is_primary desc, id]`. Rows without a value come first (`nulls last`: last), ties go by key.
    #[serde(default)]
    pub order: Vec<At<String>>,
    /// Asked when nobody was found: another role, or an address.
    #[serde(rename = "else")]
    pub otherwise: Option<At<String>>,
    /// A fixed address, in place of `first_of`.
    pub address: Option<At<String>>,
    /// Our own people: consent and quiet hours don't apply, bounces do.
    #[serde(default)]
    pub staff: bool,
}

/// The columns of people.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PersonEntry {
    pub email: Option<At<String>>,
    pub phone: Option<At<String>>,
    pub first_name: Option<At<String>>,
    pub last_name: Option<At<String>>,
    /// IANA zone of the person.
    pub zone: Option<At<String>>,
    /// Language of the person.
    pub locale: Option<At<String>>,
    /// The field that says how the person would like to be reached: its words are `email`, `sms` and `task`.
    pub channel: Option<At<String>>,
}

/// A table of blocked addresses.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuppressionEntry {
    pub table: At<String>,
    pub email: Option<At<String>>,
    pub phone: Option<At<String>>,
    /// Shown as the reason: `bounce`.
    pub reason: Option<At<String>>,
}

/// How tasks are kept.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TasksEntry {
    /// Which rows of the first table are open tasks: `{status: {not_in: [Done, Cancelled]}}`.
    pub open: Option<Node>,
    /// Rows to insert, in one transaction. The first is the task itself.
    #[serde(default)]
    pub insert: Vec<At<InsertEntry>>,
}

/// A row to insert.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InsertEntry {
    pub table: At<String>,
    /// Constants, or values that nudged supplies: `$uuid`, `$title`, `$body`, `$due`, `$now`, `$ref`,
    /// `$record.key`, `$record.FIELD`, `$assignee.key`, `$assignee.email`, `$1.COLUMN` of the first insert; or
    /// what another table says: `{look_up: {table: crm.statuses, take: id, only: {name: New}}}`. With a fallback,
    /// `{value: $assignee.key, else: 1}`; in a column of numbers, `{value: $now, type: epoch_seconds}`.
    pub set: Named<Node>,
}

/// A survey that mails ask.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuestionEntry {
    /// The scores that can be given: `0..10`, which is also the default, or `1..5`.
    pub scale: Option<At<String>>,
    /// How long an answer may be changed: `7 days`, which is also the default.
    pub change_within: Option<At<String>>,
    /// The row of an answer: constants, or `$score`, `$comment`, `$now`, `$ref`, `$uuid`, `$record.key`, `$record.FIELD`.
    pub insert: At<InsertEntry>,
}

/// Tenants and how a transaction is bound to one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantsEntry {
    pub names: Vec<At<String>>,
    /// SQL run at the start of every transaction, with `$tenant` in it: `SET app.tenant = $tenant`.
    pub per_transaction: Option<At<String>>,
}
