//! What a refusal says about the address, by its enhanced status code (RFC 3463).

/// There is no mailbox behind the address, and there won't be: no such person (5.1.1), no such domain (5.1.2), moved
/// without a new address (5.1.6), a domain that takes no mail at all (5.1.10), a mailbox that was shut (5.2.1).
///
/// Everything else may be about us, about the message or about today. A full mailbox (5.2.2) empties, a policy (5.7.x)
/// is mostly about the sender's reputation, and a code without a status says too little: none of these makes an
/// address unusable for ever.
const GONE: [&str; 5] = ["5.1.1", "5.1.2", "5.1.6", "5.1.10", "5.2.1"];

/// Whether an enhanced status says that nobody can be reached there any more.
#[must_use]
pub fn is_gone(status: &str) -> bool {
    GONE.contains(&status.trim())
}

/// The same for a server's reply, such as `550 5.1.1 no such person`: both its codes must say so.
#[must_use]
pub fn reply_says_gone(reply: &str) -> bool {
    let mut words = reply.split_whitespace();
    let code = words.next().filter(|code| code.len() == 3 && code.starts_with('5'));
    code.is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit())) && words.next().is_some_and(is_gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_mailbox_itself_counts() {
        for reply in [
            "550 5.1.1 <…> no such person",
            "550 5.1.2 no such domain",
            "551 5.1.6 moved",
            "556 5.1.10 takes no mail",
            "550 5.2.1 mailbox shut",
        ] {
            assert!(reply_says_gone(reply), "{reply}");
        }
        for reply in [
            "550 5.7.1 blocked for spam; see 5.1.1 of our policy",
            "550 5.7.26 unauthenticated",
            "552 5.2.2 mailbox full",
            "550 no such user",
            "554 5.4.4 host not found",
            "450 5.1.1 inconsistent",
            "550 4.1.1 inconsistent",
            "550 5.1.11",
            "5.1.1",
            "",
        ] {
            assert!(!reply_says_gone(reply), "{reply}");
        }
    }
}
