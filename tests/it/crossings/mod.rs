//! The two questions every rule asks its source, on real SQLite, PostgreSQL and MariaDB.

mod facts;
mod inactivity;
mod others;
mod silence;
pub mod world;
