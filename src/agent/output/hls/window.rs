//! The segments that an HLS stream offers now, and their playlist. A window is a value: every change makes a new one, which
//! request handlers share without a lock. Must not cut segments (that is [`super::segmenter`]) and must not know HTTP.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::segmenter::{Output, Part, Segment, Timing};
use crate::media::fmp4::writer::write_header;
use crate::media::frame::RunId;
use crate::media::hls;

/// The name of the media playlist.
pub const PLAYLIST: &str = "index.m3u8";

/// How many target durations before the end parts are listed (bis §6.2.2).
const PARTS_TARGETS: u64 = 3;

/// A file of a stream. The run stands in every name, so that no name ever means two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// An initialisation segment: run and configuration generation.
    Header(RunId, u32),
    /// A segment: run, generation, number.
    Segment(RunId, u32, u64),
    /// A part: run, generation, number of its segment, index.
    Part(RunId, u32, u64, usize),
}

impl Name {
    /// Reads a file name.
    pub fn parse(name: &str) -> Option<Self> {
        let (run, rest) = name.split_once('-')?;
        let (generation, rest) = rest.split_once('-')?;
        let (run, generation) = (RunId(run.parse().ok()?), generation.parse().ok()?);
        if rest == "init.mp4" {
            return Some(Self::Header(run, generation));
        }
        let rest = rest.strip_suffix(".m4s")?;
        Some(match rest.split_once('.') {
            Some((number, part)) => Self::Part(run, generation, number.parse().ok()?, part.parse().ok()?),
            None => Self::Segment(run, generation, rest.parse().ok()?),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(run, generation) => write!(formatter, "{run}-{generation}-init.mp4"),
            Self::Segment(run, generation, number) => write!(formatter, "{run}-{generation}-{number}.m4s"),
            Self::Part(run, generation, number, part) => write!(formatter, "{run}-{generation}-{number}.{part}.m4s"),
        }
    }
}

/// What a request for a file finds.
#[derive(Debug, Clone)]
pub enum Found {
    /// An initialisation segment.
    Header(Bytes),
    /// A whole segment.
    Segment(Arc<Segment>),
    /// A part.
    Part(Arc<Part>),
    /// The part that comes next: worth waiting for.
    Soon,
}

/// Whether a window holds what a blocking request waits for (bis §6.2.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It is there.
    Ready,
    /// Not yet.
    Wait,
    /// So far in the future that the client must be wrong.
    TooFar,
}

/// All that a stream offers at one moment.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// How many segments a playlist should list.
    list: usize,
    audio: bool,
    timing: Option<Timing>,
    /// Whole segments, those that have expired first.
    segments: VecDeque<Arc<Segment>>,
    /// How many of them are no longer listed.
    expired: usize,
    open: Option<Arc<Segment>>,
    headers: VecDeque<(RunId, u32, Bytes)>,
    playlist: Bytes,
    /// No playlist that anybody was given names a segment of this number or a later one.
    told: u64,
}

impl Window {
    /// An empty window whose playlists list `list` segments, and more where the standard demands it.
    pub fn new(list: usize, audio: bool) -> Self {
        Self { list: list.max(1), audio, ..Self::default() }
    }

    /// The media playlist; `None` before the first segment.
    pub fn playlist(&self) -> Option<Bytes> {
        (!self.playlist.is_empty()).then(|| self.playlist.clone())
    }

    /// What is fixed, once it is.
    pub const fn timing(&self) -> Option<Timing> {
        self.timing
    }

