//! Reads fragmented MP4 as it arrives: bytes in at any cut, track headers and samples out. Payloads are slices of the buffer
//! that was read into, not copies. Bounded in what it buffers; hostile bytes give an [`Error`], never a panic.
//! Must not know codecs (that is [`crate::media::access_unit`]) nor where bytes come from.
//!
//! What is read: `moov` (movie and track timescale, edit list, sample entry, `trex` defaults), `moof` (`mfhd`, `tfhd`, `tfdt`,
//! `trun`), `mdat`, `prft`, `emsg`. Everything else is skipped without being buffered. Box numbers are those of ISO/IEC 14496-12.

use bytes::{Bytes, BytesMut};
use mp4_atom::{Emsg, FourCC, Mfhd, Mvhd, Prft, Tfdt, Tfhd, Trex, Trun};
use thiserror::Error;

use crate::media::frame::UtcMicros;

mod boxes;
mod track;

use boxes::{boxes, child, decode, header, missing};
use track::read_track;

/// Why the bytes cannot be fragmented MP4, or not such as this reader takes.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A box says it is larger than the reader may buffer.
    #[error("a {kind} box of {bytes} bytes is larger than the {limit} bytes allowed")]
    TooLarge {
        /// Four-character code.
        kind: String,
        /// Its size.
        bytes: u64,
        /// What is allowed.
        limit: usize,
    },
    /// A box is not laid out as its standard says.
    #[error("malformed {kind} box: {what}")]
    Malformed {
        /// Four-character code.
        kind: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Something was used before it was declared.
    #[error("{0}")]
    OutOfOrder(&'static str),
}

/// What the reader may buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest `moov`, `moof` or `prft`, bytes.
    pub header_bytes: usize,
    /// Largest `mdat`, bytes.
    pub media_bytes: usize,
    /// Most samples of one fragment.
    pub samples: usize,
}

impl Default for Limits {
    /// Room for a 16K key frame, and for a fragment of several seconds.
    fn default() -> Self {
        Self { header_bytes: 1 << 20, media_bytes: 64 << 20, samples: 65_536 }
    }
}

/// What a track carries, by its handler (`hdlr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// `vide`.
    Video,
    /// `soun`.
    Audio,
    /// Anything else.
    Other,
}

/// A track, as `moov` declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Track number in the file.
    pub id: u32,
    /// Pictures or sound.
    pub handler: Handler,
    /// Ticks a second; never 0.
    pub timescale: u32,
    /// What the edit list adds to a composition time to give presentation time, in ticks: the length of an initial empty edit
    /// minus the `media_time` of the first real edit (§8.6.6).
    pub edit_offset: i64,
    /// The first sample entry box of `stsd`, whole.
    pub sample_entry: Bytes,
    defaults: Trex,
}

impl Track {
    /// A track that no file declares: its samples come from elsewhere.
    pub fn new(id: u32, handler: Handler, timescale: u32, edit_offset: i64, sample_entry: Bytes) -> Self {
        Self { id, handler, timescale: timescale.max(1), edit_offset, sample_entry, defaults: Trex::default() }
    }
}

/// One sample of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Track number in the file.
    pub track: u32,
    /// `tfdt` plus the durations before it, in ticks; the edit list is not applied.
    pub decode_time: u64,
    /// Composition minus decode time, in ticks.
    pub composition_offset: i32,
    /// In ticks.
    pub duration: u32,
    /// Whether its flags call it a sync sample.
    pub sync: bool,
    /// Its bytes.
    pub payload: Bytes,
    /// The producer's wall clock (`prft`) of the fragment that it is the first sample of, if there was one.
    pub producer_time: Option<UtcMicros>,
    /// Number of its fragment (`mfhd`); 0 where there is none.
    pub fragment: u32,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A `moov`: the tracks that follow.
    Tracks(Vec<Track>),
    /// A sample.
    Sample(Sample),
    /// An event message (`emsg`, ISO/IEC 23009-1 §5.10.3.3).
    Message {
        /// What kind of message.
        scheme: String,
        /// Its data.
        data: Vec<u8>,
    },
}

/// A sample whose bytes are still to come.
#[derive(Debug)]
struct Expected {
    track: u32,
    decode_time: u64,
    composition_offset: i32,
    duration: u32,
    sync: bool,
    /// From the first byte of the `moof`.
    offset: u64,
    size: usize,
    producer_time: Option<UtcMicros>,
}

