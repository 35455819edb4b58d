//! Takes secrets out of text before anything sees it: credentials in URLs, query values that look like tokens, and every
//! secret that the unit knows. Pure. Must stand between FFmpeg's messages and everything else.

use std::sync::LazyLock;

use regex::Regex;

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// `user:password@` or `user@` behind a scheme. A password may hold `@` unescaped: the last one before the host's end counts.
#[allow(clippy::unwrap_used, reason = "constant pattern, covered by tests")]
static CREDENTIALS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'"]*@"#).unwrap());

/// The query of a URL, up to white space or a quote.
#[allow(clippy::unwrap_used, reason = "constant pattern, covered by tests")]
static QUERY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"([A-Za-z][A-Za-z0-9+.-]*://[^\s'"?]*)\?[^\s'"]+"#).unwrap());

/// A value of a header or parameter with a telling name.
#[allow(clippy::unwrap_used, reason = "constant pattern, covered by tests")]
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)\b(authorization:\s*\w+|password|passwd|passphrase|pwd|token|secret|api_?key|access_?key|signature|streamid|cookie)(\s*[:=]\s*|\s+)[^\s&'",]+"#,
    )
    .unwrap()
});

/// Takes secrets out of lines.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// Longest first, so that no part of one is left standing.
    secrets: Vec<String>,
}

impl Redactor {
    /// One that knows these secrets. Their percent-encoded forms are known with them. Values of less than three characters are
    /// left out: replacing them would hide the message and show the value by what is missing.
    pub fn new(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = secrets
            .into_iter()
            .flat_map(|secret| {
                let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
                let spaced = encoded.replace('+', "%20");
                [secret, encoded, spaced]
            })
            .filter(|secret| secret.chars().count() >= 3)
            .collect();
        all.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        all.dedup();
        Self { secrets: all }
    }

    /// The line without secrets.
    pub fn redact(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for secret in &self.secrets {
            if line.contains(secret.as_str()) {
                line = line.replace(secret.as_str(), MASK);
            }
        }
        let line = CREDENTIALS.replace_all(&line, format!("${{1}}{MASK}@"));
        let line = QUERY.replace_all(&line, format!("${{1}}?{MASK}"));
        NAMED.replace_all(&line, format!("${{1}}${{2}}{MASK}")).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_left_of_a_line() {
        let redactor =
            Redactor::new(["s3cr%t".to_owned(), "s3".to_owned(), "ab".to_owned(), "key with space".to_owned()]);
        for (line, expected) in [
            ("[error] rtsp://bob:s3cr%25t@10.0.0.1:554/cam: 401", "[error] rtsp://***@10.0.0.1:554/cam: 401"),
            ("rtsp://bob@host/cam", "rtsp://***@host/cam"),
            ("rtsp://a:b@c@host/cam", "rtsp://***@host/cam"),
            ("tcp://10.0.0.1:554?timeout=3 failed", "tcp://10.0.0.1:554?*** failed"),
            ("opening 'http://host/x?token=abc&b=1' now", "opening 'http://host/x?***' now"),
            ("pass s3cr%t here and s3cr%25t", "pass *** here and ***"),
            ("key+with+space key%20with%20space", "*** ***"),
            ("passphrase=hunter22 ok", "passphrase=*** ok"),
            ("Authorization: Basic Ym9iOnB3", "Authorization: Basic ***"),
            ("streamid = publish:abc", "streamid = ***"),
            ("absolutely nothing", "absolutely nothing"),
        ] {
            assert_eq!(redactor.redact(line), expected);
        }
    }
}
