//! What FFmpeg is told for encoding anew: pictures come as a NUT stream on descriptor 0, are decoded once, brought to each
//! rendition's size and shape, and leave as fragmented MP4, each rendition on a descriptor of its own. Pure; no secret is in it.
//!
//! An encoder lives as long as the process, whatever comes in: FFmpeg makes its filters anew when the decoded picture changes,
//! and all of them end in one size, one pixel format and one range.

use super::encoders::Chosen;
use super::timeline::SCALE;
use crate::media::frame::{Codec, TrackConfiguration};
use crate::plan::transcode::{Encoder, Rendition, Transcode};

/// The usual quality of x264 and x265, which the same figure does not mean the same for.
const USUAL_CRF_H264: i32 = 23;
const USUAL_CRF_H265: i32 = 28;
/// Bits for a pixel and a picture where an encoder wants a bit rate and nobody says which: fine for an ordinary scene.
const USUAL_BITS_PER_PIXEL: f64 = 0.1;
/// From so many pixels on, one thread may be too slow to decode.
const LARGE: u32 = 2560 * 1440;
/// Beyond so many, more threads only make an encoder less efficient.
const MOST_THREADS: usize = 4;

/// What a process is started for.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// What is wanted.
    pub transcode: &'a Transcode,
    /// What encodes.
    pub encoder: &'a Chosen,
    /// The pictures that come first.
    pub source: &'a TrackConfiguration,
    /// How many of them come in a second, about.
    pub rate: f64,
    /// Processors of the machine.
    pub processors: usize,
}

/// The descriptor that a rendition leaves on: standard output, then those behind standard error.
pub const fn descriptor(rendition: usize) -> i32 {
    if rendition == 0 { 1 } else { rendition as i32 + 2 }
}

/// Distance of key frames in ticks of [`SCALE`]: whole pictures, where their rate is constant.
pub fn grid(transcode: &Transcode) -> i64 {
    let interval = i64::try_from(transcode.key_frame_interval_ms).unwrap_or(i64::MAX).clamp(100, 60_000);
    match transcode.frames_per_second {
        Some(rate) => {
            let rate = i64::from(rate.max(1));
            let pictures = ((interval * rate + 500) / 1000).max(1);
            pictures * SCALE / rate
        }
        None => interval * SCALE / 1000,
    }
}

/// The size of a rendition: what is asked for; the rest follows the shape of the camera's picture. Even, as codecs want it.
pub fn size(rendition: &Rendition, source: (u32, u32)) -> (u32, u32) {
    let (width, height) = (f64::from(source.0.max(2)), f64::from(source.1.max(2)));
    let asked = |pixels: i32| f64::from(pixels.clamp(2, 16_384));
    let (width, height) = match (rendition.width, rendition.height) {
        (Some(wide), Some(high)) => (asked(wide), asked(high)),
        (Some(wide), None) => (asked(wide), asked(wide) * height / width),
        (None, Some(high)) => (asked(high) * width / height, asked(high)),
        (None, None) => (width, height),
    };
    let even = |pixels: f64| ((pixels / 2.0).round() as u32).max(1) * 2;
    (even(width), even(height))
}

