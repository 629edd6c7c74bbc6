//! Hides what might be a secret in the text that errors quote, keeping every byte's place.

/// Replaces the quoted values of keys that sound secret, and passwords in URLs, by stars. Misspelt keys
/// count too: `pasword = "…"` is just when the line gets quoted.
pub fn mask(text: &str) -> String {
    text.split_inclusive('\n').map(mask_line).collect()
}

fn mask_line(line: &str) -> String {
    let Some((key, value)) = line.split_once('=') else { return line.to_owned() };
    let name = key.to_lowercase();
    let secret =
        ["pas", "pw", "secret", "sercet", "token", "key", "url", "cred"].iter().any(|part| name.contains(part));
    let login = value.contains("://") && value.contains('@');
    if !secret && !login {
        return line.to_owned();
    }
    let reference = value.trim_start().trim_start_matches(['"', '\'']);
    if super::secret::is_reference(reference) {
        return line.to_owned();
    }
    let stars: String = value
        .chars()
        .map(|c| if c.is_whitespace() || c == '"' || c == '\'' { c.to_string() } else { "*".repeat(c.len_utf8()) })
        .collect();
    format!("{key}={stars}")
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn nothing_secret_is_left_and_nothing_moves() {
        let text = "[email]\npasword = \"hüter2\"\nport = 25\npassword = \"env:PW\"\n";
        let masked = mask(text);
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains("ter2"));
        assert!(masked.contains("port = 25") && masked.contains("env:PW"));
    }
}
