//! The index of an hour as a file: an HLS media playlist (RFC 8216) that any player plays as it stands, and that is read back
//! without loss through tags of our own, which players ignore (RFC 8216 §6.3.1). Pure: text in, text out.
//!
//! A checksum closes it, so that a torn or edited index is noticed and rebuilt from the media files instead of believed.

use std::fmt::Write as _;

use super::index::{ByteRange, FileEntry, FileName, Hour};
use crate::media::frame::{RunId, UtcMicros};

/// Class of the date ranges that mark gaps.
pub const GAP_CLASS: &str = "camera-operator.dev/gap";

const INDEX: &str = "#EXT-X-CAMERA-OPERATOR-INDEX:";
const FILE: &str = "#EXT-X-CAMERA-OPERATOR-FILE:";
const RANGE: &str = "#EXT-X-CAMERA-OPERATOR-RANGE:";
const END: &str = "#EXT-X-CAMERA-OPERATOR-END:";
const BYTERANGE: &str = "#EXT-X-BYTERANGE:";
/// Version of our tags.
const VERSION: u32 = 1;

/// Why a playlist cannot be used as an index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Unreadable {
    /// From 1; 0 for the whole.
    pub line: usize,
    /// What is wrong.
    pub what: &'static str,
}

/// Writes the playlist of an hour. `files` stand in order (run, then sequence); `ended` says that no file will be added.
pub fn format(hour: Hour, files: &[FileEntry], ended: bool) -> String {
    let ranges = || files.iter().flat_map(|file| &file.ranges);
    let target = ranges().map(|range| seconds_rounded(range.duration_micros)).max().unwrap_or(0).max(1);
    let mut text = String::with_capacity(1024 + files.len() * 512 + ranges().count() * 256);
    text.push_str("#EXTM3U\n#EXT-X-VERSION:7\n");
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
    text.push_str("#EXT-X-MEDIA-SEQUENCE:0\n");
    if ended {
        text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n");
    }
    if ranges().all(|range| range.independent) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    let _ = writeln!(text, "{INDEX}VERSION={VERSION},HOUR=\"{hour}\"");
    let mut before: Option<&FileEntry> = None;
    for (number, file) in files.iter().enumerate() {
        write_file(&mut text, file, before);
        write_gap(&mut text, file, files.get(number + 1));
        before = Some(file);
    }
    if ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    let checksum = crc32fast::hash(text.as_bytes());
    let _ = writeln!(text, "{END}FILES={},CRC32={checksum:08x}", files.len());
    text
}

fn seconds_rounded(micros: i64) -> i64 {
    micros.saturating_add(500_000) / 1_000_000
}

fn write_file(text: &mut String, file: &FileEntry, before: Option<&FileEntry>) {
    let uri = file.name.file();
    let yes_no = |yes| if yes { "YES" } else { "NO" };
    let _ = write!(
        text,
        "{FILE}NAME=\"{uri}\",RUN={},FIRST={},LAST={},START={},END={},COVERED={},HEADER={},BYTES={},CODECS=\"{}\",WIDTH={},\
         HEIGHT={},CLOSED={},DEPENDENT={}",
        file.run,
        file.first_sequence,
        file.last_sequence,
        file.start.0,
        file.end.0,
        file.covered_micros,
        file.header_bytes,
        file.bytes,
        quotable(&file.codecs),
        file.width,
        file.height,
        yes_no(file.closed),
        yes_no(file.dependent),
    );
    if let Some(reason) = &file.gap_after {
        let _ = write!(text, ",GAP-AFTER=\"{}\"", quotable(reason));
    }
    text.push('\n');
    if file.ranges.is_empty() {
        return;
    }
    if before.is_some_and(|before| !before.continues_in(file)) {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    let _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{}@0\"", file.header_bytes);
    for range in &file.ranges {
        let micros = range.duration_micros.max(0);
        let _ = write!(
            text,
            "{RANGE}START={},DURATION={},INDEPENDENT={}\n#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:{}.{:06},\n{BYTERANGE}{}@{}\n{uri}\n",
            range.start.0,
            range.duration_micros,
            yes_no(range.independent),
            range.start,
            micros / 1_000_000,
            micros % 1_000_000,
            range.length,
            range.offset,
        );
    }
}

/// A gap as a date range (RFC 8216 §4.3.2.7), for players that show such things; without an end where the next file is not in
/// this hour.
fn write_gap(text: &mut String, file: &FileEntry, after: Option<&FileEntry>) {
    let Some(reason) = &file.gap_after else { return };
    let end = match after {
        Some(after) if after.start <= file.end => return,
        Some(after) => format!(",END-DATE=\"{}\"", after.start),
        None => String::new(),
    };
    let _ = writeln!(
        text,
        "#EXT-X-DATERANGE:ID=\"gap-{}-{}\",CLASS=\"{GAP_CLASS}\",START-DATE=\"{}\"{end},X-REASON=\"{}\"",
        file.run,
        file.last_sequence,
        file.end,
        quotable(reason)
    );
}

