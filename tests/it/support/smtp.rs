//! A private Postfix with certificate and accounts, which takes mail for every address and keeps it in one
//! maildir, and `smtp-sink` for what a decent server never does.

use super::guarded::{Account, Guarded, as_root, free_port, program, run};
use super::wait::{PATIENCE, poll_until};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// A running Postfix, shared by the tests of one process: each test writes to addresses of its own.
///
/// Addresses at `gone.example` are refused for ever (550), those at `later.example` for now (451).
pub struct SmtpServer {
    /// Demands STARTTLS, then a login.
    pub submission: u16,
    /// TLS from the first byte, then a login.
    pub tls: u16,
    /// Takes everything, offers neither TLS nor login.
    pub plain: u16,
    /// The certificate of the authority that signed the server's, for `localhost` and `127.0.0.1`.
    pub ca: PathBuf,
    dir: PathBuf,
    _guarded: Guarded,
}

impl SmtpServer {
    pub const USER: &str = "nudged@test.example";
    pub const PASSWORD: &str = "correct horse battery staple";

    /// Everything that was delivered to `address`, as raw MIME.
    pub fn inbox(&self, address: &str) -> Vec<String> {
        let header = format!("X-Original-To: {address}\n");
        self.delivered().into_iter().filter(|mail| mail.contains(&header)).collect()
    }

    /// Everything that was delivered to anyone, as raw MIME.
    pub fn delivered(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dir.join("inbox/new")) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort_unstable();
        files.iter().filter_map(|file| fs::read(file).ok()).map(|mail| lossy(&mail)).collect()
    }

    /// Blocks until `count` mails for `address` have been delivered.
    #[track_caller]
    pub fn wait_for(&self, address: &str, count: usize) -> Vec<String> {
        poll_until(PATIENCE, || self.inbox(address).len() >= count);
        self.inbox(address)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// This test process's private Postfix, which the first call starts.
pub fn smtp() -> &'static SmtpServer {
    static SERVER: OnceLock<SmtpServer> = OnceLock::new();
    SERVER.get_or_init(|| {
        // A port can be taken between asking for it and binding it.
        (0..5).find_map(|_| start()).expect("Postfix did not start on any of five sets of ports")
    })
}

fn start() -> Option<SmtpServer> {
    let dir = Account::Ours.directory("nudged-postfix-");
    for folder in ["etc", "etc/sasl", "spool", "data", "inbox"] {
        fs::create_dir(dir.join(folder)).expect("the directory is ours");
    }
    let ports = [free_port(), free_port(), free_port()];
    let ca = write_certificates(&dir.join("etc"));
    write_accounts(&dir.join("etc/sasl"));
    fs::write(dir.join("etc/main.cf"), main_cf(&dir, reader(&dir))).expect("the directory is ours");
    fs::write(dir.join("etc/master.cf"), master_cf(ports)).expect("the directory is ours");
    hand_over(&dir);

    let mut master = as_root(Path::new("setsid"));
    master.arg(postfix_program("master")).arg("-c").arg(dir.join("etc")).arg("-d");
    let guarded = Guarded::start_as_root(dir.clone(), "TERM", &master);
    let [submission, tls, plain] = ports;
    let started = guarded.became_ready(|| greets(submission) && greets(plain));
    started.then(|| SmtpServer { submission, tls, plain, ca, dir, _guarded: guarded })
}

/// A listening socket is not enough: Postfix listens before it knows whether the service can start.
fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut greeting = [0; 3];
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket has timeouts");
    stream.read_exact(&mut greeting).is_ok() && greeting == *b"220"
}

/// Postfix delivers under an account that isn't root and whose files this process may read.
fn reader(dir: &Path) -> (u32, u32) {
    let ours = fs::metadata(dir).expect("the directory is ours");
    let Account::Other { uid, gid } = Account::for_server("nobody") else { return (ours.uid(), ours.gid()) };
    chown(dir.join("inbox"), Some(uid), Some(gid)).expect("root may hand over a directory");
    (uid, gid)
}

