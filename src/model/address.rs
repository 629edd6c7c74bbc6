//! Addresses of mailboxes.

/// Whether mail can be sent there at all: `name@domain`, without a display name around it.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.parse::<lettre::Address>().is_ok()
}

/// How mailboxes are compared: without blanks around them, and in lower case.
#[must_use]
pub fn mailbox_of(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_and_a_domain() {
        assert!(["ada@x.example", "a.b+c@sub.x.example", "ada@localhost"].iter().all(|text| is_address(text)));
        let none =
            ["", "ada", "ada@", "@x.example", "Ada <ada@x.example>", "a b@x.example", "ada@x.example, b@x.example"];
        assert!(!none.iter().any(|text| is_address(text)));
    }
}
