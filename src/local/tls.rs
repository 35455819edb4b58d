//! HTTPS for `run`: a certificate and its key from files, taken up again whenever they change, so that a renewed certificate
//! needs no restart; HTTP/2 by ALPN (RFC 7301), without which Apple's players play no Low-Latency HLS (bis B.1). Must not know
//! what is served.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::host::watch::Watcher;

/// How long a client may take to agree on a connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Agreed connections that wait for the server.
const WAITING: usize = 64;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// PEM: the server's certificate first, then those that lead to the root.
    pub certificate: PathBuf,
    /// PEM: the private key of the first certificate.
    pub key: PathBuf,
}

/// Why certificate and key cannot be used. The message says what to do and holds nothing of the key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The certificate's file holds none.
    #[error("{} holds no certificate; write one in PEM form (-----BEGIN CERTIFICATE-----)", .0.display())]
    NoCertificate(PathBuf),
    /// The key's file holds none.
    #[error("{} holds no private key; write one in PEM form without a password (-----BEGIN PRIVATE KEY-----)", .0.display())]
    NoKey(PathBuf),
    /// A file is no PEM.
    #[error("{} is damaged; write it anew in PEM form", .0.display())]
    Damaged(PathBuf),
    /// They do not fit each other, or are of a kind that is not known.
    #[error("{} and {} cannot be used together: {error}", certificate.display(), key.display())]
    Unfit {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        error: rustls::Error,
    },
}

impl Files {
    /// Reads both. Blocks on the disk.
    fn read(&self) -> Result<Arc<CertifiedKey>, Error> {
        let (certificate, key) = (contents(&self.certificate)?, contents(&self.key)?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
        let chain = chain.map_err(|_| Error::Damaged(self.certificate.clone()))?;
        if chain.is_empty() {
            return Err(Error::NoCertificate(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| match error {
            pem::Error::NoItemsFound => Error::NoKey(self.key.clone()),
            _ => Error::Damaged(self.key.clone()),
        })?;
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| Error::Unfit { certificate: self.certificate.clone(), key: self.key.clone(), error })?;
        Ok(Arc::new(certified))
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::Unreadable { path: path.to_owned(), error })
}

/// The certificate in force.
pub struct Identity {
    files: Files,
    certified: RwLock<Arc<CertifiedKey>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads certificate and key. Blocks on the disk.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn load(files: Files) -> Result<Self, Error> {
        let certified = RwLock::new(files.read()?);
        Ok(Self { files, certified })
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them again; false when they are as they were. What cannot be used changes nothing. Blocks on the disk.
    fn reload(&self) -> Result<bool, Error> {
        let read = self.files.read()?;
        let changed = read.cert != self.certified().cert;
        // Even so: a key may have been written anew in another form.
        *self.certified.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(changed)
    }

    /// Takes up what changes in the files, until `shutdown`. Connections that stand keep what they began with.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let watcher = Watcher::new(&[self.files.certificate.clone(), self.files.key.clone()]);
        let Ok(mut watcher) = watcher else {
            tracing::warn!("the certificate's files cannot be watched; restart this program when they are renewed");
            return;
        };
        loop {
            // First of all, since they may have changed before they were watched.
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.reload()).await {
                Ok(Ok(true)) => tracing::info!("the renewed certificate is in force"),
                // One of two files is written before the other: the next change puts it right.
                Ok(Err(error)) => tracing::warn!("the certificate that was there stays in force: {error}"),
                Ok(Ok(false)) | Err(_) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = watcher.changed() => if changed.is_none() {
                    return;
                },
            }
        }
    }

    /// What servers agree on with clients: TLS 1.2 or 1.3, HTTP/2 rather than HTTP/1.1.
    fn configuration(self: Arc<Self>) -> Result<ServerConfig, rustls::Error> {
        let mut configuration = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(self)));
        configuration.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(configuration)
    }
}

/// Hands out the certificate in force.
#[derive(Debug)]
struct Resolver(Arc<Identity>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.certified())
    }
}

/// A listener whose connections have agreed on TLS. Each agrees in a task of its own, so that a slow client holds nobody up.
#[derive(Debug)]
pub struct TlsListener {
    agreed: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
    accepting: CancellationToken,
}

impl TlsListener {
    /// Takes over a listener.
    ///
    /// # Errors
    /// When the listener has no address, or TLS cannot be set up, which is a mistake of the program.
    pub fn new(listener: TcpListener, identity: Arc<Identity>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let configuration = identity.configuration().map_err(io::Error::other)?;
        let acceptor = TlsAcceptor::from(Arc::new(configuration));
        let (sender, agreed) = mpsc::channel(WAITING);
        let accepting = CancellationToken::new();
        tokio::spawn(accept(listener, acceptor, sender, accepting.clone()));
        Ok(Self { agreed, address, accepting })
    }
}

async fn accept(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    agreed: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
    accepting: CancellationToken,
) {
    loop {
        let (stream, address) = tokio::select! {
            () = accepting.cancelled() => return,
            // Waits by itself when this process has no file left to open.
            accepted = Listener::accept(&mut listener) => accepted,
        };
        let (acceptor, agreed) = (acceptor.clone(), agreed.clone());
        tokio::spawn(async move {
            // Small answers (a part's playlist) must not wait for more.
            let _ = stream.set_nodelay(true);
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // A closed channel: the server has ended.
                Ok(Ok(stream)) => drop(agreed.send((stream, address)).await),
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS connection"),
                Err(_) => tracing::debug!(%address, "no TLS connection: the client did not answer"),
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.agreed.recv().await {
            Some(connection) => connection,
            // The task that accepts ends only when this value is dropped.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.cancel();
    }
}
