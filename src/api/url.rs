//! What a URL in a manifest may be. A URL that passes holds no credentials, nothing that a shell, a concat script or a log
//! could misread, and has a scheme that its source can open. The same rules in Rust are for URLs that come from a Secret.

use kube::core::Rule;

use super::rule::{literal, matches, matches_not, rule};

/// Longest URL.
pub const MAX_LENGTH: usize = 2048;

/// Printable ASCII (RFC 3986) without quotes, backslash, white space and backtick.
const CHARACTERS: &str = r"^[!#-&(-\[\]-_a-~]*$";
/// Something before an `@` in the authority.
const USER_INFORMATION: &str = "^[^:/?#]*:?//[^/?#]*@";
/// A parameter that is a password, whatever a vendor calls it. Some cameras take it in the path, hence `_` and `/`.
const PASSWORD_PARAMETER: &str = "(?i)[/?&;_](password|passwd|pwd|pass)=";

/// The schemes that a source can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `rtsp`, `rtsps`.
    Rtsp,
    /// `http`, `https`.
    Http,
    /// `rtmp`, `rtmps`.
    Rtmp,
    /// `srt`; a port is required and a query is not taken.
    Srt,
    /// Where a stream may be sent: `rtmp`, `rtmps` or `rtsp` with a path, `srt` as above.
    Push,
}

/// Why a URL is refused. Never holds the URL, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Characters.
    #[error(
        "must hold only printable ASCII characters and no quotes, backslashes or white space: write others percent-encoded, \
         such as %20 for a space"
    )]
    Characters,
    /// `user:password@`.
    #[error(
        "must not hold a user name or password: put them into a Secret and name it in credentialsSecretRef, or put the whole \
         URL into a Secret and name it in urlSecretRef"
    )]
    UserInformation,
    /// `?password=`.
    #[error("must not hold a password parameter: put the whole URL into a Secret and name it in urlSecretRef")]
    PasswordParameter,
    /// The scheme or shape.
    #[error("{}", .0.message())]
    Shape(Family),
    /// Length.
    #[error("must be at most {MAX_LENGTH} characters long")]
    TooLong,
}

impl Family {
    /// The shape of the family's URLs: scheme, host (name, IPv4, or IPv6 in brackets), numeric port.
    const fn pattern(self) -> &'static str {
        match self {
            Self::Rtsp => r"^(rtsp|rtsps)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?]|$)",
            Self::Http => r"^(http|https)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?]|$)",
            Self::Rtmp => r"^(rtmp|rtmps)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?]|$)",
            Self::Srt => r"^srt://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?$",
            Self::Push => {
                r"^((rtmp|rtmps|rtsp)://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/[^?#]|srt://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}/?$)"
            }
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Rtsp => {
                "must be an RTSP URL with a host and, where needed, a numeric port: write it as rtsp://192.0.2.10:554/path or rtsps://…"
            }
            Self::Http => {
                "must be an HTTP URL with a host and, where needed, a numeric port: write it as http://192.0.2.10/path or https://…"
            }
            Self::Rtmp => {
                "must be an RTMP URL with a host and, where needed, a numeric port: write it as rtmp://192.0.2.10/app/stream or rtmps://…"
            }
            Self::Srt => {
                "must be an SRT address with a port and nothing after it: write it as srt://192.0.2.10:8890, and latency, streamId \
                 and passphraseSecretRef beside it"
            }
            Self::Push => {
                "must be the URL of a server that takes streams, with a host, where needed a numeric port, and a path: write it as \
                 rtmp://192.0.2.10/app, rtmps://…, rtsp://192.0.2.10:8554/path or srt://192.0.2.10:8890"
            }
        }
    }

    /// Whether a URL may be used. `secret` URLs may hold credentials.
    pub fn check(self, url: &str, secret: bool) -> Result<(), Refused> {
        let is_match = |pattern: &str| regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(url));
        if url.len() > MAX_LENGTH {
            return Err(Refused::TooLong);
        }
        if !is_match(CHARACTERS) {
            return Err(Refused::Characters);
        }
        if secret {
            let (scheme, rest) = url.split_once("://").ok_or(Refused::Shape(self))?;
            let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let host = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
            let bare = format!("{scheme}://{}", &rest[host..]);
            // A secret SRT address may carry its parameters; a bare one has them beside it.
            let bare = if self == Self::Srt { bare.split('?').next().unwrap_or_default() } else { &bare };
            return regex::Regex::new(self.pattern())
                .is_ok_and(|pattern| pattern.is_match(bare))
                .then_some(())
                .ok_or(Refused::Shape(self));
        }
        if is_match(USER_INFORMATION) {
            return Err(Refused::UserInformation);
        }
        if is_match(PASSWORD_PARAMETER) {
            return Err(Refused::PasswordParameter);
        }
        is_match(self.pattern()).then_some(()).ok_or(Refused::Shape(self))
    }

    /// The rule of a `url` field on its scheme and shape.
    pub(super) fn rule_of_shape(self) -> Rule {
        // A URL with a user name in it is refused by a rule of its own; saying that its host is odd would only confuse.
        rule(
            format!("self.matches({}) || self.matches({})", literal(USER_INFORMATION), literal(self.pattern())),
            self.message(),
        )
    }
}

