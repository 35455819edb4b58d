//! Hostile bytes as the sound of a camera that is encoded anew: a configuration, and access units.

use bytes::Bytes;
use camera_operator::agent::sound::decoder::Decoder;
use camera_operator::media::audio::aac_configuration;
use camera_operator::media::frame::{Codec, TrackConfiguration};

/// No camera sends more in a while that anybody would wait for.
const MOST_UNITS: usize = 64;
/// Of the samples that one unit may become: a frame of AAC has 2048, a packet of Opus 120 ms.
const MOST_SAMPLES: usize = 8192;

/// The first byte says which codec and how many channels; AAC has a byte for the length of its configuration, and it. Then units, each
/// behind its length in two bytes.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let channels = u16::from(first >> 1) % 8 + 1;
    let (track, mut rest) = if first % 2 == 0 {
        let Some((length, rest)) = rest.split_first() else { return };
        let Some((specific, rest)) = rest.split_at_checked(usize::from(*length).min(79)) else { return };
        (aac_configuration(specific, 48_000, channels), rest)
    } else {
        let opus = TrackConfiguration {
            codec: Codec::Opus,
            timescale: 48_000,
            sample_entry: Bytes::new(),
            codec_string: "opus".into(),
            width: 0,
            height: 0,
            sample_rate: 48_000,
            channels,
        };
        (opus, rest)
    };
    let Ok(mut decoder) = Decoder::new(&track) else { return };
    for _ in 0..MOST_UNITS {
        let Some((&[high, low], more)) = rest.split_first_chunk() else { return };
        let (unit, more) = more.split_at(usize::from(u16::from_be_bytes([high, low])).min(more.len()));
        rest = more;
        // After an error another decoder takes its place.
        let Ok(samples) = decoder.decode(unit) else { return };
        assert!(samples.planes.iter().all(|plane| plane.len() <= MOST_SAMPLES), "{} samples", samples.planes[0].len());
        assert!(samples.planes.windows(2).all(|pair| pair[0].len() == pair[1].len()), "channels of different length");
    }
}