/// The parser. Read into [`Reader::buffer`], then take events until there is none.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    buffer: BytesMut,
    /// Bytes still to skip of a box that is of no interest.
    skip: u64,
    tracks: Vec<Track>,
    /// Samples of the newest `moof`, in the order of their bytes.
    expected: Vec<Expected>,
    /// Bytes consumed since the start of the newest `moof`.
    since_moof: u64,
    producer_time: Option<(u32, UtcMicros)>,
    /// Number of the newest `moof`.
    fragment: u32,
    ready: std::collections::VecDeque<Event>,
}

impl Reader {
    /// A reader at the start of a file.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            skip: 0,
            tracks: Vec::new(),
            expected: Vec::new(),
            since_moof: 0,
            producer_time: None,
            fragment: 0,
            ready: std::collections::VecDeque::new(),
        }
    }

    /// Where the next bytes are to be appended. Nothing else may be done to it.
    pub const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Appends bytes: for callers that have them already.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes the box being read still lacks, at least 1: what to make room for before the next read.
    pub fn wanted(&self) -> usize {
        match header(&self.buffer) {
            Ok(Some(head)) if self.skip == 0 && is_kept(head.kind) => {
                let total = usize::try_from(head.total).unwrap_or(usize::MAX);
                total.min(self.limits.media_bytes).saturating_sub(self.buffer.len()).max(1)
            }
            _ => 1,
        }
    }

    /// The next thing that was read, or `None` until more bytes are there. After an error the reader is of no further use.
    pub fn next_event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if !self.step()? {
                return Ok(None);
            }
        }
    }

    /// Reads one box, or some of one that is skipped. False when more bytes are needed.
    fn step(&mut self) -> Result<bool, Error> {
        if self.skip > 0 {
            let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(self.buffer.len());
            self.consume(here);
            self.skip -= here as u64;
            return Ok(self.skip == 0);
        }
        let Some(head) = header(&self.buffer)? else { return Ok(false) };
        if !is_kept(head.kind) {
            self.skip = head.total;
            return Ok(true);
        }
        let limit = if head.kind == MDAT { self.limits.media_bytes } else { self.limits.header_bytes };
        let total = usize::try_from(head.total).unwrap_or(usize::MAX);
        if total > limit {
            return Err(Error::TooLarge { kind: head.kind.to_string(), bytes: head.total, limit });
        }
        if self.buffer.len() < total {
            return Ok(false);
        }
        if head.kind == MOOF {
            self.since_moof = 0;
        }
        let start = self.since_moof;
        let body = self.consume(total).freeze().slice(head.length..);
        match head.kind {
            MOOV => self.read_moov(&body)?,
            MOOF => self.read_moof(&body)?,
            PRFT => self.read_prft(&body)?,
            EMSG => {
                let message: Emsg = decode("emsg", EMSG, &body)?;
                self.ready.push_back(Event::Message { scheme: message.scheme_id_uri, data: message.message_data });
            }
            _ => self.read_mdat(&body, start + head.length as u64)?,
        }
        Ok(true)
    }

    fn consume(&mut self, bytes: usize) -> BytesMut {
        self.since_moof = self.since_moof.saturating_add(bytes as u64);
        self.buffer.split_to(bytes)
    }

    fn read_prft(&mut self, body: &[u8]) -> Result<(), Error> {
        let prft: Prft = decode("prft", PRFT, body)?;
        self.producer_time = Some((prft.reference_track_id, ntp_to_utc(prft.ntp_timestamp)));
        Ok(())
    }

    fn read_moov(&mut self, body: &Bytes) -> Result<(), Error> {
        let movie: Mvhd = decode("mvhd", MVHD, &child(body, MVHD, "moov")?.ok_or(missing("moov", "no mvhd"))?)?;
        let extends = child(body, FourCC::new(b"mvex"), "moov")?;
        let mut defaults: Vec<Trex> = Vec::new();
        for found in boxes(extends.as_ref().unwrap_or(&Bytes::new()), "mvex") {
            let (kind, _, inner) = found?;
            if kind == TREX && defaults.len() < MAX_TRACKS {
                defaults.push(decode("trex", TREX, &inner)?);
            }
        }
        let mut tracks = Vec::new();
        for found in boxes(body, "moov") {
            let (kind, _, inner) = found?;
            if kind == TRAK {
                if tracks.len() == MAX_TRACKS {
                    return Err(missing("moov", "too many tracks"));
                }
                tracks.extend(read_track(&inner, movie.timescale, &defaults)?);
            }
        }
        self.expected.clear();
        self.tracks.clone_from(&tracks);
        self.ready.push_back(Event::Tracks(tracks));
        Ok(())
    }

    fn read_moof(&mut self, body: &Bytes) -> Result<(), Error> {
        self.expected.clear();
        let producer = self.producer_time.take();
        self.fragment = match child(body, MFHD, "moof")? {
            Some(head) => decode::<Mfhd>("mfhd", MFHD, &head)?.sequence_number,
            None => 0,
        };
        for found in boxes(body, "moof") {
            let (kind, _, inner) = found?;
            if kind == TRAF {
                self.read_traf(&inner, producer)?;
            }
        }
        self.expected.sort_by_key(|sample| sample.offset);
        Ok(())
    }

    fn read_traf(&mut self, body: &Bytes, producer: Option<(u32, UtcMicros)>) -> Result<(), Error> {
        let head: Tfhd = decode("tfhd", TFHD, &child(body, TFHD, "traf")?.ok_or(missing("traf", "no tfhd"))?)?;
        let Some(track) = self.tracks.iter().find(|track| track.id == head.track_id) else {
            return Err(Error::OutOfOrder("a fragment names a track that no moov has declared"));
        };
        if head.base_data_offset.is_some() {
            return Err(missing("tfhd", "absolute data offsets are not read; write with default_base_moof"));
        }
        let time = child(body, TFDT, "traf")?.ok_or(missing("traf", "no tfdt"))?;
        let mut decode_time = decode::<Tfdt>("tfdt", TFDT, &time)?.base_media_decode_time;
        let default_duration = head.default_sample_duration.unwrap_or(track.defaults.default_sample_duration);
        let default_size = head.default_sample_size.unwrap_or(track.defaults.default_sample_size);
        let default_flags = head.default_sample_flags.unwrap_or(track.defaults.default_sample_flags);
        let mut producer_time = producer.filter(|(id, _)| *id == head.track_id).map(|(_, at)| at);
        let mut offset = 0_u64;
        for found in boxes(body, "traf") {
            let (kind, _, inner) = found?;
            if kind != TRUN {
                continue;
            }
            let run: Trun = decode("trun", TRUN, &inner)?;
            if self.expected.len().saturating_add(run.samples.len()) > self.limits.samples {
                return Err(missing("trun", "too many samples in one fragment"));
            }
            if let Some(at) = run.data_offset {
                offset = u64::try_from(at).map_err(|_| missing("trun", "negative data offset"))?;
            }
            for entry in &run.samples {
                let size = entry.size.unwrap_or(default_size);
                let flags = entry.flags.unwrap_or(default_flags);
                let duration = entry.duration.unwrap_or(default_duration);
                self.expected.push(Expected {
                    track: head.track_id,
                    decode_time,
                    composition_offset: i32::try_from(entry.cts.unwrap_or(0)).unwrap_or(0),
                    duration,
                    // §8.8.3.1: sample_is_non_sync_sample.
                    sync: flags & 0x0001_0000 == 0,
                    offset,
                    size: size as usize,
                    producer_time: producer_time.take(),
                });
                offset = offset.saturating_add(u64::from(size));
                decode_time = decode_time.saturating_add(u64::from(duration));
            }
        }
        Ok(())
    }

    /// `start`: distance of the first byte of `body` from the first byte of the `moof`.
    fn read_mdat(&mut self, body: &Bytes, start: u64) -> Result<(), Error> {
        let end = start + body.len() as u64;
        for sample in std::mem::take(&mut self.expected) {
            let last = sample.offset.saturating_add(sample.size as u64);
            if sample.offset >= end && sample.size > 0 {
                // In a later mdat of the same fragment.
                self.expected.push(sample);
                continue;
            }
            if sample.offset < start || last > end {
                return Err(Error::OutOfOrder("a sample lies outside its fragment's media data"));
            }
            let from = usize::try_from(sample.offset - start).unwrap_or(0);
            self.ready.push_back(Event::Sample(Sample {
                track: sample.track,
                decode_time: sample.decode_time,
                composition_offset: sample.composition_offset,
                duration: sample.duration,
                sync: sample.sync,
                payload: body.slice(from..from + sample.size),
                producer_time: sample.producer_time,
                fragment: self.fragment,
            }));
        }
        Ok(())
    }
}

