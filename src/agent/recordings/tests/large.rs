//! An export larger than 4 GiB: its size, its 64-bit places, and ranges far beyond what 32 bits can say. The media is a hole in a
//! sparse file, but for the number at the beginning of each picture.

use std::io::{Seek as _, SeekFrom, Write as _};

use super::*;
use crate::archive::cut::{BatchFacts, VideoSpan};
use crate::archive::index::FileName;
use crate::archive::mark::{self, EndMark, FileMark, FragmentMark, Mark};
use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};

const GIB: u64 = 1 << 30;
/// A picture of a second.
const PICTURE: u64 = 96 << 20;
const PICTURES: u64 = 50;
const SOUND: &[u8] = b"sound";

/// Writes a file of the archive whose pictures are holes that begin with their number. Its index is made from its marks.
fn sparse(shop: &Shop, camera: &Camera) -> UtcMicros {
    let configuration = &camera.configuration;
    let timescale = configuration.video.timescale;
    let sounds = configuration.audio.as_ref().expect("sound").timescale;
    let start = base();
    let name = FileName::of(start);
    let path = shop.archive.root().join("shop/door").join(name.to_string());
    std::fs::create_dir_all(path.parent().expect("hour")).expect("hour");
    let mut file = std::fs::File::create(&path).expect("file");
    let video = &configuration.video;
    let codecs = video.codec_string.clone();
    let mark = FileMark { run: RunId(1), codecs, width: video.width, height: video.height, dependent: false };
    file.write_all(&write_header(configuration, true)).expect("header");
    file.write_all(&mark::write(&Mark::File(mark))).expect("mark");
    let hole = Bytes::from(vec![0; usize::try_from(PICTURE).expect("size")]);
    for number in 0..PICTURES {
        let at = i64::try_from(number).expect("small") * SECOND;
        let frame = Frame {
            run: RunId(1),
            sequence: number,
            track: TrackKind::Video,
            decode_time: i64::try_from(number).expect("small") * i64::from(timescale),
            composition_offset: 0,
            duration: timescale,
            kind: FrameKind::Key,
            generation: 0,
            utc: start.plus_micros(at),
            payload: hole.clone(),
        };
        // Sound in between, so that every picture has a place of its own in the table.
        let sound = Frame {
            track: TrackKind::Audio,
            decode_time: i64::try_from(number).expect("small") * i64::from(sounds),
            duration: sounds,
            payload: Bytes::from_static(SOUND),
            ..frame.clone()
        };
        let fragment = write_fragment(number as u32 + 1, &[frame, sound], true, FragmentOptions::default());
        let video = VideoSpan {
            utc: start.plus_micros(at),
            end_utc: start.plus_micros(at + SECOND),
            from: at,
            to: at + SECOND,
        };
        let facts = BatchFacts { first_sequence: number, through: number, independent: true, video: Some(video) };
        let length = fragment.len() as u64;
        let mark = FragmentMark { facts, run: RunId(1), length, checksum: 0 };
        file.write_all(&mark::write(&Mark::Fragment(mark))).expect("mark");
        file.write_all(&fragment.header).expect("header");
        file.write_all(&number.to_be_bytes()).expect("number");
        file.seek(SeekFrom::Current(i64::try_from(PICTURE).expect("size") - 8)).expect("hole");
        file.write_all(SOUND).expect("sound");
    }
    // Closed in order, so that nobody reads the holes to see whether they are whole.
    file.write_all(&mark::write(&Mark::End(EndMark { gap: None, until: None, closed: true }))).expect("mark");
    start
}

/// The places of all pictures, from the first 64-bit table.
fn places(header: &[u8]) -> Vec<u64> {
    let at = header.windows(4).position(|kind| kind == b"co64").expect("64-bit places") + 8;
    let number = |at: usize, size: usize| {
        header[at..at + size].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let count = usize::try_from(number(at, 4)).expect("count");
    (0..count).map(|chunk| number(at + 4 + chunk * 8, 8)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_beyond_four_gibibytes_has_its_size_its_places_and_its_ranges() {
    let shop = Shop::new();
    let camera = film(shop.folder.path(), "160x120", 1);
    let start = sparse(&shop, &camera);
    let path = export_path(start, start.plus_micros(PICTURES as i64 * SECOND));
    let request = Request::head(&path).body(Body::empty()).expect("request");
    let head = shop.routes().oneshot(request).await.expect("response");
    assert_eq!(head.status(), StatusCode::OK);
    let length: u64 = head.headers()[header::CONTENT_LENGTH].to_str().expect("text").parse().expect("length");
    assert!(length > PICTURE * PICTURES && length < PICTURE * PICTURES + (1 << 20), "{length}");
    assert!(length > 4 * GIB);

    let part = async |from: u64, to: u64| {
        let (status, headers, body) = shop.get_with(&path, &[(header::RANGE, &format!("bytes={from}-{to}"))]).await;
        assert_eq!(status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(headers[header::CONTENT_RANGE], format!("bytes {from}-{to}/{length}"));
        assert_eq!(body.len() as u64, to - from + 1);
        body
    };
    let first = part(0, 8191).await;
    let places = places(&first);
    // Each picture lies where the table says, the last ones beyond 4 GiB.
    assert_eq!(places.len() as u64, PICTURES);
    assert!(*places.last().expect("place") > 4 * GIB);
    for (number, place) in places.iter().enumerate() {
        let begins = part(*place, place + 7).await;
        assert_eq!(begins[..], (number as u64).to_be_bytes(), "the picture at {place}");
    }
    // The media data says its own size in 64 bits: it ends with the file.
    let mdat = first.windows(4).position(|kind| kind == b"mdat").expect("media data");
    assert_eq!(first[mdat - 4..mdat], [0, 0, 0, 1]);
    let size = first[mdat + 4..mdat + 12].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    assert_eq!(mdat as u64 - 4 + size, length);
    assert_eq!(part(length - SOUND.len() as u64, length - 1).await[..], *SOUND);
    let (status, ..) = shop.get_with(&path, &[(header::RANGE, &format!("bytes={length}-"))]).await;
    assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);

    // A real player finds the last picture by itself, over HTTP.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("port");
    let url = format!("http://{}{path}", listener.local_addr().expect("address"));
    let server = tokio::spawn(axum::serve(listener, shop.routes()).into_future());
    let probed = tokio::task::spawn_blocking(move || {
        Command::new("ffprobe")
            .args(["-v", "error", "-of", "json", "-show_entries", "format=duration:packet=pts_time,pos,size"])
            .args(["-select_streams", "v", "-read_intervals", "49%+#1", &url])
            .output()
            .expect("ffprobe")
    });
    let output = probed.await.expect("ffprobe");
    server.abort();
    let json: Value = serde_json::from_slice(&output.stdout).expect("json");
    assert_eq!(json["format"]["duration"], "50.000000", "{json:#} {}", String::from_utf8_lossy(&output.stderr));
    let packet = &json["packets"][0];
    let text = |name: &str| packet[name].as_str().expect("text").to_owned();
    assert_eq!((text("pos"), text("size")), (places[49].to_string(), PICTURE.to_string()), "{json:#}");
}
