//! From text and environment to a [`Config`], or to findings that point into the file.

use super::{Config, ConfigError, REFERENCE, mask, overlay, paths, secret};
use crate::diagnostic::{Finding, Place, SourceFile};
use serde::Deserialize;
use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue, Deserializer};

/// The environment variables as they were at one moment, so that tests bring their own.
#[derive(Debug, Clone, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Those of this process. Variables that are not text are left out.
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    pub fn none() -> Self {
        Self::default()
    }

    pub fn of(variables: &[(&str, &str)]) -> Self {
        Self(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// Whether secrets are needed: a check in a build pipeline has none and connects to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    Resolve,
    /// Leave `env:NAME` and the like as they are written.
    Leave,
}

/// Reads a file, or the embedded reference where there is none.
pub fn read(path: Option<&Path>, environment: &Environment, secrecy: Secrecy) -> Result<Config, ConfigError> {
    let Some(path) = path else { return load("(built-in config.toml)", REFERENCE, false, environment, secrecy) };
    let unreadable = |error| ConfigError::Unreadable { path: path.to_owned(), error };
    let text = read_bounded(path).map_err(unreadable)?;
    let shared = readable_by_others(path).map_err(unreadable)?;
    let mut config = load(&path.to_string_lossy(), &text, shared, environment, secrecy)?;
    if let Some(folder) = path.parent() {
        paths::anchor(&mut config, folder);
    }
    Ok(config)
}

/// A configuration is never that large.
const MAX_BYTES: u64 = 1024 * 1024;

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells "too large" from "just fits".
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o077 != 0)
}

/// Reads a text. `shared`: others than the owner may read it, so it must hold no plain secret.
pub fn load(
    name: &str,
    text: &str,
    shared: bool,
    environment: &Environment,
    secrecy: Secrecy,
) -> Result<Config, ConfigError> {
    let file = Arc::new(SourceFile { path: name.to_owned(), text: mask::mask(text) });
    let overrides = overlay::overrides(&environment.0);
    let mut root = DeTable::parse(text).map_err(|error| ConfigError::Wrong(vec![syntax(&error, &file)]))?;
    overlay::apply(root.get_mut(), &overrides, text.len());
    let mut findings = Vec::new();
    if secrecy == Secrecy::Resolve {
        let mut secrets = Secrets { file: &file, environment, shared, findings: &mut findings };
        secrets.resolve(root.get_mut(), &mut Vec::new());
    }
    match Config::deserialize(Deserializer::from(root)) {
        Ok(config) if findings.is_empty() => return Ok(config),
        Ok(_) => {}
        Err(error) => findings.push(shape(&error, text, &file, &overrides)),
    }
    Err(ConfigError::Wrong(findings))
}

fn syntax(error: &toml::de::Error, file: &Arc<SourceFile>) -> Finding {
    let finding = Finding::error("config.syntax", one_line(error.message()));
    place(finding.help("texts stand in quotes: `level = \"info\"`; sections in brackets: `[log]`"), error.span(), file)
}

/// An unknown key, a wrong type, a missing or senseless value.
fn shape(error: &toml::de::Error, text: &str, file: &Arc<SourceFile>, overrides: &[(&str, &str)]) -> Finding {
    let end = text.len();
    let hidden = error.span().is_some_and(|span| span.start >= end || text.get(span.clone()) != file.text.get(span));
    let message = one_line(error.message());
    let message = if hidden { without_value(&message) } else { message };
    let unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let code = if unknown { "config.unknown-key" } else { "config.value" };
    let mut finding = Finding::error(code, message.clone());
    if let Some(near) = nearest_of(&message) {
        finding = finding.help(format!("did you mean `{near}`?"));
    } else if message.ends_with("expected a string") {
        finding = finding.help("write it in quotes");
    } else if code == "config.value" {
        finding = finding.help("`nudged schema config --reference` shows every key with its kind and default");
    }
    match error.span() {
        Some(span) if span.start > end => {
            let variable = overrides.get(span.start - end - 1).map_or("the environment", |(name, _)| name);
            Finding { message: format!("{message} (from the environment variable {variable})"), ..finding }
        }
        span => place(finding, span, file),
    }
}

fn place(finding: Finding, span: Option<Range<usize>>, file: &Arc<SourceFile>) -> Finding {
    match span {
        Some(range) => finding.at(Place { file: Arc::clone(file), range }),
        None => finding,
    }
}

/// Serde quotes the value that it can't use, which may be a secret: ``invalid type: integer `4711`, expected a string``.
fn without_value(message: &str) -> String {
    let quoted = |message: &str| {
        let (kind, rest) = message.strip_prefix("invalid ")?.split_once(": ")?;
        let expected = rest.rfind(", expected ")?;
        let what = rest[..expected].split(['`', '"']).next().unwrap_or_default().trim();
        Some(format!("invalid {kind}: {what}{}", &rest[expected..]))
    };
    quoted(message).unwrap_or_else(|| message.to_owned())
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Serde says ``unknown field `x`, expected one of `a`, `b` ``: the known name nearest to the unknown.
fn nearest_of(message: &str) -> Option<&str> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    let near = quoted.max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)))?;
    (message.starts_with("unknown") && strsim::jaro_winkler(unknown, near) > 0.75).then_some(near)
}

/// Walks the parsed file and puts each secret's value in its place.
struct Secrets<'a> {
    file: &'a Arc<SourceFile>,
    environment: &'a Environment,
    shared: bool,
    findings: &'a mut Vec<Finding>,
}

