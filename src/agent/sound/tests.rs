//! Sound that FFmpeg coded, encoded anew, and decoded by FFmpeg's and the library's decoders: is it the same, at the same time?

use std::sync::Arc;

use syom::EncodeOptions;

use super::anew::Anew;
use super::decoder::Decoder;
use super::encoder::FRAME;
use crate::agent::hub::Event;
use crate::agent::output::fixture::{H264, coded, coded_sound};
use crate::media::audio::aac_configuration;
use crate::media::frame::{Codec, Configuration, Frame, RunId, TrackConfiguration, TrackKind, UtcMicros};

const BEGAN: UtcMicros = UtcMicros(1_800_000_000_000_000);

/// A configuration with that sound, and pictures that nobody looks at.
fn configuration(audio: &Arc<TrackConfiguration>) -> Arc<Configuration> {
    Arc::new(Configuration { generation: 0, video: audio.clone(), audio: Some(audio.clone()) })
}

fn events(run: u64, audio: &Arc<TrackConfiguration>, frames: &[Frame]) -> Vec<Event> {
    let of_run = |frame: &Frame| Event::Frame(Arc::new(Frame { run: RunId(run), ..frame.clone() }));
    let first = Event::Configuration { run: RunId(run), configuration: configuration(audio) };
    std::iter::once(first).chain(frames.iter().map(of_run)).collect()
}

fn frames(events: &[Event]) -> Vec<Arc<Frame>> {
    let frame = |event: &Event| if let Event::Frame(frame) = event { Some(frame.clone()) } else { None };
    events.iter().filter_map(frame).collect()
}

fn configurations(events: &[Event]) -> Vec<Arc<Configuration>> {
    let of = |event: &Event| match event {
        Event::Configuration { configuration, .. } => Some(configuration.clone()),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// The first channel, and the time of its first sample in seconds.
fn decoded(track: &TrackConfiguration, frames: &[impl AsRef<Frame>]) -> (f64, f64, Vec<f32>) {
    let mut decoder = Decoder::new(track).expect("a decoder");
    let mut samples = Vec::new();
    let mut rate = 0;
    for frame in frames {
        let more = decoder.decode(&frame.as_ref().payload).expect("sound");
        rate = more.rate;
        samples.extend_from_slice(&more.planes[0]);
    }
    let begin = frames[0].as_ref().decode_time as f64 / f64::from(track.timescale);
    (begin, f64::from(rate), samples)
}

/// The greatest difference between two sounds at the same times, from `from` to `to` seconds.
fn difference(one: &(f64, f64, Vec<f32>), other: &(f64, f64, Vec<f32>), from: f64, to: f64) -> f32 {
    assert!((one.1 - other.1).abs() < 1e-9, "samples a second: {} and {}", one.1, other.1);
    let at = |sound: &(f64, f64, Vec<f32>), index: f64| {
        let place = index - (sound.0 * sound.1).round();
        sound.2[place as usize]
    };
    let steps = (from * one.1) as u64..(to * one.1) as u64;
    steps.map(|index| (at(one, index as f64) - at(other, index as f64)).abs()).fold(0.0, f32::max)
}

#[test]
fn it_is_the_same_sound_at_the_same_time_with_the_wanted_bit_rate() {
    let tone = ["-f", "lavfi", "-i", "sine=frequency=440", "-t", "4"];
    let cases: [(&[&str], u64, Codec, u32, u16); 4] = [
        (&["-c:a", "aac", "-b:a", "160k", "-ar", "48000", "-ac", "2"], 64_000, Codec::Aac, 48_000, 2),
        (&["-c:a", "aac", "-ar", "16000"], 24_000, Codec::Aac, 16_000, 1),
        (&["-c:a", "libopus", "-b:a", "96k", "-ac", "1"], 32_000, Codec::Opus, 48_000, 1),
        (&["-c:a", "libopus", "-b:a", "96k", "-ac", "2"], 96_000, Codec::Opus, 48_000, 2),
    ];
    for (coded, bits, codec, rate, channels) in cases {
        let (track, sent) = coded_sound(&[&tone[..], coded].concat(), BEGAN);
        assert_eq!(track.codec, codec);
        let mut anew = Anew::new(bits);
        // As they come from a hub: a few at a time.
        let mut out = Vec::new();
        for some in events(1, &track, &sent).chunks(7) {
            out.extend(anew.take(some.to_vec()));
        }
        assert_eq!(anew.problem(), None);
        let told = configurations(&out);
        let audio = told[0].audio.clone().expect("sound");
        assert_eq!((told.len(), audio.codec, audio.sample_rate, audio.channels), (1, Codec::Aac, rate, channels));
        let got = frames(&out);
        assert!(got.windows(2).all(|pair| pair[1].decode_time - pair[0].decode_time == i64::from(FRAME)), "{coded:?}");
        let bytes: usize = got.iter().map(|frame| frame.payload.len()).sum();
        let second = got.len() as f64 * f64::from(FRAME) / f64::from(rate);
        let measured = bytes as f64 * 8.0 / second;
        assert!((0.85..1.1).contains(&(measured / bits as f64)), "{coded:?}: {measured} bits a second");
        let (before, after) = (decoded(&track, &sent.iter().map(Wrapped).collect::<Vec<_>>()), decoded(&audio, &got));
        // The run began at one second.
        let worst = difference(&before, &after, 1.5, 4.5);
        assert!(worst < 0.03, "{coded:?}: {worst}");
        // When it was captured fits when it is heard, as it did.
        let zero = |frame: &Frame, scale: u32| frame.utc.0 - frame.decode_time * 1_000_000 / i64::from(scale);
        let expected = zero(&sent[0], track.timescale);
        for frame in &got {
            assert!((zero(frame, rate) - expected).abs() < 100, "{coded:?}: {} {expected}", zero(frame, rate));
        }
    }
}

struct Wrapped<'a>(&'a Frame);

impl AsRef<Frame> for Wrapped<'_> {
    fn as_ref(&self) -> &Frame {
        self.0
    }
}

