//! The whole way with a real FFmpeg: frames of a camera in, frames of every rendition out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{Encode, Frames, Renditions};
use crate::agent::hub::{Ending, Event, Reach, Reader};
use crate::agent::output::fixture::{Coded, Rig, camera, coded};
use crate::media::frame::{Codec, Configuration, Frame, RunId, TrackKind};
use crate::plan::report::Reason;
use crate::plan::transcode::{Encoder, Preset, Rendition, Transcode};
use crate::plan::unit::ObjectKind;

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10"];

/// What a test sends.
struct Sent(mpsc::UnboundedReceiver<Vec<Event>>);

impl Frames for Sent {
    async fn next(&mut self) -> Vec<Event> {
        match self.0.recv().await {
            Some(events) => events,
            None => std::future::pending().await,
        }
    }

    fn begin_again(&mut self) {}
}

fn transcode(sizes: &[(i32, i32)]) -> Transcode {
    let rendition =
        |(width, height): &(i32, i32)| Rendition { width: Some(*width), height: Some(*height), ..Rendition::default() };
    Transcode {
        codec: Codec::H264,
        frames_per_second: None,
        preset: Preset::UltraFast,
        key_frame_interval_ms: 1000,
        threads: Some(1),
        encoder: Encoder::Software,
        renditions: sizes.iter().map(rendition).collect(),
    }
}

struct Running {
    rig: Rig,
    send: mpsc::UnboundedSender<Vec<Event>>,
    readers: Vec<Reader>,
    _task: AbortOnDropHandle<()>,
}

fn start(transcode: Transcode) -> Running {
    let rig = Rig::new();
    let context = rig.context(ObjectKind::Stream, "live");
    let (send, receive) = mpsc::unbounded_channel();
    let renditions = Renditions::new(&transcode, &camera(), None);
    let readers = renditions.hubs().iter().map(|hub| hub.subscribe(Reach::Whole)).collect();
    let task = tokio::spawn(async move {
        let encode = Encode { context: &context, transcode: &transcode, audio: true };
        encode.run(&mut Sent(receive), &renditions).await;
    });
    Running { rig, send, readers, _task: AbortOnDropHandle::new(task) }
}

/// The frames as a run that begins `later` microseconds after they did.
fn events(coded: &Coded, run: u64, later: i64) -> Vec<Event> {
    let configuration = Event::Configuration { run: RunId(run), configuration: coded.configuration.clone() };
    let moved = |frame: &Frame| Frame { run: RunId(run), utc: frame.utc.plus_micros(later), ..frame.clone() };
    std::iter::once(configuration)
        .chain(coded.frames.iter().map(|frame| Event::Frame(Arc::new(moved(frame)))))
        .collect()
}

fn ended(run: u64) -> Vec<Event> {
    let at = crate::media::frame::UtcMicros(0);
    vec![Event::Ended(Arc::new(Ending { run: RunId(run), reason: Reason::Stalled, message: "gone".into(), at }))]
}

#[derive(Debug, Default)]
struct Got {
    pictures: Vec<(Arc<Configuration>, Arc<Frame>)>,
    sound: usize,
    endings: Vec<Ending>,
}

/// Reads until it has ended so many times.
async fn until_ended(reader: &mut Reader, endings: usize) -> Got {
    let mut got = Got::default();
    let mut configuration = None;
    while got.endings.len() < endings {
        let events = timeout(Duration::from_mins(1), reader.next()).await;
        for event in events.unwrap_or_else(|_| panic!("nothing more came: {got:?}")).unwrap() {
            match event {
                Event::Configuration { configuration: new, .. } => configuration = Some(new),
                Event::Frame(frame) if frame.track == TrackKind::Video => {
                    got.pictures.push((configuration.clone().unwrap(), frame));
                }
                Event::Frame(_) => got.sound += 1,
                Event::Ended(ending) => got.endings.push(Ending::clone(&ending)),
                Event::Lost(lost) => panic!("lost {lost}"),
            }
        }
    }
    got
}

#[tokio::test]
async fn every_picture_comes_back_at_its_time_over_cuts_and_other_sizes() {
    let mut running = start(transcode(&[(160, 120), (80, 60)]));
    let small = coded(&H264, 10, 3, true);
    // Another size, rate, profile and reordering: all that a decoder has to be told in band.
    let mut large =
        coded(&["-c:v", "libx264", "-preset", "veryfast", "-g", "30", "-bf", "2", "-vf", "scale=320:180"], 15, 2, true);
    Arc::make_mut(&mut large.configuration).audio.clone_from(&small.configuration.audio);
    running.send.send(events(&small, 1, 0)).unwrap();
    running.send.send(ended(1)).unwrap();
    running.send.send(events(&large, 2, 60_000_000)).unwrap();
    running.send.send(ended(2)).unwrap();
    for (index, reader) in running.readers.iter_mut().enumerate() {
        let got = until_ended(reader, 2).await;
        let expected: Vec<i64> = [(&small, 0), (&large, 60_000_000)]
            .iter()
            .flat_map(|(coded, later)| {
                let video = coded.frames.iter().filter(|frame| frame.track == TrackKind::Video);
                let scale = i64::from(coded.configuration.video.timescale);
                let mut shown: Vec<i64> = video
                    .map(|frame| frame.utc.0 + later + i64::from(frame.composition_offset) * 1_000_000 / scale)
                    .collect();
                shown.sort_unstable();
                shown
            })
            .collect();
        let times: Vec<i64> = got.pictures.iter().map(|(_, frame)| frame.utc.0).collect();
        assert_eq!(times.len(), expected.len(), "rendition {index}");
        assert!(times.iter().zip(&expected).all(|(one, other)| (one - other).abs() < 100), "{times:?} {expected:?}");
        let runs: Vec<RunId> = got.endings.iter().map(|ending| ending.run).collect();
        assert!(runs[0] < runs[1] && got.endings.iter().all(|ending| ending.reason == Reason::Stalled));
        let (first, last) = (&got.pictures[0].0, &got.pictures.last().unwrap().0);
        assert_eq!(first.video, last.video, "one encoder, and its parameter sets, over both");
        assert_eq!((first.video.width, first.audio.is_some()), ([160, 80][index], true));
        assert!(got.sound > 100, "{}", got.sound);
        // Each run begins with a key frame, and has one each second.
        for run in runs {
            let of_run: Vec<_> = got.pictures.iter().filter(|(_, frame)| frame.run == run).collect();
            assert!(of_run[0].1.is_video_key());
            assert_eq!(
                of_run.iter().filter(|(_, frame)| frame.is_video_key()).count(),
                if run == got.endings[0].run { 3 } else { 2 }
            );
            assert!(of_run.windows(2).all(|pair| pair[0].1.decode_time < pair[1].1.decode_time));
        }
    }
    assert!(running.rig.board.report().units[0].notices.is_empty());
}

