//! What FFmpeg is told: source and attempt profile → argument vector and standard input. Pure. No credential and no URL that
//! may hold one ever stands in an argument: such URLs go through standard input, as the script of FFmpeg's concat demuxer,
//! which opens one input with options of its own. Must not read secrets or start anything.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`outputs`] | a pipe for each track |
//! | [`convert`] | an FFmpeg that makes sound AAC and sees nothing else |
//! | [`device`] | a camera of this machine |
//! | [`test_picture`] | a picture that is made up |

pub mod convert;
mod device;
pub mod outputs;
mod test_picture;

use std::fmt::{self, Write as _};

use thiserror::Error;

use super::address::{self, Address, Resolved, plain};
use super::profile::{AudioMode, LARGEST_PROBE, Profile};
use crate::plan::unit::{RtspTransport, Source};

/// Limits that FFmpeg keeps by itself.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// No byte for so long ends FFmpeg: a net below the driver's own rules, and what ends an orphan.
    pub silence_micros: u64,
    /// Whether an HTTP server may send it to another address, which nobody has looked at.
    pub redirects: bool,
}

/// What to start.
#[derive(Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Arguments of `ffmpeg`. Video goes to descriptor 1, sound to descriptor 3, and with `spare` to 4.
    pub arguments: Vec<String>,
    /// What it reads on standard input.
    pub input: Option<String>,
    /// What must not be seen in its messages.
    pub secrets: Vec<String>,
    /// Whether sound is expected.
    pub audio: bool,
    /// Whether sound comes a second time as it is, in NUT, for [`convert::spare`]: MP4 may not be able to carry it.
    pub spare: bool,
}

impl fmt::Debug for Invocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments never hold a secret; the rest may.
        formatter.debug_struct("Invocation").field("arguments", &self.arguments).finish_non_exhaustive()
    }
}

/// Why nothing can be started. The message says what to write instead and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// A value that goes with the address has a form that is refused.
    #[error(transparent)]
    Address(#[from] address::Error),
    /// The device's name has a form that is refused.
    #[error("the device must be a path below /dev/, such as /dev/video0")]
    Device,
    /// There is nothing that FFmpeg could open.
    #[error("FFmpeg does not read this source")]
    NoAddress,
}

