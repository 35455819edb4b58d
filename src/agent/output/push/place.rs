//! Where an RTMP stream goes: URL and stream key → host, application and name. Pure. A key stands in no text that anybody sees.

use std::fmt;

use super::arguments::{Refusal, Resolved, parsed, plain, port, secrets, split, target};
use crate::agent::rtmp::client::Place;
use crate::plan::unit::Push;

/// Where to connect, and what to ask for there.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// The host, as it is looked up.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Over TLS.
    pub is_secure: bool,
    /// What to ask for.
    pub place: Place,
    /// What must not be seen in messages.
    pub secrets: Vec<String>,
    named: String,
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({})", self.named)
    }
}

impl Address {
    /// For people: without path, query and key.
    pub fn named(&self) -> &str {
        &self.named
    }

    /// Of a push to `rtmp://` or `rtmps://`.
    ///
    /// # Errors
    /// When URL or key have a form that nothing can be sent with; only what came around the schema, or from a Secret.
    pub fn of(push: &Push, resolved: &Resolved) -> Result<Self, Refusal> {
        let (url, host) = parsed(&push.url)?;
        let is_secure = url.scheme() == "rtmps";
        let port = port(&url);
        let key = plain(resolved.stream_key.as_deref(), "stream key")?;
        let (application, stream) = split(&url, key)?;
        let authority =
            if url.host_str().is_some_and(|host| host.starts_with('[')) { format!("[{host}]") } else { host.clone() };
        let place = Place { url: format!("{}://{authority}:{port}/{application}", url.scheme()), application, stream };
        Ok(Self { host, port, is_secure, place, secrets: secrets(key, None, &url), named: target(&push.url) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::output::push::arguments::tests::push;

    #[test]
    fn where_a_stream_goes() {
        let resolved = |key: Option<&str>| Resolved { stream_key: key.map(str::to_owned), passphrase: None };
        for (url, key, expected) in [
            (
                "rtmp://h.example/live2",
                Some("ab-cd\n"),
                ("h.example", 1935, "live2", "ab-cd", "rtmp://h.example:1935/live2"),
            ),
            (
                "rtmps://h.example/live2/?backup=1",
                Some("ab-cd"),
                ("h.example", 443, "live2?backup=1", "ab-cd", "rtmps://h.example:443/live2?backup=1"),
            ),
            (
                "rtmp://[2001:db8::1]:1936/live/door",
                None,
                ("2001:db8::1", 1936, "live", "door", "rtmp://[2001:db8::1]:1936/live"),
            ),
            (
                "rtmp://h.example/app/instance/door?x=1",
                None,
                ("h.example", 1935, "app/instance", "door?x=1", "rtmp://h.example:1935/app/instance"),
            ),
            (
                "rtmp://h.example/app/mp4:sub/door",
                None,
                ("h.example", 1935, "app", "mp4:sub/door", "rtmp://h.example:1935/app"),
            ),
        ] {
            let address = Address::of(&push(url), &resolved(key)).unwrap();
            let Place { application, url, stream } = &address.place;
            assert_eq!(
                (address.host.as_str(), address.port, application.as_str(), stream.as_str(), url.as_str()),
                expected
            );
            assert!(!format!("{address:?} {:?}", address.place).contains("ab-cd"));
            assert!(key.is_none() || address.secrets.contains(&"ab-cd".to_owned()));
        }
        for url in ["rtmp://h.example", "rtmp://h.example/live/", "rtmp://h.example/live?x=secret"] {
            let refused = Address::of(&push(url), &resolved(None)).unwrap_err();
            assert!(refused.contains("streamKeySecretRef") && !refused.contains("x=secret"), "{refused}");
        }
        assert!(Address::of(&push("rtmp://h.example/live"), &resolved(Some("a\nb"))).is_err());
    }
}
