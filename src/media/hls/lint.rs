//! Judges media playlists by RFC 8216 and its successor draft ("bis"): one by itself, and one after an earlier fetch of it.
//! Players forgive much, and each forgives something else; this does not. Must not know who wrote a playlist. What the text
//! alone cannot tell is judged in [`super::lint_headers`].

use std::collections::{BTreeMap, BTreeSet};

/// A rule that a playlist breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Line of the playlist, from 1; 0 where it is about the whole.
    pub line: usize,
    /// The section of the standard.
    pub rule: &'static str,
    /// What is wrong.
    pub message: String,
}

/// An initialisation section, as `EXT-X-MAP` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Map {
    /// Relative to the playlist.
    pub uri: String,
    /// `BYTERANGE` as it is written, `length@offset`; `None` for the whole resource.
    pub range: Option<String>,
}

/// Two segments that follow each other without a discontinuity although their initialisation sections have different names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joint {
    /// Line of the later segment.
    pub line: usize,
    /// Of the earlier one.
    pub before: Map,
    /// Of the later one.
    pub after: Map,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Part {
    line: usize,
    uri: String,
    duration: f64,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Segment {
    line: usize,
    uri: String,
    duration: f64,
    discontinuities: u64,
    map: Option<Map>,
    range: Option<String>,
    time: Option<f64>,
    gap: bool,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Playlist {
    version: u64,
    target: Option<u64>,
    media_sequence: u64,
    discontinuity_sequence: u64,
    ended: bool,
    block_reload: bool,
    hold_back: Option<f64>,
    part_hold_back: Option<f64>,
    part_target: Option<f64>,
    hint: Option<String>,
    segments: Vec<Segment>,
    /// Parts of the segment that is still being made.
    open: Segment,
}

impl Playlist {
    /// Number and discontinuity sequence of each segment by URI and range.
    fn identities(&self) -> BTreeMap<(String, Option<String>), (u64, u64)> {
        let mut discontinuity = self.discontinuity_sequence;
        let mut identities = BTreeMap::new();
        for (number, segment) in (self.media_sequence..).zip(&self.segments) {
            discontinuity += segment.discontinuities;
            identities.insert((segment.uri.clone(), segment.range.clone()), (number, discontinuity));
        }
        identities
    }

    fn end(&self) -> u64 {
        self.media_sequence + self.segments.len() as u64
    }

    /// The segments that are there to be played, those that are still made included.
    fn played(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().chain((!self.open.parts.is_empty()).then_some(&self.open))
    }

    /// Microseconds of all segments: a sum of decimal fractions is not exact, and twenty times 1.2 is less than 24.
    fn micros(&self) -> i64 {
        self.segments.iter().map(|segment| (segment.duration * 1e6).round() as i64).sum()
    }
}

/// The value of an attribute (RFC 8216 §4.2), without quotes.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (key, tail) = rest.split_once('=')?;
        let (value, next) = match tail.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.strip_prefix(',').unwrap_or(""))
            }
            None => tail.split_once(',').unwrap_or((tail, "")),
        };
        if key == name {
            return Some(value);
        }
        rest = next;
    }
}

struct Parser {
    playlist: Playlist,
    violations: Vec<Violation>,
    seen: BTreeMap<&'static str, usize>,
}

/// Tags that may stand once in a media playlist and must come before the first segment.
const ONCE: [&str; 8] = [
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-DISCONTINUITY-SEQUENCE",
    "#EXT-X-PLAYLIST-TYPE",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-PART-INF",
];

impl Parser {
    fn violation(&mut self, line: usize, rule: &'static str, message: impl Into<String>) {
        self.violations.push(Violation { line, rule, message: message.into() });
    }

    fn number<T: std::str::FromStr + Default>(&mut self, line: usize, text: &str) -> T {
        text.parse().unwrap_or_else(|_| {
            self.violation(line, "RFC 8216 §4.2", format!("`{text}` is no number"));
            T::default()
        })
    }