/// Postfix insists that its directories belong to root and its own account.
fn hand_over(dir: &Path) {
    let owned = |account: &str, what: &str| {
        run(as_root(Path::new("chown")).args(["-R", account]).arg(dir.join(what)));
    };
    owned("root", "etc");
    owned("root", "spool");
    owned("postfix", "data");
    owned("postfix", "etc/sasl/accounts");
    run(as_root(&postfix_program("postfix")).arg("-c").arg(dir.join("etc")).arg("check"));
}

fn write_certificates(etc: &Path) -> PathBuf {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names, no error");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "nudged test authority");
    let authority_key = KeyPair::generate().expect("ring makes keys");
    let authority_cert = authority.self_signed(&authority_key).expect("a key signs itself");
    let issuer = Issuer::new(authority, authority_key);

    let server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("both are names");
    let server_key = KeyPair::generate().expect("ring makes keys");
    let server_cert = server.signed_by(&server_key, &issuer).expect("the authority signs");

    let write = |name: &str, pem: String| {
        let path = etc.join(name);
        fs::write(&path, pem).expect("the directory is ours");
        path
    };
    write("server.key", server_key.serialize_pem());
    write("server.pem", server_cert.pem());
    write("ca.pem", authority_cert.pem())
}

fn write_accounts(sasl: &Path) {
    let accounts = sasl.join("accounts");
    let (user, realm) = SmtpServer::USER.split_once('@').expect("an address");
    let mut saslpasswd = Command::new(program("saslpasswd2", &[], "sasl2-bin"));
    saslpasswd.args(["-c", "-p", "-u", realm, "-f"]).arg(&accounts).arg(user);
    let mut child = saslpasswd.stdin(Stdio::piped()).spawn().expect("saslpasswd2 starts");
    let mut stdin = child.stdin.take().expect("the pipe was asked for");
    stdin.write_all(SmtpServer::PASSWORD.as_bytes()).expect("saslpasswd2 reads");
    drop(stdin);
    assert!(child.wait().is_ok_and(|status| status.success()), "saslpasswd2 failed");
    fs::set_permissions(&accounts, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let conf = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {}\n",
        accounts.display()
    );
    fs::write(sasl.join("smtpd.conf"), conf).expect("the directory is ours");
}

fn main_cf(dir: &Path, (uid, gid): (u32, u32)) -> String {
    let dir = dir.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {dir}/spool
data_directory = {dir}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {dir}/mail.log
maillog_file_prefixes = {dir}
myhostname = mail.test.example
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = static:all
transport_maps = inline:{{ {{bounced.example = nobody:}} {{full.example = full:}} }}
virtual_mailbox_maps = static:inbox/
virtual_mailbox_base = {dir}
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
cyrus_sasl_config_path = {dir}/etc/sasl
smtpd_sasl_local_domain = test.example
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {dir}/etc/server.pem
smtpd_tls_key_file = {dir}/etc/server.key
smtpd_recipient_restrictions =
  check_recipient_access inline:{{ {{gone.example = 550 5.1.1 no such person}} {{blocked.example = 550 5.7.1 your address is on a list}} {{later.example = 451 4.7.1 come back later}} }}
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
"
    )
}

/// Three doors, and the services behind them that take a mail to the maildir. What goes to `nobody` and
/// `full` is accepted and then returned; what goes to `error` is refused at the door.
fn master_cf([submission, tls, plain]: [u16; 3]) -> String {
    let login = "-o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=permit_sasl_authenticated,reject";
    format!(
        "127.0.0.1:{submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt {login}
127.0.0.1:{tls} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes {login}
127.0.0.1:{plain} inet n - n - - smtpd -o smtpd_relay_restrictions=reject_unauth_destination
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
nobody unix - n n - - pipe user=nobody argv=/bin/sh -c {{echo 5.1.1 nobody of that name; exit 69}}
full unix - n n - - pipe user=nobody argv=/bin/sh -c {{echo 5.2.2 mailbox full; exit 69}}
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"
    )
}

fn postfix_program(name: &str) -> PathBuf {
    program(name, &["/usr/lib/postfix/sbin".into(), "/usr/libexec/postfix".into()], "postfix")
}

