//! FFmpeg as the judge of what the program makes, and the frame counter that `camera.py` paints into every picture.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// What ffprobe says of one packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// Presentation time, seconds.
    pub pts: f64,
    /// Decode time, seconds.
    pub dts: f64,
    /// Seconds.
    pub duration: f64,
    /// Whether a decoder can start here.
    pub key: bool,
}

fn ffprobe(input: &str, arguments: &[&str]) -> Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json"])
        .args(arguments)
        .args(["-protocol_whitelist", "file,http,tcp,crypto,data", "-i", input])
        .output()
        .expect("ffprobe");
    assert!(output.status.success(), "ffprobe {input}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The streams of a file or URL, as ffprobe shows them.
pub fn streams(input: &str) -> Vec<Value> {
    ffprobe(input, &["-show_streams"])["streams"].as_array().unwrap().clone()
}

/// Names of the codecs, in order of the streams.
pub fn codecs(input: &str) -> Vec<String> {
    streams(input).iter().map(|stream| stream["codec_name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Length of the container, seconds.
pub fn duration(input: &str) -> f64 {
    ffprobe(input, &["-show_format"])["format"]["duration"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

/// The packets of the pictures (`v`) or the sound (`a`).
pub fn packets(input: &str, stream: &str) -> Vec<Packet> {
    let json = ffprobe(input, &["-select_streams", stream, "-show_packets"]);
    let number =
        |packet: &Value, name: &str| packet[name].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    let packets = json["packets"].as_array().unwrap();
    packets
        .iter()
        .map(|packet| Packet {
            pts: number(packet, "pts_time"),
            dts: number(packet, "dts_time"),
            duration: number(packet, "duration_time"),
            key: packet["flags"].as_str().is_some_and(|flags| flags.contains('K')),
        })
        .collect()
}

/// Bytes of the packets of the pictures (`v`) or the sound (`a`).
pub fn bytes(input: &str, stream: &str) -> u64 {
    let json = ffprobe(input, &["-select_streams", stream, "-show_entries", "packet=size"]);
    let size = |packet: &Value| packet["size"].as_str().and_then(|text| text.parse::<u64>().ok());
    json["packets"].as_array().unwrap().iter().filter_map(size).sum()
}

/// Decodes everything; any error, even a recoverable one, is an `Err`.
pub fn decode(input: &str, more: &[&str]) -> Result<(), String> {
    let output = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-xerror",
            "-err_detect",
            "explode",
            "-protocol_whitelist",
            "file,http,tcp,crypto,data",
        ])
        .args(["-i", input])
        .args(more)
        // Fine enough for any pictures, so that only what stands in the file is judged.
        .args(["-vsync", "passthrough", "-enc_time_base:v", "1:90000", "-f", "null", "-"])
        .output()
        .expect("ffmpeg");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// [`decode`] of a file.
pub fn assert_decodes(path: &Path) {
    decode(path.to_str().unwrap(), &[]).unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
}

/// The counters in the pictures of a file or URL, in presentation order; `None` for a picture without a readable one.
pub fn counters(input: &str) -> Vec<Option<u32>> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-protocol_whitelist", "file,http,tcp,crypto,data", "-i", input])
        .args([
            "-map",
            "0:v:0",
            "-vsync",
            "0",
            "-vf",
            "crop=320:32:0:0,scale=20:2:flags=area,format=gray",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .expect("ffmpeg");
    output.stdout.chunks_exact(40).map(counter_of).collect()
}

/// When the sound of a file falls silent for half a second or more, seconds since its beginning.
pub fn silences(input: &str) -> Vec<f64> {
    let output = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-hide_banner",
            "-i",
            input,
            "-map",
            "0:a:0",
            "-af",
            "silencedetect=n=-50dB:d=0.5",
            "-f",
            "null",
            "-",
        ])
        .output()
        .expect("ffmpeg");
    let said = String::from_utf8_lossy(&output.stderr);
    let starts = said.split("silence_start: ").skip(1);
    starts.filter_map(|text| text.split_whitespace().next()?.parse().ok()).collect()
}

/// The counter of the first picture that a player shows who jumps to `seconds`.
pub fn first_picture_at(input: &str, seconds: f64) -> Option<u32> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-protocol_whitelist", "file,http,tcp,crypto,data"])
        .args(["-ss", &seconds.to_string(), "-i", input, "-map", "0:v:0", "-frames:v", "1"])
        .args(["-vf", "crop=320:32:0:0,scale=20:2:flags=area,format=gray", "-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg");
    output.stdout.first_chunk::<40>().and_then(|cells| counter_of(cells))
}

/// Reads one picture's forty cells; see `camera.py`.
fn counter_of(cells: &[u8]) -> Option<u32> {
    let word = cells.iter().fold(0_u64, |word, cell| word << 1 | u64::from(*cell > 125));
    let (counter, check) = (u32::try_from(word >> 8).ok()?, (word & 0xff) as u8);
    let sum = counter.to_be_bytes().iter().fold(0xA5_u8, |sum, byte| sum ^ byte);
    (sum == check).then_some(counter)
}

/// Since the epoch, by this machine's clock.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// When the picture with this counter was taken, since the epoch: counters are frame intervals since then, modulo 2^32.
pub fn taken(counter: u32, frames_per_second: u32) -> Duration {
    let interval = 1_000_000_000 / u64::from(frames_per_second);
    let intervals = now().as_nanos() as u64 / interval;
    let age = (intervals as u32).wrapping_sub(counter);
    Duration::from_nanos((intervals - u64::from(age)) * interval)
}

/// The counters of several files after one another; every picture must have one.
pub fn counters_of(files: &[impl AsRef<Path>]) -> Vec<u32> {
    let of = |file: &Path| {
        let counters = counters(file.to_str().unwrap());
        assert!(!counters.is_empty(), "no picture in {}", file.display());
        let whole: Option<Vec<u32>> = counters.iter().copied().collect();
        whole.unwrap_or_else(|| panic!("unreadable pictures in {}: {counters:?}", file.display()))
    };
    files.iter().flat_map(|file| of(file.as_ref())).collect()
}

/// The counters of what the index of an hour plays; every picture must have one.
pub fn counters_of_index(index: &Path) -> Vec<u32> {
    let folder = index.parent().unwrap().display();
    let text = std::fs::read_to_string(index).unwrap();
    let text = text.lines().fold(String::new(), |text, line| {
        let line = line.replace("URI=\"", &format!("URI=\"{folder}/"));
        text + &if line.starts_with('#') || line.is_empty() { line } else { format!("{folder}/{line}") } + "\n"
    });
    let copy = tempfile::Builder::new().suffix(".m3u8").tempfile().unwrap();
    std::fs::write(copy.path(), text + "#EXT-X-ENDLIST\n").unwrap();
    counters_of(&[copy.path()])
}

/// [`counters_of`] after a kill: the newest file may have been begun just then and hold no whole second yet.
pub fn counters_after_kill(files: &[impl AsRef<Path>]) -> Vec<u32> {
    let empty = files.last().is_some_and(|newest| counters(newest.as_ref().to_str().unwrap()).is_empty());
    counters_of(&files[..files.len() - usize::from(empty)])
}

/// Where counters do not go on by one: (last before, first after). A camera's own skips are not counted.
pub fn holes(counters: &[u32], skips: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let pairs = counters.windows(2).map(|pair| (pair[0], pair[1]));
    pairs
        .filter(|(before, after)| {
            let next = before.wrapping_add(1);
            *after != next && !skips.contains(&(next, *after))
        })
        .collect()
}

/// No picture is missing and none comes twice.
pub fn assert_whole(counters: &[u32], skips: &[(u32, u32)]) {
    assert_eq!(holes(counters, skips), [], "holes in {} pictures", counters.len());
}

/// [`assert_whole`] of a recording that ended while a camera sent reordered pictures: the later of two comes before those that
/// are shown in between, which may be missing before the very last, and nowhere else.
pub fn assert_whole_but_before_the_last(counters: &[u32], skips: &[(u32, u32)]) {
    let last = *counters.last().expect("pictures");
    let holes = holes(counters, skips);
    assert!(holes.iter().all(|(before, after)| *after == last && after - before <= 3), "{holes:?} of {last}");
}
