//! The bytes of a session: the socket with or without TLS, and a message made fit for DATA.

use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

/// A socket, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type Wire = BufReader<Box<dyn Stream>>;

pub(super) async fn write(wire: &mut Wire, bytes: &[u8]) -> io::Result<()> {
    wire.write_all(bytes).await?;
    wire.flush().await
}

/// The message with dots doubled at line starts, every line ended by CR LF (a bare CR or LF could end the
/// message early on some servers), and the closing dot.
pub(super) fn for_data(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 40 + 8);
    let mut line_start = true;
    let mut at = 0;
    while at < message.len() {
        if line_start && message[at] == b'.' {
            out.push(b'.');
        }
        let rest = &message[at..];
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            out.extend_from_slice(rest);
            line_start = false;
            break;
        };
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\r\n");
        at += end + if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        line_start = true;
    }
    if !line_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_message_can_end_it_early() {
        assert_eq!(for_data(b"a\r\n.\r\nb"), b"a\r\n..\r\nb\r\n.\r\n");
        assert_eq!(for_data(b".a\n.\nb\r.\rc\r\n"), b"..a\r\n..\r\nb\r\n..\r\nc\r\n.\r\n");
        assert_eq!(for_data(b""), b".\r\n");
    }
}
