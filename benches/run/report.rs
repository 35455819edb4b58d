//! What was measured as Markdown. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::{Load, Measured, Options};

fn median(times: &[Duration]) -> Option<f64> {
    let mut sorted: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Growth of memory, or of what else is counted in bytes, for each further camera, MiB.
fn growth(measured: &Measured, of: impl Fn(&Load) -> Option<u64>) -> Option<f64> {
    let (small, large) = (measured.loads.first()?, measured.loads.last()?);
    let cameras = large.cameras.checked_sub(small.cameras).filter(|more| *more > 0)?;
    Some(mebibytes((of(large)? as f64 - of(small)? as f64) / cameras as f64))
}

fn row(text: &mut String, what: &str, unit: &str, bare: Option<f64>, ours: Option<f64>) {
    let cell = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2} {unit}"));
    let ratio = match (bare, ours) {
        (Some(bare), Some(ours)) if bare > 0.0 => format!("{:.2}", ours / bare),
        _ => "–".to_owned(),
    };
    let _ = writeln!(text, "| {what} | {} | {} | {ratio} |", cell(bare), cell(ours));
}

/// The whole document.
pub fn markdown(
    options: &Options,
    bare: &Measured,
    ours: &Measured,
    with_ffmpeg: Load,
    media_mtx: Option<&(String, Vec<Load>)>,
) -> String {
    let mut text = String::from(
        "# Cameras on one machine\n\nWritten by `make bench` (`cargo bench --bench run`; `-- --quick` for a short look, `-- --cameras 40 --many 200 --seconds 120` for another load).\n\n",
    );
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let _ = writeln!(
        text,
        "Up to {} RTSP cameras of 1080p25 at 4 Mbit/s, each recorded into MP4 files of a minute and served as HLS, by copy. Beside it, in the same run \
         on the same machine ({processors} cores), a bare FFmpeg for each camera: `-c copy -f tee` into the segment muxer and the HLS muxer, \
         both fragmented MP4. Each load is watched for {} s once every camera has been live for two HLS windows; CPU is that of the whole process tree, memory the \
         proportional set size (`/proc/*/smaps_rollup`) at the end. The other rows are medians with one camera.\n",
        options.many, options.seconds
    );
    let _ = writeln!(text, "| | {} | {} | ratio |\n| --- | ---: | ---: | ---: |", bare.name, ours.name);
    for (of_bare, of_ours) in bare.loads.iter().zip(&ours.loads) {
        let cameras = of_bare.cameras;
        row(
            &mut text,
            &format!("CPU a camera, {cameras} cameras (share of one core)"),
            "%",
            Some(of_bare.cpu_percent),
            Some(of_ours.cpu_percent),
        );
        let memory = |bytes: u64| Some(mebibytes(bytes as f64));
        row(
            &mut text,
            &format!("memory (PSS), {cameras} cameras"),
            "MiB",
            memory(of_bare.pss_bytes),
            memory(of_ours.pss_bytes),
        );
    }
    let beside = bare.loads.iter().find(|load| load.cameras == with_ffmpeg.cameras);
    let of = |what: &str| format!("{what}, {} cameras, `engine: FFmpeg`", with_ffmpeg.cameras);
    row(&mut text, &of("CPU a camera"), "%", beside.map(|load| load.cpu_percent), Some(with_ffmpeg.cpu_percent));
    let memory = |load: &Load| mebibytes(load.pss_bytes as f64);
    row(&mut text, &of("memory (PSS)"), "MiB", beside.map(memory), Some(memory(&with_ffmpeg)));
    let pss = |load: &Load| Some(load.pss_bytes);
    row(&mut text, "memory for each further camera", "MiB", growth(bare, pss), growth(ours, pss));
    let payload = growth(ours, |load| load.payload_bytes);
    row(&mut text, "… of which coded pictures: ring and live window, which share theirs", "MiB", None, payload);
    let beyond = growth(ours, pss).zip(payload).map(|(all, payload)| all - payload);
    row(&mut text, "… and beyond them", "MiB", None, beyond);
    row(
        &mut text,
        "start of the process → first HLS segment",
        "s",
        median(&bare.first_segment),
        median(&ours.first_segment),
    );
    row(
        &mut text,
        "camera's return → first recorded picture",
        "s",
        median(&bare.recorded_again),
        median(&ours.recorded_again),
    );
    for what in ["segment", "part"] {
        let of = |measured: &Measured, newest: bool| {
            let latency = measured.latency.iter().find(|latency| latency.what == what)?;
            median(if newest { &latency.newest } else { &latency.oldest })
        };
        let named = if what == "part" { "LL-HLS part (500 ms)" } else { "HLS segment (4 s)" };
        row(&mut text, &format!("lens → playlist, newest picture of an {named}"), "s", of(bare, true), of(ours, true));
        row(
            &mut text,
            &format!("lens → playlist, oldest picture of an {named}"),
            "s",
            of(bare, false),
            of(ours, false),
        );
    }
    if let Some((version, loads)) = media_mtx {
        let _ = writeln!(
            text,
            "\nMediaMTX {version}, in the same run, on the same cameras: each is pulled, recorded (fragmented MP4, files of a minute) and always served \
             as HLS (`hlsVariant: fmp4`, six segments of {} s, in memory).\n\n| | MediaMTX | {} | ratio |\n| --- | ---: | ---: | ---: |",
            crate::subject::SEGMENT_SECONDS,
            ours.name
        );
        for (theirs, of_ours) in loads.iter().zip(&ours.loads) {
            let cameras = theirs.cameras;
            let cpu = format!("CPU a camera, {cameras} cameras (share of one core)");
            row(&mut text, &cpu, "%", Some(theirs.cpu_percent), Some(of_ours.cpu_percent));
            let memory = |load: &Load| Some(mebibytes(load.pss_bytes as f64));
            row(&mut text, &format!("memory (PSS), {cameras} cameras"), "MiB", memory(theirs), memory(of_ours));
        }
    }
    text.push_str(
        "\ncamera-operator reads the cameras by its native driver, but in the rows that say otherwise. FFmpeg keeps neither a ring of frames for late readers nor the live window in memory (its window is files), and does not begin \
         again by itself: a loop that looks twice a second starts it again here. Nobody looks at the streams under load; a stream \
         that is watched keeps expired segments for one more window (24 s here, 12 MB), as RFC 8216 §6.2.2 wants.\n\n\
         What a further camera takes is first of all its coded pictures: the listed segments and one more, the newest 10 s for \
         readers that come late, which are the same bytes in the same place as far as both hold them, and the segment that is being \
         made. The rest is the connection's buffer (a picture is put together in it), the chunks of 256 KiB of which a part \
         is not filled yet or was let go, what frames are described by, files that are open, playlists, and what the allocator keeps.\n",
    );
    text
}
