//! What a mail server answers: `250-one`, `250 two`.

use super::super::super::quoted;
use crate::model::said;
use std::io;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longer lines and replies are no SMTP.
const LONGEST_LINE: u64 = 4_096;
const MOST_LINES: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    pub lines: Vec<String>,
}

impl Reply {
    pub(super) fn is_positive(&self) -> bool {
        (200..400).contains(&self.code)
    }

    /// 4xx: what was asked may work later.
    pub(super) fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// The server hangs up after this one, whatever it answers.
    pub(super) fn closes(&self) -> bool {
        self.code == 421
    }

    /// Code, enhanced status and text on one line. Servers quote the recipient's address in it, so it is cut out.
    pub(super) fn summary(&self) -> String {
        let text = self.lines.join(" ");
        let mut words = text.split_whitespace().map(|word| if word.contains('@') { "<…>" } else { word }).peekable();
        let status = words.next_if(|word| is_enhanced_status(word));
        let words = said(&quoted(&words.collect::<Vec<_>>().join(" ")));
        [&self.code.to_string(), status.unwrap_or_default(), &words]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// As in RFC 3463: `5.1.1`.
fn is_enhanced_status(word: &str) -> bool {
    let parts: Vec<&str> = word.split('.').collect();
    let numbers = parts.iter().all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
    parts.len() == 3 && numbers && matches!(parts[0], "2" | "4" | "5")
}

pub(super) async fn read<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Reply> {
    let mut lines = Vec::new();
    let mut line = Vec::with_capacity(128);
    loop {
        line.clear();
        (&mut *reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"));
        }
        let (code, last, text) =
            parse(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an SMTP reply"))?;
        lines.push(text);
        if last {
            return Ok(Reply { code, lines });
        }
        if lines.len() >= MOST_LINES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an endless SMTP reply"));
        }
    }
}

fn parse(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let code = std::str::from_utf8(line.get(..3)?).ok()?.parse().ok().filter(|code| (200..600).contains(code))?;
    let last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    Some((code, last, String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn replies_of_one_and_many_lines() {
        let mut bytes: &[u8] = b"250-first\r\n250 second\r\n421\r\n";
        let reply = read(&mut bytes).await.unwrap();
        assert_eq!((reply.code, reply.lines.len()), (250, 2));
        assert!(read(&mut bytes).await.unwrap().closes());
        assert_eq!(read(&mut bytes).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_no_reply_is_an_error() {
        for bytes in [
            &b"hello\r\n"[..],
            b"25\r\n",
            b"250_x\r\n",
            b"999 x\r\n",
            b"250 cut",
            &[b'2'; 9_000],
            &b"250-x\r\n".repeat(500),
        ] {
            assert!(read(&mut &*bytes).await.is_err());
        }
    }

    #[test]
    fn a_summary_shows_no_address() {
        let reply = Reply { code: 550, lines: vec!["5.1.1 <ada@x.example>: Recipient unknown".into()] };
        assert_eq!(reply.summary(), "550 5.1.1 “<…> Recipient unknown”");
        let without_status = Reply { code: 554, lines: vec!["Bob 5.1.1".into(), "Gruber".into()] };
        assert_eq!(without_status.summary(), "554 “Bob 5.1.1 Gruber”");
        assert_eq!(Reply { code: 421, lines: vec![String::new()] }.summary(), "421");
    }
}
