//! The mapping of the source: which entities live in which tables, their keys, fields, relations,
//! recipients and consent.
//!
//! `written` is the YAML as people write it; [`Catalog`] is the checked form that everything later uses.

mod check;
mod checked;
pub mod draft;
mod drift;
mod held;
mod literal;
mod resolve;
mod schema;
pub mod written;

pub use check::{ColumnUse, IN_WORDS, Reading, WORDS_HELP, read, read_with};
pub use draft::{Inventory, Listed, Reference};
pub use drift::{Habits, drift, way_out_of_array};

pub use checked::{
    Aggregate, AggregateFunction, Attribute, Catalog, Column, ColumnType, Consent, ConsentTest, DateStorage, Entity,
    Expression, Field, Filter, FilterTest, Hop, Insert, InsertValue, InstantStorage, Join, KeyType, ListForm, Literal,
    LookUp, Member, Origin, OwnSql, Parent, Path, Person, PickOne, Place, Pool, Question, Rank, Recipient, Relation,
    RowLookUp, SuppressionTable, Table, TagList, Tags, Tasks, Tenants, UuidStorage,
};
pub use literal::{Misfit, instant, value};
pub use resolve::common_type;
pub use schema::{ColumnSchema, Index, Schema, TableKind, TableSchema};
