//! HTTPS with a certificate of one's own: Low-Latency HLS over one HTTP/2 connection, a certificate that is renewed while the
//! program runs, and the page in a browser.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use reqwest::{Certificate, Client, Version};

use crate::browser;
use crate::support::camera::Camera;
use crate::support::program::{BINARY, Program};
use crate::support::{hls, http, manifest, wait};

/// A certificate for this machine's loopback address, signed by itself, and its key, in files.
struct Certified {
    folder: tempfile::TempDir,
    pem: String,
}

impl Certified {
    fn new() -> Self {
        let mut this = Self { folder: tempfile::tempdir().unwrap(), pem: String::new() };
        let (pem, key) = generate();
        fs::write(this.certificate(), &pem).unwrap();
        fs::write(this.key(), key).unwrap();
        this.pem = pem;
        this
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }

    /// A client that trusts this certificate and no other.
    fn client(pem: &str) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let trusted = [Certificate::from_pem(pem.as_bytes()).unwrap()];
        let builder = Client::builder().no_proxy().https_only(true).tls_certs_only(trusted);
        builder.timeout(Duration::from_mins(1)).build().unwrap()
    }
}

fn generate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Connections that stand at a port of this machine, counted at the server's end.
fn connections_at(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let stands = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        // 01 = TCP_ESTABLISHED
        fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("01")
    };
    table.lines().filter(stands).count()
}

#[test]
fn low_latency_hls_over_one_http2_connection() {
    let camera = Camera::start("--fps 25 --audio aac");
    let stream = manifest::hls(
        "live",
        "cam",
        "{segmentDuration: 6s, playlistSegments: 6, lowLatency: true, partDuration: 400ms}",
    );
    let certified = Certified::new();
    let manifests = manifest::patient(&manifest::camera("cam", &camera.url)) + &stream;
    let mut program =
        Program::prepare(&manifests, None, &[]).with_certificate(&certified.certificate(), &certified.key());
    program.run();
    program.await_ready();
    let url = program.url("/live/default/live/index.m3u8");
    let (_, playlist) = wait("a segment and parts", || {
        hls::fetch(&url).filter(|(_, playlist)| !playlist.segments.is_empty() && playlist.text.contains("#EXT-X-PART:"))
    });
    let before = connections_at(program.port);

    // A dozen requests that all wait for parts to come, and others beside them that must not wait for those.
    let client = Certified::client(&certified.pem);
    let next = playlist.media_sequence + playlist.segments.len() as u64;
    let get = |url: String| {
        let client = client.clone();
        async move {
            let answer = client.get(&url).send().await.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2), "{url}");
            answer.bytes().await.unwrap()
        }
    };
    http::runtime().block_on(async {
        // The first connection is agreed on; all that follows goes over it.
        get(program.url("/healthz")).await;
        let reload = |number: u64| get(format!("{url}?_HLS_msn={}&_HLS_part={}", next + 1, number % 4));
        let waiting = join_all((0..12).map(reload));
        let others = join_all((0..40).map(|number| {
            get(match number % 4 {
                0 => program.url("/readyz"),
                1 => program.url("/live/default/live/main.m3u8"),
                2 => playlist.segments.last().unwrap().url.clone(),
                _ => program.url("/api/v1/namespaces/default/cameras"),
            })
        }));
        tokio::pin!(waiting);
        let others = tokio::select! {
            biased;
            reloads = &mut waiting => panic!("{} reloads were answered before all else", reloads.len()),
            others = others => others,
        };
        assert!(others.iter().all(|body| !body.is_empty()));
        assert_eq!(connections_at(program.port), before + 1, "one connection carries everything");
        for (number, body) in waiting.await.into_iter().enumerate() {
            let later = hls::parse(&url, std::str::from_utf8(&body).unwrap());
            let whole = later.media_sequence + later.segments.len() as u64;
            assert!(whole > next, "reload {number} was answered too early\n{}", later.text);
        }
    });
    // An old client still gets HTTP/1.1, and one that speaks no TLS gets nothing.
    let trusted = [Certificate::from_pem(certified.pem.as_bytes()).unwrap()];
    let old = Client::builder().no_proxy().http1_only().tls_certs_only(trusted).build().unwrap();
    let answer = http::runtime().block_on(async { old.get(&url).send().await }).unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11));
    assert!(http::get(&url.replace("https:", "http:")).is_err());
    assert!(program.log().contains("https://127.0.0.1:"), "{}", program.log());
    assert!(program.terminate().success(), "{}", program.log());
}

