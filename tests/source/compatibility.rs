//! What real cameras do wrong, one thing at a time, done by a scriptable server; and that both engines make the same of the
//! same session.

use std::sync::LazyLock;
use std::time::Duration;

use camera_operator::agent::hub::Reach;
use camera_operator::media::frame::{Codec, Frame};
use camera_operator::plan::report::{Reason, UnitState};
use camera_operator::plan::unit::{Engine, Ingest, Location, RtspTransport, Source};

use crate::support::film::Film;
use crate::support::rtp::rtp;
use crate::support::rtsp_server::{RtspServer, Script};
use crate::unit::{Seen, Unit, enough};

/// Seconds without a word that end a session, which leaves a busy machine half of them.
const SHORT_SESSION: u64 = 6;
/// A film of three seconds lasts for longer than that when it is sent so often.
const OUTLIVES_SESSION: usize = 3;

static FILM: LazyLock<Film> = LazyLock::new(|| Film::encode("H264", 3, 0));

fn good() -> Script {
    Script::good(FILM.clone())
}

fn source(engine: Engine, url: &str, transport: RtspTransport) -> Source {
    Source::Rtsp { location: Location::Url(url.into()), transport, credentials: None, engine }
}

/// Plays a script until all but the last picture is there, whose end only the next would tell.
async fn play_with(engine: Engine, script: Script, transport: RtspTransport) -> (Seen, Unit, RtspServer) {
    let pictures = script.film.pictures.len() * script.times - 1;
    play_until(pictures, engine, script, transport).await
}

/// Plays a script until so many pictures are there.
async fn play_until(
    pictures: usize,
    engine: Engine,
    script: Script,
    transport: RtspTransport,
) -> (Seen, Unit, RtspServer) {
    let server = RtspServer::start(script);
    let unit = Unit::start(source(engine, &server.url, transport)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "all pictures", enough(pictures, 0)).await;
    seen.check();
    (seen, unit, server)
}

/// The same with the native driver over TCP, in one session that ends in order.
async fn play(script: Script) -> Seen {
    let (film, sound) = (script.film.clone(), script.sound);
    let (seen, unit, server) = play_with(Engine::Native, script, RtspTransport::Tcp).await;
    assert_eq!(unit.report().reconnects, 0, "{}", unit.log());
    assert_shown(&film, &seen, 0);
    if let Some(lead) = sound {
        assert_together(&seen, lead, server.seen.lock().unwrap().sound_until);
    }
    unit.stop().await;
    let requests = server.seen.lock().unwrap().requests.clone();
    assert_eq!(requests.last().map(String::as_str), Some("TEARDOWN"), "{requests:?}");
    assert_eq!(server.seen.lock().unwrap().connections, 1);
    seen
}

fn assert_shown(film: &Film, seen: &Seen, rounding: i64) {
    assert_shown_from(0, film, seen, rounding);
}

/// Every picture from one on is shown when the film says, up to a constant and so many ticks of rounding.
fn assert_shown_from(from: usize, film: &Film, seen: &Seen, rounding: i64) {
    let video = seen.video();
    let span = film.pictures.len();
    let shown = |number: usize| film.pictures[number % span].1 + (number / span * span) as i64;
    let first = video[from].presentation_time() - shown(from) * 3600;
    for (number, frame) in video.iter().enumerate().skip(from) {
        let shown = shown(number);
        let off = frame.presentation_time() - first - shown * 3600;
        assert!(off.abs() <= rounding, "picture {number} is off by {off}");
    }
}

