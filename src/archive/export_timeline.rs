//! Pure: places the samples of a span on one timeline: where it begins (the key frame at or before the span), how runs follow
//! each other (by UTC, the last picture standing still in a gap), and what edit lists hide. Must not read files.

use bytes::Bytes;

use super::fragments::{Fragment, PlacedSample};
use crate::media::fmp4::progressive::{Edit, MovieTrack, SampleTable, TableSample};
use crate::media::fmp4::reader::{Event, Handler, Limits, Reader};
use crate::media::frame::{Codec, TrackConfiguration, TrackKind, UtcMicros};

/// The tracks of a file.
#[derive(Debug, Clone)]
pub struct TrackSetup {
    /// Pictures.
    pub video: TrackConfiguration,
    /// Sound, if there is some.
    pub audio: Option<TrackConfiguration>,
}

impl TrackSetup {
    /// Reads the header (`ftyp` + `moov`) of a file of this picture size.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(header: &[u8], width: u32, height: u32) -> Result<Self, String> {
        let mut reader = Reader::new(Limits { header_bytes: header.len(), ..Limits::default() });
        reader.feed(header);
        let tracks = match reader.next_event() {
            Ok(Some(Event::Tracks(tracks))) => tracks,
            Ok(_) => return Err("its header has no tracks".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let configuration = |handler, width, height| {
            tracks.iter().find(|track| track.handler == handler).map(|track| TrackConfiguration {
                codec: codec(&track.sample_entry),
                timescale: track.timescale,
                sample_entry: track.sample_entry.clone(),
                codec_string: String::new(),
                width,
                height,
                sample_rate: 0,
                channels: 0,
            })
        };
        let video = configuration(Handler::Video, width, height).ok_or("its header has no video track")?;
        Ok(Self { video, audio: configuration(Handler::Audio, 0, 0) })
    }

    /// The setup that all of `setups` fit into; sound may be missing in some. `None` where two differ, or there is none.
    pub fn common(setups: &[Self]) -> Option<Self> {
        let mut common = setups.first()?.clone();
        for setup in setups {
            if !same(&common.video, &setup.video) {
                return None;
            }
            match (&common.audio, &setup.audio) {
                (Some(one), Some(other)) if !same(one, other) => return None,
                (None, Some(_)) => common.audio.clone_from(&setup.audio),
                _ => {}
            }
        }
        Some(common)
    }
}

fn codec(sample_entry: &[u8]) -> Codec {
    match sample_entry.get(4..8) {
        Some(b"hvc1" | b"hev1") => Codec::H265,
        Some(b"mp4v" | b"jpeg") => Codec::Mjpeg,
        Some(b"mp4a") => Codec::Aac,
        Some(b"Opus") => Codec::Opus,
        _ => Codec::H264,
    }
}

/// Whether samples of both can stand in one track.
pub(super) fn same(one: &TrackConfiguration, other: &TrackConfiguration) -> bool {
    one.timescale == other.timescale && essence(one) == essence(other)
}

/// The sample entry without `btrt` (§8.5.2.2), which only estimates the bit rate and differs from connection to connection.
fn essence(track: &TrackConfiguration) -> (Bytes, Vec<Bytes>) {
    let entry = &track.sample_entry;
    let fields = if track.width > 0 { 86 } else { 36 };
    if entry.len() < fields {
        return (entry.clone(), Vec::new());
    }
    let mut boxes = Vec::new();
    let mut rest = entry.slice(fields..);
    while rest.len() >= 8 {
        let size = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if size < 8 || size > rest.len() {
            break;
        }
        let found = rest.split_to(size);
        if found[4..8] != *b"btrt" {
            boxes.push(found);
        }
    }
    boxes.push(rest);
    (entry.slice(4..fields), boxes)
}

/// A picture's decode time and its UTC.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    decode_time: i64,
    utc: i64,
}

/// How the times of a run become times of the export.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    /// Decode time of its first picture, in ticks.
    first: i64,
    /// Where that picture stands in the export, in ticks.
    start: i64,
}

#[derive(Debug)]
enum Part {
    /// Looking for the picture to begin with.
    Waiting {
        pending: Vec<Pending>,
        begin: Option<Begin>,
    },
    Running(Mapping),
}

#[derive(Debug, Clone, Copy)]
struct Begin {
    decode_time: i64,
    composition_offset: i32,
    utc: i64,
}

/// Consecutive bytes of the export that are consecutive bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// From the start of the media.
    pub at: u64,
    /// Which file; the caller's number.
    pub source: usize,
    /// Within the file.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
}