    fn parse(text: &str) -> Self {
        let mut parser = Self { playlist: Playlist::default(), violations: Vec::new(), seen: BTreeMap::new() };
        if text.lines().next() != Some("#EXTM3U") {
            parser.violation(1, "RFC 8216 §4.3.1.1", "the first line must be #EXTM3U");
        }
        let mut next = Segment::default();
        let mut has_duration = false;
        for (line, content) in (1..).zip(text.lines()) {
            if content.trim() != content {
                parser.violation(line, "RFC 8216 §4.1", "white space at an end of the line");
            }
            if parser.playlist.ended && !content.is_empty() {
                parser.violation(line, "RFC 8216 §4.3.3.4", "something comes after the end");
            }
            if content.is_empty() || (content.starts_with('#') && !content.starts_with("#EXT")) {
                continue;
            }
            if !content.starts_with('#') {
                content.clone_into(&mut next.uri);
                next.line = line;
                if !has_duration {
                    parser.violation(line, "RFC 8216 §4.3.2.1", "a segment without EXTINF");
                }
                let map = next.map.clone();
                parser.playlist.segments.push(std::mem::take(&mut next));
                next.map = map;
                has_duration = false;
                continue;
            }
            let (tag, value) = content.split_once(':').unwrap_or((content, ""));
            has_duration |= tag == "#EXTINF";
            parser.tag(line, tag, value, &mut next);
        }
        if has_duration {
            parser.violation(0, "RFC 8216 §4.3.2.1", "an EXTINF without its segment");
        }
        parser.playlist.open = next;
        parser
    }