/// What may stand in a quoted string (RFC 8216 §4.2): no line feed, no carriage return, no double quote.
fn quotable(text: &str) -> String {
    text.chars().filter(|character| !matches!(character, '"' | '\n' | '\r')).collect()
}

/// Reads what [`format`] wrote.
///
/// # Errors
/// When it is not whole, or not of this `hour`: it must then be rebuilt.
pub fn parse(hour: Hour, text: &str) -> Result<Vec<FileEntry>, Unreadable> {
    let (body, trailer) = text
        .rfind(END)
        .and_then(|at| text.split_at_checked(at))
        .ok_or(Unreadable { line: 0, what: "it has no end" })?;
    let trailer = Attributes(trailer.trim_end().strip_prefix(END).unwrap_or_default());
    let whole = Unreadable { line: 0, what: "the checksum does not fit" };
    let checksum = trailer.get("CRC32").and_then(|text| u32::from_str_radix(text, 16).ok());
    if checksum != Some(crc32fast::hash(body.as_bytes())) {
        return Err(whole);
    }
    if body.contains('\r') {
        return Err(Unreadable { line: 0, what: "it has carriage returns" });
    }
    let mut files: Vec<FileEntry> = Vec::new();
    let mut range: Option<ByteRange> = None;
    let mut of_hour = false;
    for (number, line) in body.lines().enumerate() {
        let wrong = |what| Unreadable { line: number + 1, what };
        if let Some(attributes) = line.strip_prefix(INDEX) {
            let attributes = Attributes(attributes);
            of_hour =
                attributes.number("VERSION") == Some(VERSION) && attributes.get("HOUR") == Some(&hour.to_string());
        } else if let Some(attributes) = line.strip_prefix(FILE) {
            files.push(parse_file(hour, &Attributes(attributes)).ok_or_else(|| wrong("not a file's attributes"))?);
        } else if let Some(attributes) = line.strip_prefix(RANGE) {
            range = Some(parse_range(&Attributes(attributes)).ok_or_else(|| wrong("not a range's attributes"))?);
        } else if let Some(bytes) = line.strip_prefix(BYTERANGE) {
            let (length, offset) = bytes.split_once('@').ok_or_else(|| wrong("not a byte range"))?;
            let mut range = range.take().ok_or_else(|| wrong("a byte range without our attributes"))?;
            range.length = length.parse().map_err(|_| wrong("not a length"))?;
            range.offset = offset.parse().map_err(|_| wrong("not an offset"))?;
            files.last_mut().ok_or_else(|| wrong("a byte range of no file"))?.ranges.push(range);
        }
    }
    if !of_hour {
        return Err(Unreadable { line: 0, what: "it is of another hour or version" });
    }
    if trailer.number("FILES") != Some(files.len()) {
        return Err(whole);
    }
    Ok(files)
}

fn parse_file(hour: Hour, attributes: &Attributes<'_>) -> Option<FileEntry> {
    Some(FileEntry {
        name: FileName::from_file(hour, attributes.get("NAME")?).ok()?,
        run: RunId(attributes.number("RUN")?),
        first_sequence: attributes.number("FIRST")?,
        last_sequence: attributes.number("LAST")?,
        start: UtcMicros(attributes.number("START")?),
        end: UtcMicros(attributes.number("END")?),
        covered_micros: attributes.number("COVERED")?,
        header_bytes: attributes.number("HEADER")?,
        bytes: attributes.number("BYTES")?,
        codecs: attributes.get("CODECS")?.to_owned(),
        width: attributes.number("WIDTH")?,
        height: attributes.number("HEIGHT")?,
        ranges: Vec::new(),
        closed: attributes.get("CLOSED")? == "YES",
        dependent: attributes.get("DEPENDENT")? == "YES",
        gap_after: attributes.get("GAP-AFTER").map(str::to_owned),
    })
}

fn parse_range(attributes: &Attributes<'_>) -> Option<ByteRange> {
    Some(ByteRange {
        offset: 0,
        length: 0,
        start: UtcMicros(attributes.number("START")?),
        duration_micros: attributes.number("DURATION")?,
        independent: attributes.get("INDEPENDENT")? == "YES",
    })
}

/// An attribute list (RFC 8216 §4.2).
struct Attributes<'a>(&'a str);

