//! What FFmpeg is told for a push: plan and secrets → arguments, and the options that nobody but FFmpeg may see. Pure. A stream
//! key, a stream identifier and a passphrase stand in no argument: they go through a pipe, as a file of options (`-fpre`).

use std::fmt;

use url::Url;

use super::feed::Sound;
use super::sender::SEND_BUFFER;
use crate::plan::capability::Carrier;
use crate::plan::unit::Push;

/// The descriptor on which FFmpeg finds its secret options.
pub const OPTIONS_FD: i32 = 3;
/// The longest value that FFmpeg reads from a file of options.
const LONGEST_VALUE: usize = 900;
/// How long FFmpeg waits for the target by itself: later than our own rule, and what ends one whose parent is gone.
const SILENCE_MICROS: &str = "30000000";
/// SRT: how late a packet may be before the receiver gives it up, in microseconds. Its own default is for a local network.
const SRT_LATENCY_MICROS: &str = "500000";

/// The secrets of one attempt, as read just now.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// Stream key or stream identifier.
    pub stream_key: Option<String>,
    /// Of an SRT session.
    pub passphrase: Option<String>,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolved(…)")
    }
}

/// What to start.
#[derive(Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Arguments of `ffmpeg`: a NUT stream comes on descriptor 0, progress goes to 1.
    pub arguments: Vec<String>,
    /// What it reads on [`OPTIONS_FD`]; a secret.
    pub options: Option<String>,
    /// What must not be seen in its messages.
    pub secrets: Vec<String>,
    /// The host that it connects to.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments never hold a secret; the rest may.
        formatter.debug_struct("Invocation").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

/// Why nothing can be started: one sentence that holds no secret.
pub type Refusal = String;

/// What to start for a push; `certificates` is the file of those that are trusted, where it is not FFmpeg's own.
///
/// # Errors
/// When URL or secrets have a form that nothing can be sent with; only what came around the schema, or from a Secret.
pub fn build(
    push: &Push,
    resolved: &Resolved,
    sound: Sound,
    certificates: Option<&str>,
) -> Result<Invocation, Refusal> {
    let (url, host) = parsed(&push.url)?;
    let carrier = Carrier::of_push(&push.url).ok_or_else(unreadable)?;
    let key = plain(resolved.stream_key.as_deref(), "stream key")?;
    let passphrase = plain(resolved.passphrase.as_deref(), "passphrase")?;

    let mut arguments = Vec::new();
    let mut add = |more: &[&str]| arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    add(&["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-threads", "1"]);
    add(&["-progress", "pipe:1", "-stats_period", "1"]);
    // The header says all that there is to know of the tracks.
    add(&["-protocol_whitelist", "pipe", "-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0"]);
    add(&["-f", "nut", "-i", "pipe:0", "-map", "0:v:0", "-c:v", "copy"]);
    let bit_rate = push.audio_bit_rate.to_string();
    match sound {
        Sound::Left => add(&["-an"]),
        Sound::Copied | Sound::Silence => add(&["-map", "0:a:0", "-c:a", "copy"]),
        Sound::Encoded => {
            add(&["-map", "0:a:0", "-c:a", "aac", "-b:a", &bit_rate]);
            // Holes become silence; rates below 16 kHz are more than some players take.
            add(&["-af", "aresample=async=1,aformat=sample_rates=16000|22050|24000|32000|44100|48000"]);
        }
    }
    add(&["-map_metadata", "-1", "-map_chapters", "-1"]);
    // Sound that stops must not hold pictures back for ten seconds.
    add(&["-max_interleave_delta", "500000", "-flush_packets", "1"]);
    let mut options = Vec::new();
    let target = push.url.clone();
    match carrier {
        Carrier::Rtmp => {
            let secure = url.scheme() == "rtmps";
            add(&["-protocol_whitelist", if secure { "rtmps,tls,tcp" } else { "rtmp,tcp" }]);
            add(&["-rw_timeout", SILENCE_MICROS, "-send_buffer_size", &SEND_BUFFER.to_string()]);
            add(&["-flvflags", "no_duration_filesize"]);
            if secure {
                add(&["-tls_verify", "1"]);
                if let Some(file) = certificates {
                    add(&["-ca_file", file]);
                }
            }
            let (application, stream) = split(&url, key)?;
            options.push(format!("rtmp_app={application}"));
            options.push(format!("rtmp_playpath={stream}"));
            add(&["-f", "flv"]);
        }
        Carrier::Srt => {
            add(&["-protocol_whitelist", "srt,udp"]);
            add(&["-mode", "caller", "-latency", SRT_LATENCY_MICROS, "-pkt_size", "1316"]);
            options.extend(key.map(|key| format!("srt_streamid={key}")));
            options.extend(passphrase.map(|passphrase| format!("passphrase={passphrase}")));
            add(&["-f", "mpegts"]);
        }
        _ => {
            add(&["-protocol_whitelist", "rtsp,rtp,tcp"]);
            add(&["-rtsp_transport", "tcp", "-f", "rtsp"]);
        }
    }
    if !options.is_empty() {
        add(&["-fpre", &format!("/dev/fd/{OPTIONS_FD}")]);
    }
    add(&[&target]);
    Ok(Invocation {
        arguments,
        options: (!options.is_empty()).then(|| options.join("\n") + "\n"),
        secrets: secrets(key, passphrase, &url),
        host,
        port: port(&url),
    })
}