    fn tag(&mut self, line: usize, tag: &str, value: &str, next: &mut Segment) {
        if let Some(known) = ONCE.iter().find(|known| **known == tag) {
            if self.seen.insert(known, line).is_some() {
                self.violation(line, "RFC 8216 §4.3", format!("{tag} stands twice"));
            }
            if !self.playlist.segments.is_empty() || !next.parts.is_empty() {
                self.violation(line, "RFC 8216 §4.3.3", format!("{tag} comes after the first segment"));
            }
        }
        match tag {
            "#EXT-X-VERSION" => self.playlist.version = self.number(line, value),
            "#EXT-X-TARGETDURATION" => self.playlist.target = Some(self.number(line, value)),
            "#EXT-X-MEDIA-SEQUENCE" => self.playlist.media_sequence = self.number(line, value),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => self.playlist.discontinuity_sequence = self.number(line, value),
            "#EXT-X-ENDLIST" => self.playlist.ended = true,
            "#EXT-X-DISCONTINUITY" => next.discontinuities += 1,
            "#EXT-X-GAP" => next.gap = true,
            "#EXT-X-BYTERANGE" => next.range = Some(value.to_owned()),
            "#EXTINF" => match value.split_once(',') {
                Some((duration, _)) => next.duration = self.number(line, duration),
                None => self.violation(line, "RFC 8216 §4.3.2.1", "EXTINF without its comma"),
            },
            "#EXT-X-PROGRAM-DATE-TIME" => match value.parse::<jiff::Timestamp>() {
                Ok(time) => next.time = Some(time.as_microsecond() as f64 / 1e6),
                Err(_) => self.violation(line, "RFC 8216 §4.3.2.6", format!("`{value}` is no date and time")),
            },
            "#EXT-X-MAP" => match attribute(value, "URI") {
                Some(uri) => {
                    let range = attribute(value, "BYTERANGE").map(str::to_owned);
                    next.map = Some(Map { uri: uri.to_owned(), range });
                }
                None => self.violation(line, "RFC 8216 §4.3.2.5", "EXT-X-MAP without URI"),
            },
            "#EXT-X-SERVER-CONTROL" => {
                self.playlist.block_reload = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
                self.playlist.hold_back = attribute(value, "HOLD-BACK").map(|text| self.number(line, text));
                self.playlist.part_hold_back = attribute(value, "PART-HOLD-BACK").map(|text| self.number(line, text));
            }
            "#EXT-X-PART-INF" => match attribute(value, "PART-TARGET") {
                Some(target) => self.playlist.part_target = Some(self.number(line, target)),
                None => self.violation(line, "bis §4.4.3.7", "EXT-X-PART-INF without PART-TARGET"),
            },
            "#EXT-X-PART" => {
                let duration = attribute(value, "DURATION").map(|text| self.number(line, text));
                match (attribute(value, "URI"), duration) {
                    (Some(uri), Some(duration)) => next.parts.push(Part { line, uri: uri.to_owned(), duration }),
                    _ => self.violation(line, "bis §4.4.4.9", "EXT-X-PART without URI or DURATION"),
                }
            }
            "#EXT-X-PRELOAD-HINT" if attribute(value, "TYPE") == Some("PART") => {
                self.playlist.hint = attribute(value, "URI").map(str::to_owned);
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        let playlist = self.playlist.clone();
        if let Some(target) = playlist.target {
            for segment in &playlist.segments {
                if segment.duration.round() > target as f64 {
                    let message =
                        format!("{} s, rounded, is more than the target duration of {target} s", segment.duration);
                    self.violation(segment.line, "RFC 8216 §4.3.3.1", message);
                }
            }
        } else {
            self.violation(0, "RFC 8216 §4.3.3.1", "no EXT-X-TARGETDURATION");
        }
        for segment in playlist.played() {
            if segment.map.is_none() && !segment.gap {
                self.violation(segment.line, "RFC 8216 §3.3", "a fragmented MP4 segment without EXT-X-MAP");
            }
            if segment.discontinuities > 1 {
                self.violation(segment.line, "RFC 8216 §4.3.2.3", "two EXT-X-DISCONTINUITY before one segment");
            }
        }
        if playlist.segments.iter().any(|segment| segment.map.is_some()) && playlist.version < 6 {
            self.violation(0, "RFC 8216 §7", "EXT-X-MAP needs EXT-X-VERSION 6");
        }
        let mut uris = BTreeMap::new();
        for segment in playlist.segments.iter().filter(|segment| !segment.gap) {
            if uris.insert((&segment.uri, &segment.range), segment.line).is_some() {
                self.violation(segment.line, "RFC 8216 §6.2.2", format!("{} stands twice", segment.uri));
            }
        }
        for pair in playlist.segments.windows(2) {
            if let (Some(before), Some(after), 0) = (pair[0].time, pair[1].time, pair[1].discontinuities)
                && (after - before - pair[0].duration).abs() > 0.5
            {
                let message = format!("{} s after {before} plus {} s", after, pair[0].duration);
                self.violation(pair[1].line, "RFC 8216 §4.3.2.6", message);
            }
        }
        self.check_parts(&playlist);
    }

    fn check_parts(&mut self, playlist: &Playlist) {
        let any = playlist.segments.iter().any(|segment| !segment.parts.is_empty()) || !playlist.open.parts.is_empty();
        let Some(target) = playlist.part_target else {
            if any {
                self.violation(0, "bis §4.4.3.7", "EXT-X-PART without EXT-X-PART-INF");
            }
            return;
        };
        if !playlist.block_reload {
            self.violation(0, "bis B.1", "low latency without CAN-BLOCK-RELOAD=YES");
        }
        match playlist.part_hold_back {
            None => self.violation(0, "bis §4.4.3.8", "EXT-X-PART-INF without PART-HOLD-BACK"),
            Some(hold_back) if hold_back < target * 3.0 => {
                self.violation(
                    0,
                    "bis §4.4.3.8",
                    format!("PART-HOLD-BACK {hold_back} is less than three times {target}"),
                );
            }
            Some(_) => {}
        }
        for (segment, whole) in
            playlist.segments.iter().map(|segment| (segment, true)).chain(std::iter::once((&playlist.open, false)))
        {
            for (index, part) in segment.parts.iter().enumerate() {
                if part.duration > target {
                    self.violation(
                        part.line,
                        "bis §4.4.4.9",
                        format!("{} s is longer than PART-TARGET", part.duration),
                    );
                }
                // The last part of a whole segment may be short. So may the newest of the one being made, when it ends it.
                let last = index + 1 == segment.parts.len();
                if !last && part.duration < target * 0.85 {
                    self.violation(
                        part.line,
                        "bis §4.4.4.9",
                        format!("{} s is under 85 % of PART-TARGET", part.duration),
                    );
                }
            }
            let sum: f64 = segment.parts.iter().map(|part| part.duration).sum();
            if whole && !segment.parts.is_empty() && (sum - segment.duration).abs() > 0.001 {
                self.violation(segment.line, "bis §4.4.4.9", format!("parts of {sum} s in {} s", segment.duration));
            }
        }
        if let (Some(hold_back), Some(seconds)) = (playlist.hold_back, playlist.target)
            && hold_back < seconds as f64 * 3.0
        {
            self.violation(0, "bis §4.4.3.8", "HOLD-BACK is less than three target durations");
        }
        if let Some(hint) = &playlist.hint
            && playlist
                .open
                .parts
                .iter()
                .chain(playlist.segments.iter().flat_map(|segment| &segment.parts))
                .any(|part| part.uri == *hint)
        {
            self.violation(0, "bis §4.4.5.3", "EXT-X-PRELOAD-HINT for a part that is listed");
        }
    }
}

/// What is wrong with a media playlist, by itself.
pub fn lint(text: &str) -> Vec<Violation> {
    let mut parser = Parser::parse(text);
    parser.check();
    parser.violations
}

/// The initialisation sections that a playlist names.
pub fn maps(text: &str) -> BTreeSet<Map> {
    Parser::parse(text).playlist.played().filter_map(|segment| segment.map.clone()).collect()
}

/// Where a playlist goes from one initialisation section to another without a discontinuity.
pub(super) fn joints(text: &str) -> Vec<Joint> {
    let playlist = Parser::parse(text).playlist;
    let mut joints = Vec::new();
    let mut before: Option<&Map> = None;
    for segment in playlist.played() {
        if segment.discontinuities > 0 {
            before = None;
        }
        // A gap is not loaded, and neither is its section.
        let Some(map) = segment.map.as_ref().filter(|_| !segment.gap) else { continue };
        if let Some(before) = before.filter(|before| *before != map) {
            joints.push(Joint { line: segment.line, before: before.clone(), after: map.clone() });
        }
        before = Some(map);
    }
    joints
}

/// What is wrong with `after`, fetched later than `before` from the same address.
pub fn lint_successor(before: &str, after: &str) -> Vec<Violation> {
    let (old, mut parser) = (Parser::parse(before).playlist, Parser::parse(after));
    parser.violations.clear();
    let new = parser.playlist.clone();
    if new.media_sequence < old.media_sequence {
        let message = format!("media sequence went back from {} to {}", old.media_sequence, new.media_sequence);
        parser.violation(0, "RFC 8216 §6.2.2", message);
    }
    if new.discontinuity_sequence < old.discontinuity_sequence {
        let message = format!(
            "discontinuity sequence went back from {} to {}",
            old.discontinuity_sequence, new.discontinuity_sequence
        );
        parser.violation(0, "RFC 8216 §6.2.2", message);
    }
    if new.end() < old.end() {
        parser.violation(0, "RFC 8216 §6.2.1", format!("it ends at {} after {}", new.end(), old.end()));
    }
    let (before, after) = (old.identities(), new.identities());
    for (identity, was) in &before {
        if let Some(is) = after.get(identity).filter(|is| *is != was) {
            let message = format!("{}: number and discontinuity sequence {was:?} became {is:?}", identity.0);
            parser.violation(0, "RFC 8216 §6.2.2", message);
        }
    }
    for number in new.media_sequence.max(old.media_sequence)..old.end().min(new.end()) {
        let was = &old.segments[(number - old.media_sequence) as usize];
        let is = &new.segments[(number - new.media_sequence) as usize];
        if (&was.uri, was.duration, &was.map, was.discontinuities)
            != (&is.uri, is.duration, &is.map, is.discontinuities)
        {
            parser.violation(is.line, "RFC 8216 §6.2.1", format!("segment {number} changed"));
        }
    }
    // Without any segment in common a restarted server may be another one; the numbers above must go on even so.
    if new.media_sequence < old.end() && new.target != old.target {
        parser.violation(
            0,
            "RFC 8216 §6.2.1",
            format!("target duration changed from {:?} to {:?}", old.target, new.target),
        );
    }
    let removed = new.media_sequence > old.media_sequence && new.media_sequence < old.end();
    let three_targets = new.target.map(|target| i64::try_from(target).unwrap_or(i64::MAX).saturating_mul(3_000_000));
    if removed && !new.ended && three_targets.is_some_and(|least| new.micros() < least) {
        parser.violation(0, "RFC 8216 §6.2.2", "segments were removed although three target durations do not remain");
    }
    parser.violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:2\n#EXT-X-MAP:URI=\"a.mp4\"\n#EXTINF:4.4,\n7.m4s\n#EXTINF:4,\n8.m4s\n#EXTINF:4,\n9.m4s\n\
        #EXTINF:4,\n10.m4s\n";

    fn rules(text: &str) -> Vec<&'static str> {
        lint(text).into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn each_broken_rule_is_named() {
        assert_eq!(rules(GOOD), [""; 0]);
        for (from, to, rule) in [
            ("#EXTM3U\n", "", "RFC 8216 §4.3.1.1"),
            ("4.4,", "4.5,", "RFC 8216 §4.3.3.1"),
            ("#EXT-X-MAP:URI=\"a.mp4\"\n", "", "RFC 8216 §3.3"),
            ("#EXT-X-VERSION:6", "#EXT-X-VERSION:5", "RFC 8216 §7"),
            ("#EXTINF:4,\n8.m4s", "8.m4s", "RFC 8216 §4.3.2.1"),
            ("8.m4s", "7.m4s", "RFC 8216 §6.2.2"),
            ("#EXTINF:4,\n9", "#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\n9", "RFC 8216 §4.3"),
            ("#EXT-X-TARGETDURATION:4\n", "", "RFC 8216 §4.3.3.1"),
        ] {
            let broken = GOOD.replacen(from, to, 1);
            assert_ne!(broken, GOOD);
            assert!(rules(&broken).contains(&rule), "{rule}: {:?}", lint(&broken));
        }
    }

    #[test]
    fn each_broken_rule_of_parts_is_named() {
        let good = GOOD.replace(
            "#EXT-X-MEDIA",
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA",
        ) + "#EXT-X-PART:DURATION=0.5,URI=\"11.0.m4s\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.43,URI=\"11.1.m4s\"\n\
             #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"11.2.m4s\"\n";
        assert_eq!(rules(&good), [""; 0]);
        for (from, to, rule) in [
            ("CAN-BLOCK-RELOAD=YES,", "", "bis B.1"),
            ("HOLD-BACK=1.5", "HOLD-BACK=1.4", "bis §4.4.3.8"),
            ("DURATION=0.5,", "DURATION=0.51,", "bis §4.4.4.9"),
            ("DURATION=0.5,", "DURATION=0.42,", "bis §4.4.4.9"),
            ("#EXT-X-PART-INF:PART-TARGET=0.5\n", "", "bis §4.4.3.7"),
            ("URI=\"11.2.m4s\"", "URI=\"11.1.m4s\"", "bis §4.4.5.3"),
        ] {
            let broken = good.replacen(from, to, 1);
            assert_ne!(broken, good);
            assert!(rules(&broken).contains(&rule), "{rule}: {:?}", lint(&broken));
        }
    }

    #[test]
    fn what_two_fetches_must_keep() {
        let next =
            GOOD.replace("SEQUENCE:7", "SEQUENCE:8").replace("#EXTINF:4.4,\n7.m4s\n", "") + "#EXTINF:4,\n11.m4s\n";
        assert_eq!(lint_successor(GOOD, &next), []);
        for broken in [
            GOOD.replace("MEDIA-SEQUENCE:7", "MEDIA-SEQUENCE:6"),
            GOOD.replace("DISCONTINUITY-SEQUENCE:2", "DISCONTINUITY-SEQUENCE:1"),
            next.replace("MEDIA-SEQUENCE:8", "MEDIA-SEQUENCE:9"),
            next.replace("TARGETDURATION:4", "TARGETDURATION:5"),
            next.replace("#EXTINF:4,\n9", "#EXTINF:3,\n9"),
            GOOD.replace("#EXTINF:4,\n10.m4s\n", ""),
            next.replace("#EXTINF:4,\n10.m4s\n#EXTINF:4,\n11.m4s\n", ""),
        ] {
            assert_ne!(lint_successor(GOOD, &broken), [], "{broken}");
        }
    }

    #[test]
    fn exactly_three_target_durations_are_enough() {
        let of = |numbers: std::ops::Range<u32>| {
            let head = format!(
                "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:8\n#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-MAP:URI=\"a.mp4\"\n",
                numbers.start
            );
            numbers.fold(head, |text, number| text + &format!("#EXTINF:1.20000,\n{number}.m4s\n"))
        };
        assert_eq!(lint_successor(&of(0..20), &of(1..21)), [], "20 of 1.2 s are 24 s");
        assert_ne!(lint_successor(&of(0..20), &of(2..21)), []);
    }
}
