//! The state database: SQLite by default, PostgreSQL when several nodes share the work.
//!
//! Both are one implementation: [`State`] does what the engine's port asks, the files in `table` hold the
//! SQL of one table each, `sql` levels the few differences of the dialects, and a `Database` says how a
//! transaction is had. A batch is one statement per table, never a query per record. The idea of an
//! outbox beside the ledger, and of completing in bulk, is from River; keeping the queue's SQL on one
//! page from the worker of crates.io.
//!
//! It decides nothing about rules, and it never logs what it stores.

mod answers;
mod consents;
mod copying;
mod database;
mod deliveries;
mod dispatch;
mod faces;
mod inbox;
mod journal;
mod ledger;
mod migration;
mod personal;
mod places;
pub mod postgres;
mod reactions;
mod register;
mod safety;
mod sql;
pub mod sqlite;
mod state;
mod table;
mod unwanted;
pub mod witness;
mod writes;

pub use copying::copy;
pub use database::Database;
pub use journal::{JournalPlace, Replayed, is_journal_of};
pub use state::State;
