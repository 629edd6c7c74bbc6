//! Talks to the running daemon's admin API.

use super::{Exit, Failure};
use crate::web::WebOptions;
use reqwest::{Client, Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::Duration;

/// A reload settles and checks before it answers.
const DEADLINE: Duration = Duration::from_secs(150);

/// Where the daemon of a configuration listens.
#[derive(Debug)]
pub struct AdminClient {
    http: Client,
    base: String,
    token: Option<String>,
}

/// An answer of the daemon, whatever its status.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Json,
}

impl AdminClient {
    /// By its socket where there is one, else by TCP.
    pub fn new(options: &WebOptions) -> Result<Self, Failure> {
        // Only the first call in a process sets it; the others find it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().no_proxy().timeout(DEADLINE);
        let by_socket = !options.socket.as_os_str().is_empty() && options.socket.exists();
        let (builder, base) = match by_socket {
            true => (builder.unix_socket(options.socket.as_path()), "http://localhost".to_owned()),
            false if options.listen.is_empty() => return Err(silent(&nowhere(&options.socket))),
            false => (builder, format!("http://{}", options.listen)),
        };
        let http = builder.build().map_err(|error| Failure::other(Exit::Failure, error.to_string()))?;
        let token = options.token.as_ref().filter(|_| !by_socket).map(|token| token.expose_secret().to_owned());
        Ok(Self { http, base, token })
    }

    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Json) -> Result<Answer, Failure> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<Json>) -> Result<Answer, Failure> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| silent(&root_cause(&error)))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| silent(&root_cause(&error)))?;
        let body = serde_json::from_str(&text).unwrap_or_else(|_| json!({"error": text.trim()}));
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The body of a success; otherwise the daemon's own words.
    pub fn into_result(self) -> Result<Json, Failure> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let why = self.body["error"].as_str().unwrap_or("no reason given");
        let exit = match self.status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::SERVICE_UNAVAILABLE => Exit::State,
            _ => Exit::Failure,
        };
        Err(Failure::other(exit, format!("the daemon refused: {why}")))
    }
}

fn nowhere(socket: &Path) -> String {
    if socket.as_os_str().is_empty() {
        return "its configuration gives it no address".to_owned();
    }
    format!("there is no socket at {}", socket.display())
}

fn silent(why: &str) -> Failure {
    Failure::other(
        Exit::NotRunning,
        format!("the daemon does not answer: {why}; is `nudged run` running with this configuration?"),
    )
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
