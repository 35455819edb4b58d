//! `cargo bench --bench transcode`: a camera of 1080p25 encoded anew as HLS, one and eight pushed by copy over RTMP, each beside a bare
//! FFmpeg that does the same work on the same camera in the same seconds. Writes `docs/benchmarks/transcode.md` with
//! `-- --output <file>`.
//!
//! ```text
//! cargo bench --bench transcode -- [--seconds 60] [--output <file>]
//! ```

#![allow(clippy::unwrap_used, reason = "a benchmark ends at the first thing that is not as it should be")]

#[path = "../run/load.rs"]
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::Cameras;
use support::program::Program;
use support::target::RtmpServer;
use support::{hls, manifest, process, wait};

const VIDEO: &str = "{codec: H264, preset: VeryFast, bitRate: 4M, threads: 1, keyFrameInterval: 2s, encoder: Software}";
/// How many cameras are pushed at once in the larger load.
const PUSHED: usize = 8;
/// How long both run before they are watched.
const WARM_UP: Duration = Duration::from_secs(10);

/// A bare FFmpeg that reads a camera.
struct Bare(Child);

impl Bare {
    fn start(url: &str, output: &[&str]) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-threads", "1", "-i", url, "-an"]);
        Self(command.args(output).stdin(Stdio::null()).spawn().expect("ffmpeg"))
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_encoder(pid: u32) -> bool {
    String::from_utf8_lossy(&process::arguments_and_environment(pid)).contains("-filter_complex")
}

/// Watches both for so many seconds; the rows of a table. `part`: the name of the FFmpeg among our processes that is shown apart.
fn watch(program: &mut Program, bare: &[Bare], seconds: u64, part: Option<&str>) -> String {
    std::thread::sleep(WARM_UP);
    let bare: Vec<u32> = bare.iter().map(|bare| bare.0.id()).collect();
    let cpu = |program: &mut Program| -> [f64; 3] {
        let all = program.processes();
        let sum = |pids: &[u32]| pids.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
        let encoder: Vec<u32> = all.iter().copied().filter(|pid| is_encoder(*pid)).collect();
        [sum(&all), sum(&encoder), sum(&bare)]
    };
    let (begun, before) = (Instant::now(), cpu(program));
    std::thread::sleep(Duration::from_secs(seconds));
    let (passed, after) = (begun.elapsed().as_secs_f64(), cpu(program));
    let memory = |pids: &[u32]| pids.iter().map(|pid| process::pss_bytes(*pid)).sum::<u64>() as f64 / 1_048_576.0;
    let (ours, theirs) = (memory(&program.processes()), memory(&bare));
    let share = |index: usize| (after[index] - before[index]) / passed * 100.0;
    let (all, encoder, other) = (share(0), share(1), share(2));
    let mut rows = String::from("| | bare FFmpeg | camera-operator | ratio |\n| --- | ---: | ---: | ---: |\n");
    // Writing to a String cannot fail.
    let _ = writeln!(rows, "| CPU (share of one core) | {other:.1} % | {all:.1} % | {:.2} |", all / other);
    if let Some(part) = part {
        let _ = writeln!(rows, "| of that {part} | – | {encoder:.1} % | {:.2} |", encoder / other);
    }
    let _ = writeln!(rows, "| memory (PSS) | {theirs:.0} MiB | {ours:.0} MiB | {:.2} |", ours / theirs);
    rows
}

/// Encoded anew as HLS: the same decoder, encoder and segments.
fn encoding(camera: &str, other: &str, seconds: u64) -> String {
    let folder = tempfile::tempdir().unwrap();
    let playlist = folder.path().join("index.m3u8");
    let manifests = manifest::camera("cam", camera)
        + &manifest::hls("live", "cam", "{segmentDuration: 4s}")
        + &format!("  video: {VIDEO}\n");
    let mut program = Program::start(&manifests);
    let x264 = [
        "-threads",
        "1",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-tune",
        "zerolatency",
        "-bf",
        "0",
        "-sc_threshold",
        "0",
        "-b:v",
        "4M",
        "-maxrate",
        "4M",
        "-bufsize",
        "8M",
        "-g",
        "50",
        "-fps_mode",
        "passthrough",
        "-f",
        "hls",
        "-hls_segment_type",
        "fmp4",
        "-hls_time",
        "4",
        "-hls_flags",
        "delete_segments",
    ];
    let bare = Bare::start(other, &[&x264[..], &[playlist.to_str().unwrap()]].concat());
    wait("both to be live", || {
        let ours = hls::fetch(&program.url("/live/default/live/index.m3u8")).is_some();
        (ours && playlist.exists()).then_some(())
    });
    watch(&mut program, &[bare], seconds, Some("the encoder's process"))
}

/// Each pushed by copy over RTMP, to the same server.
fn pushing(cameras: &[String], others: &[String], seconds: u64) -> String {
    let server = RtmpServer::start_at("127.0.0.1", "(ours|bare)-[0-9]+");
    let one = |(number, camera): (usize, &String)| {
        let (name, secret) = (format!("cam-{number}"), format!("target-{number}"));
        let reference = format!("streamKeySecretRef: {{name: {secret}, key: key}}");
        manifest::camera(&name, camera)
            + &manifest::push(&format!("push-{number}"), &name, &server.url(), &reference, "audio: {codec: None}")
            + &manifest::secret(&secret, &[("key", &format!("ours-{number}"))])
    };
    let manifests: String = cameras.iter().enumerate().map(one).collect();
    let mut program = Program::start(&manifests);
    let bare: Vec<Bare> = others
        .iter()
        .enumerate()
        .map(|(number, other)| {
            Bare::start(other, &["-c", "copy", "-f", "flv", &format!("{}/bare-{number}", server.url())])
        })
        .collect();
    wait("all to be there", || (server.asked() == (cameras.len() + others.len(), 0)).then_some(()));
    watch(&mut program, &bare, seconds, None)
}

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn main() {
    let seconds: u64 = option("--seconds").map_or(60, |seconds| seconds.parse().unwrap());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(", ");
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&kept).unwrap();
    let cameras = Cameras::start(2 * PUSHED, &kept);
    let (ours, theirs) = cameras.urls.split_at(PUSHED);
    let encoded = encoding(&ours[0], &theirs[0], seconds);
    let (one, many) = (pushing(&ours[..1], &theirs[..1], seconds), pushing(ours, theirs, seconds));
    let build = if cfg!(debug_assertions) { "a debug build" } else { "a release build" };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let page = format!(
        "# Encoding anew and pushing\n\nWritten by `cargo bench --bench transcode` on {}, with {build}, on a machine with {processors} \
         processors (load average before: {load}).\n\nA camera of 1080p25 at 4 Mbit/s (noise in the picture) in each; beside it, in the same \
         seconds on the same machine, a bare FFmpeg on a camera of the same pictures. Each was watched for {seconds} s. What camera-operator \
         takes is all of it: the process that reads cameras and serves, and its FFmpegs.\n\n\
         ## Encoded as HLS\nDecoded, and encoded as H.264 at 4 Mbit/s with x264 `veryfast`, one thread, in segments of 4 s.\n\n{encoded}\n\
         ## Pushed by copy over RTMP\nTo one nginx with its RTMP module, without sound. One camera, which the whole program runs for:\n\n{one}\n\
         {PUSHED} of them, with a bare FFmpeg for each:\n\n{many}",
        jiff::Timestamp::now().strftime("%Y-%m-%d")
    );
    print!("{page}");
    if let Some(output) = option("--output") {
        std::fs::write(output, page).unwrap();
    }
}
