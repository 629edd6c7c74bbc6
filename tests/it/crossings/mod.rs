//! The two questions every rule asks its source, on real SQLite, PostgreSQL and MariaDB.

mod facts;
mod inactivity;
mod silence;
mod world;
