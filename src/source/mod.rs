//! The CRM database: PostgreSQL, MySQL or MariaDB, SQLite.
