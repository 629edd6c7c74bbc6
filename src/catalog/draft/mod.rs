//! A first catalog from what a database says of itself: keys, foreign keys, and what the names of columns suggest.
//! Every guess is a guess; the file says which they are.

mod guess;
mod join;
mod key;
mod side;
mod tasks;
mod words;
mod write;

use super::{Schema, Table};

pub use guess::draft;
pub use write::render;

/// What a database holds, as far as this login may read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    pub tables: Vec<Listed>,
}

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub table: Table,
    pub view: bool,
    /// The columns of its primary key.
    pub key: Vec<String>,
    pub references: Vec<Reference>,
}

/// A foreign key of one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub column: String,
    pub table: Table,
}

/// What a draft is made from.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a> {
    pub inventory: &'a Inventory,
    pub schema: &'a Schema,
}

/// A catalog to be, with the reasons for what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    pub time_zone: String,
    pub entities: Vec<Entity>,
    pub suppressions: Vec<(Table, String)>,
    /// A table that looks like one of tasks.
    pub tasks: Option<Tasks>,
    /// Tables that can't be entities, and why.
    pub left_out: Vec<(Table, String)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entity {
    pub name: String,
    pub table: Option<Table>,
    pub key: String,
    pub key_from: KeyFrom,
    /// The table whose rows this one has more columns of.
    pub main: Option<Side>,
    /// Tables that have more columns of this one's rows.
    pub sides: Vec<Side>,
    /// Field and test, as they are written.
    pub only: Vec<(String, String)>,
    /// `only` takes in rows whose mark was never set.
    pub unset: bool,
    pub fields: Vec<Field>,
    pub relations: Vec<Relation>,
    pub recipients: Vec<Recipient>,
    pub at: Option<String>,
    pub updated_at: Option<String>,
    pub score: Option<String>,
    pub kind: Option<String>,
    /// Role of [`super::written::PersonEntry`] and column.
    pub person: Vec<(&'static str, String)>,
    /// Channel, `true` for a column that says yes, and the column.
    pub consent: Vec<(&'static str, bool, String)>,
    /// Columns that look like amounts of money.
    pub amounts: Vec<String>,
    /// Dates that reminders may count from.
    pub dates: Vec<String>,
}

/// Why a column is taken for the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyFrom {
    #[default]
    Primary,
    /// Unique and never null; there is no primary key.
    Unique,
    /// As that, beside a primary key of several columns.
    UniqueBesideSeveral,
    /// Unique and computed by the database, which doesn't say that it is never null.
    Generated,
    /// Its name alone: nothing says that it names one row.
    Name,
}

/// A table that holds other columns of the same rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    pub table: Table,
    pub key: String,
    /// What there is to take from it.
    pub columns: Vec<String>,
    /// Which of its rows count, as far as the other table doesn't say.
    pub only: Vec<(String, String)>,
    /// A foreign key says so.
    pub certain: bool,
}

/// A table that looks like one of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tasks {
    pub table: Table,
    /// Column and what goes there.
    pub set: Vec<(String, &'static str)>,
    /// What no column was found for.
    pub homeless: Vec<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub column: String,
    pub ty: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    pub name: String,
    pub entity: String,
    pub way: Way,
    /// From the name of a column, not from a foreign key.
    pub guessed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    By(String),
    To(String),
    Through { table: Table, from: String, to: String, only: Vec<(String, String)> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    pub name: String,
    /// `None`: the record is the person.
    pub first_of: Option<String>,
    pub order: Option<String>,
    pub staff: bool,
}

impl Entity {
    /// Whether its rows can be acted on by themselves: not where only names say that they are parts of other rows, which may
    /// be deleted.
    #[must_use]
    pub fn can_stand_alone(&self) -> bool {
        self.main.as_ref().is_none_or(|main| main.certain)
    }
}

impl Draft {
    #[must_use]
    pub fn entity(&self, name: &str) -> Option<&Entity> {
        self.entities.iter().find(|entity| entity.name == name)
    }
}
