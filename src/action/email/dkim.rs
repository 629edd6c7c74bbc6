//! Signatures of mails (DKIM, RFC 6376 and 8463), relaxed in header and body.
//!
//! Our own, over ring: lettre's pulls in an RSA with a known weakness of timing (RUSTSEC-2023-0071), and the other
//! crates a resolver and more, which a signer doesn't need. What a signature covers can't be changed, added a second
//! time or left out; RFC 8058 asks that it covers List-Unsubscribe and List-Unsubscribe-Post.

use super::options::DkimOptions;
use crate::action::SetupError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// What is signed where it stands. Each is named once more than it occurs, so that none can be added.
const SIGNED: [&str; 12] = [
    "From",
    "To",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "X-Return-Tag",
];

/// Signs with one key, for one domain.
#[derive(Clone)]
pub(super) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

#[derive(Clone)]
enum Key {
    Rsa(Arc<RsaKeyPair>),
    Ed25519(Arc<Ed25519KeyPair>),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}._domainkey.{})", self.selector, self.domain)
    }
}

impl Signer {
    pub fn new(selector: &str, options: &DkimOptions) -> Result<Self, SetupError> {
        let wrong = |key: &str, problem: &str| SetupError::option(format!("email.dkim.{selector}.{key}"), problem);
        let name = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        if !name(selector) {
            return Err(wrong("", "a selector is part of a host name: letters, digits, `.`, `-` and `_`"));
        }
        let domain = options.domain.trim().to_ascii_lowercase();
        if !name(&domain) {
            return Err(wrong("domain", "not a domain: write `acme.example`"));
        }
        let key = Key::read(options.key.expose_secret().as_bytes()).map_err(|problem| wrong("key", problem))?;
        Ok(Self { domain, selector: selector.to_owned(), key })
    }

    /// The whole header, with its line end, to be put before the message.
    pub fn sign(&self, message: &[u8], now: Timestamp) -> Result<String, &'static str> {
        let text = std::str::from_utf8(message).map_err(|_| "it is not text")?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("it has no body")?;
        let headers = unfolded(head);
        let body = STANDARD.encode(Sha256::digest(relaxed_body(body).as_bytes()));
        let mut hashed = String::new();
        let mut named = Vec::new();
        for name in SIGNED {
            // From the last to the first, as a verifier takes them.
            let found = headers.iter().rev().filter(|(found, _)| found.eq_ignore_ascii_case(name));
            for (found, value) in found {
                named.push(name.to_ascii_lowercase());
                hashed.push_str(&relaxed_header(found, value));
            }
            named.push(name.to_ascii_lowercase());
        }
        let value = format!(
            "v=1; a={}; c=relaxed/relaxed; d={};\r\n s={}; t={};\r\n h={};\r\n bh={};\r\n b=",
            self.key.algorithm(),
            self.domain,
            self.selector,
            now.as_second(),
            named.join(":\r\n  "),
            body
        );
        hashed.push_str(relaxed_header("DKIM-Signature", &value).trim_end());
        let signature = STANDARD.encode(self.key.sign(hashed.as_bytes())?);
        let lines: Vec<&str> =
            signature.as_bytes().chunks(72).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        Ok(format!("DKIM-Signature: {value}{}\r\n", lines.join("\r\n  ")))
    }
}

impl Key {
    fn read(pem: &[u8]) -> Result<Self, &'static str> {
        let der = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "not a private key in PEM: make one with `openssl genpkey`, see docs/email.md")?;
        let rsa = match &der {
            PrivateKeyDer::Pkcs8(key) => {
                if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()) {
                    return Ok(Self::Ed25519(Arc::new(key)));
                }
                RsaKeyPair::from_pkcs8(key.secret_pkcs8_der())
            }
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
            _ => return Err("neither an RSA nor an Ed25519 key"),
        };
        // Receivers refuse shorter ones, and ring doesn't even read them.
        let rsa = rsa.map_err(|_| "neither an Ed25519 key nor an RSA key of 2048 bits or more")?;
        Ok(Self::Rsa(Arc::new(rsa)))
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, headers: &[u8]) -> Result<Vec<u8>, &'static str> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), headers, &mut signature)
                    .map_err(|_| "the RSA key can't sign")?;
                Ok(signature)
            }
            // Ed25519 signs the hash, not the text (RFC 8463, 3).
            Self::Ed25519(key) => Ok(key.sign(&Sha256::digest(headers)).as_ref().to_vec()),
        }
    }
}

/// Names and values, each value with the lines that it was folded into.
fn unfolded(head: &str) -> Vec<(&str, String)> {
    let mut headers: Vec<(&str, String)> = Vec::new();
    for line in head.split("\r\n") {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name, value.to_owned()));
        }
    }
    headers
}

/// RFC 6376, 3.4.2.
fn relaxed_header(name: &str, value: &str) -> String {
    let words: Vec<&str> = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect();
    format!("{}:{}\r\n", name.trim().to_ascii_lowercase(), words.join(" "))
}

/// RFC 6376, 3.4.4.
fn relaxed_body(body: &str) -> String {
    let mut relaxed = String::with_capacity(body.len());
    let mut empty = 0;
    for line in body.split("\r\n") {
        let mut out = String::with_capacity(line.len());
        let mut blank = false;
        for c in line.chars() {
            match c {
                ' ' | '\t' => blank = true,
                c => {
                    if std::mem::take(&mut blank) {
                        out.push(' ');
                    }
                    out.push(c);
                }
            }
        }
        if out.is_empty() {
            empty += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty) {
            relaxed.push_str("\r\n");
        }
        relaxed.push_str(&out);
        relaxed.push_str("\r\n");
    }
    relaxed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_relaxed_as_the_rfc_shows() {
        // The example of RFC 6376, 3.4.5.
        assert_eq!(relaxed_header("A", " X"), "a:X\r\n");
        assert_eq!(relaxed_header("B ", " Y\t\r\n\tZ  "), "b:Y Z\r\n");
        assert_eq!(relaxed_body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body(""), "");
        assert_eq!(relaxed_body("\r\n\r\n"), "");
        assert_eq!(relaxed_body("a\r\n\r\nb"), "a\r\n\r\nb\r\n");
    }

    #[test]
    fn what_is_no_key_is_told_at_the_start() {
        let options = |key: &str| DkimOptions { domain: "acme.example".into(), key: key.to_owned().into() };
        for key in ["", "secret", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            let error = Signer::new("s1", &options(key)).unwrap_err().to_string();
            assert!(error.starts_with("email.dkim.s1.key: "), "{error}");
            assert!(key.is_empty() || !error.contains("AAAA"), "{error}");
        }
        let wrong = DkimOptions { domain: "acme example".into(), key: String::new().into() };
        assert!(Signer::new("s1", &wrong).unwrap_err().to_string().contains("domain"));
        assert!(Signer::new("s 1", &wrong).is_err());
    }
}