/// All arguments of `ffmpeg`.
pub fn build(task: Task<'_>) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |more: &[&str]| arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    add(&["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error"]);
    if let (Encoder::Vaapi, Some(device)) = (task.encoder.encoder, &task.encoder.device) {
        add(&["-init_hw_device", &format!("vaapi=gpu:{device}"), "-filter_hw_device", "gpu"]);
    }
    let large = task.source.width.saturating_mul(task.source.height) >= LARGE;
    let decoding = if large { task.processors.clamp(1, MOST_THREADS) } else { 1 };
    // The header says all that there is to know; times stay as they are given.
    add(&["-protocol_whitelist", "pipe", "-probesize", "32", "-analyzeduration", "0", "-fpsprobesize", "0", "-copyts"]);
    add(&["-threads", &decoding.to_string(), "-f", "nut", "-i", "pipe:0", "-filter_complex_threads", "1"]);
    add(&["-filter_complex", &graph(task)]);
    let seconds = grid(task.transcode) as f64 / SCALE as f64;
    // Where the time since the first picture has come to the next multiple; a frame's rounding is no reason to wait for the next.
    let key_frames = format!(
        "expr:if(isnan(prev_forced_t),1,gt(floor((t+0.002)/{seconds:.9}),floor((prev_forced_t+0.002)/{seconds:.9})))"
    );
    for (index, rendition) in task.transcode.renditions.iter().enumerate() {
        add(&["-map", &format!("[out{index}]"), "-fps_mode", "passthrough"]);
        if task.transcode.frames_per_second.is_none() {
            add(&["-enc_time_base", &format!("1:{SCALE}")]);
        }
        add(&["-force_key_frames", &key_frames]);
        for argument in encoding(task, rendition) {
            add(&[&argument]);
        }
        add(&["-map_metadata", "-1", "-video_track_timescale", &SCALE.to_string()]);
        add(&[
            "-movflags",
            "+frag_every_frame+delay_moov+empty_moov+default_base_moof+skip_trailer",
            "-use_editlist",
            "1",
        ]);
        add(&["-flush_packets", "1", "-f", "mp4", &format!("pipe:{}", descriptor(index))]);
    }
    arguments
}

/// Decoded once, split, and brought to the size of each rendition with bars where the shape is another one.
fn graph(task: Task<'_>) -> String {
    let count = task.transcode.renditions.len();
    let mut graph = String::from("[0:v:0]");
    if let Some(rate) = task.transcode.frames_per_second {
        graph += &format!("fps={rate},");
    }
    graph += &format!("split={count}");
    for index in 0..count {
        graph += &format!("[in{index}]");
    }
    for (index, rendition) in task.transcode.renditions.iter().enumerate() {
        let (width, height) = size(rendition, (task.source.width, task.source.height));
        let shape = f64::from(width) / f64::from(height);
        // Pixels that are not square become so. A shape that differs by rounding gets no bars of one line.
        let fits = format!("lt(abs(dar-{shape:.6})*{height},2)");
        let wide = format!("if({fits}+gt(dar,{shape:.6}),{width},max(2,round({height}*dar/2)*2))");
        let high = format!("if({fits}+lt(dar,{shape:.6}),{height},max(2,round({width}/dar/2)*2))");
        graph += &format!(
            ";[in{index}]scale=w='{wide}':h='{high}':flags=bicubic,pad={width}:{height}:-1:-1,setsar=1,format={}",
            if task.encoder.encoder == Encoder::Vaapi { "nv12,hwupload" } else { "yuv420p" }
        );
        graph += &format!("[out{index}]");
    }
    graph
}