    /// What a multivariant playlist says of this one, whose media playlist is in the folder of that name, if it has one; `None`
    /// before the first segment.
    pub fn variant(&self, folder: &str) -> Option<hls::Variant> {
        let listed = || self.segments.iter().skip(self.expired);
        let newest = listed().next_back()?;
        let rate = |bytes: u64, micros: u64| bytes * 8 * 1_000_000 / micros.max(1);
        let (bytes, micros, pictures) = listed().fold((0, 0, 0), |(bytes, micros, pictures), segment| {
            (bytes + segment.len() as u64, micros + segment.duration, pictures + segment.pictures)
        });
        let configuration = &newest.configuration;
        let audio = configuration.audio.as_ref().filter(|_| self.audio);
        Some(hls::Variant {
            uri: if folder.is_empty() { PLAYLIST.into() } else { format!("{folder}/{PLAYLIST}") },
            bandwidth: listed().map(|segment| rate(segment.len() as u64, segment.duration)).max()?,
            average_bandwidth: rate(bytes, micros),
            codecs: std::iter::once(&configuration.video)
                .chain(audio)
                .map(|track| track.codec_string.clone())
                .collect(),
            resolution: (configuration.video.width, configuration.video.height),
            frame_rate_milli: u32::try_from(pictures * 1_000_000_000 / micros.max(1)).unwrap_or(0),
            independent_segments: listed().all(|segment| segment.independent()),
        })
    }

    /// The number after the last one that the playlist names.
    pub fn end(&self) -> u64 {
        self.open.iter().chain(self.segments.back()).map(|segment| segment.number + 1).max().unwrap_or(0)
    }

    /// Takes note that playlists up to this [`Self::end`] have been given out.
    pub const fn set_told(&mut self, end: u64) {
        self.told = end;
    }

    /// Takes in what the segmenter made.
    pub fn apply(&mut self, output: Output) {
        match output {
            Output::Timing(timing) => self.timing = Some(timing),
            Output::Idle => self.open = None,
            Output::Open(segment) => {
                self.add_header(&segment);
                self.open = Some(segment);
            }
            Output::Segment(segment) => {
                self.add_header(&segment);
                self.open = None;
                self.segments.push_back(segment);
                self.slide();
            }
        }
        self.playlist = self.write();
    }

    fn add_header(&mut self, segment: &Segment) {
        let (run, generation) = (segment.run, segment.configuration.generation);
        if !self.headers.iter().any(|header| (header.0, header.1) == (run, generation)) {
            self.headers.push_back((run, generation, write_header(&segment.configuration, self.audio)));
        }
    }

    /// Lets old segments expire. Expired ones go when they have been kept for as long as a playlist lists them, or at once when
    /// no playlist that names them was ever given out: the standard keeps them for those who were told of them (RFC 8216
    /// §6.2.2), and a stream that nobody looks at need not fill memory.
    fn slide(&mut self) {
        let Some(timing) = self.timing else { return };
        let listed = |expired: usize| self.segments.iter().skip(expired);
        let mut expired = self.expired;
        // Three target durations must remain (RFC 8216 §6.2.2).
        while listed(expired).count() > self.list
            && listed(expired + 1).map(|segment| segment.duration).sum::<u64>() >= 3 * timing.target * 1_000_000
        {
            expired += 1;
        }
        let kept = (self.segments.len() - expired) + 1;
        let nobody_knows = self.segments.front().is_some_and(|oldest| oldest.number >= self.told);
        // One stays even so: a playlist may be on its way to its first reader while this goes on.
        let kept = if nobody_knows { 1 } else { kept };
        let gone = expired.saturating_sub(kept);
        self.segments.drain(..gone);
        self.expired = expired - gone;
        let (segments, open) = (&self.segments, &self.open);
        self.headers.retain(|(run, generation, _)| {
            let needs = |segment: &Arc<Segment>| (segment.run, segment.configuration.generation) == (*run, *generation);
            segments.iter().any(needs) || open.as_ref().is_some_and(needs)
        });
    }

