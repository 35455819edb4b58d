//! Why a push ended: FFmpeg's (redacted) messages and how far it came → reason and sentence. Pure.

use crate::agent::source::messages::{self, told};
use crate::plan::capability::Carrier;
use crate::plan::report::Reason;

/// Any of these in a message, besides [`messages::REFUSED`], means that the target knows who we are and does not want us.
const REFUSED: [&str; 7] = [
    "404 Not Found",
    "406 Not Acceptable",
    "4XX Client Error",
    "Incorrect passphrase",
    "Password required",
    "Publish.Denied",
    "Connect.Rejected",
];
/// … that it has another session under this name.
pub(super) const BUSY: [&str; 3] = ["Already publishing", "already publishing", "Publish.BadName"];
/// … besides [`messages::NOBODY`], that nobody answers in the protocol.
const NO_HANDSHAKE: &str = "Cannot read RTMP handshake response";
/// … that the target just hangs up.
const HANGS_UP: [&str; 5] =
    ["Input/output error", "Operation not permitted", "Connection reset", "Broken pipe", "End of file"];
/// … that the certificate of a TLS server is not one that is trusted for its name.
const CERTIFICATE: [&str; 3] = ["certificate", "Certificate", "Unable to verify"];
/// … besides [`messages::NOT_CARRIED`], that the protocol cannot carry what is sent.
const NOT_CARRIED: &str = "Unsupported codec";

/// How far a session came before it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It was not accepted.
    Opening,
    /// Media was sent.
    Sending,
}

/// Concludes from messages.
pub fn classify(lines: &[String], stage: Stage, carrier: Carrier) -> (Reason, String) {
    let find = |patterns: &[&str], own: &[&str]| messages::find(lines, &[patterns, own]);
    let last = lines.iter().rev().map(|line| told(line)).find(|line| !line.is_empty());
    if let Some(line) = find(&messages::REFUSED, &REFUSED) {
        return (Reason::PushRefused, format!("the target refuses the push: {}", told(line)));
    }
    if let Some(line) = find(&BUSY, &[]) {
        let said = told(line);
        return (Reason::TargetBusy, format!("the target has another session under this name or key: {said}"));
    }
    if let Some(line) = find(&CERTIFICATE, &[]) {
        let said = told(line);
        return (Reason::TargetUnreachable, format!("the target's certificate is not trusted for its name: {said}"));
    }
    if let Some(line) = find(&messages::NOT_CARRIED, &[NOT_CARRIED]) {
        return (Reason::CodecNotCarried, format!("what the camera sends cannot be pushed: {}", told(line)));
    }
    if stage == Stage::Sending {
        let said = last.map_or_else(String::new, |line| format!(": {line}"));
        return (Reason::PushEnded, format!("the target ended the session{said}"));
    }
    if let Some(line) = find(&messages::NOBODY, &[NO_HANDSHAKE]) {
        let said = told(line);
        // FFmpeg does not pass on that an SRT listener has refused.
        let or =
            if carrier == Carrier::Srt { "; the stream identifier or the passphrase may be another one" } else { "" };
        return (Reason::TargetUnreachable, format!("no connection: {said}{or}"));
    }
    // RTMP servers that do not know a key just hang up after the handshake, as others that are told to refuse do.
    if carrier == Carrier::Rtmp
        && let Some(line) = find(&HANGS_UP, &[])
    {
        let said = told(line);
        return (
            Reason::PushRefused,
            format!("the target answers and refuses the stream; is the stream key right? {said}"),
        );
    }
    (Reason::FFmpegFailed, last.unwrap_or("FFmpeg gave no reason").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_become_reasons() {
        // As FFmpeg 5.1 says them.
        for (lines, stage, carrier, expected) in [
            (
                vec![
                    "[tcp @ 0x55] [error] Connection to tcp://127.0.0.1:1?*** failed: Connection refused",
                    "[rtmp @ 0x55] [error] Cannot open connection tcp://127.0.0.1:1?***",
                    "[error] rtmp://127.0.0.1:1/: Connection refused",
                ],
                Stage::Opening,
                Carrier::Rtmp,
                Reason::TargetUnreachable,
            ),
            (
                vec![
                    "[tcp @ 0x55] [error] Failed to resolve hostname nope.invalid: Name or service not known",
                    "[rtmp @ 0x55] [error] Cannot open connection tcp://nope.invalid:1935?***",
                    "[error] rtmp://nope.invalid/: Input/output error",
                ],
                Stage::Opening,
                Carrier::Rtmp,
                Reason::TargetUnreachable,
            ),
            (
                vec![
                    "[rtmp @ 0x55] [error] Cannot read RTMP handshake response",
                    "[error] rtmp://127.0.0.1:11936/: Connection reset by peer",
                ],
                Stage::Opening,
                Carrier::Rtmp,
                Reason::TargetUnreachable,
            ),
            (vec!["[error] rtmp://127.0.0.1/: Input/output error"], Stage::Opening, Carrier::Rtmp, Reason::PushRefused),
            (
                vec![
                    "[rtmp @ 0x55] [error] Server error: Already publishing",
                    "[error] rtmp://127.0.0.1:11935/: Operation not permitted",
                ],
                Stage::Opening,
                Carrier::Rtmp,
                Reason::TargetBusy,
            ),
            (
                vec!["[error] av_interleaved_write_frame(): Broken pipe"],
                Stage::Sending,
                Carrier::Rtmp,
                Reason::PushEnded,
            ),
            (
                vec!["[rtsp @ 0x5] [error] method ANNOUNCE failed: 404 Not Found"],
                Stage::Opening,
                Carrier::Rtsp,
                Reason::PushRefused,
            ),
            (
                vec!["[srt @ 0x55] [error] Connection to srt://127.0.0.1:1 failed: Input/output error"],
                Stage::Opening,
                Carrier::Srt,
                Reason::TargetUnreachable,
            ),
            (vec![], Stage::Sending, Carrier::Srt, Reason::PushEnded),
            (vec![], Stage::Opening, Carrier::Rtmp, Reason::FFmpegFailed),
        ] {
            let lines: Vec<String> = lines.into_iter().map(str::to_owned).collect();
            let (reason, message) = classify(&lines, stage, carrier);
            assert_eq!(reason, expected, "{lines:?}: {message}");
            assert!(!message.contains("@ 0x") && !message.contains("[error]"), "{message}");
        }
    }
}
