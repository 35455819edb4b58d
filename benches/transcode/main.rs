//! `cargo bench --bench transcode`: a camera of 1080p25 encoded anew as HLS, beside a bare FFmpeg with the same decoder and
//! encoder on the same camera in the same seconds. Writes `docs/benchmarks/transcode.md` with `-- --output <file>`.
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
use support::{hls, manifest, process, wait};

const VIDEO: &str = "{codec: H264, preset: VeryFast, bitRate: 4M, threads: 1, keyFrameInterval: 2s, encoder: Software}";
/// How long both run before they are watched.
const WARM_UP: Duration = Duration::from_secs(10);

/// The same decoder, encoder and segments.
fn bare(url: &str, folder: &Path) -> Child {
    Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-threads", "1", "-i", url, "-an", "-threads", "1"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-bf", "0", "-sc_threshold", "0"])
        .args(["-b:v", "4M", "-maxrate", "4M", "-bufsize", "8M", "-g", "50", "-fps_mode", "passthrough"])
        .args(["-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "4", "-hls_flags", "delete_segments"])
        .arg(folder.join("index.m3u8"))
        .stdin(Stdio::null())
        .spawn()
        .expect("ffmpeg")
}

fn option(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}

fn main() {
    let seconds: u64 = option("--seconds").map_or(60, |seconds| seconds.parse().unwrap());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&kept).unwrap();
    let cameras = Cameras::start(2, &kept);
    let folder = tempfile::tempdir().unwrap();
    let manifests = manifest::camera("cam", &cameras.urls[0])
        + &manifest::hls("live", "cam", "{segmentDuration: 4s}")
        + &format!("  video: {VIDEO}\n");
    let mut program = Program::start(&manifests);
    let mut ffmpeg = bare(&cameras.urls[1], folder.path());
    wait("both to be live", || {
        let ours = hls::fetch(&program.url("/live/default/live/index.m3u8")).is_some();
        (ours && folder.path().join("index.m3u8").exists()).then_some(())
    });
    std::thread::sleep(WARM_UP);
    let cpu = |program: &mut Program| -> (f64, f64, f64) {
        let is_encoder =
            |pid: &u32| String::from_utf8_lossy(&process::arguments_and_environment(*pid)).contains("-filter_complex");
        let all = program.processes();
        let sum = |pids: &[u32]| pids.iter().map(|pid| process::cpu_seconds(*pid)).sum::<f64>();
        let encoder: Vec<u32> = all.iter().copied().filter(is_encoder).collect();
        (sum(&all), sum(&encoder), process::cpu_seconds(ffmpeg.id()))
    };
    let (begun, before) = (Instant::now(), cpu(&mut program));
    std::thread::sleep(Duration::from_secs(seconds));
    let (passed, after) = (begun.elapsed().as_secs_f64(), cpu(&mut program));
    let memory = |pids: &[u32]| pids.iter().map(|pid| process::pss_bytes(*pid)).sum::<u64>() as f64 / 1_048_576.0;
    let (ours, theirs) = (memory(&program.processes()), memory(&[ffmpeg.id()]));
    let _ = ffmpeg.kill();
    let _ = ffmpeg.wait();
    let share = |before: f64, after: f64| (after - before) / passed * 100.0;
    let (all, encoder, other) = (share(before.0, after.0), share(before.1, after.1), share(before.2, after.2));
    let mut table = String::from(
        "# Encoding anew\n\nWritten by `cargo bench --bench transcode`.\n\nA camera of 1080p25 at 4 Mbit/s (noise in the \
         picture), decoded and encoded as H.264 at 4 Mbit/s with x264 `veryfast`, one thread, as HLS with segments of 4 s; beside \
         it, in the same seconds on the same machine, a bare FFmpeg with the same encoder.\n\n\
         | | bare FFmpeg | camera-operator | ratio |\n| --- | ---: | ---: | ---: |\n",
    );
    let _ = writeln!(table, "| CPU (share of one core) | {other:.1} % | {all:.1} % | {:.2} |", all / other);
    let _ = writeln!(table, "| of that the encoder's process | – | {encoder:.1} % | {:.2} |", encoder / other);
    let _ = writeln!(table, "| memory (PSS) | {theirs:.0} MiB | {ours:.0} MiB | {:.2} |", ours / theirs);
    let _ = write!(table, "\nWatched for {seconds} s.\n");
    print!("{table}");
    if let Some(output) = option("--output") {
        std::fs::write(output, table).unwrap();
    }
}
