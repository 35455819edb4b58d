//! Where a source is: location and secrets → a URL that may be opened, where that leads, and what must not be seen of it. Pure.
//! For every driver. Must not know how it is opened.

use std::fmt::{self, Write as _};

use thiserror::Error;
use url::Url;

use crate::plan::unit::{Location, Source};

/// The secrets of one attempt, as read just now.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// Of [`Location::Secret`].
    pub url: Option<String>,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// Of an SRT session.
    pub passphrase: Option<String>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolved(…)")
    }
}

/// Why an address is not taken. The message says what to write instead and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The URL has a form that is refused.
    #[error("{0}")]
    Url(String),
    /// A secret has a form that is refused.
    #[error("{0}")]
    Secret(&'static str),
}

/// A URL, ready to be opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// With user name and password, if there are any.
    pub url: String,
    /// Whether the URL may be seen by others on this machine.
    pub open: bool,
    /// Host and port, to find out whether anybody is there, when it is a TCP protocol.
    pub peer: Option<(String, u16)>,
    /// The host that is connected to, by whatever protocol.
    pub host: String,
    /// All forms in which a message might show a secret.
    pub secrets: Vec<String>,
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Address(…)")
    }
}

impl Address {
    /// Of a source; `None` for one on this machine and for another agent's hub.
    ///
    /// # Errors
    /// [`Error`] for a URL or a secret that is refused.
    pub fn of(source: &Source, resolved: &Resolved) -> Result<Option<Self>, Error> {
        // The port is that of the first of the schemes.
        let (location, schemes, port): (_, &[&str], _) = match source {
            Source::Rtsp { location, .. } => (location, &["rtsp", "rtsps"], 554),
            Source::Http { location, .. } | Source::Hls { location, .. } => (location, &["http", "https"], 80),
            Source::Rtmp { location } => (location, &["rtmp", "rtmps"], 1935),
            Source::Srt { location, .. } => (location, &["srt"], 0),
            Source::V4l2 { .. } | Source::Test { .. } | Source::Hub { .. } => return Ok(None),
        };
        let mut address = Self::new(location, resolved, schemes, port)?;
        if matches!(source, Source::Srt { .. }) {
            address.peer = None;
        }
        Ok(Some(address))
    }

    /// Reads and checks it; `port` is that of the first of the schemes.
    fn new(location: &Location, resolved: &Resolved, schemes: &[&str], port: u16) -> Result<Self, Error> {
        let (text, from_secret) = match location {
            Location::Url(url) => (url.as_str(), false),
            Location::Secret(_) => (resolved.url.as_deref().unwrap_or_default(), true),
        };
        let text = if from_secret { text.trim_end_matches(['\r', '\n']) } else { text };
        let refuse = |what: &str| Err(Error::Url(format!("the URL {what}")));
        if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '\'' | '"' | '\\' | '`')) {
            return refuse("has quotes, backslashes or white space; write them percent-encoded");
        }
        let Ok(url) = Url::parse(text) else {
            return refuse(&format!("cannot be read; write {}://host/path", schemes[0]));
        };
        if !schemes.contains(&url.scheme()) {
            return refuse(&format!("must begin with {}://", schemes.join(":// or ")));
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned) else {
            return refuse("names no host");
        };
        if !from_secret && (!url.username().is_empty() || url.password().is_some()) {
            return refuse("holds a user name or password; put them in a Secret and name it in credentialsSecretRef");
        }
        let default = match url.scheme() {
            "https" | "rtmps" => 443,
            "rtsps" => 322,
            _ => port,
        };
        let host_name = host.trim_matches(['[', ']']).to_owned();
        let peer = Some((host_name.clone(), url.port().unwrap_or(default)));
        // A query may hold a token, whoever wrote it.
        let mut secret = from_secret || url.query().is_some();
        let mut text = text.to_owned();
        if let Some((user, password)) = &resolved.credentials {
            let user = plain(user, "the user name has a control character; store it without a line break")?;
            let password = plain(password, "the password has a control character; store it without a line break")?;
            // FFmpeg decodes both before it answers a challenge. Another user's credentials in a secret URL give way.
            let host_on = text.split_once("://").map_or("", |(_, rest)| rest);
            let (authority, rest) = host_on.split_at(host_on.find(['/', '?', '#']).unwrap_or(host_on.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            text = format!("{}://{}:{}@{host}{rest}", url.scheme(), encoded(user), encoded(password));
            secret = true;
        }
        let secrets = secrets(&text, resolved);
        Ok(Self { url: text, open: !secret, peer, host: host_name, secrets })
    }
}

