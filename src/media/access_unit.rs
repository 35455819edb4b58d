//! Makes frames' payloads and configurations of the samples of a video track: finds parameter sets, keeps them out of band,
//! notices when they change, and tells where decoding can start. Must not know time or where samples come from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::fmp4::reader::Track;
use super::frame::{Codec, FrameKind, TrackConfiguration};
use super::nal::{Layout, assemble, split};
use super::visual::{VISUAL_CHILDREN, VISUAL_WIDTH, entry_child};
use super::{audio, h264, h265, jpeg};

/// Why a video track or one of its samples cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Not one of [`Codec`].
    #[error("video in {0} is not carried; set the camera to H.264, H.265 or MJPEG")]
    Unsupported(String),
    /// A sample is not laid out as its sample entry says.
    #[error("malformed {0} picture")]
    Malformed(&'static str),
}

/// One sample, made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Without parameter sets, delimiters and filler; NAL units behind four-byte lengths. Empty when nothing else was in it.
    pub payload: Bytes,
    /// Whether decoding can start here.
    pub kind: FrameKind,
    /// Whether it only goes on with the picture before it: some cameras repeat parameter sets between the slices of one picture,
    /// where FFmpeg's parser then cuts.
    pub continues: bool,
    /// The new configuration, when this sample is the first that needs it.
    pub changed: Option<Arc<TrackConfiguration>>,
}

/// Parameter sets by type and identifier.
type Sets = BTreeMap<(u8, u32), Bytes>;

/// Goes through the samples of one video track.
#[derive(Debug)]
pub struct VideoTrack {
    codec: Codec,
    timescale: u32,
    /// As FFmpeg wrote it.
    sample_entry: Bytes,
    layout: Layout,
    sets: Sets,
    current: Option<Arc<TrackConfiguration>>,
    reorder: Option<u32>,
    /// The configuration was built from the header and not yet handed out.
    announced: bool,
}

impl VideoTrack {
    /// From the track's header.
    pub fn new(track: &Track) -> Result<Self, Error> {
        let entry = &track.sample_entry;
        let kind = entry.get(4..8).unwrap_or_default();
        let (codec, configuration) = match kind {
            b"avc1" | b"avc3" => (Codec::H264, entry_child(entry, VISUAL_CHILDREN, *b"avcC")),
            b"hvc1" | b"hev1" => (Codec::H265, entry_child(entry, VISUAL_CHILDREN, *b"hvcC")),
            b"mp4v" => match audio::elementary_stream(entry, VISUAL_CHILDREN) {
                // ISO/IEC 14496-1 table 5: JPEG.
                Some((0x6c, _)) => (Codec::Mjpeg, None),
                Some((object_type, _)) => return Err(Error::Unsupported(format!("mp4v.{object_type:02x}"))),
                None => return Err(Error::Unsupported("mp4v".into())),
            },
            b"jpeg" | b"mjpg" => (Codec::Mjpeg, None),
            other => return Err(Error::Unsupported(String::from_utf8_lossy(other).trim().to_owned())),
        };
        let known = configuration.and_then(|body| match codec {
            Codec::H264 => h264::parse_configuration(&body),
            _ => h265::parse_configuration(&body),
        });
        // Without parameter sets FFmpeg does not know the layout either and passes start codes on.
        let (layout, units) = match known {
            Some((length, units)) if !units.is_empty() => (Layout::LengthPrefixed(length), units),
            _ => (Layout::AnnexB, Vec::new()),
        };
        let mut track = Self {
            codec,
            timescale: track.timescale,
            sample_entry: entry.clone(),
            layout,
            sets: Sets::new(),
            current: None,
            reorder: None,
            announced: false,
        };
        track.sets = units.iter().filter_map(|unit| Some((track.set_key(unit)?, unit.clone()))).collect();
        track.current = track.build();
        Ok(track)
    }