pub(super) fn rule_of_characters() -> Rule {
    matches(CHARACTERS, Refused::Characters.to_string())
}

pub(super) fn rule_of_user_information() -> Rule {
    matches_not(USER_INFORMATION, Refused::UserInformation.to_string())
}

pub(super) fn rule_of_password_parameter() -> Rule {
    matches_not(PASSWORD_PARAMETER, Refused::PasswordParameter.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_without_secrets_pass() {
        for (family, url) in [
            (Family::Rtsp, "rtsp://192.0.2.10:554/Streaming/Channels/101"),
            (Family::Rtsp, "rtsps://camera.example/a?channel=1&subtype=0"),
            (Family::Rtsp, "rtsp://[2001:db8::1]:8554/live"),
            (Family::Rtsp, "rtsp://camera.example/@live"),
            (Family::Http, "http://camera_1.example/video.mjpg"),
            (Family::Rtmp, "rtmp://camera.example/app/stream"),
            (Family::Srt, "srt://camera.example:8890"),
            (Family::Push, "rtmps://a.rtmps.youtube.com/live2"),
            (Family::Push, "rtmp://[2001:db8::1]:1935/live2?backup=1"),
            (Family::Push, "rtsp://192.0.2.10:8554/door"),
            (Family::Push, "srt://192.0.2.10:8890"),
        ] {
            assert_eq!(family.check(url, false), Ok(()), "{url}");
            assert_eq!(family.check(url, true), Ok(()), "{url}");
        }
    }

    #[test]
    fn secrets_and_nonsense_are_refused() {
        for (family, url, why) in [
            (Family::Rtsp, "rtsp://admin:secret@camera.example/", Refused::UserInformation),
            (Family::Rtsp, "rtsp://admin@camera.example/", Refused::UserInformation),
            (Family::Rtsp, "rtsp://camera.example/user=a_password=b_channel=1", Refused::PasswordParameter),
            (Family::Http, "http://camera.example/?user=a&PWD=b", Refused::PasswordParameter),
            (Family::Rtsp, "rtsp://admin:se/cret@camera.example/", Refused::Shape(Family::Rtsp)),
            (Family::Rtsp, "http://camera.example/", Refused::Shape(Family::Rtsp)),
            (Family::Rtsp, "rtsp:///path", Refused::Shape(Family::Rtsp)),
            (Family::Srt, "srt://camera.example", Refused::Shape(Family::Srt)),
            (Family::Srt, "srt://camera.example:1?passphrase=abcdefghij", Refused::Shape(Family::Srt)),
            (Family::Push, "rtmp://a.rtmp.youtube.com", Refused::Shape(Family::Push)),
            (Family::Push, "rtmp://a.rtmp.youtube.com/?key=1", Refused::Shape(Family::Push)),
            (Family::Push, "http://a.example/live", Refused::Shape(Family::Push)),
            (Family::Push, "srt://a.example:1/live", Refused::Shape(Family::Push)),
            (Family::Push, "rtmp://me:secret@a.example/live", Refused::UserInformation),
            (Family::Rtsp, "rtsp://camera.example/a b", Refused::Characters),
            (Family::Rtsp, "rtsp://camera.example/a'b", Refused::Characters),
            (Family::Rtsp, "rtsp://camera.example/a\\b", Refused::Characters),
            (Family::Rtsp, "rtsp://camera.example/\n", Refused::Characters),
            (Family::Rtsp, "rtsp://camera.example/ü", Refused::Characters),
        ] {
            assert_eq!(family.check(url, false), Err(why), "{url}");
        }
    }

    #[test]
    fn a_secret_url_may_hold_credentials_but_no_other_scheme() {
        assert_eq!(Family::Rtsp.check("rtsp://a:b@camera.example/x", true), Ok(()));
        assert_eq!(Family::Srt.check("srt://camera.example:1?passphrase=abcdefghij", true), Ok(()));
        assert_eq!(Family::Rtsp.check("file:///etc/passwd", true), Err(Refused::Shape(Family::Rtsp)));
        assert_eq!(Family::Rtsp.check("rtsp://a:b@c@camera.example/x", true), Ok(()));
    }
}
