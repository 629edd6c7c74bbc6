//! The checked catalog: every name resolved, every type known or explicitly unknown.

use crate::model::{
    BusinessCalendar, EntityName, FieldName, Locale, Period, RelationName, RoleName, Tenant, Topic, Value,
};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

/// The whole mapping. Immutable; part of a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalog {
    /// Of naive timestamps and of records without a zone.
    pub time_zone: TimeZone,
    /// Of people whose locale isn't known: how messages write dates and numbers.
    pub locale: Locale,
    pub entities: BTreeMap<EntityName, Entity>,
    pub suppressions: Vec<SuppressionTable>,
    /// `None`: tasks go to the built-in list in the state.
    pub tasks: Option<Tasks>,
    /// Surveys that mails ask, by name.
    pub surveys: BTreeMap<String, Question>,
    pub tenants: Option<Tenants>,
    /// Which days are worked, by name.
    pub calendars: BTreeMap<String, BusinessCalendar>,
    /// Of rules that name none.
    pub usual_calendar: BusinessCalendar,
    /// Tables of codes, by name.
    pub pools: BTreeMap<String, Pool>,
}

/// A table of codes, each given away once.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub table: Table,
    pub code: Column,
    /// Holds the delivery that took the code; empty while it is free.
    pub reference: Column,
    /// What else is written when a code is taken.
    pub marks: Vec<(Column, InsertValue)>,
    pub only: Vec<Filter>,
    pub low_water: Option<u32>,
}

/// A table with one row per record and tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Tags {
    pub table: Table,
    /// Holds the record's key.
    pub record: Column,
    pub tag: Column,
}

/// A column of the record with all of its tags.
#[derive(Debug, Clone, PartialEq)]
pub struct TagList {
    pub column: Column,
    pub form: ListForm,
}

/// How the column holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListForm {
    /// Text, with this between them.
    Separated(String),
    Json,
    /// An array of PostgreSQL; JSON in any other database.
    Array,
}

impl Catalog {
    /// A calendar of the catalog, or the bundled one of a country: `AT`.
    #[must_use]
    pub fn calendar(&self, name: &str) -> Option<BusinessCalendar> {
        self.calendars.get(name).cloned().or_else(|| BusinessCalendar::bundled(name))
    }

    #[must_use]
    pub fn entity(&self, name: &EntityName) -> Option<&Entity> {
        self.entities.get(name)
    }
}

/// A kind of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    pub name: EntityName,
    pub origin: Origin,
    /// Tables whose row with the same key belongs to the record: inheritance. A row without it is no record.
    pub parents: Vec<Parent>,
    pub key: Column,
    pub key_type: KeyType,
    /// Base filter: rows outside are not records.
    pub only: Vec<Filter>,
    /// Declared fields. Others are reachable by their column name once the live schema is known.
    pub fields: BTreeMap<FieldName, Field>,
    /// Those of them that the live tables have no column for (any more).
    pub gone: BTreeSet<FieldName>,
    /// Those of them that the catalog doesn't declare: columns of the live tables, or taken for such.
    pub undeclared: BTreeSet<FieldName>,
    pub relations: BTreeMap<RelationName, Relation>,
    pub recipients: BTreeMap<RoleName, Recipient>,
    /// When the row happened: orders, responses, tickets.
    pub at: Option<FieldName>,
    /// When the row last changed, if the source keeps it.
    pub updated_at: Option<FieldName>,
    /// The latest of these says when the record was last heard of; none: nobody knows.
    pub last_activity: Vec<FieldName>,
    pub score: Option<FieldName>,
    /// The survey kind: a constant or a column, as written.
    pub survey_kind: Option<String>,
    /// Set where rows of this entity are people that can be written to.
    pub person: Option<Person>,
    pub consent: Vec<Consent>,
    /// Fields that steps may write.
    pub writable: BTreeSet<FieldName>,
    pub tags: Option<Tags>,
    /// In place of a table.
    pub tag_list: Option<TagList>,
}