/// What is seen and heard at once is dated the same. The pictures begin so many seconds behind the sound (`lead`); of the sound
/// everything up to a moment of the session was sent before the last picture, however late that was, and what the newest access
/// unit lacks of it is less than the tolerance.
fn assert_together(seen: &Seen, lead: f64, sound_until: Duration) {
    let newest = |frames: &[std::sync::Arc<Frame>]| frames.last().map(|frame| frame.utc.0).expect("frames");
    let (video, audio) = (seen.video(), seen.audio());
    let shown = Duration::from_secs_f64(lead.max(0.0)) + Duration::from_millis(40) * (video.len() as u32 - 1);
    let begin = |frames: &[std::sync::Arc<Frame>], at: Duration| newest(frames) - at.as_micros() as i64;
    let off = begin(&video, shown) - begin(&audio, sound_until);
    assert!(off.abs() < 400_000, "sound and pictures are {} ms apart", off / 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_does_all_as_it_should() {
    let seen = play(Script { sound: Some(0.0), reports: true, ..good() }).await;
    assert_eq!(seen.newest().audio.as_ref().map(|audio| audio.codec), Some(Codec::Aac));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_clock_is_wrong_is_told_by_how_much() {
    let script = Script { reports: true, clock_ahead: -3600, ..good() };
    let (_, unit, _server) = play_with(Engine::Native, script, RtspTransport::Tcp).await;
    let ahead = unit.hub.statistics().clock_error.expect("it sends reports");
    assert!((-3_601_000_000..=-3_599_000_000).contains(&ahead), "{ahead}");
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_on_where_the_tracks_begin() {
    play(Script { sound: Some(0.0), rtp_info: None, ..good() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_begins_late_without_a_word_is_put_right_by_the_reports() {
    play(Script { sound: Some(-1.0), rtp_info: None, reports: true, times: 2, ..good() }).await;
}

/// The right time for one track, and a wrong one for the other.
fn once(sequence: u16, time: u32) -> (u16, u32) {
    static ODD: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let odd = ODD.fetch_xor(true, std::sync::atomic::Ordering::Relaxed);
    (sequence, if odd { time.wrapping_sub(400_000_000) } else { time })
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_on_where_the_tracks_begin() {
    let script = Script { sound: Some(0.0), rtp_info: Some(|sequence, time| (sequence, time ^ 0x4000_0000)), ..good() };
    play(Script { sound: None, ..script.clone() }).await;
    // Wrong in one track only: the times of the other must not follow.
    play(Script { rtp_info: Some(once), times: 2, ..script }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_of_zero_is_not_believed() {
    play(Script { rtp_info: Some(|_, time| (0, time)), ..good() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_named_only_at_set_up_is_kept_alive() {
    play(Script { session_in_play: false, session_timeout: SHORT_SESSION, times: OUTLIVES_SESSION, ..good() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alives_are_what_the_server_knows() {
    let unknown_methods = &["GET_PARAMETER", "SET_PARAMETER"];
    play(Script { unknown_methods, session_timeout: SHORT_SESSION, times: OUTLIVES_SESSION, ..good() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_jump_ahead_and_back_leave_no_gap() {
    for time in [
        |time, number| if number < 40 { time } else { time + 3600 * 90_000 },
        |time, number| {
            if number < 40 { time } else { time - 1800 * 90_000 }
        },
    ] {
        let seen = play_with(Engine::Native, Script { time, ..good() }, RtspTransport::Tcp).await.0;
        let video = seen.video();
        assert_eq!(seen.endings.len(), 0, "the run goes on");
        let longest = video.windows(2).map(|pair| pair[1].utc.0 - pair[0].utc.0).max().unwrap();
        // The jumps are of an hour and of half an hour; a busy machine may send a picture late.
        assert!(longest < 5_000_000, "a picture that lasts {} ms", longest / 1000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_fast_is_no_jump() {
    // By 100 ppm, as quartzes do; sent at the host's pace.
    let script = Script { time: |time, _| time + time / 10_000, times: 4, ..good() };
    let (seen, unit, _server) = play_with(Engine::Native, script, RtspTransport::Tcp).await;
    let video = seen.video();
    assert_eq!(seen.endings.len(), 0, "one run: {}", unit.log());
    let played = video.last().unwrap().presentation_time() - video[0].presentation_time();
    let sent = (video.len() as i64 - 1) * 3600;
    assert!((played - sent - sent / 10_000).abs() <= 1, "its own times are kept: {played} of {sent}");
    assert!(!unit.log().contains("jumped"), "{}", unit.log());
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameter_sets_in_band_only() {
    let seen = play(Script { sets_in_description: false, sets_in_band: true, ..good() }).await;
    let (pictures, complaints) = seen.decode();
    assert_eq!((pictures, complaints.as_str()), (seen.video().len(), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn parameter_sets_nowhere() {
    let server = RtspServer::start(Script { sets_in_description: false, ..good() });
    let change = |ingest: &mut Ingest| ingest.start_timeout_ms = 3000;
    let unit = Unit::start_with(source(Engine::Native, &server.url, RtspTransport::Tcp), change, &[]).await;
    let report = unit.until("no picture", |report| report.state == UnitState::Reconnecting).await;
    assert_eq!(report.reason, Reason::NoVideo, "{}", report.message);
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_long_before_the_first_picture() {
    play(Script { sound: Some(1.5), ..good() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_first_picture() {
    let seen = play(Script { padding: 3 << 20, ..good() }).await;
    assert!(seen.video()[0].payload.len() > 3 << 20);
}

/// The NAL units of a picture. Zeros at their ends are none of theirs: FFmpeg puts them there, where one packet's unit ended.
fn units(mut payload: &[u8]) -> Vec<&[u8]> {
    let mut units = Vec::new();
    while let Some((length, rest)) = payload.split_first_chunk::<4>() {
        let (unit, after) = rest.split_at(u32::from_be_bytes(*length) as usize);
        units.push(&unit[..=unit.iter().rposition(|byte| *byte != 0).expect("a unit")]);
        payload = after;
    }
    units
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_pictures_of_either_codec_are_the_same_by_either_engine() {
    for codec in ["H264", "H265"] {
        let film = Film::encode(codec, 3, 2);
        assert!(film.pictures.windows(2).any(|pair| pair[1].1 < pair[0].1), "they are reordered");
        let mut all = Vec::new();
        for engine in [Engine::Native, Engine::FFmpeg] {
            let (seen, unit, _server) = play_with(engine, Script::good(film.clone()), RtspTransport::Tcp).await;
            // FFmpeg has to see reordered pictures before it gets their times right.
            let (from, rounding) = if engine == Engine::FFmpeg { (25, 1) } else { (0, 0) };
            assert_shown_from(from, &film, &seen, rounding);
            let (pictures, complaints) = seen.decode();
            assert_eq!((pictures, complaints.as_str()), (seen.video().len(), ""), "{engine:?}");
            let video = seen.video();
            all.push(video[..74].iter().map(|frame| (frame.payload.clone(), frame.kind)).collect::<Vec<_>>());
            unit.stop().await;
        }
        for (number, (native, ffmpeg)) in all[0].iter().zip(&all[1]).enumerate() {
            assert_eq!(native.1, ffmpeg.1, "{codec}: picture {number}");
            assert!(units(&native.0) == units(&ffmpeg.0), "{codec}: picture {number} is the same");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_nobody_is_passed_over() {
    // Data on a channel that was never agreed upon.
    fn stale() -> Vec<u8> {
        let packet = rtp(96, true, 1, 2, 3, &[&[0x41, 0x9a, 0x02]]);
        let mut framed = vec![b'$', 6, 0, packet.len() as u8];
        framed.extend(packet);
        framed
    }
    play(Script { before: stale, ..good() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_remains_of_an_older_session_end_in_pictures_all_the_same() {
    // Old live555 goes on sending what an earlier client asked for to whoever got its descriptor.
    fn stale() -> Vec<u8> {
        let packet = rtp(96, true, 1, 2, 3, &[&[0x41, 0x9a, 0x02]]);
        let mut framed = vec![b'$', 0, 0, packet.len() as u8];
        framed.extend(packet);
        framed
    }
    let script = Script { before: stale, tool: "LIVE555 Streaming Media v2013.02.11", times: 20, ..good() };
    let server = RtspServer::start(script);
    let unit = Unit::start(source(Engine::Auto, &server.url, RtspTransport::Tcp)).await;
    unit.until("streaming", |report| report.reason == Reason::Streaming).await;
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_is_out_of_sessions_is_asked_again() {
    for status in ["401 Unauthorized", "453 Not Enough Bandwidth", "503 Service Unavailable"] {
        // A client without credentials is not asked twice for them in one attempt.
        let server = RtspServer::start(Script { refuse: (2, status), times: 20, ..good() });
        let unit = Unit::start(source(Engine::Native, &server.url, RtspTransport::Tcp)).await;
        let report = unit.until("refused", |report| report.state == UnitState::Reconnecting).await;
        let expected = if status.starts_with("401") { Reason::CredentialRefused } else { Reason::Unreachable };
        assert_eq!(report.reason, expected, "{}", report.message);
        assert!(report.message.contains(&status[..3]), "{}", report.message);
        unit.until("streaming", |report| report.reason == Reason::Streaming).await;
        unit.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_only_looks_open_is_a_stall() {
    // The film ends, and the connection stands.
    let (_, unit, _server) = play_with(Engine::Native, good(), RtspTransport::Tcp).await;
    unit.until("stalled", |report| report.reason == Reason::Stalled).await;
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_packets_cost_their_picture_and_are_told() {
    let script = Script {
        packets: |mut packets, number| {
            if number == 30 {
                packets.remove(0);
            }
            packets
        },
        ..good()
    };
    let server = RtspServer::start(script);
    let unit = Unit::start(source(Engine::Native, &server.url, RtspTransport::Udp)).await;
    let mut reader = unit.hub.subscribe(Reach::FromOldest);
    let mut seen = Seen::default();
    seen.read(&mut reader, &unit, "all that arrived", enough(73, 0)).await;
    seen.check();
    assert!(unit.log().contains("lost on the way"), "{}", unit.log());
    unit.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_overtake_one_another_are_put_in_order() {
    let script = Script {
        packets: |mut packets, number| {
            if number % 10 == 5 && packets.len() > 1 {
                packets.swap(0, 1);
            }
            packets
        },
        ..good()
    };
    let film = script.film.clone();
    // What FFmpeg holds back at the end is not looked at.
    let (seen, unit, _server) = play_until(60, Engine::Auto, script, RtspTransport::Udp).await;
    assert_shown(&film, &seen, 1);
    let (pictures, complaints) = seen.decode();
    assert_eq!((pictures, complaints.as_str()), (seen.video().len(), ""));
    unit.stop().await;
}
