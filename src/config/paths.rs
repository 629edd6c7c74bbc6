//! What a file says is meant from where the file is, and not from where the program was started.

use super::Config;
use secrecy::{ExposeSecret, SecretString};
use std::path::{Path, PathBuf};

/// Takes every relative path of the configuration from `folder`.
pub(super) fn anchor(config: &mut Config, folder: &Path) {
    let chats = config.chats.values_mut().map(|chat| &mut chat.ca_file);
    let webhooks = config.webhooks.values_mut().map(|webhook| &mut webhook.ca_file);
    let optional = [&mut config.email.ca_file, &mut config.email.bounce_maildir];
    for path in chats.chain(webhooks).chain(optional).flatten() {
        *path = folder.join(&*path);
    }
    for path in [&mut config.rules.directory, &mut config.email.folder] {
        *path = folder.join(&*path);
    }
    // An empty one means that there is none.
    if !config.web.socket.as_os_str().is_empty() {
        config.web.socket = folder.join(&config.web.socket);
    }
    if !config.state.directory.as_os_str().is_empty() {
        config.state.directory = folder.join(&config.state.directory);
    }
    for file in [&mut config.state.witness, &mut config.state.journal] {
        // `none` is a choice, not a path.
        if !file.is_empty() && file != "none" {
            *file = folder.join(&*file).display().to_string();
        }
    }
    for url in [&mut config.source.url, &mut config.state.url] {
        if let Some(anchored) = anchored(url.expose_secret(), folder) {
            *url = SecretString::from(anchored);
        }
    }
}

/// `sqlite:crm.db?mode=ro` is a path too; `sqlite://crm.db` is another way to write it.
fn anchored(url: &str, folder: &Path) -> Option<String> {
    let rest = url.strip_prefix("sqlite:")?;
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if path.is_empty() || path.starts_with(':') || path.starts_with('/') {
        return None;
    }
    let joined: PathBuf = folder.join(path);
    Some(format!("sqlite:{}", joined.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_databases_lie_beside_the_file() {
        let of = |url| anchored(url, Path::new("/etc/nudged"));
        assert_eq!(of("sqlite:crm.db?mode=ro").as_deref(), Some("sqlite:/etc/nudged/crm.db?mode=ro"));
        assert_eq!(of("sqlite://data/crm.db").as_deref(), Some("sqlite:/etc/nudged/data/crm.db"));
        assert_eq!(of("sqlite:/var/lib/nudged/state.db"), None);
        assert_eq!(of("sqlite:///var/lib/nudged/state.db"), None);
        assert_eq!(of("sqlite::memory:"), None);
        assert_eq!(of("postgres://crm.acme.example/crm"), None);
        assert_eq!(of(""), None);
    }
}