impl Secrets<'_> {
    fn resolve(&mut self, table: &mut DeTable<'_>, path: &mut Vec<String>) {
        for (key, value) in table.iter_mut() {
            path.push(key.get_ref().to_string());
            let span = value.span();
            match value.get_mut() {
                DeValue::Table(inner) => self.resolve(inner, path),
                DeValue::String(written) if secret::is_secret(&names(path)) => match self.value(written, path, span) {
                    Ok(resolved) => *written = Cow::Owned(resolved),
                    Err(finding) => self.findings.push(finding),
                },
                _ => {}
            }
            path.pop();
        }
    }

    fn value(&self, written: &str, path: &[String], span: Range<usize>) -> Result<String, Finding> {
        let from_file = span.start <= self.file.text.len();
        let at = |finding: Finding| if from_file { place(finding, Some(span.clone()), self.file) } else { finding };
        if from_file && self.shared && !secret::is_reference(written) && secret::is_sensitive(written) {
            let message = format!("`{}` is a secret in a file that others may read", path.join("."));
            let help =
                "make the file yours alone (`chmod 600`), or write `env:NAME`, `file:/path` or `credential:NAME`";
            return Err(at(Finding::error("config.secret-readable", message).help(help)));
        }
        secret::resolve(written, self.environment)
            .map_err(|error| at(Finding::error("config.secret", format!("`{}`: {error}", path.join(".")))))
    }
}

fn names(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str, environment: &Environment) -> Vec<String> {
        match load("config.toml", text, true, environment, Secrecy::Resolve) {
            Err(ConfigError::Wrong(findings)) => findings.iter().map(ToString::to_string).collect(),
            other => panic!("expected findings, got {other:?}"),
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_place_and_the_nearest() {
        let wrong = findings("[log]\nlevell = \"info\"\n", &Environment::none());
        assert_eq!(wrong.len(), 1);
        assert!(
            wrong[0].starts_with("config.toml:2:1: error[config.unknown-key]: unknown field `levell`"),
            "{wrong:?}"
        );
        assert!(wrong[0].ends_with("(did you mean `level`?)"), "{wrong:?}");
    }

    #[test]
    fn the_environment_outranks_the_file_and_is_named_when_wrong() {
        let environment = Environment::of(&[("NUDGED_LOG__LEVEL", "debug"), ("NUDGED_RULES__ISOLATE", "true")]);
        let config = load("config.toml", "[log]\nlevel = \"info\"\n", true, &environment, Secrecy::Resolve).unwrap();
        assert_eq!(config.log.level, "debug");
        assert!(config.rules.isolate);
        let wrong = findings("", &Environment::of(&[("NUDGED_RULES__ISOLAT", "true")]));
        assert!(wrong[0].contains("NUDGED_RULES__ISOLAT") && wrong[0].contains("did you mean `isolate`"), "{wrong:?}");
    }

    #[test]
    fn limits_of_sending_that_say_nothing_are_explained_at_their_place() {
        for (text, problem) in [
            ("[marketing]\nwindow = \"9-20\"\n", "`9-20` is not a send window: `9-20` is no span of hours"),
            ("[marketing]\ncap = [\"1 per day\", \"3 a week\"]\n", "`3 a week` is not a cap; write `1 per day`"),
            ("[email]\nrate = \"fast\"\n", "`fast` is not a rate; write `5/s`"),
            ("[sms]\ncountry = \"Austria\"\n", "`Austria` is not a country: write its two letters, such as `AT`"),
            ("[email]\nwarm_up = \"50\"\n", "`50` is not a warm-up; write `50/day, double every 3 days`"),
        ] {
            let wrong = findings(text, &Environment::none());
            assert!(wrong[0].starts_with("config.toml:2:") && wrong[0].contains(problem), "{wrong:?}");
        }
        let none = "[marketing]\nwindow = \"\"\ncap = []\nsunset = \"\"\n[email]\nrate = \"\"\nper_domain = \"\"\nwarm_up = \"\"\n\
                    [sms]\ncap = []\nrate = \"\"\n";
        let config = load("config.toml", none, true, &Environment::none(), Secrecy::Resolve).unwrap();
        assert_eq!(config.settings().sending, crate::engine::Sending::default());
    }

    #[test]
    fn a_secret_of_the_wrong_kind_is_not_quoted() {
        for text in ["[email]\npassword = 48151623\n", "[source]\nurl = {a = \"hunter48151623\"}\n"] {
            let wrong = findings(text, &Environment::none());
            assert!(!wrong[0].contains("48151623") && wrong[0].contains("expected"), "{wrong:?}");
        }
        let plain = findings("[log]\nlevel = 4\n", &Environment::none());
        assert!(plain[0].contains("integer `4`"), "{plain:?}");
    }

    #[test]
    fn a_plain_secret_in_a_file_for_everybody_is_refused_and_not_quoted() {
        let text = "[web]\ntoken = \"hunter2-hunter2-hunter2\"\n";
        let Err(ConfigError::Wrong(findings)) = load("config.toml", text, true, &Environment::none(), Secrecy::Resolve)
        else {
            panic!()
        };
        assert_eq!(findings[0].code, "config.secret-readable");
        assert!(!format!("{findings:?}").contains("hunter2"));
        assert!(load("config.toml", text, false, &Environment::none(), Secrecy::Resolve).is_ok());
    }
}
