//! The two questions every rule asks its source, on real SQLite, PostgreSQL and MariaDB.

mod inactivity;
mod silence;
mod world;
