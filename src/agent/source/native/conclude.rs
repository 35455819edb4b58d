//! Why a native RTSP session ended: what the library says → reason, sentence, and whether FFmpeg should be asked instead. Pure.
//! Must not hold state.

use crate::agent::source::classify::refusal;
use crate::plan::report::Reason;

/// What is concluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// Why.
    pub reason: Reason,
    /// One sentence; not redacted.
    pub message: String,
    /// What the device does that this driver does not understand; another driver may.
    pub beyond: bool,
}

/// How the library's messages begin, by what they are about. Its errors have no other form, so these words are part of what is
/// pinned with its version.
const CONNECTING: &str = "Unable to connect to RTSP server: ";
const READING: &str = "Error reading from RTSP peer: ";
const WRITING: &str = "Error writing to RTSP peer: ";

/// Concludes from an error's status code, if it is about an answer, and its text. `had_video`: whether pictures came before.
pub fn conclude(status: Option<u16>, text: &str, had_video: bool) -> Conclusion {
    // What follows the first line is for whoever has a recording of the packets.
    let line = text.lines().next().unwrap_or_default().trim();
    let told = |reason: Reason, message: String| Conclusion { reason, message, beyond: false };
    match status {
        Some(401 | 403) => return told(Reason::CredentialRefused, refusal(line)),
        Some(400 | 404 | 410) => return told(Reason::NotFound, format!("the device does not know the path: {line}")),
        Some(453 | 454 | 500..=599) => return told(Reason::Unreachable, format!("the device has no time: {line}")),
        _ => {}
    }
    if let Some(why) = line.strip_prefix(CONNECTING) {
        return told(Reason::Unreachable, format!("no connection: {why}"));
    }
    let cut = line.strip_prefix(READING).or_else(|| line.strip_prefix(WRITING));
    if let Some(why) = cut.or((line == "Timeout").then_some("the device does not answer")) {
        let reason = if had_video { Reason::SourceEnded } else { Reason::NoVideo };
        return told(reason, format!("the connection broke: {why}"));
    }
    let reason = if had_video { Reason::SourceEnded } else { Reason::NoVideo };
    Conclusion {
        reason,
        message: format!("the device speaks RTSP in a way that is not understood: {line}"),
        beyond: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_reasons() {
        for (status, text, had_video, reason, beyond) in [
            (
                Some(401),
                "401 Unauthorized response to DESCRIBE CSeq=2: x\n\nconn: y",
                false,
                Reason::CredentialRefused,
                false,
            ),
            (Some(404), "404 Not Found response to DESCRIBE CSeq=1: x", false, Reason::NotFound, false),
            (Some(503), "503 Service Unavailable response to PLAY CSeq=4: x", false, Reason::Unreachable, false),
            (Some(302), "302 Found response to DESCRIBE CSeq=1: x", false, Reason::NoVideo, true),
            (Some(461), "461 Unsupported Transport response to SETUP CSeq=3: x", false, Reason::NoVideo, true),
            (
                None,
                "Unable to connect to RTSP server: Connection refused (os error 111)",
                false,
                Reason::Unreachable,
                false,
            ),
            (None, "Error reading from RTSP peer: unexpected EOF\n\nconn: y", true, Reason::SourceEnded, false),
            (None, "Error reading from RTSP peer: unexpected EOF", false, Reason::NoVideo, false),
            (None, "RTSP framing error: bad\n\nconn: y", true, Reason::SourceEnded, true),
        ] {
            let concluded = conclude(status, text, had_video);
            assert_eq!((concluded.reason, concluded.beyond), (reason, beyond), "{text}");
            assert!(!concluded.message.contains('\n'));
        }
    }
}
