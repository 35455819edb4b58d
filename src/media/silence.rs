//! Silence: a sound track for targets that want one and cameras that have none (AAC low complexity, ISO/IEC 14496-3), and in
//! place of the sound of a camera that is away. The access units stand here ready made; must not encode anything.

use bytes::Bytes;

use super::audio::aac_configuration;
use super::frame::{Codec, TrackConfiguration};

/// Samples a second.
pub const SAMPLE_RATE: u32 = 44_100;
/// Samples of one access unit.
pub const SAMPLES: u32 = 1024;
/// `AudioSpecificConfig`: AAC LC, 44 100 Hz, two channels.
const SPECIFIC: [u8; 2] = [0x12, 0x10];
/// One access unit: a channel pair element whose two channels hold no spectral data, and the end.
const ACCESS_UNIT: [u8; 6] = [0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c];

/// One access unit of [`SAMPLES`] samples of silence.
pub fn access_unit() -> Bytes {
    Bytes::from_static(&ACCESS_UNIT)
}

/// The same with one channel: a single channel element without spectral data.
const ACCESS_UNIT_MONO: [u8; 4] = [0, 0, 0, 7];
/// Opus (RFC 6716 §3.1): one frame of 20 ms of the transform codec at full band, which holds nothing; mono and stereo.
const OPUS: [[u8; 3]; 2] = [[0xf8, 0xff, 0xfe], [0xfc, 0xff, 0xfe]];
/// Samples of such a packet, which are always counted at 48 kHz.
const OPUS_SAMPLES: u32 = 960;

/// One access unit of silence that fits a track of this configuration, and how many ticks of the track it lasts. `None` where
/// there is none ready.
pub fn of(track: &TrackConfiguration) -> Option<(Bytes, u32)> {
    let stereo = match track.channels {
        1 => false,
        2 => true,
        _ => return None,
    };
    match track.codec {
        // Without spectral data it is the same at any sample rate.
        Codec::Aac if track.codec_string == "mp4a.40.2" && track.timescale == track.sample_rate => {
            let unit = if stereo { Bytes::from_static(&ACCESS_UNIT) } else { Bytes::from_static(&ACCESS_UNIT_MONO) };
            Some((unit, SAMPLES))
        }
        Codec::Opus if track.timescale == 48_000 => {
            Some((Bytes::from_static(&OPUS[usize::from(stereo)]), OPUS_SAMPLES))
        }
        _ => None,
    }
}

/// The configuration of such a track; its times are in samples.
pub fn configuration() -> TrackConfiguration {
    aac_configuration(&SPECIFIC, SAMPLE_RATE, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::audio;
    use crate::media::fmp4::reader::{Event, Limits, Reader};
    use crate::media::fmp4::writer::write_header;
    use crate::media::frame::Configuration;

    #[test]
    fn its_configuration_reads_back_as_what_it_is() {
        let silence = std::sync::Arc::new(configuration());
        let configuration = Configuration { generation: 0, video: silence.clone(), audio: Some(silence.clone()) };
        let mut reader = Reader::new(Limits::default());
        reader.feed(&write_header(&configuration, true));
        let Some(Event::Tracks(tracks)) = reader.next_event().unwrap() else { panic!("no tracks") };
        let read = audio::configuration(tracks.iter().find(|track| track.id == 2).unwrap()).unwrap();
        assert_eq!((read.codec, read.sample_rate, read.channels), (Codec::Aac, SAMPLE_RATE, 2));
        assert_eq!(read.sample_entry, silence.sample_entry);
    }
}
