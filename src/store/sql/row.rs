//! A row of the state as read back. The state knows only three types (integers, text, bytes), so one row
//! type serves both databases.

use super::{Param, StoreError};
use jiff::Timestamp;

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// One row, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub(super) Vec<Cell>);

/// A value that is not of the type its column should have: the state was changed by something else.
fn strange(index: usize, expected: &str) -> StoreError {
    StoreError::Broken(format!("column {index} of an answer is not {expected}: was the state edited by hand?"))
}

impl Row {
    pub fn is_null(&self, index: usize) -> bool {
        matches!(self.0.get(index), None | Some(Cell::Null))
    }

    /// The value as it is, for another statement; what is null has no type here, and needs none.
    pub fn param(&self, index: usize) -> Param {
        match self.0.get(index) {
            None | Some(Cell::Null) => Param::Int(None),
            Some(Cell::Int(value)) => Param::Int(Some(*value)),
            Some(Cell::Text(text)) => Param::Text(Some(text.clone())),
            Some(Cell::Bytes(bytes)) => Param::Bytes(Some(bytes.clone())),
        }
    }

    pub fn int(&self, index: usize) -> Result<i64, StoreError> {
        if let Some(Cell::Int(value)) = self.0.get(index) { Ok(*value) } else { Err(strange(index, "an integer")) }
    }

    pub fn opt_int(&self, index: usize) -> Result<Option<i64>, StoreError> {
        if self.is_null(index) { Ok(None) } else { self.int(index).map(Some) }
    }

    /// A count, an index: whatever can't be negative.
    pub fn count(&self, index: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(index)?).map_err(|_| strange(index, "a count"))
    }

    pub fn text(&mut self, index: usize) -> Result<String, StoreError> {
        self.opt_text(index)?.ok_or_else(|| strange(index, "text"))
    }

    /// Takes the text out of the row.
    pub fn opt_text(&mut self, index: usize) -> Result<Option<String>, StoreError> {
        match self.0.get_mut(index).map(|cell| std::mem::replace(cell, Cell::Null)) {
            None | Some(Cell::Null) => Ok(None),
            Some(Cell::Text(text)) => Ok(Some(text)),
            Some(_) => Err(strange(index, "text")),
        }
    }

    pub fn bytes(&self, index: usize) -> Result<&[u8], StoreError> {
        if let Some(Cell::Bytes(bytes)) = self.0.get(index) { Ok(bytes) } else { Err(strange(index, "bytes")) }
    }

    pub fn id(&self, index: usize) -> Result<[u8; 16], StoreError> {
        self.bytes(index)?.try_into().map_err(|_| strange(index, "16 bytes"))
    }

    pub fn opt_id(&self, index: usize) -> Result<Option<[u8; 16]>, StoreError> {
        if self.is_null(index) { Ok(None) } else { self.id(index).map(Some) }
    }

    pub fn instant(&self, index: usize) -> Result<Timestamp, StoreError> {
        Timestamp::from_microsecond(self.int(index)?).map_err(|_| strange(index, "an instant"))
    }

    pub fn opt_instant(&self, index: usize) -> Result<Option<Timestamp>, StoreError> {
        if self.is_null(index) { Ok(None) } else { self.instant(index).map(Some) }
    }

    pub fn json(&mut self, index: usize) -> Result<serde_json::Value, StoreError> {
        let text = self.opt_text(index)?;
        text.map_or(Ok(serde_json::Value::Null), |text| serde_json::from_str(&text).map_err(|_| strange(index, "JSON")))
    }
}