impl Entity {
    /// Whether conditions mean a field by `score`: one that is declared under that name, or the one that the catalog names
    /// so. What a rule means must not change with the tables, or with whether they are at hand.
    #[must_use]
    pub fn has_score_field(&self) -> bool {
        self.score.is_some() || (self.fields.contains_key("score") && !self.undeclared.contains("score"))
    }
}

/// Where an entity's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A table or a view.
    Table(Table),
    /// Read-only SQL written by the admin.
    Sql(String),
    /// The rows of other entities, one after the other: activity that is orders and invoices.
    Union(Vec<Member>),
}

/// What one entity adds to a union.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    pub entity: EntityName,
    /// The union's field, and the member's that fills it. The same names in the same order for all members.
    pub fields: Vec<(FieldName, FieldName)>,
    /// Which of its records count here.
    pub only: Vec<Filter>,
}

/// A table that holds more columns of the same record.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent {
    pub table: Table,
    /// Its column that holds our key.
    pub key: Column,
}

/// A possibly schema-qualified name, case kept; always quoted in SQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    pub schema: Option<String>,
    pub name: String,
}

/// For people; SQL quotes it by dialect.
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A column and what its cells mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: ColumnType,
    /// Values that stand for "missing" in this column: `1900-01-01`.
    pub missing: Vec<Literal>,
    pub place: Place,
    /// Declared as a whole number, and kept in what may hold others, which are missing then.
    pub whole: bool,
    /// The only words that the database lets it hold; none where it lets it hold any text.
    pub labels: Vec<String>,
    /// Text that the database fills up with blanks; see [`super::ColumnSchema`].
    pub padded: bool,
    /// As the database spells its type, once it has been asked.
    pub declared: Option<String>,
}

impl Column {
    /// The SQL of the catalog's own that it is read by.
    #[must_use]
    pub fn own_sql(&self) -> Option<&OwnSql> {
        match &self.place {
            Place::Sql(sql) => Some(sql),
            Place::Json(inner, _) | Place::Where(inner, _) | Place::Number(inner) => inner.own_sql(),
            Place::Row | Place::Parent(_) | Place::Attribute(_) | Place::LookUp(_) => None,
        }
    }

    /// A column of the row itself, of a type that isn't known yet.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ty: ColumnType::Unknown,
            missing: Vec::new(),
            place: Place::Row,
            whole: false,
            labels: Vec::new(),
            padded: false,
            declared: None,
        }
    }
}

/// Where a value stands, as seen from a row of the entity.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Place {
    #[default]
    Row,
    /// A column of the entity's parent table of this number.
    Parent(usize),
    /// Within the JSON that a column holds: keys, and positions in lists.
    Json(Box<Column>, Vec<String>),
    /// The value of an attribute, one row per record and name.
    Attribute(Box<Attribute>),
    /// A cell of the one row that a field of ours names.
    LookUp(Box<LookUp>),
    /// SQL written by the admin, by dialect.
    Sql(OwnSql),
    /// A value only where these hold: an amount where the row's currency is euros.
    Where(Box<Column>, Vec<Filter>),
    /// Text that is read as a number: seconds in a column of text.
    Number(Box<Column>),
}

/// A row of an entity-attribute-value table.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    pub table: Table,
    /// Its column that holds our key.
    pub record: Column,
    pub value: Column,
    /// Names the attribute, and narrows the rows further.
    pub only: Vec<Filter>,
    /// Our key.
    pub key: Column,
}

/// Another entity's cell, by a field of ours that holds its key.
#[derive(Debug, Clone, PartialEq)]
pub struct LookUp {
    pub entity: EntityName,
    pub cell: Column,
    /// Our column that holds its key.
    pub by: Column,
    /// The relation's filter.
    pub only: Vec<Filter>,
}

/// An expression in the SQL of each dialect it was written for; `$row` stands for the row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnSql {
    pub postgres: Option<String>,
    pub mysql: Option<String>,
    pub sqlite: Option<String>,
}