#[test]
fn a_renewed_certificate_needs_no_restart() {
    let certified = Certified::new();
    let mut program = Program::prepare(&manifest::camera("cam", "rtsp://127.0.0.1:1/none"), None, &[])
        .with_certificate(&certified.certificate(), &certified.key());
    program.run();
    program.await_ready();
    // One that never says a word holds nobody up.
    let _silent = TcpStream::connect(("127.0.0.1", program.port)).unwrap();
    let runtime = http::runtime();
    let url = program.url("/healthz");
    let is_answered = |client: &Client| {
        let answer = runtime.block_on(async { client.get(&url).send().await });
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    let is_trusted = |pem: &str| is_answered(&Certified::client(pem));
    let (renewed, key) = generate();
    assert!(is_trusted(&certified.pem) && !is_trusted(&renewed));
    let standing = Certified::client(&certified.pem);
    assert!(is_answered(&standing));

    // Half of a renewal: what was there stays in force.
    fs::write(certified.certificate(), &renewed).unwrap();
    wait("the warning", || program.log().contains("cannot be used together").then_some(()));
    assert!(is_trusted(&certified.pem) && !is_trusted(&renewed));
    // The other half, as tools do it: a new file in place of the old one.
    let aside = certified.folder.path().join("new.key");
    fs::write(&aside, &key).unwrap();
    fs::rename(aside, certified.key()).unwrap();
    wait("the renewed certificate", || is_trusted(&renewed).then_some(()));
    assert!(!is_trusted(&certified.pem));
    assert!(is_answered(&standing), "a connection that stands goes on");
    let secret = key.lines().nth(1).unwrap();
    assert!(!program.log().contains(secret));
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_in_words_that_help() {
    let certified = Certified::new();
    let folder = certified.folder.path();
    fs::write(folder.join("cam.yaml"), manifest::camera("cam", "rtsp://127.0.0.1:1/none")).unwrap();
    fs::write(folder.join("other.key"), generate().1).unwrap();
    fs::write(folder.join("empty"), "").unwrap();
    fs::write(folder.join("torn"), "-----BEGIN CERTIFICATE-----\nMIIB\n").unwrap();
    for (certificate, key, expected) in [
        ("missing.crt", "tls.key", "missing.crt cannot be read"),
        ("empty", "tls.key", "empty holds no certificate; write one in PEM form"),
        ("torn", "tls.key", "torn"),
        ("tls.crt", "empty", "empty holds no private key; write one in PEM form"),
        ("tls.crt", "tls.crt", "tls.crt holds no private key"),
        ("tls.crt", "other.key", "cannot be used together"),
    ] {
        let mut command = std::process::Command::new(BINARY);
        command.args(["run", "-f", "cam.yaml", "--data", "data", "--listen", "127.0.0.1:0"]);
        command.args(["--tls-certificate", certificate, "--tls-key", key]).current_dir(folder);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(expected), "{certificate} {key}: {text}");
        assert!(text.contains("--tls-certificate"), "{text}");
    }
}

#[test]
fn the_page_plays_over_http2() {
    let camera = Camera::start("--fps 25 --audio aac");
    let certified = Certified::new();
    let mut program = Program::prepare(&manifest::patient(&manifest::all_of("cam", &camera.url)), None, &[])
        .with_certificate(&certified.certificate(), &certified.key());
    program.run();
    program.await_ready();
    let Some(seen) = browser::look("the page over HTTPS in a browser", &program, "cam") else { return };
    assert_eq!(seen["protocol"], "h2", "{seen}");
    browser::assert_moves(&seen);
}
