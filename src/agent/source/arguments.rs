//! What FFmpeg is told: source and attempt profile → argument vector and standard input. Pure. No credential and no URL that
//! may hold one ever stands in an argument: such URLs go through standard input, as the script of FFmpeg's concat demuxer,
//! which opens one input with options of its own. Must not read secrets or start anything.

use std::fmt::{self, Write as _};

use thiserror::Error;
use url::Url;

use crate::plan::report::Reason;
use crate::plan::unit::{Location, RtspTransport, Source};

/// What to do with sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioMode {
    /// Pass it on.
    #[default]
    Copy,
    /// Encode it as AAC: MP4 cannot carry it as it is.
    Aac,
    /// Leave it out.
    Leave,
}

/// What earlier attempts at a source taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "independent findings, each of one kind of source")]
pub struct Profile {
    /// Sound.
    pub audio: AudioMode,
    /// HTTP, HLS and SRT: the sound is no AAC, so that there is nothing to unwrap.
    pub sound_as_is: bool,
    /// How hard to look for codec parameters: 0, then larger after attempts in vain.
    pub probe: u8,
    /// HTTP: the pictures carry their own times, so the time of their arrival is not needed.
    pub own_times: bool,
    /// The source is read faster than it plays, so FFmpeg has to pace it.
    pub paced: bool,
    /// V4L2: the device gives raw pictures, which must be encoded.
    pub encode: bool,
    /// Test source: this FFmpeg cannot draw text.
    pub without_text: bool,
}

/// Without sound, and nothing else out of the ordinary.
const SILENT: Profile = Profile {
    audio: AudioMode::Leave,
    sound_as_is: true,
    probe: 0,
    own_times: false,
    paced: false,
    encode: false,
    without_text: false,
};

/// The largest [`Profile::probe`].
pub const LARGEST_PROBE: u8 = 2;

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
    /// Where it connects, to find out whether anybody is there: host and port, when it is a TCP protocol.
    pub peer: Option<(String, u16)>,
    /// The host that it connects to, by whatever protocol.
    pub host: Option<String>,
    /// Whether sound is expected.
    pub audio: bool,
    /// Whether sound comes a second time as it is, in NUT, for [`convert`]: MP4 may not be able to carry it.
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
    /// The URL has a form that is refused.
    #[error("{0}")]
    Url(String),
    /// A secret has a form that is refused.
    #[error("{0}")]
    Secret(&'static str),
    /// The device's name has a form that is refused.
    #[error("the device must be a path below /dev/, such as /dev/video0")]
    Device,
    /// Another agent's hub is read without FFmpeg.
    #[error("another agent's hub is not read by FFmpeg")]
    Hub,
}

impl Error {
    /// The reason that the unit reports.
    pub const fn reason(&self) -> Reason {
        Reason::FFmpegFailed
    }
}

