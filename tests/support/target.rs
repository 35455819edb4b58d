//! Servers that pushes are sent to, and what stands between: real ones that keep what arrives, and others that hang or are slow.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::free_port;
use super::peer::{Group, nginx};

/// An RTMP server (nginx with its RTMP module) that records everything that is published in its application `live` under one
/// stream key, and refuses all others.
pub struct RtmpServer {
    folder: TempDir,
    configuration: String,
    running: Option<Group>,
    address: String,
    /// Where it listens.
    pub port: u16,
}

impl RtmpServer {
    /// Starts one that takes this key.
    pub fn start(key: &str) -> Self {
        Self::start_at("127.0.0.1", key)
    }

    /// Starts one at another address of this machine, that takes each of these keys, separated by `|`.
    pub fn start_at(address: &str, keys: &str) -> Self {
        let (port, asked) = (free_port(), free_port());
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("recorded")).unwrap();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;\nevents {{}}\n\
             http {{ client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi; \
             uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi; access_log {0}/asked.log;\n\
             server {{ listen 127.0.0.1:{asked}; location / {{ if ($arg_name !~ \"^({keys})$\") {{ return 403; }} return 204; }} }} }}\n\
             rtmp {{ server {{ listen {address}:{port}; application live {{ live on; record all; record_unique on; \
             record_path {0}/recorded; notify_method get; on_publish http://127.0.0.1:{asked}/; }} }} }}\n",
            folder.path().display()
        );
        let mut server = Self { folder, configuration, running: None, address: address.to_owned(), port };
        server.restart();
        server
    }

    /// Takes these keys from now on, and no others; sessions that stand are cut.
    pub fn take(&mut self, keys: &str) {
        let (before, after) = self.configuration.split_once("\"^(").unwrap();
        let (_, after) = after.split_once(")$\"").unwrap();
        self.configuration = format!("{before}\"^({keys})$\"{after}");
        self.restart();
    }

    /// The URL without the key.
    pub fn url(&self) -> String {
        format!("rtmp://{}:{}/live", self.address, self.port)
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Back after [`Self::kill`].
    pub fn restart(&mut self) {
        self.kill();
        self.running = Some(nginx(self.folder.path(), (&self.address, self.port), &self.configuration));
    }

    /// Takes nothing any more; what stands, stands.
    pub fn freeze(&self) {
        self.running.as_ref().unwrap().signal(Signal::SIGSTOP);
    }

    /// Goes on after [`Self::freeze`].
    pub fn thaw(&self) {
        self.running.as_ref().unwrap().signal(Signal::SIGCONT);
    }

    /// How often somebody wanted to publish, with whatever key: (all, refused).
    pub fn asked(&self) -> (usize, usize) {
        let log = fs::read_to_string(self.folder.path().join("asked.log")).unwrap_or_default();
        let publishes: Vec<&str> = log.lines().filter(|line| line.contains("call=publish")).collect();
        (publishes.len(), publishes.iter().filter(|line| line.contains(" 403 ")).count())
    }

    /// What was recorded: a file for each session, oldest first.
    pub fn recorded(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> =
            fs::read_dir(self.folder.path().join("recorded")).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort_by_key(|file| fs::metadata(file).and_then(|facts| facts.created()).unwrap());
        files
    }

    /// Bytes recorded so far.
    pub fn bytes(&self) -> u64 {
        self.recorded().iter().map(|file| size(file)).sum()
    }
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |facts| facts.len())
}

/// Accepts connections and never says or reads anything.
pub struct Mute {
    /// Where it listens.
    pub port: u16,
    _listener: Arc<TcpListener>,
}

impl Mute {
    /// Starts one.
    pub fn start() -> Self {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        // The kernel accepts into the backlog; that nobody takes them from there is what is wanted.
        Self { port: listener.local_addr().unwrap().port(), _listener: listener }
    }
}

/// Stands before a server and passes on at most so many bytes a second of what is sent to it.
pub struct Throttle {
    /// Where it listens.
    pub port: u16,
    rate: Arc<AtomicU64>,
}

impl Throttle {
    /// Starts one in front of a port, without a limit.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let rate = Arc::new(AtomicU64::new(u64::MAX));
        let limit = rate.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                pass(&client, &server, &limit);
            }
        });
        Self { port, rate }
    }

    /// Passes on no more than so many bytes a second from now on.
    pub fn limit(&self, bytes_a_second: u64) {
        self.rate.store(bytes_a_second, Ordering::Relaxed);
    }
}

fn pass(client: &TcpStream, server: &TcpStream, rate: &Arc<AtomicU64>) {
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to, rate) = (client.try_clone().unwrap(), server.try_clone().unwrap(), rate.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            let rate = rate.load(Ordering::Relaxed);
            if rate != u64::MAX {
                // A slow line is what this is, not a wait for something.
                std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// A server in Python that can be killed and brought back, and the folder in which it keeps what arrives.
pub struct Sink {
    folder: TempDir,
    script: &'static str,
    arguments: Vec<String>,
    running: Option<Group>,
    /// Where it listens.
    pub port: u16,
}

impl Sink {
    /// An RTSP server that is published to beneath a path.
    pub fn rtsp(path: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().to_str().unwrap().to_owned();
        Self::start(folder, "rtsp_sink.py", &["--path", path, "--folder", &kept])
    }

    /// An SRT listener that takes one stream.
    pub fn srt(stream_id: &str, passphrase: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kept.ts").to_str().unwrap().to_owned();
        let arguments = ["--stream-id", stream_id, "--passphrase", passphrase, "--file", &file];
        Self::start(folder, "srt_sink.py", &arguments)
    }

    fn start(folder: TempDir, script: &'static str, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut all = vec!["--port".to_owned(), port.to_string()];
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let mut sink = Self { folder, script, arguments: all, running: None, port };
        sink.restart();
        sink
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Back after [`Self::kill`].
    pub fn restart(&mut self) {
        self.kill();
        self.running = Some(super::peer::script(self.script, &self.arguments, None, std::process::Stdio::null()));
    }

    /// The files that it has kept, in order of their names.
    pub fn kept(&self) -> Vec<PathBuf> {
        super::program::files_beneath(self.folder.path())
    }

    /// Bytes kept so far.
    pub fn bytes(&self) -> u64 {
        self.kept().iter().map(|file| size(file)).sum()
    }
}

/// Takes TLS off what comes in, with a certificate for `127.0.0.1`, and passes it on to a server.
pub struct Tls {
    /// Where it listens.
    pub port: u16,
    /// The certificate, which signs itself.
    pub certificate: PathBuf,
    _folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Tls {
    /// Starts one in front of a port.
    pub fn before(server: u16) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = folder.path().join("tls.crt");
        fs::write(&certificate, made.cert.pem()).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut server) = tokio::net::TcpStream::connect(("127.0.0.1", server)).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port, certificate, _folder: folder, _runtime: runtime }
    }
}