/// One input option, by name and value.
type Opt = (&'static str, String);

fn option(name: &'static str, value: impl fmt::Display) -> Opt {
    (name, format!("{value}"))
}

/// What to start for a source, whose address is given where it has one.
///
/// # Errors
/// [`Error`] for what FFmpeg cannot be told.
pub fn build(
    source: &Source,
    address: Option<&Address>,
    resolved: &Resolved,
    profile: Profile,
    timeouts: Timeouts,
) -> Result<Invocation, Error> {
    let address = address.ok_or(Error::NoAddress);
    match source {
        Source::Rtsp { transport, .. } => {
            // Sound must not end the looking before a slow camera has sent a picture and the next one has shown its end.
            let mut options = probing(profile, 3_000_000);
            options.push(option(
                "rtsp_transport",
                match transport {
                    RtspTransport::Tcp => "tcp",
                    RtspTransport::Udp => "udp",
                },
            ));
            options.push(option("timeout", timeouts.silence_micros));
            // Other tracks (ONVIF metadata) are not even set up.
            options.push(option("allowed_media_types", "video+audio"));
            let profile = Profile { sound_as_is: true, ..profile };
            Ok(network(address?, "rtsp,rtp,srtp,udp,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Http { .. } => {
            let mut options = probing(profile, 1_000_000);
            options.push(option("rw_timeout", timeouts.silence_micros));
            if !profile.own_times {
                // Motion JPEG over HTTP tells no times.
                options.push(option("use_wallclock_as_timestamps", 1));
            }
            if !timeouts.redirects {
                options.push(option("max_redirects", 0));
            }
            Ok(network(address?, "http,https,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Hls { .. } => {
            let mut options = probing(profile, 2_000_000);
            options.push(option("rw_timeout", timeouts.silence_micros));
            if !timeouts.redirects {
                options.push(option("max_redirects", 0));
            }
            // Segments come in bursts: paced, they play as they were recorded.
            let profile = Profile { paced: true, ..profile };
            Ok(network(address?, "http,https,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Rtmp { .. } => {
            let mut options = probing(profile, 1_000_000);
            options.push(option("rtmp_live", "live"));
            options.push(option("rw_timeout", timeouts.silence_micros));
            let profile = Profile { sound_as_is: true, ..profile };
            Ok(network(address?, "rtmp,rtmps,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Srt { stream_id, latency_ms, .. } => {
            let mut options = probing(profile, 1_000_000);
            options.push(option("mode", "caller"));
            options.push(option("latency", latency_ms.saturating_mul(1000)));
            options.push(option("timeout", timeouts.silence_micros));
            if let Some(stream_id) = stream_id {
                // `-streamid` by itself is another option, of FFmpeg's command line.
                options
                    .push(option("srt_streamid", plain(stream_id, "the stream identifier has a control character")?));
            }
            if let Some(passphrase) = &resolved.passphrase {
                let passphrase =
                    plain(passphrase, "the passphrase has a control character; store it without a line break")?;
                options.push(option("passphrase", passphrase));
            }
            Ok(network(address?, "srt,udp", &options, resolved, profile))
        }
        Source::V4l2 { device, input_format, width, height, frames_per_second } => {
            device::build(device, input_format.as_deref(), (*width, *height), *frames_per_second, profile)
        }
        Source::Test { width, height, frames_per_second, key_frame_interval_ms, audio, text } => {
            let picture = test_picture::Picture {
                width: *width,
                height: *height,
                rate: *frames_per_second,
                key_frame_interval_ms: *key_frame_interval_ms,
                text,
            };
            Ok(test_picture::build(&picture, *audio, profile))
        }
        Source::Hub { .. } => Err(Error::NoAddress),
    }
}

/// How long FFmpeg looks for codec parameters before it passes anything on. It stops at once when it knows them: nothing is
/// gained by looking for the frame rate (1 fps would take half a minute), and sound that never comes must not be waited for.
fn probing(profile: Profile, least_micros: u64) -> Vec<Opt> {
    let factor = [1, 6, 20][usize::from(profile.probe.min(LARGEST_PROBE))];
    vec![
        option("probesize", 1_000_000 * factor),
        option("analyzeduration", least_micros.max(1_000_000 * factor)),
        option("fpsprobesize", 0),
        option("max_ts_probe", 0),
    ]
}

fn network(address: &Address, protocols: &str, options: &[Opt], resolved: &Resolved, profile: Profile) -> Invocation {
    let mut arguments = common();
    let mut input = None;
    if profile.paced {
        arguments.push("-re".into());
    }
    if !address.open || resolved.passphrase.is_some() {
        let mut script = format!("ffconcat version 1.0\nfile {}\n", quoted(&address.url));
        for (name, value) in options {
            // Writing to a String cannot fail.
            let _ = writeln!(script, "option {name} {}", quoted(value));
        }
        input = Some(script);
        push(&mut arguments, &["-protocol_whitelist", &format!("pipe,{protocols}")]);
        // The concat demuxer has what its input found out; looking again would only hold frames back.
        push(
            &mut arguments,
            &["-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0", "-max_ts_probe", "0"],
        );
        push(&mut arguments, &["-f", "concat", "-safe", "0", "-i", "pipe:0"]);
    } else {
        push(&mut arguments, &["-protocol_whitelist", protocols]);
        for (name, value) in options {
            push(&mut arguments, &[&format!("-{name}"), value]);
        }
        push(&mut arguments, &["-i", &address.url]);
    }
    // RTSP names sound by what it is; containers give it a tag of their own, which the branches of a tee refuse.
    let spare = profile.audio == AudioMode::Copy && address.url.starts_with("rtsp");
    outputs::add(&mut arguments, &["-c:v", "copy"], "0:a:0?", profile, spare);
    Invocation { arguments, input, secrets: address.secrets.clone(), audio: profile.audio != AudioMode::Leave, spare }
}

/// Quoted for a concat script: nothing has a meaning between single quotes.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn common() -> Vec<String> {
    ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-threads", "1"].map(str::to_owned).to_vec()
}

fn push(arguments: &mut Vec<String>, more: &[&str]) {
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unit::{Engine, Location, SecretKey};

    const TIMEOUTS: Timeouts = Timeouts { silence_micros: 15_000_000, redirects: true };

    fn rtsp(url: &str) -> Source {
        Source::Rtsp {
            location: Location::Url(url.into()),
            transport: RtspTransport::Tcp,
            credentials: None,
            engine: Engine::FFmpeg,
        }
    }

    fn key() -> SecretKey {
        SecretKey { namespace: "default".into(), name: "door".into(), key: "url".into() }
    }

    fn with(source: &Source, resolved: &Resolved, profile: Profile, limits: Timeouts) -> Invocation {
        let address = Address::of(source, resolved).expect("acceptable");
        build(source, address.as_ref(), resolved, profile, limits).expect("acceptable")
    }

    fn built(source: &Source, resolved: &Resolved, profile: Profile) -> Invocation {
        with(source, resolved, profile, TIMEOUTS)
    }

    fn line(invocation: &Invocation) -> String {
        invocation.arguments.join(" ")
    }

    #[test]
    fn where_addresses_are_guarded_no_server_may_send_it_elsewhere() {
        let location = || Location::Url("http://192.0.2.10/video".into());
        let limits = Timeouts { redirects: false, ..TIMEOUTS };
        for source in [
            Source::Http { location: location(), credentials: None },
            Source::Hls { location: location(), credentials: None },
        ] {
            let invocation = with(&source, &Resolved::default(), Profile::default(), limits);
            assert!(line(&invocation).contains("-max_redirects 0 "), "{}", line(&invocation));
            assert!(!line(&built(&source, &Resolved::default(), Profile::default())).contains("max_redirects"));
        }
    }

    #[test]
    fn an_open_url_is_an_argument_and_each_track_has_its_pipe() {
        let invocation = built(&rtsp("rtsp://192.0.2.10:554/ch/101"), &Resolved::default(), Profile::default());
        let line = line(&invocation);
        let (input, outputs) = line.split_once(" -i rtsp://192.0.2.10:554/ch/101 ").expect("the URL is the input");
        for expected in ["-protocol_whitelist rtsp,rtp,", "-rtsp_transport tcp", "-timeout 15000000", "-fpsprobesize 0"]
        {
            assert!(input.contains(expected), "{expected} in {input}");
        }
        assert!(!input.contains("file"), "files are never opened: {input}");
        let (video, audio) = outputs.split_once(" pipe:1 ").expect("pictures");
        assert!(video.starts_with("-map 0:v:0 -copyinkf:v -c:v copy"), "{video}");
        assert!(audio.starts_with("-map 0:v:0 -map 0:a:0? -c copy") && audio.contains(r"]pipe\:3|"), "{audio}");
        assert!(invocation.audio && invocation.spare);
        assert_eq!(invocation.input, None);
    }

    #[test]
    fn what_may_be_secret_goes_through_standard_input() {
        let credentials = Resolved { credentials: Some(("bob".into(), "p@ss:w/rd'%\n".into())), ..Resolved::default() };
        let passphrase = Resolved { passphrase: Some("it's a 'phrase'".into()), ..Resolved::default() };
        let url = Resolved { url: Some("rtsp://evelyn:pw@cam.example/key123\n".into()), ..Resolved::default() };
        let secret_url = Source::Rtsp {
            location: Location::Secret(key()),
            transport: RtspTransport::Udp,
            credentials: None,
            engine: Engine::FFmpeg,
        };
        let srt = Source::Srt {
            location: Location::Url("srt://192.0.2.10:9000".into()),
            passphrase: Some(key()),
            stream_id: Some("door".into()),
            latency_ms: 120,
        };
        let http = Source::Http { location: Location::Url("http://cam/video?token=abc".into()), credentials: None };
        let plain = Resolved::default();
        for (source, resolved, expected) in [
            (rtsp("rtsp://cam/ch1"), &credentials, "file 'rtsp://bob:p%40ss%3Aw%2Frd%27%25@cam/ch1'\n"),
            (srt, &passphrase, r"option passphrase 'it'\''s a '\''phrase'\'''"),
            (secret_url, &url, "file 'rtsp://evelyn:pw@cam.example/key123'\n"),
            (http, &plain, "file 'http://cam/video?token=abc'\n"),
        ] {
            let invocation = built(&source, resolved, Profile::default());
            let script = invocation.input.as_deref().expect("a script");
            assert!(script.contains(expected), "{script}");
            assert!(script.starts_with("ffconcat version 1.0\n"));
            assert!(script.lines().skip(2).all(|line| line.starts_with("option ")), "{script}");
            let arguments = line(&invocation);
            assert!(arguments.contains("-f concat -safe 0 -i pipe:0"), "{arguments}");
            for secret in ["p@ss", "p%40ss", "phrase", "key123", "evelyn", "abc", "cam"] {
                assert!(!arguments.contains(secret), "{secret} in {arguments}");
            }
            assert!(!format!("{invocation:?}{resolved:?}").contains("phrase'"));
        }
    }

    #[test]
    fn what_was_learnt_is_heeded() {
        let source = rtsp("rtsp://cam/1");
        let aac = Profile { audio: AudioMode::Aac, ..Profile::default() };
        let encoded = built(&source, &Resolved::default(), aac);
        assert!(encoded.audio && !encoded.spare && line(&encoded).contains("-c:a aac"));
        let leave = Profile { audio: AudioMode::Leave, ..Profile::default() };
        let silent = built(&source, &Resolved::default(), leave);
        assert!(!silent.audio && !line(&silent).contains("pipe:3"));
        let large = Profile { probe: 1, ..Profile::default() };
        assert!(line(&built(&source, &Resolved::default(), large)).contains("-probesize 6000000"));
        let http = Source::Http { location: Location::Url("http://cam/".into()), credentials: None };
        assert!(line(&built(&http, &Resolved::default(), Profile::default())).contains("use_wallclock_as_timestamps"));
        let copied = built(&http, &Resolved::default(), Profile::default());
        assert!(line(&copied).contains("-c:a copy -bsf:a aac_adtstoasc") && !copied.spare);
        let other = Profile { sound_as_is: true, ..Profile::default() };
        assert!(!line(&built(&http, &Resolved::default(), other)).contains("adtstoasc"));
        assert!(!line(&built(&source, &Resolved::default(), Profile::default())).contains("adtstoasc"));
        let file = Profile { own_times: true, paced: true, ..Profile::default() };
        let paced = line(&built(&http, &Resolved::default(), file));
        assert!(!paced.contains("use_wallclock_as_timestamps") && paced.contains(" -re "), "{paced}");
    }
}