#[test]
fn pictures_pass_and_the_sound_stays_near_them() {
    let coded = coded(&H264, 25, 3, true);
    let event = Event::Configuration { run: RunId(1), configuration: coded.configuration.clone() };
    let sent = coded.frames.iter().map(|frame| Event::Frame(Arc::new(Frame { run: RunId(1), ..frame.clone() })));
    let mut anew = Anew::new(48_000);
    let out = anew.take(std::iter::once(event).chain(sent).collect());
    let got = frames(&out);
    let pictures = |frames: &[Arc<Frame>]| frames.iter().filter(|frame| frame.track == TrackKind::Video).count();
    assert_eq!(pictures(&got), 75);
    assert_eq!(configurations(&out)[0].video, coded.configuration.video);
    let mut picture = 0;
    for frame in &got {
        match frame.track {
            TrackKind::Video => picture = frame.utc.0,
            TrackKind::Audio => {
                assert!((-120_000..60_000).contains(&(frame.utc.0 - picture)), "{}", frame.utc.0 - picture);
            }
        }
    }
}

#[test]
fn a_hole_is_silent_and_a_run_begins_anew_with_the_same_configuration() {
    let (track, sent) = coded_sound(&["-f", "lavfi", "-i", "sine", "-t", "4", "-c:a", "aac", "-ar", "48000"], BEGAN);
    let mut anew = Anew::new(64_000);
    // A second of it is lost, and a unit is damaged.
    let second = |frame: &Frame| frame.decode_time as f64 / 48_000.0;
    let mut some: Vec<Frame> = sent.iter().filter(|frame| !(2.0..3.0).contains(&second(frame))).cloned().collect();
    let damaged = some.iter().position(|frame| second(frame) > 4.0).expect("one");
    some[damaged].payload = bytes::Bytes::from_static(&[0xff; 40]);
    let mut out = anew.take(events(1, &track, &some));
    let first = frames(&out);
    assert!(first.windows(2).all(|pair| pair[1].decode_time - pair[0].decode_time == i64::from(FRAME)));
    let audio = configurations(&out)[0].audio.clone().expect("sound");
    let (begin, rate, samples) = decoded(&audio, &first);
    let loudest = |from: f64, to: f64| {
        let at = |seconds: f64| ((seconds - begin) * rate) as usize;
        samples[at(from)..at(to)].iter().fold(0.0, |most: f32, sample| most.max(sample.abs()))
    };
    assert!(loudest(1.2, 1.9) > 0.1 && loudest(3.2, 3.9) > 0.1 && loudest(4.2, 4.8) > 0.1);
    assert!(loudest(2.1, 2.9) < 0.01, "{}", loudest(2.1, 2.9));
    // Another run, and after it one from the beginning again.
    out = anew.take(events(2, &track, &sent));
    assert_eq!(configurations(&out)[0].audio, Some(audio));
    let second = frames(&out);
    assert!(second.iter().all(|frame| frame.run == RunId(2)));
    assert_eq!(second[0].decode_time, sent[0].decode_time - i64::from(FRAME));
}

