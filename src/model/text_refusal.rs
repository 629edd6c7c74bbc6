//! What a refused text message says about its number, by Twilio's error codes.
//! See <https://www.twilio.com/docs/api/errors>.

use super::SuppressionReason;

/// The recipient wrote STOP to us.
const OPTED_OUT: &str = "21610";
/// No such number, or one that can't take text messages.
const NO_NUMBER: [&str; 4] = ["21211", "21217", "21614", "21635"];

/// Why nobody should write to the number of a message again that was refused like this: `400 21610: …`.
#[must_use]
pub fn refusal_says(reason: &str) -> Option<SuppressionReason> {
    let (status, rest) = reason.split_once(' ')?;
    let code = rest.split_once(':').map_or(rest, |(code, _)| code);
    if status.len() != 3 || !status.starts_with('4') {
        return None;
    }
    match code {
        OPTED_OUT => Some(SuppressionReason::Unsubscribed),
        code if NO_NUMBER.contains(&code) => Some(SuppressionReason::Bounced),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_number_itself_counts() {
        assert_eq!(refusal_says("400 21610: opted out"), Some(SuppressionReason::Unsubscribed));
        assert_eq!(refusal_says("400 21211: no such number"), Some(SuppressionReason::Bounced));
        assert_eq!(refusal_says("400 21614"), Some(SuppressionReason::Bounced));
        for other in
            ["401 20003: authenticate", "400 21408: not in this region", "429 20429", "21610", "", "500 21610: x"]
        {
            assert_eq!(refusal_says(other), None, "{other}");
        }
    }
}
