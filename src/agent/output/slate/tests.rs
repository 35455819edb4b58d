//! Slates of cameras that FFmpeg really coded, decoded by one that knows nothing of how they came about.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::timeout;

use super::card::{Card, Shape};
use super::encoder::{Moving, SlatePicture, still};
use super::*;
use crate::agent::output::fixture::{Coded, H264, Rig, camera, coded, write_file};
use crate::agent::output::push::feed::{Feed, Sound};
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind};
use crate::media::h264_slice::{Fit, Tools, tools};
use crate::media::silence;
use crate::plan::unit::ObjectKind;

const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn an_agent_that_cannot_be_asked_says_nothing_of_its_camera() {
    for state in [UnitState::Reconnecting, UnitState::Failed, UnitState::Waiting] {
        assert!(tells_of_camera(state, Reason::Unreachable), "{state:?}");
        assert!(!tells_of_camera(state, Reason::CameraUnavailable), "{state:?}");
    }
    assert!(!tells_of_camera(UnitState::Starting, Reason::Connecting));
    assert!(!tells_of_camera(UnitState::Running, Reason::Streaming));
}

/// Decodes a file without an error; one line of `format` a picture, or its bytes.
fn decode(path: &str, more: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-err_detect", "explode", "-i", path, "-an", "-fps_mode", "passthrough"])
        .args(more)
        .arg("-")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{path}: {said}");
    output.stdout
}