/// No camera has more; a bound for hostile headers.
const MAX_TRACKS: usize = 16;

const MOOV: FourCC = FourCC::new(b"moov");
const MVHD: FourCC = FourCC::new(b"mvhd");
const TRAK: FourCC = FourCC::new(b"trak");
const TREX: FourCC = FourCC::new(b"trex");
const MOOF: FourCC = FourCC::new(b"moof");
const TRAF: FourCC = FourCC::new(b"traf");
const TFHD: FourCC = FourCC::new(b"tfhd");
const TFDT: FourCC = FourCC::new(b"tfdt");
const TRUN: FourCC = FourCC::new(b"trun");
const MDAT: FourCC = FourCC::new(b"mdat");
const MFHD: FourCC = FourCC::new(b"mfhd");
const EMSG: FourCC = FourCC::new(b"emsg");
const PRFT: FourCC = FourCC::new(b"prft");

const fn is_kept(kind: FourCC) -> bool {
    matches!(kind, MOOV | MOOF | MDAT | PRFT | EMSG)
}

/// A 64-bit NTP timestamp (RFC 5905 §6, era 0) as UTC.
fn ntp_to_utc(ntp: u64) -> UtcMicros {
    /// Seconds from 1900 to 1970.
    const EPOCH: i64 = 2_208_988_800;
    let seconds = (ntp >> 32) as i64 - EPOCH;
    let micros = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
    UtcMicros(seconds * 1_000_000 + micros as i64)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use mp4_atom::Elst;

    use super::track::edit_offset;
    use super::*;
    use crate::media::fmp4::writer::{FragmentOptions, write_fragment, write_header};
    use crate::media::frame::{Codec, Configuration, Frame, FrameKind, RunId, TrackConfiguration, TrackKind};

    fn configuration() -> Configuration {
        let track = |codec, timescale, sample_entry: &'static [u8]| {
            Arc::new(TrackConfiguration {
                codec,
                timescale,
                sample_entry: Bytes::from_static(sample_entry),
                codec_string: String::new(),
                width: 64,
                height: 48,
                sample_rate: 0,
                channels: 0,
            })
        };
        Configuration {
            generation: 0,
            video: track(Codec::H264, 90_000, b"\0\0\0\x0cavc1abcd"),
            audio: Some(track(Codec::Aac, 48_000, b"\0\0\0\x09mp4a!")),
        }
    }

    fn frames() -> Vec<Frame> {
        (0..12_i64)
            .map(|n| Frame {
                run: RunId(1),
                sequence: n as u64,
                track: if n % 3 == 2 { TrackKind::Audio } else { TrackKind::Video },
                decode_time: 90_000 + n * 3000,
                composition_offset: [6000, -3000, 0][n as usize % 3],
                duration: 3000,
                kind: if n == 0 || n % 3 == 2 { FrameKind::Key } else { FrameKind::Delta },
                generation: 0,
                utc: UtcMicros(1_800_000_000_000_000 + n),
                payload: Bytes::from(vec![n as u8; 1 + 700 * n as usize]),
            })
            .collect()
    }

    /// A header and four fragments, with capture times, and boxes of no interest in between.
    fn file() -> Vec<u8> {
        let mut file = write_header(&configuration(), true).to_vec();
        for (number, frames) in frames().chunks(3).enumerate() {
            file.extend_from_slice(b"\0\0\0\x0cskipmore");
            let options = FragmentOptions { producer_reference_time: true, ..FragmentOptions::default() };
            file.extend_from_slice(&write_fragment(number as u32, frames, true, options).to_bytes());
        }
        file
    }

    fn read(file: &[u8], cut: impl Fn(usize) -> usize) -> Result<Vec<Event>, Error> {
        let mut reader = Reader::new(Limits::default());
        let mut events = Vec::new();
        let (mut at, mut round) = (0, 0);
        while at < file.len() {
            let next = (at + cut(round).max(1)).min(file.len());
            reader.feed(&file[at..next]);
            while let Some(event) = reader.next_event()? {
                events.push(event);
            }
            (at, round) = (next, round + 1);
        }
        Ok(events)
    }

    #[test]
    fn what_was_written_is_read_at_any_cut() {
        let whole = read(&file(), |_| usize::MAX).expect("valid");
        let Some(Event::Tracks(tracks)) = whole.first() else { panic!("no header: {whole:?}") };
        assert_eq!(tracks.len(), 2);
        assert_eq!((tracks[0].handler, tracks[0].timescale, tracks[0].edit_offset), (Handler::Video, 90_000, 0));
        assert_eq!(&tracks[0].sample_entry[..], b"\0\0\0\x0cavc1abcd");
        let samples: Vec<&Sample> = whole
            .iter()
            .filter_map(|event| if let Event::Sample(sample) = event { Some(sample) } else { None })
            .collect();
        assert_eq!(samples.len(), 12);
        for frame in frames() {
            let found = samples.iter().find(|sample| sample.payload == frame.payload).expect("every payload");
            assert_eq!(found.decode_time, frame.decode_time as u64);
            assert_eq!(found.composition_offset, frame.composition_offset);
            assert_eq!(found.sync, frame.kind == FrameKind::Key);
        }
        let first = samples.iter().find(|sample| sample.decode_time == 90_000).expect("the first");
        let stamped = first.producer_time.expect("a capture time");
        assert!((stamped.0 - 1_800_000_000_000_000).abs() <= 1);
        for size in [1, 7, 8, 100, 1000] {
            assert_eq!(read(&file(), |_| size).expect("valid"), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn payloads_are_not_copied() {
        let mut reader = Reader::new(Limits::default());
        reader.feed(&file());
        let base = reader.buffer().as_ptr() as usize;
        let all = base..base + reader.buffer().len();
        while let Some(event) = reader.next_event().expect("valid") {
            if let Event::Sample(sample) = event {
                assert!(all.contains(&(sample.payload.as_ptr() as usize)));
            }
        }
    }

    #[test]
    fn an_edit_list_moves_the_track() {
        let edit = |segment_duration, media_time| mp4_atom::ElstEntry {
            segment_duration,
            media_time,
            media_rate: mp4_atom::FixedPoint::from(1),
        };
        let offset = |entries| edit_offset(&Elst { entries }, 90_000, 1000);
        assert_eq!(offset(vec![]), 0);
        assert_eq!(offset(vec![edit(0, Some(3000))]), -3000, "reordered pictures");
        assert_eq!(offset(vec![edit(200, None), edit(0, Some(0))]), 18_000, "begins 200 ms late");
        assert_eq!(offset(vec![edit(200, None), edit(0, Some(3000))]), 15_000);
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_buffered() {
        let mut reader = Reader::new(Limits { media_bytes: 100, ..Limits::default() });
        reader.feed(b"\0\0\x10\0mdat");
        assert!(matches!(reader.next_event(), Err(Error::TooLarge { bytes: 4096, .. })));
        let mut reader = Reader::new(Limits::default());
        reader.feed(b"\0\0\0\x01moov\x7f\xff\xff\xff\xff\xff\xff\xff");
        assert!(matches!(reader.next_event(), Err(Error::TooLarge { .. })));
        // A box of no interest may be of any size: it is not kept.
        let mut reader = Reader::new(Limits::default());
        reader.feed(b"\0\0\0\x01free\x7f\xff\xff\xff\xff\xff\xff\xff");
        for _ in 0..100 {
            reader.feed(&[0; 1000]);
            assert_eq!(reader.next_event(), Ok(None));
            assert!(reader.buffer().is_empty());
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            changes in prop::collection::vec((0_usize..20_000, any::<u8>()), 0..40),
            cut in 1_usize..5000,
            end in 0_usize..20_000,
        ) {
            let mut bytes = file();
            bytes.truncate(end.max(1));
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            // Whatever it is, it comes to an end and is either read or refused.
            let _ = read(&bytes, |_| cut);
        }

        #[test]
        fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1_usize..100) {
            let _ = read(&bytes, |_| cut);
        }
    }
}
