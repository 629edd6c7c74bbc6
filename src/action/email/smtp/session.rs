//! One conversation with the mail server.

use super::reply::{self, Reply};
use super::wire::{self, Stream, Wire};
use crate::action::email::Tls;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Address;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use std::io;
use std::sync::Arc;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Where and how to open sessions.
pub(super) struct Plan {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    pub config: Arc<ClientConfig>,
    pub name: ServerName<'static>,
    pub credentials: Option<(String, SecretString)>,
    pub hello: String,
}

/// Why no session could be opened. Never the fault of a message.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("can't reach the mail server: {0}")]
    Unreachable(#[from] io::Error),
    #[error("the mail server answered {at} with: {reply}")]
    Refused { at: &'static str, reply: String },
    #[error("the mail server offers no STARTTLS, and `email.tls` requires it")]
    NoTls,
    #[error("the mail server's TLS can't be trusted or used: {0}")]
    Tls(io::Error),
    #[error("the mail server sent something before TLS began; somebody may be in between")]
    Injected,
    #[error("the password is not sent without TLS: set `email.tls`, or leave out `email.username`")]
    PlainLogin,
    #[error("the mail server offers no login that we know (PLAIN, LOGIN)")]
    NoLogin,
    #[error("the mail server refused the login: {0}")]
    Login(String),
}

/// Why a message was not taken. Whether it may have been taken nevertheless, [`Session::handed_over`] says.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection broke.
    Broken(io::Error),
    /// About us, not about this message: sender refused, login wanted, too many connections.
    Session(Reply),
    /// About this message or its recipient.
    Message(Reply),
    /// The server can't carry this message at all.
    Unfit(&'static str),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// What the server offers.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an extension a server may offer, in any combination")]
struct Features {
    pipelining: bool,
    starttls: bool,
    eight_bit: bool,
    international: bool,
    size: Option<usize>,
    logins: Vec<String>,
}

impl Features {
    fn read(reply: &Reply) -> Self {
        let mut features = Self::default();
        for line in reply.lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split([' ', '=']);
            match words.next().unwrap_or_default() {
                "PIPELINING" => features.pipelining = true,
                "STARTTLS" => features.starttls = true,
                "8BITMIME" => features.eight_bit = true,
                "SMTPUTF8" => features.international = true,
                "SIZE" => features.size = words.next().and_then(|size| size.parse().ok()).filter(|size| *size > 0),
                "AUTH" => features.logins.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        features
    }
}

/// Greeted, encrypted and logged in as far as the plan says.
pub(super) struct Session {
    wire: Wire,
    features: Features,
    /// A transaction was broken off and must be reset before the next.
    dirty: bool,
    /// Nothing can be sent over it any more.
    pub closed: bool,
    /// The message has gone out whole or in part, and no answer has come yet.
    pub handed_over: bool,
    pub messages: u32,
    /// When it last came to an answer.
    pub used: Instant,
}

impl Session {
    pub(super) async fn open(plan: &Plan) -> Result<Self, OpenError> {
        let socket = TcpStream::connect((plan.host.as_str(), plan.port)).await?;
        // Without this each of our small writes waits for the server's delayed acknowledgement.
        socket.set_nodelay(true)?;
        let mut encrypted = false;
        let mut wire: Wire = BufReader::new(Box::new(socket) as Box<dyn Stream>);
        if plan.tls == Tls::Implicit {
            wire = encrypt(wire, plan).await?;
            encrypted = true;
        }
        expect(&reply::read(&mut wire).await?, "the greeting")?;
        let mut features = hello(&mut wire, plan).await?;
        if matches!(plan.tls, Tls::Required | Tls::Opportunistic) {
            if features.starttls {
                expect(&command(&mut wire, "STARTTLS\r\n").await?, "STARTTLS")?;
                if !wire.buffer().is_empty() {
                    return Err(OpenError::Injected);
                }
                wire = encrypt(wire, plan).await?;
                encrypted = true;
                features = hello(&mut wire, plan).await?;
            } else if plan.tls == Tls::Required {
                return Err(OpenError::NoTls);
            }
        }
        if let Some((user, password)) = &plan.credentials {
            if !encrypted {
                return Err(OpenError::PlainLogin);
            }
            log_in(&mut wire, &features, user, password).await?;
        }
        Ok(Self { wire, features, dirty: false, closed: false, handed_over: false, messages: 0, used: Instant::now() })
    }

    /// Sends one message to one recipient; `data` is in the form of [`wire::for_data`].
    pub(super) async fn deliver(&mut self, from: &Address, to: &Address, data: &[u8]) -> Result<Reply, Failure> {
        self.handed_over = false;
        let result = self.transact(from, to, data).await;
        self.closed |= match &result {
            Ok(reply) | Err(Failure::Session(reply) | Failure::Message(reply)) => reply.closes(),
            Err(Failure::Broken(_)) => true,
            Err(Failure::Unfit(_)) => false,
        };
        self.messages += 1;
        self.used = Instant::now();
        result
    }

    async fn transact(&mut self, from: &Address, to: &Address, data: &[u8]) -> Result<Reply, Failure> {
        let (mail, rcpt) = self.envelope(from, to, data)?;
        let [mail, rcpt, go] = self.announce(&mail, &rcpt).await?;
        self.dirty = true;
        let accepted = go.code == 354;
        // A server that wants the message of a refused recipient can only be left.
        self.closed |= accepted && !(mail.is_positive() && rcpt.is_positive());
        if !mail.is_positive() {
            return Err(if mail.code == 552 { Failure::Message(mail) } else { Failure::Session(mail) });
        }
        if !rcpt.is_positive() {
            return Err(if matches!(rcpt.code, 421 | 530) { Failure::Session(rcpt) } else { Failure::Message(rcpt) });
        }
        if !accepted {
            return Err(Failure::Message(go));
        }
        self.handed_over = true;
        wire::write(&mut self.wire, data).await?;
        let reply = reply::read(&mut self.wire).await?;
        self.handed_over = false;
        self.dirty = false;
        if reply.is_positive() { Ok(reply) } else { Err(Failure::Message(reply)) }
    }

    fn envelope(&self, from: &Address, to: &Address, data: &[u8]) -> Result<(String, String), Failure> {
        let addresses: [&str; 2] = [from.as_ref(), to.as_ref()];
        if addresses.iter().any(|address| address.contains(|c: char| c.is_control() || c == '<' || c == '>')) {
            return Err(Failure::Unfit("an address holds characters that SMTP can't carry"));
        }
        if self.features.size.is_some_and(|size| data.len() > size) {
            return Err(Failure::Unfit("the message is larger than the mail server takes"));
        }
        let mut mail = format!("MAIL FROM:<{}>", addresses[0]);
        if addresses.iter().any(|address| !address.is_ascii()) {
            if !self.features.international {
                return Err(Failure::Unfit("the mail server takes no addresses beyond ASCII"));
            }
            mail.push_str(" SMTPUTF8");
        }
        if self.features.eight_bit {
            mail.push_str(" BODY=8BITMIME");
        }
        mail.push_str("\r\n");
        Ok((mail, format!("RCPT TO:<{}>\r\n", addresses[1])))
    }

    /// The answers to MAIL, RCPT and DATA: in one round trip where the server allows it.
    async fn announce(&mut self, mail: &str, rcpt: &str) -> Result<[Reply; 3], Failure> {
        let reset = if self.dirty { "RSET\r\n" } else { "" };
        if self.features.pipelining {
            wire::write(&mut self.wire, format!("{reset}{mail}{rcpt}DATA\r\n").as_bytes()).await?;
            if self.dirty {
                reply::read(&mut self.wire).await?;
            }
            let mail = reply::read(&mut self.wire).await?;
            if mail.closes() {
                return Err(Failure::Session(mail));
            }
            return Ok([mail, reply::read(&mut self.wire).await?, reply::read(&mut self.wire).await?]);
        }
        if self.dirty {
            command(&mut self.wire, reset).await?;
        }
        let mail = command(&mut self.wire, mail).await?;
        if !mail.is_positive() {
            return Ok([mail.clone(), mail.clone(), mail]);
        }
        let rcpt = command(&mut self.wire, rcpt).await?;
        if !rcpt.is_positive() {
            return Ok([mail, rcpt.clone(), rcpt]);
        }
        Ok([mail, rcpt, command(&mut self.wire, "DATA\r\n").await?])
    }

    /// Says goodbye without waiting for the answer.
    pub(super) async fn quit(mut self) {
        if !self.closed {
            let _ = wire::write(&mut self.wire, b"QUIT\r\n").await;
        }
    }
}

async fn command(wire: &mut Wire, line: &str) -> io::Result<Reply> {
    wire::write(wire, line.as_bytes()).await?;
    reply::read(wire).await
}

fn expect(reply: &Reply, at: &'static str) -> Result<(), OpenError> {
    if (200..300).contains(&reply.code) {
        return Ok(());
    }
    Err(OpenError::Refused { at, reply: reply.summary() })
}

async fn hello(wire: &mut Wire, plan: &Plan) -> Result<Features, OpenError> {
    let reply = command(wire, &format!("EHLO {}\r\n", plan.hello)).await?;
    expect(&reply, "EHLO")?;
    Ok(Features::read(&reply))
}

async fn encrypt(wire: Wire, plan: &Plan) -> Result<Wire, OpenError> {
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&plan.config));
    let stream = connector.connect(plan.name.clone(), wire.into_inner()).await.map_err(OpenError::Tls)?;
    Ok(BufReader::new(Box::new(stream) as Box<dyn Stream>))
}

async fn log_in(wire: &mut Wire, features: &Features, user: &str, password: &SecretString) -> Result<(), OpenError> {
    let offers = |mechanism: &str| features.logins.iter().any(|offered| offered == mechanism);
    let reply = if offers("PLAIN") {
        let token = STANDARD.encode(format!("\0{user}\0{}", password.expose_secret()));
        command(wire, &format!("AUTH PLAIN {token}\r\n")).await?
    } else if offers("LOGIN") {
        let mut reply = command(wire, "AUTH LOGIN\r\n").await?;
        for answer in [user, password.expose_secret()] {
            if reply.code != 334 {
                break;
            }
            reply = command(wire, &format!("{}\r\n", STANDARD.encode(answer))).await?;
        }
        reply
    } else {
        return Err(OpenError::NoLogin);
    };
    if reply.code == 235 { Ok(()) } else { Err(OpenError::Login(reply.summary())) }
}
