//! The two questions every rule asks its source, on real SQLite, PostgreSQL and MariaDB.

mod abandoned;
mod created;
mod episodes;
mod facts;
mod form;
mod inactivity;
mod others;
mod query;
mod silence;
pub mod world;
mod yearly;