impl<'a> Attributes<'a> {
    /// The value of an attribute, without quotes.
    fn get(&self, wanted: &str) -> Option<&'a str> {
        let mut rest = self.0;
        loop {
            let (name, after) = rest.split_once('=')?;
            let (value, next) = if let Some(quoted) = after.strip_prefix('"') {
                let (value, next) = quoted.split_once('"')?;
                (value, next.strip_prefix(',').unwrap_or(next))
            } else {
                let (value, next) = after.split_once(',').unwrap_or((after, ""));
                // Never written so.
                (Some(value).filter(|value| !value.contains('"'))?, next)
            };
            if name == wanted {
                return Some(value);
            }
            rest = next;
        }
    }

    fn number<T: std::str::FromStr>(&self, wanted: &str) -> Option<T> {
        self.get(wanted)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hour() -> Hour {
        "2026-11-21/01".parse().expect("hour")
    }

    fn entry(minute: i8, run: u64, gap_after: Option<&str>) -> FileEntry {
        let start = hour().start().plus_micros(i64::from(minute) * 60_000_000);
        let range = |offset, seconds: i64, independent| ByteRange {
            offset,
            length: 1000,
            start: start.plus_micros(seconds * 1_000_000),
            duration_micros: 6_000_000,
            independent,
        };
        FileEntry {
            name: FileName { hour: hour(), minute, counter: 0 },
            run: RunId(run),
            first_sequence: u64::from(minute.unsigned_abs()) * 100,
            last_sequence: u64::from(minute.unsigned_abs()) * 100 + 99,
            start,
            end: start.plus_micros(12_000_000),
            covered_micros: 12_000_000,
            header_bytes: 800,
            bytes: 2800,
            codecs: "avc1.640028,mp4a.40.2".into(),
            width: 1920,
            height: 1080,
            ranges: vec![range(800, 0, true), range(1800, 6, true)],
            closed: true,
            dependent: false,
            gap_after: gap_after.map(str::to_owned),
        }
    }

    #[test]
    fn an_hour_reads_like_this() {
        let files = [entry(37, 1, None), entry(38, 1, Some("Stalled")), entry(40, 2, Some("RecorderDown"))];
        insta::assert_snapshot!(format(hour(), &files, true));
    }

    #[test]
    fn a_player_library_reads_it() {
        let files = [entry(37, 1, None), entry(38, 1, Some("Stalled")), entry(40, 2, None)];
        let text = format(hour(), &files, true);
        let Ok((_, m3u8_rs::Playlist::MediaPlaylist(playlist))) = m3u8_rs::parse_playlist(text.as_bytes()) else {
            panic!("not a media playlist")
        };
        assert_eq!(playlist.segments.len(), 6);
        let discontinuities: Vec<bool> = playlist.segments.iter().map(|segment| segment.discontinuity).collect();
        assert_eq!(discontinuities, [false, false, false, false, true, false]);
        assert!(playlist.end_list && playlist.independent_segments);
        assert_eq!(playlist.segments[1].byte_range.as_ref().and_then(|range| range.offset), Some(1800));
    }

    #[test]
    fn any_tear_is_noticed() {
        let text = format(hour(), &[entry(37, 1, None), entry(38, 1, None)], false);
        for length in 0..text.len() - 1 {
            assert!(parse(hour(), &text[..length]).is_err(), "cut at {length}");
        }
        assert!(parse(hour(), &text.replace("LAST=3799", "LAST=3798")).is_err());
        assert!(parse(hour().plus_hours(1), &text).is_err());
        assert_eq!(parse(hour(), &text).expect("whole").len(), 2);
    }

    prop_compose! {
        fn ranges()(
            offset in any::<u64>(), length in any::<u64>(), start in any::<i64>(), duration in any::<i64>(), independent in any::<bool>()
        ) -> ByteRange {
            ByteRange { offset, length, start: UtcMicros(start), duration_micros: duration / 4, independent }
        }
    }

    prop_compose! {
        fn entries()(
            minute in 0..60i8, counter in any::<u32>(), numbers in any::<[u64; 5]>(), times in any::<[i64; 3]>(),
            codecs in "[a-z0-9.,]{0,20}", size in any::<[u32; 2]>(), ranges in proptest::collection::vec(ranges(), 0..4),
            flags in any::<[bool; 2]>(), gap_after in proptest::option::of("[A-Za-z,= ]{1,12}")
        ) -> FileEntry {
            FileEntry {
                name: FileName { hour: hour(), minute, counter },
                run: RunId(numbers[0]), first_sequence: numbers[1], last_sequence: numbers[2],
                header_bytes: numbers[3], bytes: numbers[4],
                start: UtcMicros(times[0]), end: UtcMicros(times[1]), covered_micros: times[2],
                codecs, width: size[0], height: size[1], ranges, closed: flags[0], dependent: flags[1], gap_after,
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_back(files in proptest::collection::vec(entries(), 0..5), ended in any::<bool>()) {
            prop_assert_eq!(parse(hour(), &format(hour(), &files, ended)), Ok(files));
        }
    }
}