    /// What the track carries.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The configuration that the newest sample needs; `None` until the parameter sets are known.
    pub const fn configuration(&self) -> Option<&Arc<TrackConfiguration>> {
        self.current.as_ref()
    }

    /// How many pictures at most stand before another in decoding order and behind it when shown, by the newest parameter
    /// sets; `None` where they do not say.
    pub const fn reorder(&self) -> Option<u32> {
        self.reorder
    }

    /// Takes the next sample.
    pub fn accept(&mut self, sample: &Bytes) -> Result<Picture, Error> {
        match self.codec {
            Codec::Mjpeg => self.accept_image(sample),
            _ => self.accept_units(sample),
        }
    }

    fn accept_image(&mut self, sample: &Bytes) -> Result<Picture, Error> {
        let (width, height) = jpeg::size(sample).ok_or(Error::Malformed("JPEG"))?;
        let same = self.current.as_ref().is_some_and(|known| (known.width, known.height) == (width, height));
        if !same {
            let mut entry = self.sample_entry.to_vec();
            entry
                .get_mut(VISUAL_WIDTH..VISUAL_WIDTH + 4)
                .ok_or(Error::Malformed("JPEG"))?
                .copy_from_slice(&(width << 16 | height & 0xffff).to_be_bytes());
            self.current = Some(Arc::new(TrackConfiguration {
                codec: Codec::Mjpeg,
                timescale: self.timescale,
                sample_entry: entry.into(),
                codec_string: String::new(),
                width,
                height,
                sample_rate: 0,
                channels: 0,
            }));
        }
        let changed = if same { None } else { self.current.clone() };
        Ok(Picture { payload: sample.clone(), kind: FrameKind::Key, continues: false, changed })
    }

    fn accept_units(&mut self, sample: &Bytes) -> Result<Picture, Error> {
        let malformed = Error::Malformed(self.codec.name());
        let units = split(sample, self.layout).ok_or(malformed)?;
        let mut kept: Vec<Range<usize>> = Vec::with_capacity(units.len());
        let mut found = Sets::new();
        let mut key = false;
        let mut continues = false;
        let mut has_slice = false;
        for range in units {
            let unit = &sample[range.clone()];
            if let Some(set) = self.set_key(unit) {
                found.insert(set, sample.slice(range));
            } else if !self.is_left_out(unit) {
                key |= self.is_random_access(unit);
                if !has_slice && self.is_slice(unit) {
                    has_slice = true;
                    continues = !self.begins_picture(unit);
                }
                kept.push(range);
            }
        }
        let mut changed = None;
        if found.iter().any(|(set, unit)| self.sets.get(set) != Some(unit)) {
            self.take_sets(found);
            if let Some(built) = self.build()
                && self.current.as_ref() != Some(&built)
            {
                changed = Some(built.clone());
                self.current = Some(built);
            }
        }
        if !self.announced && self.current.is_some() {
            self.announced = true;
            changed.clone_from(&self.current);
        }
        let payload = assemble(sample, self.layout, &kept);
        let kind = if key { FrameKind::Key } else { FrameKind::Delta };
        Ok(Picture { payload, kind, continues, changed })
    }

    /// A whole new group replaces all that was known, so that sets of an earlier picture size do not stay around; a single
    /// one replaces its like.
    fn take_sets(&mut self, found: Sets) {
        let (sequence, picture) = match self.codec {
            Codec::H264 => (h264::unit_type::SPS, h264::unit_type::PPS),
            _ => (h265::unit_type::SPS, h265::unit_type::PPS),
        };
        let has = |kind: u8| found.keys().any(|(found, _)| *found == kind);
        if has(sequence) && has(picture) {
            self.sets.retain(|(kind, _), _| *kind == h265::unit_type::VPS && !has(h265::unit_type::VPS));
        }
        // Copies: a set must not keep the whole chunk that it came in.
        self.sets.extend(found.into_iter().map(|(set, unit)| (set, Bytes::copy_from_slice(&unit))));
    }

