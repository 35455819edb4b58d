//! A real mail server (`smtp_server.py`, aiosmtpd) with a certificate of an authority of its own, and the mail that it took.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait;

/// How the way to it is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Plain at first.
    StartTls,
    /// From the beginning.
    Tls,
    /// Not at all.
    None,
}

impl Way {
    /// As manifests write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartTls => "STARTTLS",
            Self::Tls => "TLS",
            Self::None => "None",
        }
    }
}

/// An authority, and a certificate of it for `localhost`, in files.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = parameters.self_signed(&key).unwrap();
        let issuer = Issuer::new(parameters, key);
        let own = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("authority.pem", authority.pem());
        write("server.pem", server.pem());
        write("server.key", own.serialize_pem());
        Self { folder }
    }

    /// File of its own certificate, for those who are to trust it.
    pub fn path(&self) -> String {
        self.file("authority.pem")
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

/// The server.
pub struct Smtp {
    child: Child,
    /// Where it listens, at localhost.
    pub port: u16,
    mail: Arc<Mutex<Vec<Value>>>,
}

impl Smtp {
    /// A server; with a user and a password it takes mail only from who logs in.
    pub fn start(authority: &Authority, tls: Way, user: &str, password: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp_server.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).args(["--tls", tls.name()]);
        command.args(["--certificate", &authority.file("server.pem"), "--key", &authority.file("server.key")]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("python3 with aiosmtpd (python3-aiosmtpd)");
        writeln!(child.stdin.as_mut().unwrap(), "{}", json!([user, password])).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let hello: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("no mail server: {first:?}"));
        let mail: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = mail.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, port: u16::try_from(hello["port"].as_u64().unwrap()).unwrap(), mail }
    }

    /// What it took, in its order.
    pub fn mail(&self) -> Vec<Value> {
        self.mail.lock().unwrap().clone()
    }

    /// Waits until it took so many.
    pub fn await_mail(&self, count: usize) -> Vec<Value> {
        wait(&format!("{count} mails"), || Some(self.mail()).filter(|mail| mail.len() >= count))
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