/// A hash of each decoded picture.
fn hashes(path: &str) -> Vec<String> {
    let text = String::from_utf8(decode(path, &["-f", "framemd5"])).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// How bright each decoded picture is.
fn brightness(path: &str) -> Vec<u8> {
    decode(path, &["-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo"])
}

fn card() -> Card {
    Card { title: "cam".into(), text: "Back soon".into(), without_letters: false }
}

async fn slate_pictures(shape: Shape, count: usize) -> Vec<SlatePicture> {
    let mut moving = Moving::start(&card(), shape, None, 0, Arc::default()).unwrap();
    let mut pictures = Vec::new();
    while pictures.len() < count {
        let more = timeout(PATIENCE, moving.next()).await.unwrap();
        assert!(!more.is_empty(), "the encoder has ended");
        pictures.extend(more);
    }
    pictures.truncate(count);
    pictures
}

/// One video file of these pictures.
fn file(
    folder: &std::path::Path,
    name: &str,
    video: &Arc<TrackConfiguration>,
    pictures: &[(Bytes, bool, i32)],
) -> String {
    let configuration = Configuration { generation: 0, video: video.clone(), audio: None };
    let duration = video.timescale / 25;
    let frames: Vec<Arc<Frame>> = pictures
        .iter()
        .zip(1..)
        .map(|((payload, is_key, composition_offset), number)| {
            Arc::new(Frame {
                run: RunId(1),
                sequence: number,
                track: TrackKind::Video,
                decode_time: number as i64 * i64::from(duration),
                composition_offset: *composition_offset,
                duration,
                kind: if *is_key { FrameKind::Key } else { FrameKind::Delta },
                generation: 0,
                utc: UtcMicros(0),
                payload: payload.clone(),
            })
        })
        .collect();
    let fragment = write_fragment(1, &frames, false, FragmentOptions::default());
    write_file(folder, name, std::iter::once(write_header(&configuration, false)).chain(fragment.into_chunks()))
}

fn of_camera(coded: &Coded) -> Vec<(Bytes, bool, i32)> {
    coded.frames.iter().map(|frame| (frame.payload.clone(), frame.is_video_key(), frame.composition_offset)).collect()
}

#[tokio::test]
async fn slate_pictures_are_made_those_of_the_camera() {
    let folder = tempfile::tempdir().unwrap();
    let x264 = |more: &[&'static str]| [&["-c:v", "libx264", "-g", "10"], more].concat();
    for (number, codec) in [
        x264(&["-preset", "ultrafast"]),
        x264(&["-profile:v", "baseline", "-refs", "3"]),
        x264(&["-profile:v", "main", "-x264-params", "weightp=2:bframes=2"]),
        x264(&["-preset", "slow"]),
        x264(&["-x264-params", "cabac=0:8x8dct=1:chroma-qp-offset=-3:bframes=0"]),
        x264(&["-preset", "fast", "-qp", "40", "-x264-params", "constrained-intra=1:slices=3:no-deblock=1"]),
    ]
    .into_iter()
    .enumerate()
    {
        let camera = coded(&codec, 25, 1, false);
        let video = &camera.configuration.video;
        let shape = Shape { codec: Codec::H264, width: 160, height: 120, tools: tools(video).unwrap() };
        let slate = slate_pictures(shape, 8).await;
        let as_drawn: Vec<_> = slate.iter().map(|picture| (picture.payload.clone(), picture.is_key, 0)).collect();
        assert!(as_drawn.iter().any(|(_, is_key, _)| !is_key), "pictures that refer to others, too");
        let drawn = hashes(&file(folder.path(), &format!("drawn-{number}.mp4"), &slate[0].configuration, &as_drawn));
        let mut fit = Fit::new(&slate[0].configuration, video).unwrap();
        let fitted = |picture: &SlatePicture| (fit.apply(&picture.payload).unwrap(), picture.is_key, 0);
        let fitted: Vec<_> = slate.iter().map(fitted).collect();
        let all = [of_camera(&camera), fitted.clone(), fitted[..1].to_vec(), of_camera(&camera)].concat();
        let shown = hashes(&file(folder.path(), &format!("shown-{number}.mp4"), video, &all));
        assert_eq!(shown.len(), 25 + 8 + 1 + 25, "{codec:?}");
        assert_eq!(shown[25..33], drawn, "{codec:?}");
        assert_eq!(shown[33], drawn[0], "{codec:?}");
        assert_eq!(shown[..25], shown[34..], "{codec:?}");
    }
}

#[test]
fn what_cannot_be_made_to_fit_is_refused_with_the_reason() {
    for (codec, reason) in [
        (["-c:v", "libx264", "-flags", "+ildct+ilme"], "its pictures may be interlaced"),
        (["-c:v", "libx264", "-pix_fmt", "yuv422p"], "its pictures are not 4:2:0 with 8 bits"),
        (["-c:v", "libx264", "-x264-params", "cqm=jvt"], "it uses scaling matrices of its own"),
        (["-c:v", "libx265", "-x265-params", "log-level=error"], "its pictures are not H.264"),
    ] {
        assert_eq!(tools(&coded(&codec, 10, 1, false).configuration.video), Err(reason), "{codec:?}");
    }
}

/// A camera that comes and goes, many times, as a target and a viewer see it who were told its parameters once.
#[tokio::test]
async fn one_stream_goes_on_over_many_slates() {
    const TIMES: usize = 12;
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let coded = coded(&H264, 25, 1, true);
    let context = rig.context(ObjectKind::Stream, "live");
    let fallback = Fallback { after_ms: 300, title: "cam".into(), text: "Back soon".into(), image: None };
    let key = camera();
    let mut frames = CameraOrSlate::new(&context, &context.registry.hubs, &key, Pace::EveryFrame, Some(&fallback));
    let mut feed = Feed::new(&coded.configuration, Sound::Copied);
    let mut out = vec![write_header(feed.configuration(), true)];
    let write = |frames: Vec<Frame>, out: &mut Vec<Bytes>| {
        if !frames.is_empty() {
            out.extend(write_fragment(1, &frames, true, FragmentOptions::default()).into_chunks());
        }
    };
    let mut pictures: Vec<(RunId, UtcMicros)> = Vec::new();
    let mut slates = 0;
    for time in 0..TIMES {
        let run = rig.registry.numbering.name_run();
        let began = UtcMicros::from_timestamp(Timestamp::now());
        // All at once: none is of the future.
        let since = |frame: &Frame| (frame.utc.0 - coded.frames[0].utc.0) / 1000;
        let moved = |frame: &Frame| Frame { run, utc: began.plus_micros(since(frame)), ..frame.clone() };
        rig.hub.publish(&coded.configuration, coded.frames.iter().map(moved));
        // Until the camera has been away for some pictures.
        let mut of_slate = 0;
        let mut moved = false;
        while of_slate < 4 || !moved {
            let events = timeout(PATIENCE, frames.next()).await.unwrap();
            let mut batch = Vec::new();
            for event in events {
                match event {
                    Event::Configuration { configuration, .. } => {
                        write(feed.place(&std::mem::take(&mut batch)), &mut out);
                        assert!(feed.fits(&configuration, Sound::Copied), "{time}");
                    }
                    Event::Frame(frame) => {
                        if frame.track == TrackKind::Video {
                            pictures.push((frame.run, frame.utc));
                            of_slate += usize::from(frame.run != run);
                            // Only those of the encoder that runs with the clock need others.
                            moved |= frame.run != run && !frame.is_video_key();
                        }
                        batch.push(frame);
                    }
                    Event::Ended(_) | Event::Lost(_) => {}
                }
            }
            write(feed.place(&batch), &mut out);
        }
        assert!(frames.slate_since().is_some() && frames.seam().is_none());
        slates += of_slate;
    }
    assert!(pictures.windows(2).all(|pair| pair[0].1 < pair[1].1), "{pictures:?}");
    assert_eq!(context.registry.slates.get(&context.object.key).unwrap().read().0, TIMES as u64);
    let path = write_file(folder.path(), "all.mp4", out);
    let bright = brightness(&path);
    assert_eq!(bright.len(), TIMES * 25 + slates);
    let runs: Vec<RunId> = pictures.iter().map(|(run, _)| *run).collect();
    // Pictures of a camera with reordered ones are decoded in another order than they come, but within their run.
    let mut shown = bright.iter();
    for of_run in runs.chunk_by(|one, other| one == other) {
        let bright: Vec<u8> = shown.by_ref().take(of_run.len()).copied().collect();
        let is_slate = of_run.len() != 25;
        assert!(bright.iter().all(|bright| (*bright < 75) == is_slate), "{is_slate} {bright:?}");
    }
    // Sound, too.
    let sound = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i", &path, "-vn", "-f", "null", "-"])
        .output()
        .unwrap();
    assert!(sound.status.success() && sound.stderr.is_empty(), "{}", String::from_utf8_lossy(&sound.stderr));
}

/// Where this program had no processor, the camera's pictures may be there and nobody has read them.
#[tokio::test]
async fn a_program_that_was_held_up_does_not_take_its_camera_for_one_that_is_away() {
    let rig = Rig::new();
    let coded = coded(&H264, 25, 1, false);
    let context = rig.context(ObjectKind::Stream, "live");
    let fallback = Fallback { after_ms: 500, title: "cam".into(), text: "Back soon".into(), image: None };
    let key = camera();
    let mut frames = CameraOrSlate::new(&context, &context.registry.hubs, &key, Pace::EveryFrame, Some(&fallback));
    let publish = || {
        let run = rig.registry.numbering.name_run();
        let began = UtcMicros::from_timestamp(Timestamp::now());
        rig.hub
            .publish(&coded.configuration, coded.frames.iter().map(|frame| Frame { run, utc: began, ..frame.clone() }));
    };
    publish();
    // Shown once, the slate is known to be there when it is needed.
    while frames.slate_since().is_none() {
        timeout(PATIENCE, frames.next()).await.unwrap();
    }
    publish();
    while frames.slate_since().is_some() {
        timeout(PATIENCE, frames.next()).await.unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    // Its time is noticed, and the pictures are read a moment later.
    let read = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        publish();
    };
    let ((), next) = tokio::join!(read, timeout(PATIENCE, frames.next()));
    assert!(next.is_ok_and(|events| !events.is_empty()) && frames.slate_since().is_none());
    assert_eq!(context.registry.slates.get(&context.object.key).unwrap().read().0, 1);
}

/// What is drawn beforehand and what moves later go into one stream, whatever lies behind the letters.
#[tokio::test]
async fn all_backgrounds_have_the_same_parameters() {
    let picture = |codec: &str| {
        let arguments = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", "1", "-c:v", codec];
        let output = Command::new("ffmpeg").args(arguments).args(["-f", "image2pipe", "-"]).output().unwrap();
        Bytes::from(output.stdout)
    };
    let pictures = [
        None,
        Some((Background::LastPicture, picture("mjpeg"))),
        Some((Background::Image, picture("png"))),
        Some((Background::Image, picture("mjpeg"))),
    ];
    for codec in [Codec::H264, Codec::H265, Codec::Mjpeg] {
        let shape = Shape { codec, width: 160, height: 120, tools: Tools::default() };
        let mut entries = Vec::new();
        for picture in &pictures {
            let drawn = still(&card(), shape, picture.clone(), Arc::default()).await.unwrap();
            let mut moving = Moving::start(&card(), shape, picture.clone(), 5, Arc::default()).unwrap();
            let moves = timeout(PATIENCE, moving.next()).await.unwrap();
            entries.extend([&drawn, &moves[0]].map(|picture| picture.configuration.sample_entry.clone()));
        }
        assert!(entries.windows(2).all(|pair| pair[0] == pair[1]), "{codec:?}");
    }
}

/// One that has never been seen, and then sends something else than was guessed; and silence of every kind.
#[tokio::test]
async fn silence_of_every_kind_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    for (number, codec) in [
        vec!["-c:a", "aac", "-ac", "1"],
        vec!["-c:a", "aac", "-ac", "2", "-ar", "16000"],
        vec!["-c:a", "libopus", "-ac", "1"],
        vec!["-c:a", "libopus", "-ac", "2"],
    ]
    .into_iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{number}.mp4"));
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", "sine", "-t", "1"])
            .args(&codec)
            .args(["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        let mut reader = crate::media::fmp4::reader::Reader::new(crate::media::fmp4::reader::Limits::default());
        reader.feed(&std::fs::read(&path).unwrap());
        let Some(crate::media::fmp4::reader::Event::Tracks(tracks)) = reader.next_event().unwrap() else {
            panic!("no tracks")
        };
        let audio = Arc::new(crate::media::audio::configuration(&tracks[0]).unwrap());
        let (unit, ticks) = silence::of(&audio).expect("there is silence for it");
        // Some video, because there is no configuration without.
        let coded = coded(&H264, 25, 1, false);
        let configuration =
            Configuration { generation: 0, video: coded.configuration.video.clone(), audio: Some(audio) };
        let mut frames: Vec<Arc<Frame>> = coded.frames.iter().cloned().map(Arc::new).collect();
        frames.extend((0..40).map(|count| {
            Arc::new(Frame {
                track: TrackKind::Audio,
                kind: FrameKind::Key,
                decode_time: i64::from(ticks) * (50 + count),
                composition_offset: 0,
                duration: ticks,
                payload: unit.clone(),
                ..coded.frames[0].clone()
            })
        }));
        let fragment = write_fragment(1, &frames, true, FragmentOptions::default());
        let chunks = std::iter::once(write_header(&configuration, true)).chain(fragment.into_chunks());
        let path = write_file(folder.path(), &format!("silent-{number}.mp4"), chunks);
        let output = Command::new("ffmpeg")
            .args(["-v", "error", "-xerror", "-i", &path, "-vn", "-f", "s16le", "-"])
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{codec:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(output.stdout.len() > 20_000 && output.stdout.iter().all(|byte| *byte == 0), "{codec:?}");
    }
}