/// Percent-encoded but for the unreserved characters of RFC 3986 §2.3.
fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Refuses what could end a line; one line break at the end, as editors add it, is dropped.
pub(super) fn plain<'a>(value: &'a str, message: &'static str) -> Result<&'a str, Error> {
    let value = value.strip_suffix('\n').unwrap_or(value);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.chars().any(char::is_control) { Err(Error::Secret(message)) } else { Ok(value) }
}

/// All forms in which a message might show a secret.
fn secrets(url: &str, resolved: &Resolved) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    if let Some((_, password)) = &resolved.credentials {
        secrets.push(password.trim_end_matches(['\r', '\n']).to_owned());
    }
    secrets.extend(resolved.passphrase.iter().map(|value| value.trim_end_matches(['\r', '\n']).to_owned()));
    if let Ok(url) = Url::parse(url) {
        secrets.extend(url.password().map(str::to_owned));
        if let Some(given) = &resolved.url {
            secrets.push(given.trim_end_matches(['\r', '\n']).to_owned());
            // FFmpeg names the parts of a URL, too.
            secrets.push(url.path().trim_matches('/').to_owned());
            secrets.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
        }
        secrets.extend(url.query().map(str::to_owned));
        secrets.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    }
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unit::{Engine, RtspTransport, SecretKey};

    fn rtsp(url: &str) -> Source {
        Source::Rtsp {
            location: Location::Url(url.into()),
            transport: RtspTransport::Tcp,
            credentials: None,
            engine: Engine::Auto,
        }
    }

    fn of(source: &Source, resolved: &Resolved) -> Address {
        Address::of(source, resolved).expect("acceptable").expect("an address")
    }

    #[test]
    fn an_address_says_where_it_leads() {
        let none = Resolved::default();
        let address = of(&rtsp("rtsp://192.0.2.10/ch/101"), &none);
        assert_eq!((address.open, address.host.as_str()), (true, "192.0.2.10"));
        assert_eq!(address.peer, Some(("192.0.2.10".into(), 554)));
        let address = of(&rtsp("rtsps://[2001:db8::1]/live?token=abc"), &none);
        assert!(!address.open, "a query may hold a token");
        assert_eq!(address.peer, Some(("2001:db8::1".into(), 322)));
        assert!(address.secrets.contains(&"abc".into()));
        let srt = Source::Srt {
            location: Location::Url("srt://192.0.2.10:9000".into()),
            passphrase: None,
            stream_id: None,
            latency_ms: 120,
        };
        assert_eq!(of(&srt, &none).peer, None, "nobody can knock at it by TCP");
        assert_eq!(Address::of(&Source::Hub { address: "http://cam:9090".into() }, &none), Ok(None));
    }

    #[test]
    fn what_is_secret_is_known_in_every_form() {
        let url = Resolved { url: Some("rtsp://evelyn:p%40w@cam.example/key123\n".into()), ..Resolved::default() };
        let key = SecretKey { namespace: "default".into(), name: "door".into(), key: "url".into() };
        let source = Source::Rtsp {
            location: Location::Secret(key),
            transport: RtspTransport::Tcp,
            credentials: None,
            engine: Engine::Auto,
        };
        let address = of(&source, &url);
        assert!(!address.open);
        for secret in ["p%40w", "key123", "rtsp://evelyn:p%40w@cam.example/key123"] {
            assert!(address.secrets.contains(&secret.into()), "{secret} in {:?}", address.secrets);
        }
        assert!(!format!("{address:?}{url:?}").contains("key123"));
    }

    #[test]
    fn odd_urls_are_refused_with_what_to_write() {
        for (url, expected) in [
            ("rtsp://bob:pw@cam/1", "credentialsSecretRef"),
            ("rtsp://bob@cam/1", "credentialsSecretRef"),
            ("rtsp://cam/a b", "percent-encoded"),
            ("rtsp://cam/'", "percent-encoded"),
            ("rtsp://cam/\n", "percent-encoded"),
            ("rtsp://cam/\\", "percent-encoded"),
            ("file:///etc/passwd", "must begin with rtsp://"),
            ("http://cam/", "must begin with rtsp://"),
            ("concat:rtsp://a|rtsp://b", "must begin with rtsp://"),
            ("rtsp:///nohost", "names no host"),
            ("cam/1", "write rtsp://host/path"),
        ] {
            let error = Address::of(&rtsp(url), &Resolved::default()).expect_err(url);
            assert!(error.to_string().contains(expected), "{url}: {error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let broken = Resolved { credentials: Some(("bob".into(), "a\nb".into())), ..Resolved::default() };
        assert!(Address::of(&rtsp("rtsp://cam/"), &broken).is_err());
    }
}