/// One input option, by name and value.
type Opt = (&'static str, String);

fn option(name: &'static str, value: impl fmt::Display) -> Opt {
    (name, format!("{value}"))
}

/// What to start for a source.
pub fn build(source: &Source, resolved: &Resolved, profile: Profile, timeouts: Timeouts) -> Result<Invocation, Error> {
    match source {
        Source::Rtsp { location, transport, .. } => {
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
            let address = Address::new(location, resolved, &["rtsp", "rtsps"], 554)?;
            let profile = Profile { sound_as_is: true, ..profile };
            Ok(network(address, "rtsp,rtp,srtp,udp,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Http { location, .. } => {
            let mut options = probing(profile, 1_000_000);
            options.push(option("rw_timeout", timeouts.silence_micros));
            if !profile.own_times {
                // Motion JPEG over HTTP tells no times.
                options.push(option("use_wallclock_as_timestamps", 1));
            }
            if !timeouts.redirects {
                options.push(option("max_redirects", 0));
            }
            let address = Address::new(location, resolved, &["http", "https"], 80)?;
            Ok(network(address, "http,https,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Hls { location, .. } => {
            let mut options = probing(profile, 2_000_000);
            options.push(option("rw_timeout", timeouts.silence_micros));
            if !timeouts.redirects {
                options.push(option("max_redirects", 0));
            }
            let address = Address::new(location, resolved, &["http", "https"], 80)?;
            // Segments come in bursts: paced, they play as they were recorded.
            let profile = Profile { paced: true, ..profile };
            Ok(network(address, "http,https,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Rtmp { location } => {
            let mut options = probing(profile, 1_000_000);
            options.push(option("rtmp_live", "live"));
            options.push(option("rw_timeout", timeouts.silence_micros));
            let address = Address::new(location, resolved, &["rtmp", "rtmps"], 1935)?;
            let profile = Profile { sound_as_is: true, ..profile };
            Ok(network(address, "rtmp,rtmps,tcp,tls,crypto", &options, resolved, profile))
        }
        Source::Srt { location, stream_id, latency_ms, .. } => {
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
            let mut address = Address::new(location, resolved, &["srt"], 0)?;
            address.peer = None;
            Ok(network(address, "srt,udp", &options, resolved, profile))
        }
        Source::V4l2 { device, input_format, width, height, frames_per_second } => {
            v4l2(device, input_format.as_deref(), (*width, *height), *frames_per_second, profile)
        }
        Source::Test { width, height, frames_per_second, key_frame_interval_ms, audio, text } => {
            let picture = TestPicture {
                width: *width,
                height: *height,
                rate: *frames_per_second,
                key_frame_interval_ms: *key_frame_interval_ms,
                text,
            };
            Ok(test(&picture, *audio, profile))
        }
        Source::Hub { .. } => Err(Error::Hub),
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

/// A URL, ready to be opened.
pub(super) struct Address {
    /// With user name and password, if there are any.
    pub(super) url: String,
    /// Whether it may be seen by others on this machine.
    secret: bool,
    peer: Option<(String, u16)>,
    host: String,
}

impl Address {
    /// Reads and checks it; `port` is that of the first of the schemes.
    pub(super) fn new(location: &Location, resolved: &Resolved, schemes: &[&str], port: u16) -> Result<Self, Error> {
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
        Ok(Self { url: text, secret, peer, host: host_name })
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

/// Refuses what could end a line of the script; one line break at the end, as editors add it, is dropped.
fn plain<'a>(value: &'a str, message: &'static str) -> Result<&'a str, Error> {
    let value = value.strip_suffix('\n').unwrap_or(value);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.chars().any(char::is_control) { Err(Error::Secret(message)) } else { Ok(value) }
}

fn network(address: Address, protocols: &str, options: &[Opt], resolved: &Resolved, profile: Profile) -> Invocation {
    let mut arguments = common();
    let mut input = None;
    if profile.paced {
        arguments.push("-re".into());
    }
    if address.secret || resolved.passphrase.is_some() {
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
    outputs(&mut arguments, &["-c:v", "copy"], "0:a:0?", profile, spare);
    Invocation {
        arguments,
        input,
        secrets: secrets(&address, resolved),
        peer: address.peer,
        host: Some(address.host),
        audio: profile.audio != AudioMode::Leave,
        spare,
    }
}

/// Quoted for a concat script: nothing has a meaning between single quotes.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// All forms in which a message might show a secret.
fn secrets(address: &Address, resolved: &Resolved) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    if let Some((_, password)) = &resolved.credentials {
        secrets.push(password.trim_end_matches(['\r', '\n']).to_owned());
    }
    secrets.extend(resolved.passphrase.iter().map(|value| value.trim_end_matches(['\r', '\n']).to_owned()));
    if let Ok(url) = Url::parse(&address.url) {
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

fn common() -> Vec<String> {
    ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-threads", "1"].map(str::to_owned).to_vec()
}

fn push(arguments: &mut Vec<String>, more: &[&str]) {
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
}

/// One output for each track, each on a pipe of its own, so that neither can hold the other back. With `spare`, sound comes on
/// two.
fn outputs(arguments: &mut Vec<String>, video: &[&str], audio_map: &str, profile: Profile, spare: bool) {
    // Pictures before the first key frame show that the camera lives; FFmpeg would keep them back.
    push(arguments, &["-map", "0:v:0", "-copyinkf:v"]);
    push(arguments, video);
    push(arguments, &CONTAINER);
    push(arguments, &EACH_FRAME);
    push(arguments, &["pipe:1"]);
    if profile.audio == AudioMode::Leave {
        return;
    }
    if spare {
        // An output that begins with no track, or with sound that its container cannot carry, ends FFmpeg, and with it the
        // connection to the camera. A branch of a tee that cannot begin is left out. The pictures are there so that there is
        // a track in any case, and are dropped; so nothing must wait for them.
        push(arguments, &["-map", "0:v:0", "-map", audio_map, "-c", "copy", "-bsf:v", "noise=drop=1"]);
        push(arguments, &["-max_interleave_delta", "1", "-map_metadata", "-1", "-map_chapters", "-1"]);
        push(arguments, &["-f", "tee", BRANCHES]);
        return;
    }
    push(arguments, &["-map", audio_map]);
    match profile.audio {
        AudioMode::Aac => push(arguments, &TO_AAC),
        // In MPEG transport streams AAC comes in ADTS frames. FFmpeg unwraps them by itself for files, but not for fragments;
        // what is not wrapped passes.
        _ if !profile.sound_as_is => push(arguments, &["-c:a", "copy", "-bsf:a", "aac_adtstoasc"]),
        _ => push(arguments, &["-c:a", "copy"]),
    }
    // Without any sound FFmpeg takes the pictures here of its own accord: one, copied, says so at no cost.
    push(arguments, &["-c:v", "copy", "-frames:v", "1", "-sn", "-dn"]);
    push(arguments, &CONTAINER);
    push(arguments, &EACH_MOMENT);
    push(arguments, &["pipe:3"]);
}

/// Fragmented MP4 without anything besides; the edit list tells the offset between tracks, finely.
const CONTAINER: [&str; 12] = [
    "-map_metadata",
    "-1",
    "-map_chapters",
    "-1",
    "-f",
    "mp4",
    "-use_editlist",
    "1",
    "-movie_timescale",
    "90000",
    "-write_tmcd",
    "0",
];

/// Sound as it is: for us where MP4 carries it, and for [`convert`] whatever it is.
const BRANCHES: &str = "[select=a:onfail=ignore:f=mp4:use_editlist=1:movie_timescale=90000:write_tmcd=0:\
     movflags=+delay_moov+empty_moov+default_base_moof:frag_duration=100000]pipe\\:3\
     |[select=a:onfail=ignore:f=nut]pipe\\:4|[select=v:f=null]-";

/// The number of the branch that is for us, and of the one for [`convert`].
pub const BRANCH_COPIED: u32 = 0;
/// See [`BRANCH_COPIED`].
pub const BRANCH_SPARE: u32 = 1;

const TO_AAC: [&str; 6] = [
    "-c:a",
    "aac",
    "-b:a",
    "64k",
    "-af",
    // Fills the holes that lost packets leave; rates below 16 kHz are more than some players take.
    "aresample=async=1,aformat=sample_rates=16000|22050|24000|32000|44100|48000",
];

/// What makes AAC of a spare track: it comes in on standard input and goes out on descriptor 1, with the same times.
pub fn convert() -> Invocation {
    to_aac(&["-copyts", "-f", "nut", "-i", "pipe:0", "-map", "0:a:0"])
}

/// The same for sound without a container: `format` is FFmpeg's name for it.
pub fn encode(format: &str, rate: u32, channels: u16) -> Invocation {
    to_aac(&["-f", format, "-ar", &rate.to_string(), "-ac", &channels.to_string(), "-i", "pipe:0", "-map", "0:a:0"])
}

fn to_aac(input: &[&str]) -> Invocation {
    let mut arguments = common();
    push(&mut arguments, &["-protocol_whitelist", "pipe", "-probesize", "32", "-analyzeduration", "0"]);
    push(&mut arguments, input);
    push(&mut arguments, &TO_AAC);
    push(&mut arguments, &CONTAINER);
    push(&mut arguments, &EACH_MOMENT);
    push(&mut arguments, &["pipe:1"]);
    Invocation { arguments, input: None, secrets: Vec::new(), peer: None, host: None, audio: false, spare: false }
}

/// Pictures: a fragment for each, written at once.
const EACH_FRAME: [&str; 2] = ["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof"];

/// Sound: a fragment every 100 ms. One for each frame would wake this program twice as often as the pictures do.
const EACH_MOMENT: [&str; 4] = ["-movflags", "+delay_moov+empty_moov+default_base_moof", "-frag_duration", "100000"];

/// Small and quick to encode, without frames held back, and with parameter sets that do not change.
const ENCODER: [&str; 12] = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-tune",
    "zerolatency",
    "-pix_fmt",
    "yuv420p",
    "-threads",
    "1",
    "-x264-params",
    "scenecut=0:sliced-threads=0",
];

fn v4l2(
    device: &str,
    input_format: Option<&str>,
    (width, height): (Option<i32>, Option<i32>),
    frames_per_second: Option<i32>,
    profile: Profile,
) -> Result<Invocation, Error> {
    let named = device.strip_prefix("/dev/").filter(|name| !name.is_empty() && !name.contains(".."));
    if !named.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-:".contains(&byte))) {
        return Err(Error::Device);
    }
    let mut arguments = common();
    push(&mut arguments, &["-f", "v4l2"]);
    if let Some(format) = input_format {
        push(&mut arguments, &["-input_format", format]);
    }
    if let (Some(width), Some(height)) = (width, height) {
        push(&mut arguments, &["-video_size", &format!("{width}x{height}")]);
    }
    if let Some(rate) = frames_per_second {
        push(&mut arguments, &["-framerate", &rate.to_string()]);
    }
    push(&mut arguments, &["-i", device]);
    if profile.encode {
        let group = (frames_per_second.unwrap_or(30) * 2).to_string();
        let mut video = ENCODER.to_vec();
        video.extend(["-g", &group, "-fps_mode:v", "passthrough"]);
        outputs(&mut arguments, &video, "", SILENT, false);
    } else {
        outputs(&mut arguments, &["-c:v", "copy"], "", SILENT, false);
    }
    Ok(Invocation { arguments, input: None, secrets: Vec::new(), peer: None, host: None, audio: false, spare: false })
}

struct TestPicture<'a> {
    width: i32,
    height: i32,
    rate: i32,
    key_frame_interval_ms: u64,
    text: &'a str,
}

fn test(picture: &TestPicture<'_>, audio: bool, profile: Profile) -> Invocation {
    let TestPicture { width, height, rate, key_frame_interval_ms, text } = picture;
    let mut graph = format!("testsrc2=size={width}x{height}:rate={rate}");
    if !profile.without_text {
        let size = (height / 14).clamp(10, 96);
        let style = format!("fontsize={size}:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw={}", size / 4);
        // Milliseconds would need a newer FFmpeg than distributions have.
        // Writing to a String cannot fail.
        let _ = write!(graph, r",drawtext=x=(w-tw)/2:y=h-2.2*th:{style}:text='%{{gmtime\:%Y-%m-%d %T UTC}}'");
        if !text.is_empty() {
            let text = filter_text(text);
            let _ = write!(graph, ",drawtext=x=(w-tw)/2:y=h-4*th:{style}:expansion=none:text={text}");
        }
    }
    let group = (u64::from(rate.unsigned_abs()) * key_frame_interval_ms / 1000).max(1).to_string();
    let mut arguments = common();
    push(&mut arguments, &["-re", "-f", "lavfi", "-i", &graph]);
    let audio = audio && profile.audio != AudioMode::Leave;
    if audio {
        push(&mut arguments, &["-re", "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000"]);
    }
    let mut video = ENCODER.to_vec();
    video.extend(["-g", &group, "-keyint_min", &group]);
    let encoded = Profile { audio: AudioMode::Aac, ..SILENT };
    outputs(&mut arguments, &video, "1:a:0?", if audio { encoded } else { SILENT }, false);
    Invocation { arguments, input: None, secrets: Vec::new(), peer: None, host: None, audio, spare: false }
}

/// Escaped for an option of a filter in a filter graph (FFmpeg's utilities manual, "Quoting and escaping": twice, once for the
/// filter's options and once for the graph). Control characters become spaces.
fn filter_text(text: &str) -> String {
    let escape = |text: &str, special: &str| {
        let mut out = String::with_capacity(text.len() * 2);
        for character in text.chars() {
            if special.contains(character) {
                out.push('\\');
            }
            out.push(character);
        }
        out
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    escape(&escape(text.trim(), r"\':"), r"\'[],;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::unit::Engine;
    use crate::plan::unit::SecretKey;

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

    fn built(source: &Source, resolved: &Resolved, profile: Profile) -> Invocation {
        build(source, resolved, profile, TIMEOUTS).expect("acceptable")
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
            let invocation = build(&source, &Resolved::default(), Profile::default(), limits).expect("acceptable");
            assert!(line(&invocation).contains("-max_redirects 0 "), "{}", line(&invocation));
            assert_eq!(invocation.host.as_deref(), Some("192.0.2.10"));
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
        assert_eq!(invocation.peer, Some(("192.0.2.10".into(), 554)));
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
            let error = build(&rtsp(url), &Resolved::default(), Profile::default(), TIMEOUTS).expect_err(url);
            assert!(error.to_string().contains(expected), "{url}: {error}");
            assert!(!error.to_string().contains("pw"), "{error}");
        }
        let broken = Resolved { credentials: Some(("bob".into(), "a\nb".into())), ..Resolved::default() };
        assert!(build(&rtsp("rtsp://cam/"), &broken, Profile::default(), TIMEOUTS).is_err());
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

    #[test]
    fn devices_are_copied_unless_raw() {
        let device = |device: &str| Source::V4l2 {
            device: device.into(),
            input_format: Some("mjpeg".into()),
            width: Some(1280),
            height: Some(720),
            frames_per_second: Some(30),
        };
        let copied = line(&built(&device("/dev/video0"), &Resolved::default(), Profile::default()));
        assert!(
            copied.contains("-f v4l2 -input_format mjpeg -video_size 1280x720 -framerate 30 -i /dev/video0"),
            "{copied}"
        );
        assert!(copied.contains("-c:v copy") && !copied.contains("pipe:3"));
        let raw = Profile { encode: true, ..Profile::default() };
        assert!(line(&built(&device("/dev/video0"), &Resolved::default(), raw)).contains("-tune zerolatency"));
        for bad in ["/etc/passwd", "/dev/../etc/passwd", "video0", "/dev/", "/dev/video0 -f"] {
            assert_eq!(build(&device(bad), &Resolved::default(), Profile::default(), TIMEOUTS), Err(Error::Device));
        }
    }

    #[test]
    fn text_is_escaped_twice() {
        assert_eq!(filter_text("It's 5:00 [a], \\b;\n"), r"It\\\'s 5\\:00 \[a\]\, \\\\b\;");
    }
}