/// A fragment, the file it is from, and how its run's times become UTC.
type Pending = (Fragment, usize, Anchor);

/// The samples of an export, so far.
#[derive(Debug)]
pub struct Timeline {
    setup: TrackSetup,
    from: i64,
    to: i64,
    video: SampleTable,
    audio: SampleTable,
    /// Where the first sound stands in the export, in ticks of the sound.
    audio_start: i64,
    payload: u64,
    slices: Vec<Slice>,
    part: Part,
    anchor: Option<Anchor>,
    unplaced_utc: Option<UtcMicros>,
    /// UTC and composition offset of the first picture.
    origin: Option<Begin>,
    /// How much later than its UTC the newest run had to be placed, in ticks.
    slip: i64,
}

/// What a movie header says of a timeline.
#[derive(Debug)]
pub struct Movie<'a> {
    /// Its tracks.
    pub tracks: Vec<MovieTrack<'a>>,
    /// UTC of the first instant that is shown.
    pub from: UtcMicros,
    /// How long it plays.
    pub duration_micros: u64,
}

fn rescale(value: i64, from: u32, to: u32) -> i64 {
    let (value, from, to) = (i128::from(value), i128::from(from.max(1)), i128::from(to));
    i64::try_from((value * to + from / 2).div_euclid(from)).unwrap_or(i64::MAX)
}

const MICROS: u32 = 1_000_000;

impl Timeline {
    /// An empty timeline for the span `from` to `to`.
    pub fn new(setup: TrackSetup, from: UtcMicros, to: UtcMicros) -> Self {
        Self {
            setup,
            from: from.0,
            to: to.0,
            video: SampleTable::default(),
            audio: SampleTable::default(),
            audio_start: 0,
            payload: 0,
            slices: Vec::new(),
            part: Part::Waiting { pending: Vec::new(), begin: None },
            anchor: None,
            unplaced_utc: None,
            origin: None,
            slip: 0,
        }
    }

    /// Bytes of media that were taken.
    pub const fn payload(&self) -> u64 {
        self.payload
    }

    /// Where the media comes from, in the order of the export.
    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    /// What follows does not go on where the last fragment ended: another run, or a file is missing.
    pub fn break_run(&mut self) {
        self.begin();
        self.part = Part::Waiting { pending: Vec::new(), begin: None };
        self.anchor = None;
    }

    /// No more will come.
    pub fn finish(&mut self) {
        self.begin();
    }

    /// Adds the next fragment of the run. It lies in the file `source`; `utc` is that of its first picture, where the index
    /// knows it.
    pub fn add(&mut self, fragment: Fragment, source: usize, utc: Option<UtcMicros>) {
        self.unplaced_utc = utc.or(self.unplaced_utc);
        if let (Some(utc), Some(first)) = (self.unplaced_utc, fragment.video.first()) {
            self.anchor = Some(Anchor { decode_time: first.decode_time, utc: utc.0 });
            self.unplaced_utc = None;
        }
        // Sound before the first picture of a run has no place.
        let Some(anchor) = self.anchor else { return };
        let ticks = self.setup.video.timescale;
        let (from, utc_of) =
            (self.from, |time: i64| anchor.utc.saturating_add(rescale(time - anchor.decode_time, ticks, MICROS)));
        match &mut self.part {
            Part::Running(mapping) => {
                let mapping = *mapping;
                self.emit(&fragment, source, anchor, mapping);
            }
            Part::Waiting { pending, begin } => {
                let mut passed = false;
                for sample in &fragment.video {
                    let utc = utc_of(sample.decode_time);
                    passed |= utc > from;
                    if sample.sync && (utc <= from || begin.is_none()) {
                        let PlacedSample { decode_time, composition_offset, .. } = *sample;
                        *begin = Some(Begin { decode_time, composition_offset, utc });
                        pending.clear();
                    }
                }
                pending.push((fragment, source, anchor));
                match begin {
                    Some(_) if passed => self.begin(),
                    Some(_) => {}
                    // Nothing before the first key frame is of any use.
                    None => pending.clear(),
                }
            }
        }
    }