/// A running `smtp-sink`: takes mail without looking, or misbehaves as told.
pub struct SmtpSink {
    pub port: u16,
    dir: PathBuf,
    _guarded: Guarded,
}

impl SmtpSink {
    /// Everything it took, each arrival on its own, as raw MIME below the envelope.
    pub fn received(&self) -> Vec<String> {
        self.files().filter_map(|file| fs::read(file).ok()).map(|mail| lossy(&mail)).collect()
    }

    pub fn count(&self) -> usize {
        self.files().count()
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        let files = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        files.filter(|file| file.file_name().to_string_lossy().starts_with("mail.")).map(|file| file.path())
    }
}

/// Starts `smtp-sink` with these options, for example `-q .` to hang up when the message ends.
pub fn smtp_sink(options: &[&str]) -> SmtpSink {
    let try_start = || {
        let port = free_port();
        let account = Account::for_server("nobody");
        let mut sink = account.command(&postfix_program("smtp-sink"));
        let dir = account.directory("nudged-sink-");
        sink.arg("-d").arg(dir.join("mail.")).args(options).arg(format!("inet:127.0.0.1:{port}")).arg("100");
        let guarded = Guarded::start(dir.clone(), "TERM", &sink);
        let ready = guarded.became_ready(|| greets(port));
        ready.then_some(SmtpSink { port, dir, _guarded: guarded })
    };
    (0..5).find_map(|_| try_start()).expect("smtp-sink did not start on any of five ports")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lettre::transport::smtp::authentication::Credentials;
    use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
    use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

    type Transport = AsyncSmtpTransport<Tokio1Executor>;

    fn mail(to: &str) -> Message {
        let message = Message::builder().from("a@test.example".parse().unwrap()).to(to.parse().unwrap());
        message.subject("Grüße").body("Hello".to_owned()).unwrap()
    }

    fn transport(port: u16, tls: impl Fn(TlsParameters) -> Tls, password: &str) -> Transport {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = Certificate::from_pem(&fs::read(&smtp().ca).unwrap()).unwrap();
        let parameters = TlsParameters::builder("localhost".to_owned()).add_root_certificate(ca).build().unwrap();
        let login = Credentials::new(SmtpServer::USER.to_owned(), password.to_owned());
        Transport::builder_dangerous("localhost").port(port).tls(tls(parameters)).credentials(login).build()
    }

    #[tokio::test]
    async fn a_login_over_starttls_or_tls_delivers_into_the_maildir() {
        let server = smtp();
        for (port, tls, to) in [
            (server.submission, Tls::Required as fn(TlsParameters) -> Tls, "starttls@support.example"),
            (server.tls, Tls::Wrapper, "tls@support.example"),
        ] {
            transport(port, tls, SmtpServer::PASSWORD).send(mail(to)).await.unwrap();
            assert!(server.wait_for(to, 1)[0].contains("\nHello"));
        }
    }

    #[tokio::test]
    async fn a_wrong_password_and_refused_recipients_get_their_codes() {
        let refused = transport(smtp().submission, Tls::Required, "wrong").send(mail("x@support.example")).await;
        assert_eq!(refused.unwrap_err().status().map(|code| code.to_string()), Some("535".to_owned()));
        let plain = Transport::builder_dangerous("127.0.0.1").port(smtp().plain).build();
        assert!(plain.send(mail("x@gone.example")).await.unwrap_err().is_permanent());
        assert!(plain.send(mail("x@later.example")).await.unwrap_err().is_transient());
        plain.send(mail("plain@support.example")).await.unwrap();
    }

    #[tokio::test]
    async fn a_sink_misbehaves_as_told() {
        let sink = smtp_sink(&["-q", "DATA"]);
        let transport = Transport::builder_dangerous("127.0.0.1").port(sink.port).build();
        let error = transport.send(mail("x@support.example")).await.unwrap_err();
        assert!(!error.is_permanent() && error.status().is_none(), "{error}");
        let sink = smtp_sink(&[]);
        let transport = Transport::builder_dangerous("127.0.0.1").port(sink.port).build();
        transport.send(mail("x@support.example")).await.unwrap();
        poll_until(PATIENCE, || sink.received().iter().any(|mail| mail.contains("\nHello")));
    }
}