/// Application and name of a stream over RTMP. With a key the whole path is the application; without, it is the first part of the path,
/// or the first two of three (an application and its instance), and the rest is the name. A colon belongs to a name.
///
/// # Errors
/// When there is no name.
pub(super) fn split(url: &Url, key: Option<&str>) -> Result<(String, String), Refusal> {
    let path = url.path().trim_matches('/');
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Some(key) = key {
        return Ok((format!("{path}{query}"), key.to_owned()));
    }
    let (application, stream) = path.split_once('/').unwrap_or((path, ""));
    let (application, stream) = match stream.split_once('/').filter(|(instance, _)| !instance.contains(':')) {
        Some((instance, rest)) => (format!("{application}/{instance}"), rest),
        None => (application.to_owned(), stream),
    };
    if stream.is_empty() {
        let place = target(url.as_str());
        return Err(format!(
            "the URL names no stream; write its name behind {place}/{application}/, or a streamKeySecretRef"
        ));
    }
    Ok((application, format!("{stream}{query}")))
}

fn unreadable() -> Refusal {
    "the URL cannot be read; write rtmp://host/app".to_owned()
}

/// The URL, and the host that it names, as it is looked up.
pub(super) fn parsed(url: &str) -> Result<(Url, String), Refusal> {
    let url = Url::parse(url).map_err(|_| unreadable())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(unreadable)?;
    let host = host.trim_matches(['[', ']']).to_owned();
    Ok((url, host))
}

/// The port of a target; 0 of one over SRT, which has none by default.
pub(super) fn port(url: &Url) -> u16 {
    url.port().unwrap_or(match url.scheme() {
        "rtmp" => 1935,
        "rtmps" => 443,
        "rtsp" => 554,
        _ => 0,
    })
}

/// What must not be seen in messages.
pub(super) fn secrets(key: Option<&str>, passphrase: Option<&str>, url: &Url) -> Vec<String> {
    let mut secrets: Vec<String> = key.into_iter().chain(passphrase).map(str::to_owned).collect();
    secrets.extend(url.query().map(str::to_owned));
    // A key may carry parameters of its own.
    secrets.extend(
        key.into_iter().flat_map(|key| key.split(['?', '&', '='])).filter(|part| part.len() >= 8).map(str::to_owned),
    );
    secrets
}

/// Refuses what could end a line of the options; one line break at the end, as editors add it, is dropped.
pub(super) fn plain<'a>(value: Option<&'a str>, what: &str) -> Result<Option<&'a str>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let value = value.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(format!("the {what} is empty; store it in the Secret"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("the {what} has a control character; store it without a line break"));
    }
    if value.len() > LONGEST_VALUE {
        return Err(format!("the {what} is longer than {LONGEST_VALUE} bytes"));
    }
    Ok(Some(value))
}

/// Where a push goes, for people: without path, query and key.
pub fn target(url: &str) -> String {
    let end = url.find("://").map_or(0, |at| at + 3);
    let authority = url[end..].find(['/', '?', '#']).map_or(url.len(), |at| end + at);
    url[..authority].to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::plan::unit::{ObjectKey, PushAudio, Reconnect};

    pub fn push(url: &str) -> Push {
        Push {
            camera: ObjectKey::new("shop", "door"),
            url: url.into(),
            stream_key: None,
            passphrase: None,
            audio: PushAudio::Auto,
            audio_bit_rate: 128_000,
            video: None,
            reconnect: Reconnect { initial_delay_ms: 1000, max_delay_ms: 30_000, max_attempts: None },
            fallback: None,
        }
    }

    #[test]
    fn keys_stand_in_the_options_and_in_no_argument() {
        let resolved =
            Resolved { stream_key: Some("abcd-1234-efgh\n".into()), passphrase: Some("hush hush hush".into()) };
        for (url, options) in [
            ("rtmp://h.example/live2", "rtmp_app=live2\nrtmp_playpath=abcd-1234-efgh\n"),
            ("rtmps://h.example/live2/?backup=1", "rtmp_app=live2?backup=1\nrtmp_playpath=abcd-1234-efgh\n"),
            ("srt://h.example:8890", "srt_streamid=abcd-1234-efgh\npassphrase=hush hush hush\n"),
        ] {
            let made = build(&push(url), &resolved, Sound::Silence, None).unwrap();
            assert_eq!(made.options.as_deref(), Some(options));
            assert!(!made.arguments.iter().any(|argument| argument.contains("abcd") || argument.contains("hush")));
            assert!(!format!("{made:?} {resolved:?}").contains("abcd"));
            assert!(made.secrets.contains(&"abcd-1234-efgh".to_owned()));
        }
    }

    #[test]
    fn where_it_goes() {
        for (url, host, port) in [
            ("rtmp://192.0.2.1/live/door", "192.0.2.1", 1935),
            ("rtmps://h.example/live2/door", "h.example", 443),
            ("rtmp://[2001:db8::1]:1936/live/door", "2001:db8::1", 1936),
            ("srt://h.example:8890", "h.example", 8890),
            ("rtsp://h.example:8554/door", "h.example", 8554),
            ("rtsp://h.example/door", "h.example", 554),
        ] {
            let made = build(&push(url), &Resolved::default(), Sound::Left, None).unwrap();
            assert_eq!((made.host.as_str(), made.port), (host, port));
            assert_eq!(made.options.is_some(), url.starts_with("rtmp"), "{url}");
            assert_eq!(made.arguments.last().map(String::as_str), Some(url));
        }
        assert_eq!(target("rtmp://h.example:1935/live2?x=1"), "rtmp://h.example:1935");
    }

    #[test]
    fn secrets_that_cannot_be_handed_over_are_refused() {
        for key in ["", "\n", "a\nb", &"x".repeat(1000)] {
            let resolved = Resolved { stream_key: Some(key.into()), passphrase: None };
            let refused = build(&push("rtmp://h/live"), &resolved, Sound::Left, None).unwrap_err();
            assert!(refused.contains("stream key"), "{refused}");
        }
    }
}
