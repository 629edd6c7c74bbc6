//! Binds the listeners and serves them until told to stop.

use super::WebOptions;
use super::guard::guard_tcp;
use axum::{Router, middleware};
use futures::future::join_all;
use secrecy::SecretString;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// Why the admin API can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{0}: `{1}` is not an address; write HOST:PORT, such as 127.0.0.1:9464")]
    NotAnAddress(&'static str, String),
    #[error("web.listen: {0} can be reached from other machines; set web.token, or listen on 127.0.0.1")]
    NeedsToken(SocketAddr),
    #[error("can't listen on {address}: {error}")]
    Tcp { address: SocketAddr, error: io::Error },
    #[error("can't listen on the socket {path}: {error}")]
    Socket { path: PathBuf, error: io::Error },
    #[error("another process answers on the socket {0}; is nudged running already?")]
    InUse(PathBuf),
}

/// The bound listeners. Binding comes early, so that a second daemon finds out before it does anything.
#[derive(Debug)]
pub struct Listeners {
    socket: Option<(UnixListener, PathBuf)>,
    tcp: Option<TcpListener>,
    token: Option<Arc<SecretString>>,
}

impl Listeners {
    pub async fn bind(options: &WebOptions) -> Result<Self, ServeError> {
        let socket = if options.socket.as_os_str().is_empty() {
            None
        } else {
            Some((bind_socket(&options.socket)?, options.socket.clone()))
        };
        let tcp = match options.listen.as_str() {
            "" => None,
            listen => Some(bind_tcp(listen, options.token.is_some()).await?),
        };
        Ok(Self { socket, tcp, token: options.token.clone().map(Arc::new) })
    }

    /// The TCP address, with the port that was found for `:0`.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Serves until `stop` turns true; requests under way are finished.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        let mut servers: Vec<futures::future::BoxFuture<'static, io::Result<()>>> = Vec::new();
        let path = self.socket.as_ref().map(|(_, path)| path.clone());
        if let Some((listener, _)) = self.socket {
            let server = axum::serve(listener, router.clone()).with_graceful_shutdown(stopped(stop.clone()));
            servers.push(Box::pin(server.into_future()));
        }
        if let Some(listener) = self.tcp {
            let guarded = router.layer(middleware::from_fn_with_state(self.token, guard_tcp));
            servers.push(Box::pin(axum::serve(listener, guarded).with_graceful_shutdown(stopped(stop)).into_future()));
        }
        for error in join_all(servers).await.into_iter().filter_map(Result::err) {
            tracing::error!(%error, "the admin API stopped");
        }
        if let Some(path) = path {
            // A socket file that stays behind is found dead and replaced by the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The listener for what the internet may reach.
#[derive(Debug)]
pub struct PublicListener(TcpListener);

impl PublicListener {
    /// `None`: the configuration names no address for it.
    pub async fn bind(options: &WebOptions) -> Result<Option<Self>, ServeError> {
        if options.public_listen.is_empty() {
            return Ok(None);
        }
        let address = resolve("web.public_listen", &options.public_listen)?;
        let bound = TcpListener::bind(address).await;
        bound.map(|listener| Some(Self(listener))).map_err(|error| ServeError::Tcp { address, error })
    }

    /// Serves until `stop` turns true; requests under way are finished.
    pub async fn serve(self, router: Router, stop: watch::Receiver<bool>) {
        if let Ok(address) = self.0.local_addr() {
            tracing::info!(%address, "listening to the internet");
        }
        if let Err(error) = axum::serve(self.0, router).with_graceful_shutdown(stopped(stop)).await {
            tracing::error!(%error, "the public listener stopped");
        }
    }
}

fn resolve(key: &'static str, listen: &str) -> Result<SocketAddr, ServeError> {
    let found = listen.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| ServeError::NotAnAddress(key, listen.to_owned()))
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn bind_tcp(listen: &str, has_token: bool) -> Result<TcpListener, ServeError> {
    let address = resolve("web.listen", listen)?;
    if !address.ip().is_loopback() && !has_token {
        return Err(ServeError::NeedsToken(address));
    }
    TcpListener::bind(address).await.map_err(|error| ServeError::Tcp { address, error })
}

/// Binds a unix socket for the owner and the group. A socket file that nobody answers on is a dead
/// process' and is replaced; anything else at that path is left alone.
fn bind_socket(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |error| ServeError::Socket { path: path.to_owned(), error };
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is not a socket")));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ServeError::InUse(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(failed)?;
    } else if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
