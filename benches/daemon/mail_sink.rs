//! A mail server as a process of its own: takes every mail, counts them by Message-ID, and tells on `TALLY` what it
//! counted. By hand on bare sockets, so that it is not what is measured.

use super::sink::{Counted, Tally, start};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Child;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The argument that makes this program the sink.
pub const MODE: &str = "--mail-sink";

pub struct MailSink {
    pub port: u16,
    child: Child,
}

impl MailSink {
    pub fn start() -> Self {
        let (port, child) = start(MODE);
        Self { port, child }
    }

    pub fn tally(&self) -> Tally {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the sink listens");
        stream.write_all(b"TALLY\r\n").expect("the sink reads");
        let answer = BufReader::new(stream).lines().nth(1).expect("a greeting and an answer");
        Tally::read(answer.expect("the sink answers").strip_prefix("250 ").expect("a good answer"))
    }
}

impl Drop for MailSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sink's own main.
pub fn serve(port: u16) {
    super::sink::listen(port, |stream, counted| {
        tokio::spawn(receive(stream, counted));
    });
}

async fn receive(mut stream: tokio::net::TcpStream, counted: Arc<Mutex<Counted>>) -> std::io::Result<()> {
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut buffer: Vec<u8> = Vec::with_capacity(64 << 10);
    let mut in_mail = false;
    loop {
        let mut answers = String::new();
        while let Some(length) = next(&buffer, in_mail) {
            let text: Vec<u8> = buffer.drain(..length).collect();
            if in_mail {
                counted.lock().expect("nobody panics with it").add(message_id(&text));
                answers.push_str("250 2.0.0 taken\r\n");
                in_mail = false;
                continue;
            }
            let line = String::from_utf8_lossy(&text).trim_end().to_ascii_uppercase();
            in_mail = line == "DATA";
            answers.push_str(&answer(&line, &counted));
        }
        if !answers.is_empty() {
            stream.write_all(answers.as_bytes()).await?;
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// The length of the next line, or of the mail with the dot that ends it; `None` until it has arrived in full.
fn next(buffer: &[u8], in_mail: bool) -> Option<usize> {
    let end: &[u8] = if in_mail { b"\r\n.\r\n" } else { b"\n" };
    Some(buffer.windows(end.len()).position(|window| window == end)? + end.len())
}

fn message_id(mail: &[u8]) -> String {
    let text = String::from_utf8_lossy(mail);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let found = headers.find(|(name, _)| name.eq_ignore_ascii_case("message-id"));
    found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn answer(line: &str, counted: &Mutex<Counted>) -> String {
    match line.split_whitespace().next().unwrap_or_default() {
        "EHLO" => "250-sink\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 8BITMIME\r\n".to_owned(),
        "DATA" => "354 go on\r\n".to_owned(),
        "QUIT" => "221 2.0.0 bye\r\n".to_owned(),
        "TALLY" => format!("250 {}\r\n", counted.lock().expect("nobody panics with it").told()),
        _ => "250 2.0.0 well\r\n".to_owned(),
    }
}
