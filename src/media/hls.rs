//! Writes HLS playlists of live media (RFC 8216 and its successor draft, here "bis"): media playlists, plain and low latency,
//! and multivariant playlists. Must not decide what is in a playlist or read the clock; [`lint`] judges the result.

use std::fmt::Write as _;

use crate::media::frame::UtcMicros;

pub mod lint;
pub mod lint_headers;
pub mod lint_multivariant;

/// The content type of a playlist (RFC 8216 §4).
pub const CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";

/// A media playlist of a stream that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MediaPlaylist {
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_duration: u64,
    /// Number of the first segment.
    pub media_sequence: u64,
    /// Discontinuities before the first segment's own.
    pub discontinuity_sequence: u64,
    /// Whether every segment starts with a key frame.
    pub independent_segments: bool,
    /// Low latency only.
    pub low_latency: Option<LowLatency>,
    /// In order. Only the last one may be still without a URI: then only its parts are listed.
    pub segments: Vec<Segment>,
}

/// What a low-latency playlist says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LowLatency {
    /// `PART-TARGET`, microseconds.
    pub part_target: u64,
    /// The part that comes next, if that is known.
    pub preload_hint: Option<String>,
}

/// A segment, whole or still being made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Segment {
    /// Where it is, relative to the playlist; `None` while it is being made.
    pub uri: Option<String>,
    /// Microseconds.
    pub duration: u64,
    /// Whether it does not go on where the one before ended.
    pub discontinuity: bool,
    /// Its initialisation segment.
    pub map: String,
    /// Capture time of its first picture.
    pub program_date_time: UtcMicros,
    /// Its parts, as far as they are still worth listing.
    pub parts: Vec<Part>,
}

/// A part of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Part {
    /// Where it is, relative to the playlist.
    pub uri: String,
    /// Microseconds.
    pub duration: u64,
    /// Whether it starts with a key frame.
    pub independent: bool,
}

/// Microseconds as decimal seconds with five places, rounded: far finer than any tick of video, and never beyond a limit that
/// is itself written so.
fn seconds(micros: u64) -> String {
    let rounded = (micros + 5) / 10;
    format!("{}.{:05}", rounded / 100_000, rounded % 100_000)
}

impl MediaPlaylist {
    /// The playlist's text.
    pub fn write(&self) -> String {
        let mut out = String::with_capacity(512 + self.segments.len() * 256);
        // Writing to a string cannot fail.
        let _ = self.write_to(&mut out);
        out
    }

    fn write_to(&self, out: &mut String) -> std::fmt::Result {
        // Version 6 is the first that allows EXT-X-MAP here; 9 goes with the low-latency tags (bis §8).
        writeln!(out, "#EXTM3U\n#EXT-X-VERSION:{}", if self.low_latency.is_some() { 9 } else { 6 })?;
        writeln!(out, "#EXT-X-TARGETDURATION:{}", self.target_duration)?;
        if let Some(low_latency) = &self.low_latency {
            // At least three parts (bis §4.4.3.8); a little more absorbs the jitter of one part.
            let hold_back = low_latency.part_target * 3 + low_latency.part_target / 10;
            writeln!(out, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={}", seconds(hold_back))?;
            writeln!(out, "#EXT-X-PART-INF:PART-TARGET={}", seconds(low_latency.part_target))?;
        }
        writeln!(out, "#EXT-X-MEDIA-SEQUENCE:{}", self.media_sequence)?;
        writeln!(out, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence)?;
        if self.independent_segments {
            writeln!(out, "#EXT-X-INDEPENDENT-SEGMENTS")?;
        }
        let mut map = "";
        for segment in &self.segments {
            if segment.discontinuity {
                writeln!(out, "#EXT-X-DISCONTINUITY")?;
            }
            if segment.map != map {
                map = &segment.map;
                writeln!(out, "#EXT-X-MAP:URI=\"{map}\"")?;
            }
            writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", segment.program_date_time)?;
            for part in &segment.parts {
                let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
                writeln!(out, "#EXT-X-PART:DURATION={},URI=\"{}\"{independent}", seconds(part.duration), part.uri)?;
            }
            if let Some(uri) = &segment.uri {
                writeln!(out, "#EXTINF:{},\n{uri}", seconds(segment.duration))?;
            }
        }
        if let Some(hint) = self.low_latency.as_ref().and_then(|low_latency| low_latency.preload_hint.as_ref()) {
            writeln!(out, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{hint}\"")?;
        }
        Ok(())
    }
}

/// A variant of a multivariant playlist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variant {
    /// Where its media playlist is.
    pub uri: String,
    /// Highest bit rate of a segment, bits a second.
    pub bandwidth: u64,
    /// Mean bit rate, bits a second.
    pub average_bandwidth: u64,
    /// RFC 6381 codec strings of all tracks; those that are empty are left out.
    pub codecs: Vec<String>,
    /// Width and height in pixels.
    pub resolution: (u32, u32),
    /// Measured, in thousandths of a frame a second; 0 = not known.
    pub frame_rate_milli: u32,
    /// Whether every segment starts with a key frame.
    pub independent_segments: bool,
}

