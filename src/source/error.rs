//! sqlx's errors, told apart by one question: may the same statement succeed later? Texts that can hold
//! values of records stay behind.

use crate::engine::port::SourceError;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// Classifies an error. `server` reads the database's own codes.
pub(super) fn classify(error: sqlx::Error, server: impl Fn(&dyn DatabaseError) -> SourceError) -> SourceError {
    match error {
        sqlx::Error::Database(error) => server(error.as_ref()),
        sqlx::Error::Configuration(problem) => SourceError::Refused(format!("the URL is not valid: {problem}")),
        sqlx::Error::PoolTimedOut => SourceError::Unavailable(
            "no connection in time; does it run where `source.url` says, and let us in? Or are all of \
             `source.connections` taken?"
                .to_owned(),
        ),
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            SourceError::Refused("a value could not be carried to or from the database".to_owned())
        }
        // Io, TLS, protocol, a closed pool: the connection, not the statement.
        other => SourceError::Unavailable(other.to_string()),
    }
}

/// By the class of an SQLSTATE. Only class 42 (names, syntax, permissions) is sure to quote no values.
pub(super) fn by_state(error: &dyn DatabaseError) -> SourceError {
    let state = error.code().unwrap_or_default().into_owned();
    let message = error.message();
    // A prepared statement outlived a change of its tables: a new connection prepares it again.
    if state == "0A000" && message.contains("cached plan") {
        return SourceError::Unavailable(format!("{message} ({state})"));
    }
    match state.get(..2).unwrap_or_default() {
        "57" if state == "57014" => SourceError::Unavailable("the statement ran too long".to_owned()),
        // Of a value whose bytes aren't what its column takes; what stands in between says so of its connections, fatally.
        "08" if state == "08P01" && !is_fatal(error) => {
            SourceError::Refused(format!("a value is not of the type that its column takes ({state})"))
        }
        "08" | "40" | "53" | "55" | "57" | "58" => SourceError::Unavailable(format!("{message} ({state})")),
        "28" | "3D" | "42" | "0A" => SourceError::Refused(format!("{message} ({state})")),
        "22" => SourceError::Refused(format!("a value does not fit its type (SQLSTATE {state}{})", about(error))),
        "23" => {
            SourceError::Refused(format!("a constraint of the table was violated (SQLSTATE {state}{})", about(error)))
        }
        _ => SourceError::Refused(format!("SQLSTATE {state}{}", about(error))),
    }
}

fn is_fatal(error: &dyn DatabaseError) -> bool {
    let severity = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
    matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
}

/// The names that PostgreSQL gives apart from the message, which may quote values.
fn about(error: &dyn DatabaseError) -> String {
    let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else { return String::new() };
    let names = [("table", error.table()), ("column", error.column()), ("constraint", error.constraint())];
    names.iter().filter_map(|(what, name)| Some(format!(", {what} `{}`", (*name)?))).collect()
}
