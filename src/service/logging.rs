//! Where log lines go: the journal, a terminal, or JSON lines. `docs/logging.md` says what is in them.

use crate::config::{LogFormat, LogOptions};
use std::io::IsTerminal;
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log.level: {0}; write a level such as `info`, or directives such as `info,nudged::engine=debug`")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    #[error("log.format = \"journald\", but the journal can't be reached: {0}")]
    Journal(std::io::Error),
    #[error("a log is set up already")]
    Twice,
}

/// Sets up the log of this process, on stderr or in the journal. Once per process.
pub fn init(options: &LogOptions) -> Result<(), LoggingError> {
    let filter = filter(&options.level)?;
    let layer = layer(options.format)?;
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|_| LoggingError::Twice)
}

/// Parsers of HTML tell at debug level what they read: whole messages, with their readers' links. On no level is that
/// anybody's business.
fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    let mut filter = EnvFilter::try_new(level)?;
    for reads_messages in ["html5ever", "markup5ever", "selectors", "cssparser", "css_inline", "html2text", "mrml"] {
        filter = filter.add_directive(format!("{reads_messages}=warn").parse()?);
    }
    Ok(filter)
}

fn layer<S>(format: LogFormat) -> Result<Box<dyn Layer<S> + Send + Sync>, LoggingError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let terminal = std::io::stderr().is_terminal();
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some() && !terminal;
    Ok(match format {
        LogFormat::Journald => journal().map_err(LoggingError::Journal)?,
        LogFormat::Auto if under_systemd => match journal() {
            Ok(layer) => layer,
            Err(_) => json(),
        },
        LogFormat::Text => text(terminal),
        LogFormat::Auto if terminal => text(true),
        LogFormat::Auto | LogFormat::Json => json(),
    })
}

/// Fields become RULE=, RECORD=, DELIVERY=: `journalctl RULE=win-back-90` finds them.
fn journal<S>() -> std::io::Result<Box<dyn Layer<S> + Send + Sync>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_journald::layer()?.with_field_prefix(None).with_syslog_identifier("nudged".to_owned());
    Ok(Box::new(layer))
}

fn text<S>(color: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let color = color && std::env::var_os("NO_COLOR").is_none();
    Box::new(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color).with_target(false))
}

fn json<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    Box::new(layer.with_current_span(false).with_span_list(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_level_shows_what_messages_hold() {
        for level in ["debug", "trace", "info,nudged::engine=debug", "html5ever=trace"] {
            let filter = filter(level).unwrap().to_string();
            assert!(filter.contains("html5ever=warn") && !filter.contains("html5ever=trace"), "{filter}");
        }
    }
}
