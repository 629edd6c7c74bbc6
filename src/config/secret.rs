//! Secrets: where they may come from, and that they are never shown.
//!
//! A secret key holds `env:NAME`, `file:/path`, `credential:NAME` (a file in the directory that systemd's
//! `LoadCredential=` names), or the plain value in a file that only its owner may read. Whatever it was,
//! what the adapters get is the value.

use super::Environment;
use std::path::{Path, PathBuf};

/// The keys that hold a secret; `*` is any name. A URL is one because it may carry a password.
const KEYS: [&[&str]; 12] = [
    &["source", "url"],
    &["state", "url"],
    &["email", "password"],
    &["email", "dkim", "*", "key"],
    &["bounces", "*", "secret"],
    &["webhooks", "*", "secret"],
    &["webhooks", "*", "token"],
    &["chats", "*", "url"],
    &["sms", "gateways", "*", "token"],
    &["events", "*", "secret"],
    &["events", "*", "previous_secret"],
    &["web", "token"],
];

/// Larger files are not secrets.
const MOST_BYTES: u64 = 64 * 1024;

/// Why a secret could not be had. Says where it was looked for, never what it is.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    #[error("can't read the secret file {path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("the secret file {0} is larger than 64 KiB or not text")]
    NotText(PathBuf),
    #[error("`credential:{0}` needs $CREDENTIALS_DIRECTORY: run under systemd with `LoadCredential={0}:/path`")]
    NoCredentials(String),
    #[error("`{0}` is not a credential's name")]
    BadName(String),
}

/// Whether the key at this path holds a secret.
pub fn is_secret(path: &[&str]) -> bool {
    KEYS.iter()
        .any(|key| key.len() == path.len() && key.iter().zip(path).all(|(want, have)| *want == "*" || want == have))
}

/// Whether a value names where the secret is, rather than being it.
pub fn is_reference(value: &str) -> bool {
    ["env:", "file:", "credential:"].iter().any(|scheme| value.starts_with(scheme))
}

/// Whether a plain value would give something away: anything but a URL without a password.
pub fn is_sensitive(value: &str) -> bool {
    match value.split_once("://") {
        Some((_, rest)) => {
            let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
            let before_host = rest.split('/').next().and_then(|host| host.rsplit_once('@'));
            let asked = query.split('&').filter_map(|part| part.split_once('=')).map(|(name, _)| name);
            before_host.is_some_and(|(user, _)| user.contains(':'))
                || asked.map(str::to_ascii_lowercase).any(|name| name.contains("password"))
        }
        None => !value.is_empty() && !value.starts_with("sqlite:"),
    }
}

/// The value that `written` stands for.
pub fn resolve(written: &str, environment: &Environment) -> Result<String, SecretError> {
    if let Some(name) = written.strip_prefix("env:") {
        return environment.get(name).map(str::to_owned).ok_or_else(|| SecretError::Unset(name.to_owned()));
    }
    if let Some(path) = written.strip_prefix("file:") {
        return from_file(Path::new(path));
    }
    if let Some(name) = written.strip_prefix("credential:") {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(SecretError::BadName(name.to_owned()));
        }
        let directory =
            environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| SecretError::NoCredentials(name.to_owned()))?;
        return from_file(&Path::new(directory).join(name));
    }
    Ok(written.to_owned())
}

/// One line end at the end of the file is an editor's, not the secret's.
fn from_file(path: &Path) -> Result<String, SecretError> {
    let unreadable = |error| SecretError::File { path: path.to_owned(), error };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MOST_BYTES {
        return Err(SecretError::NotText(path.to_owned()));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::NotText(path.to_owned()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_where_it_says() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("smtp"), "s3cret\n").unwrap();
        let directory = folder.path().to_str().unwrap();
        let environment = Environment::of(&[("PW", "from-env"), ("CREDENTIALS_DIRECTORY", directory)]);
        assert_eq!(resolve("env:PW", &environment).unwrap(), "from-env");
        assert_eq!(resolve(&format!("file:{directory}/smtp"), &environment).unwrap(), "s3cret");
        assert_eq!(resolve("credential:smtp", &environment).unwrap(), "s3cret");
        assert_eq!(resolve("plain", &environment).unwrap(), "plain");
        assert!(matches!(resolve("credential:../smtp", &environment), Err(SecretError::BadName(_))));
        assert!(matches!(resolve("env:GONE", &environment), Err(SecretError::Unset(_))));
    }

    #[test]
    fn only_urls_without_a_password_are_harmless() {
        assert!(is_sensitive("postgres://crm:pw@db/crm"));
        assert!(is_sensitive("postgres://crm@db/crm?sslmode=require&password=pw"));
        assert!(!is_sensitive("postgres://crm@db/crm"));
        assert!(!is_sensitive("postgres://crm@db/crm?sslmode=require"));
        assert!(!is_sensitive("sqlite:crm.db"));
        assert!(is_sensitive("hunter2"));
    }
}