    /// Begins a part with the best picture that was found.
    fn begin(&mut self) {
        let Part::Waiting { pending, begin } = &mut self.part else { return };
        let (pending, Some(begin)) = (std::mem::take(pending), *begin) else { return };
        let start = match self.origin {
            None => {
                self.origin = Some(begin);
                0
            }
            Some(origin) => {
                let wanted = rescale(begin.utc - origin.utc, MICROS, self.setup.video.timescale)
                    + i64::from(origin.composition_offset)
                    - i64::from(begin.composition_offset);
                let start = wanted.max(self.video.end());
                self.slip = start - wanted;
                start
            }
        };
        let mapping = Mapping { first: begin.decode_time, start };
        self.part = Part::Running(mapping);
        for (fragment, source, anchor) in &pending {
            self.emit(fragment, *source, *anchor, mapping);
        }
    }

    fn emit(&mut self, fragment: &Fragment, source: usize, anchor: Anchor, mapping: Mapping) {
        let ticks = self.setup.video.timescale;
        // The end of the span as a decode time of this run.
        let end = anchor.decode_time.saturating_add(rescale(self.to - anchor.utc, MICROS, ticks));
        for sample in &fragment.video {
            if (mapping.first..end).contains(&sample.decode_time) {
                let at = mapping.start + sample.decode_time - mapping.first;
                let place = self.take(source, sample);
                self.video.push(placed(sample, at), place);
            }
        }
        let Some(sound) = self.setup.audio.as_ref().map(|audio| audio.timescale) else { return };
        // Pictures are shown later than they are decoded, by the reordering delay; sound at once.
        let delay = self.origin.map_or(0, |origin| i64::from(origin.composition_offset));
        let (first, end) = (rescale(mapping.first, ticks, sound), rescale(end.saturating_add(delay), ticks, sound));
        let start = rescale(mapping.start, ticks, sound);
        for sample in &fragment.audio {
            if (first..end).contains(&sample.decode_time) {
                let at = start + sample.decode_time - first;
                if self.audio.is_empty() {
                    self.audio_start = at;
                }
                let place = self.take(source, sample);
                self.audio.push(placed(sample, at), place);
            }
        }
    }

    /// Appends a sample's bytes; returns where they stand.
    fn take(&mut self, source: usize, sample: &PlacedSample) -> u64 {
        let at = self.payload;
        self.payload += u64::from(sample.size);
        match self.slices.last_mut() {
            Some(last) if last.source == source && last.offset + last.length == sample.offset => {
                last.length += u64::from(sample.size);
            }
            _ => self.slices.push(Slice { at, source, offset: sample.offset, length: sample.size.into() }),
        }
        at
    }

    /// What the header says; `None` without a picture.
    pub fn movie(&self) -> Option<Movie<'_>> {
        let origin = self.origin?;
        if self.video.is_empty() {
            return None;
        }
        let ticks = self.setup.video.timescale;
        let shift = i64::from(origin.composition_offset);
        let from = self.from.max(origin.utc);
        // What is shown, on the decode timeline of the export, moved by the reordering delay.
        let first = shift + rescale(from - origin.utc, MICROS, ticks);
        let held = rescale(self.video.end() + shift - first, ticks, MICROS);
        let wanted = (self.to - from).saturating_add(rescale(self.slip, ticks, MICROS));
        let duration = u64::try_from(held.min(wanted)).ok().filter(|duration| *duration > 0)?;
        let mut tracks = vec![MovieTrack {
            kind: TrackKind::Video,
            configuration: &self.setup.video,
            table: &self.video,
            edits: vec![Edit { duration, media_time: first }],
        }];
        if let Some(audio) = &self.setup.audio {
            let sound = audio.timescale;
            let begin = rescale(first, ticks, sound);
            let silent = rescale((self.audio_start - begin).max(0), sound, MICROS) as u64;
            let heard = rescale((self.audio.end() - begin.max(self.audio_start)).max(0), sound, MICROS) as u64;
            let heard = heard.min(duration.saturating_sub(silent));
            if heard > 0 && !self.audio.is_empty() {
                let mut edits = Vec::new();
                if silent > 0 {
                    edits.push(Edit { duration: silent, media_time: -1 });
                }
                edits.push(Edit { duration: heard, media_time: (begin - self.audio_start).max(0) });
                tracks.push(MovieTrack { kind: TrackKind::Audio, configuration: audio, table: &self.audio, edits });
            }
        }
        Some(Movie { tracks, from: UtcMicros(from), duration_micros: duration })
    }
}

const fn placed(sample: &PlacedSample, decode_time: i64) -> TableSample {
    TableSample {
        decode_time,
        composition_offset: sample.composition_offset,
        duration: sample.duration,
        size: sample.size,
        sync: sample.sync,
    }
}