/// High-efficiency AAC says half of its rate, or of its channels, before it is decoded.
#[test]
fn what_is_found_out_by_decoding_is_told_once() {
    let mut encoder =
        syom::Encoder::new(48_000, 1, &EncodeOptions::raw().with_bitrate_bps(32_000).with_he(true)).expect("HE");
    let specific = encoder.asc().to_vec();
    let wave: Vec<f32> = (0..48_000 * 2).map(|at| 0.5 * (at as f32 * 0.05).sin()).collect();
    let mut units = Vec::new();
    encoder
        .feed(&[&wave], |frame| {
            units.push(bytes::Bytes::copy_from_slice(frame.payload));
            Ok(())
        })
        .expect("encoded");
    let track = Arc::new(aac_configuration(&specific, 24_000, 1));
    let (_, model) = coded_sound(&["-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac"], BEGAN);
    let frame = |(number, payload): (i64, &bytes::Bytes)| Frame {
        decode_time: 24_000 + number * 1024,
        payload: payload.clone(),
        ..model[0].clone()
    };
    let sent: Vec<Frame> = (0..).zip(&units).map(frame).collect();
    let mut anew = Anew::new(64_000);
    let out = anew.take(events(1, &track, &sent));
    let told = configurations(&out);
    let rates: Vec<(u32, u32)> =
        told.iter().map(|told| (told.generation, told.audio.as_ref().map_or(0, |audio| audio.sample_rate))).collect();
    assert_eq!(rates, [(0, 24_000), (1, 48_000)]);
    let got = frames(&out);
    assert!(got.len() > 80 && got.windows(2).all(|pair| pair[1].decode_time - pair[0].decode_time == 1024));
    assert_eq!(got[1].decode_time, 48_000);
    // It is known from then on.
    let again = anew.take(events(2, &track, &sent));
    assert_eq!(configurations(&again).len(), 1);
}

#[test]
fn sound_that_cannot_be_decoded_is_left_out_and_said() {
    let (track, sent) = coded_sound(&["-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac"], BEGAN);
    let unknown = Arc::new(TrackConfiguration { sample_entry: bytes::Bytes::new(), ..(*track).clone() });
    let mut anew = Anew::new(64_000);
    let out = anew.take(events(1, &unknown, &sent));
    assert_eq!(configurations(&out)[0].audio, None);
    assert!(frames(&out).is_empty());
    assert!(anew.problem().is_some_and(|problem| problem.contains("AAC")));
    anew.take(events(2, &track, &sent));
    assert_eq!(anew.problem(), None);
}