    fn write(&self) -> Bytes {
        let Some(timing) = self.timing else { return Bytes::new() };
        let listed: Vec<&Arc<Segment>> = self.segments.iter().skip(self.expired).collect();
        let Some(first) = listed.first() else { return Bytes::new() };
        // Parts are listed for the newest segments only.
        let mut remaining = PARTS_TARGETS * timing.target * 1_000_000;
        let mut with_parts = 0;
        for segment in listed.iter().rev() {
            with_parts += 1;
            if segment.duration >= remaining {
                break;
            }
            remaining -= segment.duration;
        }
        let without_parts = if timing.part_target.is_some() { listed.len() - with_parts } else { usize::MAX };
        let mut segments: Vec<hls::Segment> =
            listed.iter().enumerate().map(|(index, segment)| entry(segment, true, index >= without_parts)).collect();
        segments.extend(self.open.as_ref().filter(|open| !open.is_empty()).map(|open| entry(open, false, true)));
        let low_latency = timing.part_target.map(|part_target| hls::LowLatency {
            part_target,
            preload_hint: self.open.as_ref().map(|open| {
                Name::Part(open.run, open.configuration.generation, open.number, open.parts.len()).to_string()
            }),
        });
        let playlist = hls::MediaPlaylist {
            target_duration: timing.target,
            media_sequence: first.number,
            discontinuity_sequence: first.discontinuity_sequence - u64::from(first.discontinuity),
            independent_segments: listed.iter().all(|segment| segment.independent())
                && self.open.as_ref().is_none_or(|open| open.is_empty() || open.independent()),
            low_latency,
            segments,
        };
        playlist.write().into()
    }

    /// Looks a file up.
    pub fn find(&self, name: Name) -> Option<Found> {
        let same = |segment: &&Arc<Segment>, run, generation, number| {
            (segment.run, segment.configuration.generation, segment.number) == (run, generation, number)
        };
        match name {
            Name::Header(run, generation) => self
                .headers
                .iter()
                .find(|header| (header.0, header.1) == (run, generation))
                .map(|header| Found::Header(header.2.clone())),
            Name::Segment(run, generation, number) => self
                .segments
                .iter()
                .find(|segment| same(segment, run, generation, number))
                .map(|segment| Found::Segment(segment.clone())),
            Name::Part(run, generation, number, index) => {
                self.timing?.part_target?;
                if let Some(open) = self.open.as_ref().filter(|open| same(open, run, generation, number))
                    && index == open.parts.len()
                {
                    return Some(Found::Soon);
                }
                self.segments
                    .iter()
                    .chain(&self.open)
                    .find(|segment| same(segment, run, generation, number))
                    .and_then(|segment| segment.parts.get(index))
                    .map(|part| Found::Part(part.clone()))
            }
        }
    }

    /// Whether segment `number`, or that part of it, is there.
    pub fn reload(&self, number: u64, part: Option<usize>) -> Reload {
        let Some(last) = self.segments.back().map(|segment| segment.number) else { return Reload::Wait };
        if number > last + 2 {
            return Reload::TooFar;
        }
        let Some(mut part) = part else {
            return if number <= last { Reload::Ready } else { Reload::Wait };
        };
        let mut number = number;
        if number < last {
            return Reload::Ready;
        }
        if number == last {
            let parts = self.segments.back().map_or(0, |segment| segment.parts.len());
            if part < parts {
                return Reload::Ready;
            }
            // A part after the last one of a segment is the first of the next.
            (number, part) = (number + 1, 0);
        }
        let made = self.open.as_ref().filter(|open| open.number == number).map_or(0, |open| open.parts.len());
        if part < made {
            return Reload::Ready;
        }
        // Parts of a second, or three where they are longer (bis §6.2.5.2, the advance part limit).
        let limit =
            self.timing.and_then(|timing| timing.part_target).map_or(3, |target| (3_000_000 / target.max(1)).max(3));
        if part as u64 > made as u64 + limit { Reload::TooFar } else { Reload::Wait }
    }

    /// Whole segments, expired ones included, oldest first; for figures.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter()
    }
}

fn entry(segment: &Segment, whole: bool, parts: bool) -> hls::Segment {
    let (run, generation, number) = (segment.run, segment.configuration.generation, segment.number);
    hls::Segment {
        uri: whole.then(|| Name::Segment(run, generation, number).to_string()),
        duration: segment.duration,
        discontinuity: segment.discontinuity,
        map: Name::Header(run, generation).to_string(),
        program_date_time: segment.utc,
        parts: segment
            .parts
            .iter()
            .enumerate()
            .filter(|_| parts && segment.offers_parts)
            .map(|(index, part)| hls::Part {
                uri: Name::Part(run, generation, number, index).to_string(),
                duration: part.duration,
                independent: part.independent,
            })
            .collect(),
    }
}
