//! The state database: SQLite by default, PostgreSQL when several nodes share the work.