/// Storage and meaning of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// Not declared and not yet read from the live schema.
    Unknown,
    /// The database's own booleans; on MySQL and SQLite numbers that mean them.
    Bool,
    /// Booleans kept as text or bits: `Y`/`N`, `t`/`f`, `yes`/`no`, `1`/`0`. What is neither is null.
    BoolText,
    Int,
    Decimal,
    Float,
    /// Numbers kept as text. Text that isn't a number is null.
    NumberText,
    Text,
    Uuid(UuidStorage),
    Bytes,
    Json,
    Date(DateStorage),
    Instant(InstantStorage),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UuidStorage {
    Native,
    Text,
    /// 16 bytes in network order.
    Binary,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DateStorage {
    Native,
    /// ISO 8601 text.
    Text,
}

/// How a column keeps a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstantStorage {
    /// `timestamptz`, or MySQL's `TIMESTAMP` read in UTC.
    Native,
    /// Wall time without a zone, in the given zone.
    Naive(TimeZone),
    /// ISO 8601 text, `T` or a blank in the middle; the zone applies where the text has no offset.
    Text(TimeZone),
    EpochSeconds,
    EpochMillis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyType {
    Unknown,
    Int,
    Text,
    /// Text in a column that fills it up with blanks. They are no part of the key.
    Padded,
    Uuid(UuidStorage),
    Bytes,
}

/// A constant as written, with the value it has for its column's type (set once the type is known).
#[derive(Debug, Clone, PartialEq)]
pub struct Literal {
    pub text: String,
    pub value: Value,
}

/// A field of an entity, by its catalog name.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub name: FieldName,
    pub expression: Expression,
    /// Of amounts; comparing across currencies is an error.
    pub currency: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    Column(Column),
    /// Stored values renamed to the words rules use: `vip` for `A` and `A+`.
    Means {
        column: Column,
        words: Vec<(String, Vec<Literal>)>,
    },
    Aggregate(Aggregate),
}

/// A computed field over a relation.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    pub function: AggregateFunction,
    pub relation: RelationName,
    /// The related field; `None` for `count`.
    pub field: Option<FieldName>,
    pub only: Vec<Filter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateFunction {
    Count,
    Sum,
    Min,
    Max,
    Average,
}

/// A constant filter written in the catalog: `status: [paid, shipped]`. All of a list must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    pub column: Column,
    pub test: FilterTest,
}

#[derive(Debug, Clone, PartialEq)]
pub enum FilterTest {
    /// One of these; `missing` in the list is an empty text.
    In(Vec<Literal>),
    /// Present and none of these.
    NotIn(Vec<Literal>),
    Missing,
    Present,
}

/// A way from a record to related rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub name: RelationName,
    pub entity: EntityName,
    pub join: Join,
    /// Which of our rows have it at all: `{parent_type: account}`.
    pub when: Vec<Filter>,
    pub only: Vec<Filter>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Join {
    /// The related row holds our key in this field.
    By(FieldName),
    /// We hold the related row's key in this field (many to one).
    To(FieldName),
    /// Tables between us lead there.
    Through(Path),
    /// Stored in several ways: a row counts once, whichever of them leads to it.
    AnyOf(Vec<Join>),
}

/// A way over tables that are no entities.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Our field that the first table holds; our key if there is none.
    pub start: Option<FieldName>,
    /// At least one.
    pub hops: Vec<Hop>,
    /// Their field that holds what the last table leads to; their key if there is none.
    pub end: Option<FieldName>,
}

impl Path {
    /// The one table between two keys, where that is all there is.
    pub fn only_hop(&self) -> Option<&Hop> {
        match (&self.start, self.hops.as_slice(), &self.end) {
            (None, [hop], None) => Some(hop),
            _ => None,
        }
    }
}

/// One table on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Hop {
    pub table: Table,
    pub from: Column,
    pub to: Column,
    pub only: Vec<Filter>,
}

/// Who a message goes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipient {
    pub name: RoleName,
    pub pick: Option<PickOne>,
    /// Our own people: only bounces matter.
    pub staff: bool,
    /// Asked when `pick` finds nobody.
    pub otherwise: Option<RoleName>,
    /// A fixed address when nobody else is found.
    pub fixed: Option<String>,
}

