//! The two questions every rule asks its source, on real SQLite, PostgreSQL and MariaDB.

mod abandoned;
mod cast;
mod created;
mod episodes;
mod facts;
mod firsts;
mod form;
mod inactivity;
mod lists;
mod open;
mod operators;
mod others;
mod query;
mod silence;
pub mod world;
mod yearly;