/// A multivariant playlist with these variants, which show the same.
pub fn write_multivariant(variants: &[Variant]) -> String {
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:6\n");
    if variants.iter().all(|variant| variant.independent_segments) {
        out.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    for variant in variants {
        variant.write_to(&mut out);
    }
    out
}

impl Variant {
    fn write_to(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}",
            self.bandwidth.max(1),
            self.average_bandwidth.max(1)
        );
        let codecs: Vec<&str> = self.codecs.iter().map(String::as_str).filter(|codec| !codec.is_empty()).collect();
        if !codecs.is_empty() {
            let _ = write!(out, ",CODECS=\"{}\"", codecs.join(","));
        }
        let (width, height) = self.resolution;
        if width > 0 && height > 0 {
            let _ = write!(out, ",RESOLUTION={width}x{height}");
        }
        if self.frame_rate_milli > 0 {
            let _ = write!(out, ",FRAME-RATE={}.{:03}", self.frame_rate_milli / 1000, self.frame_rate_milli % 1000);
        }
        let _ = writeln!(out, "\n{}", self.uri);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64) -> Segment {
        Segment {
            uri: Some(format!("7-0-{number}.m4s")),
            duration: 4_000_000,
            discontinuity: false,
            map: "7-0-init.mp4".into(),
            program_date_time: UtcMicros(1_795_223_829_123_456 + number as i64 * 4_000_000),
            parts: Vec::new(),
        }
    }

    #[test]
    fn a_plain_playlist_reads_like_this() {
        let mut third = segment(12);
        (third.discontinuity, third.map) = (true, "8-0-init.mp4".into());
        let playlist = MediaPlaylist {
            target_duration: 4,
            media_sequence: 10,
            discontinuity_sequence: 3,
            independent_segments: true,
            low_latency: None,
            segments: vec![segment(10), segment(11), third],
        };
        insta::assert_snapshot!(playlist.write());
        assert_eq!(lint::lint(&playlist.write()), []);
    }

    #[test]
    fn a_low_latency_playlist_reads_like_this() {
        let part = |number: u32, part: u32| Part {
            uri: format!("7-0-{number}.{part}.m4s"),
            duration: 480_000,
            independent: part == 0,
        };
        let mut second = segment(11);
        second.duration = 960_000;
        second.parts = vec![part(11, 0), part(11, 1)];
        let open = Segment { uri: None, duration: 0, parts: vec![part(12, 0)], ..segment(12) };
        let playlist = MediaPlaylist {
            target_duration: 4,
            media_sequence: 10,
            discontinuity_sequence: 3,
            independent_segments: true,
            low_latency: Some(LowLatency { part_target: 500_000, preload_hint: Some("7-0-12.1.m4s".into()) }),
            segments: vec![segment(10), second, open],
        };
        insta::assert_snapshot!(playlist.write());
        assert_eq!(lint::lint(&playlist.write()), []);
    }

    #[test]
    fn a_multivariant_playlist_reads_like_this() {
        let variant = Variant {
            uri: "index.m3u8".into(),
            bandwidth: 4_200_000,
            average_bandwidth: 4_000_000,
            codecs: vec!["avc1.640028".into(), "mp4a.40.2".into()],
            resolution: (1920, 1080),
            frame_rate_milli: 25_000,
            independent_segments: true,
        };
        insta::assert_snapshot!(write_multivariant(std::slice::from_ref(&variant)));
        let small = Variant { uri: "360p/index.m3u8".into(), independent_segments: false, ..variant.clone() };
        let both = write_multivariant(&[variant, small]);
        assert!(!both.contains("INDEPENDENT-SEGMENTS"), "not of all");
        assert_eq!(m3u8_rs::parse_master_playlist_res(both.as_bytes()).unwrap().variants.len(), 2);
    }
}