/// The first related person after filter and order.
#[derive(Debug, Clone, PartialEq)]
pub struct PickOne {
    /// `None`: the record is the person.
    pub relation: Option<RelationName>,
    pub only: Vec<Filter>,
    /// Then the key.
    pub order: Vec<Rank>,
}

/// What people are ordered by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rank {
    pub column: Column,
    pub descending: bool,
    /// Rows without a value come last and not first.
    pub nulls_last: bool,
}

/// The columns of an entity whose rows are people.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Person {
    pub email: Option<Column>,
    pub phone: Option<Column>,
    pub first_name: Option<Column>,
    pub last_name: Option<Column>,
    pub zone: Option<Column>,
    pub locale: Option<Column>,
    /// Says `email`, `sms` or `task`: how they would like to be reached.
    pub channel: Option<FieldName>,
}

/// What a person has agreed to, on one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Consent {
    /// `email` or `phone`.
    pub channel: String,
    /// `None`: any topic.
    pub topic: Option<Topic>,
    pub test: ConsentTest,
    pub given_at: Option<Column>,
    /// What is written for a yes and for a no that people say by the links of mails; `None`: nothing is.
    pub write_back: Option<(Literal, Literal)>,
}

/// Missing or null consent means no.
#[derive(Debug, Clone, PartialEq)]
pub enum ConsentTest {
    /// This column is true.
    Is(Column),
    /// This column is false: `do_not_call`.
    Not(Column),
}

/// A table of addresses that must not be written to, read at send.
#[derive(Debug, Clone, PartialEq)]
pub struct SuppressionTable {
    pub table: Table,
    pub email: Option<Column>,
    pub phone: Option<Column>,
    pub reason: Option<String>,
}

/// A survey that mails ask, and the row that an answer becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub lowest: i64,
    pub highest: i64,
    /// How long an answer may be changed.
    pub change_within: Period,
    pub insert: Insert,
}

/// How tasks are written into the CRM's own tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Tasks {
    /// Which rows are open tasks, for `unless_open`.
    pub open: Vec<Filter>,
    /// One transaction, in this order. The first is the task itself and must set the reference.
    pub inserts: Vec<Insert>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    pub table: Table,
    pub set: Vec<(Column, InsertValue)>,
}

/// What nudged puts into a column: a constant as written or a `$name`.
#[derive(Debug, Clone, PartialEq)]
pub enum InsertValue {
    Constant(Literal),
    Uuid,
    Title,
    Body,
    Due,
    Now,
    /// The idempotency reference: the delivery id.
    Ref,
    RecordKey,
    RecordField(FieldName),
    /// A cell of another table: the id of the status `New`.
    LookUp(Box<RowLookUp>),
    AssigneeKey,
    AssigneeEmail,
    /// Of an answer.
    Score,
    /// What was said beside it.
    Comment,
    /// A value that an earlier insert of the same transaction used: `$1.id`.
    Earlier {
        insert: usize,
        column: String,
    },
    /// The first of two, and the second where that is null.
    Else(Box<(InsertValue, InsertValue)>),
}

impl InsertValue {
    /// What it can come from: itself, or both where one stands in for the other.
    pub fn parts(&self) -> impl Iterator<Item = &Self> {
        let (first, second) = match self {
            Self::Else(both) => (&both.0, Some(&both.1)),
            alone => (alone, None),
        };
        std::iter::once(first).chain(second)
    }
}

/// The first row of a table whose columns have these values.
#[derive(Debug, Clone, PartialEq)]
pub struct RowLookUp {
    pub table: Table,
    pub take: Column,
    pub only: Vec<(Column, InsertValue)>,
}

/// Several customers' data in one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenants {
    pub names: Vec<Tenant>,
    /// Run at the start of every transaction with the tenant bound: `SET app.tenant = …`.
    pub per_transaction: Option<String>,
}