#[tokio::test]
async fn motion_jpeg_becomes_h264_at_a_constant_rate() {
    let mut wanted = transcode(&[(160, 120)]);
    wanted.frames_per_second = Some(10);
    let mut running = start(wanted);
    let pictures = coded(&["-c:v", "mjpeg", "-pix_fmt", "yuvj422p"], 5, 2, false);
    running.send.send(events(&pictures, 1, 0)).unwrap();
    running.send.send(ended(1)).unwrap();
    running.send.send(events(&pictures, 2, 30_000_000)).unwrap();
    running.send.send(ended(2)).unwrap();
    let got = until_ended(&mut running.readers[0], 2).await;
    assert_eq!(got.pictures[0].0.video.codec, Codec::H264);
    let steps: Vec<i64> = got.pictures.windows(2).map(|pair| pair[1].1.utc.0 - pair[0].1.utc.0).collect();
    assert_eq!(steps.iter().filter(|step| **step != 100_000).count(), 1, "one hole, which nothing fills: {steps:?}");
    assert!((38..=40).contains(&got.pictures.len()), "{}", got.pictures.len());
}

#[tokio::test]
async fn what_follows_without_a_hole_is_the_same_run() {
    let mut running = start(transcode(&[(160, 120)]));
    let (camera, slate) = (coded(&H264, 10, 2, false), coded(&H264, 5, 2, false));
    // They were made at about the same moment; the slate begins where the camera ends.
    let later = camera.frames[0].utc.0 + 2_050_000 - slate.frames[0].utc.0;
    let mut all = events(&camera, 1, 0);
    all.extend(events(&slate, 2, later));
    running.send.send(all).unwrap();
    running.send.send(ended(2)).unwrap();
    let got = until_ended(&mut running.readers[0], 1).await;
    assert_eq!(got.pictures.len(), 30);
    assert!(got.pictures.iter().all(|(_, frame)| frame.run == got.pictures[0].1.run));
    let steps: Vec<i64> =
        got.pictures.windows(2).map(|pair| (pair[1].1.decode_time - pair[0].1.decode_time) / 90).collect();
    assert_eq!(steps[..19], [100; 19]);
    assert!((140..=160).contains(&steps[19]) && steps[20..].iter().all(|step| *step == 200), "{steps:?}");
}

#[tokio::test]
async fn a_killed_or_a_wrong_encoder_is_tried_again_and_readers_are_told() {
    let mut running = start(transcode(&[(160, 120)]));
    let (h264, mjpeg) = (coded(&H264, 10, 1, false), coded(&["-c:v", "mjpeg"], 10, 1, false));
    running.send.send(events(&h264, 1, 0)).unwrap();
    // Another codec needs another decoder.
    running.send.send(events(&mjpeg, 2, 5_000_000)).unwrap();
    running.send.send(events(&mjpeg, 3, 10_000_000)).unwrap();
    running.send.send(ended(3)).unwrap();
    let got = until_ended(&mut running.readers[0], 2).await;
    let reasons: Vec<Reason> = got.endings.iter().map(|ending| ending.reason).collect();
    assert_eq!(reasons, [Reason::ConfigurationChanged, Reason::Stalled]);
    let last = &got.pictures.last().unwrap().0.video;
    assert_eq!(
        got.pictures[0].0.video.sample_entry, last.sample_entry,
        "the same parameter sets from the next encoder"
    );
}

#[tokio::test]
async fn h265_is_written_as_players_want_it() {
    let mut wanted = transcode(&[(160, 120)]);
    wanted.codec = Codec::H265;
    let mut running = start(wanted);
    let camera = coded(&H264, 10, 2, false);
    running.send.send(events(&camera, 1, 0)).unwrap();
    running.send.send(ended(1)).unwrap();
    let got = until_ended(&mut running.readers[0], 1).await;
    assert_eq!(got.pictures.len(), 20);
    let video = &got.pictures[0].0.video;
    assert!(video.codec == Codec::H265 && video.codec_string.starts_with("hvc1."), "{}", video.codec_string);
    assert_eq!(got.pictures.iter().filter(|(_, frame)| frame.is_video_key()).count(), 2);
}