fn encoding(task: Task<'_>, rendition: &Rendition) -> Vec<String> {
    let transcode = task.transcode;
    let rate = transcode.frames_per_second.map_or(task.rate, f64::from).clamp(1.0, 240.0);
    let (width, height) = size(rendition, (task.source.width, task.source.height));
    let usual = (f64::from(width) * f64::from(height) * rate * USUAL_BITS_PER_PIXEL) as u64;
    let is_h265 = transcode.codec == Codec::H265;
    let crf = rendition
        .crf
        .or_else(|| rendition.bit_rate.is_none().then_some(if is_h265 { USUAL_CRF_H265 } else { USUAL_CRF_H264 }));
    // Key frames are where they are asked for, in all renditions the same, and nowhere else.
    let group = ((rate * transcode.key_frame_interval_ms as f64 / 100.0) as u64).max(1000).to_string();
    let mut out: Vec<String> = Vec::new();
    let mut add = |more: &[&str]| out.extend(more.iter().map(|argument| (*argument).to_owned()));
    add(&["-c:v", task.encoder.name(transcode.codec), "-g", &group, "-bf", "0"]);
    let most = rendition.bit_rate.map(|most| (most.to_string(), most.saturating_mul(2).to_string()));
    let capped = |add: &mut dyn FnMut(&[&str])| {
        if let Some((most, buffer)) = &most {
            add(&["-maxrate", most, "-bufsize", buffer]);
        }
    };
    match task.encoder.encoder {
        Encoder::Auto | Encoder::Software => {
            // Made for live pictures: none is held back.
            add(&["-preset", transcode.preset.name(), "-tune", "zerolatency", "-forced-idr", "1"]);
            let threads = transcode.threads.and_then(|threads| usize::try_from(threads).ok());
            let threads = threads.unwrap_or_else(|| task.processors.min(MOST_THREADS)).max(1);
            match crf {
                Some(crf) => add(&["-crf", &crf.to_string()]),
                None => add(&["-b:v", &rendition.bit_rate.unwrap_or(usual).to_string()]),
            }
            capped(&mut add);
            let rate = format!("{}/1000", (rate * 1000.0).round());
            if is_h265 {
                let parameters = format!(
                    "log-level=error:scenecut=0:open-gop=0:keyint={group}:min-keyint=1:fps={rate}:pools={threads}:frame-threads=1"
                );
                add(&["-tag:v", "hvc1", "-x265-params", &parameters]);
            } else {
                add(&["-sc_threshold", "0", "-threads", &threads.to_string(), "-x264-params", &format!("fps={rate}")]);
            }
        }
        Encoder::Vaapi => {
            add(&["-async_depth", "1", "-idr_interval", "0"]);
            if let Some(crf) = crf {
                add(&["-rc_mode", "CQP", "-qp", &crf.to_string()]);
            } else {
                add(&["-rc_mode", "VBR", "-b:v", &rendition.bit_rate.unwrap_or(usual).to_string()]);
                capped(&mut add);
            }
        }
        Encoder::Nvenc => {
            add(&[
                "-preset",
                "p4",
                "-tune",
                "ll",
                "-zerolatency",
                "1",
                "-delay",
                "0",
                "-forced-idr",
                "1",
                "-rc",
                "vbr",
            ]);
            match crf {
                Some(crf) => add(&["-cq", &crf.to_string(), "-b:v", "0"]),
                None => add(&["-b:v", &rendition.bit_rate.unwrap_or(usual).to_string()]),
            }
            capped(&mut add);
        }
        Encoder::V4l2M2m => add(&["-b:v", &rendition.bit_rate.unwrap_or(usual).to_string()]),
    }
    if is_h265 && !matches!(task.encoder.encoder, Encoder::Auto | Encoder::Software) {
        add(&["-tag:v", "hvc1"]);
    }
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::plan::transcode::Preset;

    pub fn transcode(renditions: &[(Option<i32>, Option<i32>, Option<u64>)]) -> Transcode {
        Transcode {
            codec: Codec::H264,
            frames_per_second: None,
            preset: Preset::VeryFast,
            key_frame_interval_ms: 2000,
            threads: Some(1),
            encoder: Encoder::Auto,
            renditions: renditions
                .iter()
                .map(|(width, height, bit_rate)| Rendition {
                    width: *width,
                    height: *height,
                    bit_rate: *bit_rate,
                    ..Rendition::default()
                })
                .collect(),
        }
    }

    fn source() -> TrackConfiguration {
        TrackConfiguration {
            codec: Codec::H264,
            timescale: 90_000,
            sample_entry: Bytes::new(),
            codec_string: String::new(),
            width: 1920,
            height: 1080,
            sample_rate: 0,
            channels: 0,
        }
    }

    #[test]
    fn one_decoder_and_an_encoder_for_each_rendition() {
        let transcode = transcode(&[(None, Some(720), Some(2_500_000)), (Some(640), None, None)]);
        let (source, encoder) = (source(), Chosen::software());
        let task = Task { transcode: &transcode, encoder: &encoder, source: &source, rate: 25.0, processors: 2 };
        insta::assert_snapshot!(build(task).join("\n"));
    }

    #[test]
    fn sizes_follow_the_camera_and_are_even() {
        let of = |width, height| size(&Rendition { width, height, ..Rendition::default() }, (1920, 1080));
        assert_eq!(of(None, None), (1920, 1080));
        assert_eq!(of(Some(1280), None), (1280, 720));
        assert_eq!(of(None, Some(480)), (854, 480));
        assert_eq!(of(Some(640), Some(640)), (640, 640));
        assert_eq!(size(&Rendition::default(), (641, 481)), (642, 482));
    }

    #[test]
    fn the_grid_is_whole_pictures() {
        let mut transcode = transcode(&[]);
        assert_eq!(grid(&transcode), 180_000);
        transcode.frames_per_second = Some(7);
        transcode.key_frame_interval_ms = 1500;
        assert_eq!(grid(&transcode), 11 * 90_000 / 7, "11 pictures of a seventh");
    }

    /// What FFmpeg tells of a subject, such as `encoder=libx264`.
    fn help(subject: &str) -> String {
        let output = std::process::Command::new("ffmpeg").args(["-hide_banner", "-h", subject]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The names of an option's values, if it has any; `None` without the option.
    fn values<'a>(help: &'a str, option: &str) -> Option<Vec<&'a str>> {
        let mut lines = help.lines().skip_while(|line| line.split_whitespace().next() != Some(option));
        lines.next()?;
        // Options begin with two columns of space, their values with five.
        Some(
            lines
                .take_while(|line| line.starts_with("     "))
                .filter_map(|line| line.split_whitespace().next())
                .collect(),
        )
    }

    /// Few machines have the hardware, but this FFmpeg knows its options.
    #[test]
    fn every_encoder_knows_the_options_that_it_is_given() {
        let (full, source) = (help("full"), source());
        let mut checked = 0;
        for encoder in [Encoder::Software, Encoder::Vaapi, Encoder::Nvenc, Encoder::V4l2M2m] {
            for codec in [Codec::H264, Codec::H265] {
                let chosen = Chosen { encoder, device: None, instead: None };
                let own = help(&format!("encoder={}", chosen.name(codec)));
                if !own.starts_with("Encoder ") {
                    eprintln!("SKIPPED: this FFmpeg has no {}", chosen.name(codec));
                    continue;
                }
                for (crf, bit_rate) in
                    [(None, None), (Some(30), None), (None, Some(800_000)), (Some(30), Some(800_000))]
                {
                    let wanted = Transcode { codec, ..transcode(&[]) };
                    let rendition = Rendition { bit_rate, crf, ..Rendition::default() };
                    let task =
                        Task { transcode: &wanted, encoder: &chosen, source: &source, rate: 25.0, processors: 2 };
                    let arguments = encoding(task, &rendition);
                    for option in arguments.chunks(2) {
                        let [name, value] = option else { panic!("{option:?} of {arguments:?}") };
                        // `-b:v` is `-b` of the pictures. FFmpeg's own are not the encoder's.
                        let plain = name.split(':').next().unwrap();
                        if ["-c", "-tag"].contains(&plain) {
                            continue;
                        }
                        let named = values(&own, plain).or_else(|| values(&full, plain));
                        let named = named.unwrap_or_else(|| panic!("{} has no {name}", chosen.name(codec)));
                        let is_named = named.is_empty()
                            || value.parse::<f64>().is_ok()
                            || named.contains(&value.as_str())
                            // Handed through to x264 and x265 as text.
                            || matches!(encoder, Encoder::Software);
                        assert!(is_named, "{} has no {name} {value}: {named:?}", chosen.name(codec));
                        checked += 1;
                    }
                }
            }
        }
        assert!(checked > 50, "{checked}");
    }
}
