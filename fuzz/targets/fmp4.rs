//! Hostile bytes into the reader of fragmented MP4 and on into the readers of parameter sets and pictures. The first byte says
//! how the rest is cut.

use camera_operator::media::access_unit::VideoTrack;
use camera_operator::media::audio;
use camera_operator::media::fmp4::reader::{Event, Handler, Limits, Reader};

/// Reads `data` as a camera's stream.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let piece = usize::from(*first) * 16 + 1;
    let limits = Limits { header_bytes: 1 << 16, media_bytes: 1 << 16, samples: 1000 };
    let mut reader = Reader::new(limits);
    let mut video: Vec<(u32, VideoTrack)> = Vec::new();
    for bytes in rest.chunks(piece) {
        reader.feed(bytes);
        assert!(reader.wanted() >= 1);
        loop {
            match reader.next_event() {
                Err(_) => return,
                Ok(None) => break,
                Ok(Some(Event::Tracks(tracks))) => {
                    video.clear();
                    for track in &tracks {
                        match track.handler {
                            Handler::Audio => drop(audio::configuration(track)),
                            _ => video.extend(VideoTrack::new(track).ok().map(|found| (track.id, found))),
                        }
                    }
                }
                Ok(Some(Event::Sample(sample))) => {
                    assert!(sample.payload.len() <= limits.media_bytes);
                    for (_, track) in video.iter_mut().filter(|(id, _)| *id == sample.track) {
                        if let Ok(picture) = track.accept(&sample.payload) {
                            assert!(picture.payload.len() <= sample.payload.len() * 3);
                        }
                    }
                }
                Ok(Some(Event::Message { data, .. })) => assert!(data.len() <= limits.header_bytes),
            }
        }
        // What is kept never exceeds a box, a piece and a header.
        assert!(reader.buffer().len() <= limits.media_bytes + piece + 16);
    }
}