    fn build(&mut self) -> Option<Arc<TrackConfiguration>> {
        // More than the boxes can count, or longer than their length fields, is nothing a camera sends.
        if self.sets.len() > 256 || self.sets.values().any(|unit| unit.len() > usize::from(u16::MAX)) {
            return None;
        }
        let of = |wanted: u8| -> Vec<Bytes> {
            self.sets.iter().filter(|((kind, _), _)| *kind == wanted).map(|(_, unit)| unit.clone()).collect()
        };
        let (sample_entry, codec_string, size, reorder) = match self.codec {
            Codec::H264 => {
                let (sps, pps) = (of(h264::unit_type::SPS), of(h264::unit_type::PPS));
                let parsed = h264::parse_sequence_parameters(sps.first()?)?;
                pps.first()?;
                (h264::sample_entry(&parsed, &sps, &pps), h264::codec_string(&parsed), parsed.size, parsed.reorder)
            }
            Codec::H265 => {
                let (vps, sps, pps) = (of(h265::unit_type::VPS), of(h265::unit_type::SPS), of(h265::unit_type::PPS));
                let parsed = h265::parse_sequence_parameters(sps.first()?)?;
                vps.first().and(pps.first())?;
                (
                    h265::sample_entry(&parsed, &vps, &sps, &pps),
                    h265::codec_string(&parsed),
                    parsed.size,
                    parsed.reorder,
                )
            }
            _ => return None,
        };
        self.reorder = reorder;
        Some(Arc::new(TrackConfiguration {
            codec: self.codec,
            timescale: self.timescale,
            sample_entry,
            codec_string,
            width: size.width,
            height: size.height,
            sample_rate: 0,
            channels: 0,
        }))
    }

    /// Type and identifier of a parameter set; `None` for any other unit.
    fn set_key(&self, unit: &[u8]) -> Option<(u8, u32)> {
        match self.codec {
            Codec::H264 => match h264::unit_type_of(unit) {
                kind @ h264::unit_type::SPS => Some((kind, h264::parse_sequence_parameters(unit)?.id)),
                kind @ h264::unit_type::PPS => Some((kind, h264::picture_parameter_set_id(unit)?)),
                _ => None,
            },
            _ => match h265::unit_type_of(unit) {
                kind @ h265::unit_type::VPS => Some((kind, h265::video_parameter_set_id(unit)?)),
                kind @ h265::unit_type::SPS => Some((kind, h265::parse_sequence_parameters(unit)?.id)),
                kind @ h265::unit_type::PPS => Some((kind, h265::picture_parameter_set_id(unit)?)),
                _ => None,
            },
        }
    }

    /// Delimiters and filler, which MP4 does not want; and parameter sets that cannot be read.
    fn is_left_out(&self, unit: &[u8]) -> bool {
        if self.codec == Codec::H264 {
            use h264::unit_type::{DELIMITER, FILLER, PPS, SPS};
            matches!(h264::unit_type_of(unit), DELIMITER | FILLER | SPS | PPS)
        } else {
            use h265::unit_type::{DELIMITER, FILLER, PPS, SPS, VPS};
            matches!(h265::unit_type_of(unit), DELIMITER | FILLER | VPS | SPS | PPS)
        }
    }

    fn is_random_access(&self, unit: &[u8]) -> bool {
        match self.codec {
            Codec::H264 => h264::is_random_access(unit),
            _ => h265::is_random_access(unit),
        }
    }

    fn is_slice(&self, unit: &[u8]) -> bool {
        match self.codec {
            Codec::H264 => h264::is_slice(h264::unit_type_of(unit)),
            _ => h265::is_slice(h265::unit_type_of(unit)),
        }
    }

    fn begins_picture(&self, slice: &[u8]) -> bool {
        match self.codec {
            Codec::H264 => h264::begins_picture(slice),
            _ => h265::begins_picture(slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::fmp4::reader::{Event, Limits, Reader};

    /// 640×480, then 320×240, constrained baseline, as x264 writes them.
    const LARGE: [u8; 27] = [
        0x67, 0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xf6, 0xc0, 0x5a, 0x83, 0x03, 0x03, 0x52, 0x80, 0x00, 0x00, 0x03,
        0x00, 0x80, 0x00, 0x00, 0x19, 0x47, 0x8b, 0x17, 0x50,
    ];
    const SMALL: [u8; 23] = [
        0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x05,
        0x03, 0xc5, 0x0a, 0xa8, 0x00,
    ];
    const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];
    const IDR: [u8; 3] = [0x65, 0x88, 0x84];
    const DELTA: [u8; 3] = [0x41, 0x9a, 0x02];
    /// The second slice of a picture: its first macroblock is not 0.
    const REST: [u8; 3] = [0x65, 0x42, 0x01];

    fn sample(units: &[&[u8]]) -> Bytes {
        let mut out = Vec::new();
        for unit in units {
            out.extend((unit.len() as u32).to_be_bytes());
            out.extend_from_slice(unit);
        }
        out.into()
    }

    fn annex_b(units: &[&[u8]]) -> Bytes {
        units.iter().flat_map(|unit| [&[0, 0, 0, 1][..], unit].concat()).collect::<Vec<u8>>().into()
    }

    fn track(sample_entry: Bytes) -> VideoTrack {
        let mut header = Vec::new();
        let configuration = crate::media::frame::Configuration {
            generation: 0,
            video: TrackConfiguration::of_entry(Codec::H264, 90_000, sample_entry),
            audio: None,
        };
        header.extend_from_slice(&crate::media::fmp4::writer::write_header(&configuration, false));
        let mut reader = Reader::new(Limits::default());
        reader.feed(&header);
        match reader.next_event() {
            Ok(Some(Event::Tracks(tracks))) => VideoTrack::new(&tracks[0]).expect("carried"),
            other => panic!("{other:?}"),
        }
    }

    fn large() -> VideoTrack {
        let parsed = h264::parse_sequence_parameters(&LARGE).expect("valid");
        track(h264::sample_entry(&parsed, &[Bytes::from_static(&LARGE)], &[Bytes::from_static(&PPS)]))
    }

    #[test]
    fn repeated_parameter_sets_and_delimiters_go_without_a_copy() {
        let mut track = large();
        let input = sample(&[&[9, 0x10], &LARGE, &PPS, &IDR]);
        let picture = track.accept(&input).expect("valid");
        assert_eq!(picture.kind, FrameKind::Key);
        assert_eq!(picture.payload, sample(&[&IDR]));
        assert_eq!(picture.payload.as_ptr() as usize, input.as_ptr() as usize + input.len() - 7);
        assert_eq!(picture.changed.map(|known| (known.width, known.height)), Some((640, 480)), "the first of all");
        let again = track.accept(&input).expect("valid");
        assert_eq!(again.changed, None);
        let delta = track.accept(&sample(&[&DELTA])).expect("valid");
        assert_eq!((delta.kind, delta.changed, delta.continues), (FrameKind::Delta, None, false));
    }

    #[test]
    fn other_parameter_sets_are_a_new_configuration() {
        let mut track = large();
        track.accept(&sample(&[&IDR])).expect("valid");
        let picture = track.accept(&sample(&[&SMALL, &PPS, &IDR])).expect("valid");
        let changed = picture.changed.expect("changed");
        assert_eq!((changed.width, changed.height, changed.codec_string.as_str()), (320, 240, "avc1.42c00d"));
        assert!(!changed.sample_entry.windows(LARGE.len()).any(|bytes| bytes == LARGE), "the old ones are gone");
        assert_eq!(picture.payload, sample(&[&IDR]));
    }

    #[test]
    fn without_parameter_sets_in_the_header_those_of_the_stream_count() {
        let parsed = h264::parse_sequence_parameters(&LARGE).expect("valid");
        let mut track = track(h264::sample_entry(&parsed, &[], &[]));
        assert_eq!(track.configuration(), None);
        let picture = track.accept(&annex_b(&[&DELTA])).expect("valid");
        assert_eq!((picture.changed, track.configuration()), (None, None));
        let picture = track.accept(&annex_b(&[&LARGE, &PPS, &IDR])).expect("valid");
        assert_eq!(picture.changed.map(|known| known.width), Some(640));
        assert_eq!(picture.payload, sample(&[&IDR]), "lengths instead of start codes");
    }

    #[test]
    fn the_rest_of_a_picture_is_known() {
        let mut track = large();
        assert!(!track.accept(&sample(&[&LARGE, &PPS, &IDR])).expect("valid").continues);
        assert!(track.accept(&sample(&[&LARGE, &PPS, &REST])).expect("valid").continues);
    }

    #[test]
    fn malformed_samples_are_refused() {
        assert_eq!(large().accept(&Bytes::from_static(&[0, 0, 1, 0, 1])), Err(Error::Malformed("H264")));
    }

    /// What FFmpeg wrote of five codecs; the first byte is for the fuzzer.
    const FILES: [&[u8]; 5] = [
        include_bytes!("../../fuzz/corpus/fmp4/h264"),
        include_bytes!("../../fuzz/corpus/fmp4/h265"),
        include_bytes!("../../fuzz/corpus/fmp4/mjpeg"),
        include_bytes!("../../fuzz/corpus/fmp4/aac"),
        include_bytes!("../../fuzz/corpus/fmp4/opus"),
    ];

    /// Configurations, and how many pictures could be read and how many of them are key frames.
    fn read(bytes: &[u8], piece: usize) -> (Vec<TrackConfiguration>, usize, usize) {
        let mut reader = Reader::new(Limits::default());
        let mut video: Option<VideoTrack> = None;
        let (mut configurations, mut pictures, mut keys) = (Vec::new(), 0, 0);
        for piece in bytes.chunks(piece) {
            reader.feed(piece);
            while let Ok(Some(event)) = reader.next_event() {
                match event {
                    Event::Tracks(tracks) => {
                        for track in &tracks {
                            configurations.extend(audio::configuration(track));
                            video = VideoTrack::new(track).ok().or(video);
                        }
                    }
                    Event::Sample(sample) => {
                        let Some(Ok(picture)) = video.as_mut().map(|video| video.accept(&sample.payload)) else {
                            continue;
                        };
                        configurations.extend(picture.changed.map(|known| TrackConfiguration::clone(&known)));
                        pictures += 1;
                        keys += usize::from(picture.kind == FrameKind::Key);
                    }
                    Event::Message { .. } => {}
                }
            }
        }
        (configurations, pictures, keys)
    }

    #[test]
    fn what_ffmpeg_writes_is_read() {
        let found: Vec<_> = FILES.iter().map(|file| read(&file[1..], 1000)).collect();
        let told: Vec<String> = found
            .iter()
            .map(|(configurations, pictures, keys)| {
                let known = &configurations[0];
                let (codec, string) = (known.codec.name(), &known.codec_string);
                let (width, height, rate) = (known.width, known.height, known.sample_rate);
                format!("{codec} {string} {width}x{height} {rate} Hz, {pictures} pictures, {keys} key frames")
            })
            .collect();
        assert_eq!(
            told,
            [
                "H264 avc1.4d400a 64x48 0 Hz, 5 pictures, 1 key frames",
                "H265 hvc1.1.6.L30.90 64x48 0 Hz, 5 pictures, 1 key frames",
                "MJPEG  64x48 0 Hz, 2 pictures, 2 key frames",
                "AAC mp4a.40.2 0x0 44100 Hz, 0 pictures, 0 key frames",
                "Opus opus 0x0 48000 Hz, 0 pictures, 0 key frames",
            ]
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            which in 0..FILES.len(),
            changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..30),
            piece in 1_usize..5000,
        ) {
            let mut bytes = FILES[which][1..].to_vec();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            read(&bytes, piece);
        }
    }
}
