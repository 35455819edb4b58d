//! Pure: which stretches of which files make up a time span, and the HLS playlist of any span across hours and runs (RFC 8216).
//! Must not read files or the clock.

use std::fmt::Write as _;

use super::index::{ByteRange, FileEntry, Gap};
use super::playlist::GAP_CLASS;
use crate::media::frame::UtcMicros;

/// A longer hole between two files of one run means that a file between them is missing.
const CONTINUOUS_MICROS: i64 = 1_000_000;

/// How far before a span files are looked at, because its first pictures may need an earlier key frame.
pub const LEAD_IN_MICROS: i64 = 3_600_000_000;

/// A file of a span, with those of its ranges that the span needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The file.
    pub file: &'a FileEntry,
    /// Consecutive ranges of it; never empty.
    pub ranges: &'a [ByteRange],
    /// Whether it goes on where the piece before it ends: same run, same codec parameters, nothing missing.
    pub continues: bool,
    /// Whether it is decoded behind the piece before it: it continues, or only time has passed in between.
    pub follows: bool,
}

/// The end of a range in UTC.
pub fn range_end(range: &ByteRange) -> UtcMicros {
    range.start.plus_micros(range.duration_micros.max(0))
}

/// Whether `next` goes on where `file` ends, with no file missing in between.
pub fn goes_on(file: &FileEntry, next: &FileEntry) -> bool {
    file.continues_in(next) && (next.start.0 - file.end.0).abs() <= CONTINUOUS_MICROS
}

/// Whether `next` can be decoded behind `file`: it goes on there, or the camera sent nothing for a while, and then what needs what
/// it had sent before. A file needs the one before it only where nothing is missing: else it would begin at a key frame.
pub fn follows(file: &FileEntry, next: &FileEntry) -> bool {
    // Sequences count the sound, too: where it is not recorded, some are missing.
    let is_next = file.last_sequence.checked_add(1) == Some(next.first_sequence)
        || (file.gap_after.is_some() && !next.codecs.contains(',') && file.first_sequence < next.first_sequence);
    goes_on(file, next) || (next.dependent && file.run == next.run && is_next)
}

/// The pieces of `files` (ordered by run and sequence) that hold `from` to `to`, in order. What cannot be decoded by itself
/// begins earlier, at the independent range before it, be it in the file before.
pub fn pieces(files: &[FileEntry], from: UtcMicros, to: UtcMicros) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    for chain in files.chunk_by(follows) {
        let flat: Vec<(usize, usize)> = chain
            .iter()
            .enumerate()
            .flat_map(|(file, entry)| (0..entry.ranges.len()).map(move |range| (file, range)))
            .collect();
        let range = |place: usize| &chain[flat[place].0].ranges[flat[place].1];
        let wanted = |place: &usize| range(*place).start < to && range_end(range(*place)) > from;
        let Some(first) = (0..flat.len()).find(wanted) else { continue };
        let last = (0..flat.len()).rfind(wanted).unwrap_or(first);
        let first = (0..=first).rfind(|place| range(*place).independent).unwrap_or(first);
        for (number, piece) in flat[first..=last].chunk_by(|one, other| one.0 == other.0).enumerate() {
            let file = &chain[piece[0].0];
            let ranges = &file.ranges[piece[0].1..=piece[piece.len() - 1].1];
            let follows = number > 0;
            let continues = follows && goes_on(&chain[piece[0].0 - 1], file);
            found.push(Piece { file, ranges, continues, follows });
        }
    }
    found
}

/// What a span's playlist says beside its pieces.
#[derive(Debug, Clone, Copy)]
pub struct PlaylistOptions<'a> {
    /// First instant that was asked for: players start there.
    pub from: UtcMicros,
    /// What is missing in the span.
    pub gaps: &'a [Gap],
    /// Whether more is to come: no end is marked, and players ask again.
    pub growing: bool,
}

/// The playlist of a span. URIs are relative to the recording's folder, where it is served: `2026-11-21/01/37.mp4`. `None`
/// where there is nothing to play, because a playlist must not be empty.
pub fn playlist(pieces: &[Piece<'_>], options: PlaylistOptions<'_>) -> Option<String> {
    let ranges = || pieces.iter().flat_map(|piece| piece.ranges);
    ranges().next()?;
    let target = ranges().map(|range| (range.duration_micros.max(0) + 500_000) / 1_000_000).max().unwrap_or(0).max(1);
    let mut text = String::with_capacity(1024 + ranges().count() * 160);
    text.push_str("#EXTM3U\n#EXT-X-VERSION:7\n");
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:0");
    let _ = writeln!(text, "#EXT-X-PLAYLIST-TYPE:{}", if options.growing { "EVENT" } else { "VOD" });
    if ranges().all(|range| range.independent) {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    // In time that is played: a gap takes none.
    let unwanted = |range: &ByteRange| (options.from.0 - range.start.0).clamp(0, range.duration_micros.max(0));
    let late: i64 = ranges().map(unwanted).sum();
    if late > 0 {
        let _ = writeln!(text, "#EXT-X-START:TIME-OFFSET={},PRECISE=YES", seconds(late));
    }
    for gap in options.gaps {
        // A gap that may go on has no end yet, and one tag must not say different things at different times (§4.3.2.7).
        let open = options.growing && options.gaps.last() == Some(gap);
        let end = if open { String::new() } else { format!(",END-DATE=\"{}\"", gap.to) };
        let reason: String = gap.reason.chars().filter(|character| !matches!(character, '"' | '\n' | '\r')).collect();
        let _ = writeln!(
            text,
            "#EXT-X-DATERANGE:ID=\"gap-{}\",CLASS=\"{GAP_CLASS}\",START-DATE=\"{}\"{end},X-REASON=\"{reason}\"",
            gap.from.0, gap.from
        );
    }
    for (number, piece) in pieces.iter().enumerate() {
        let uri = piece.file.name.to_string();
        if number > 0 && !piece.continues {
            text.push_str("#EXT-X-DISCONTINUITY\n");
        }
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\",BYTERANGE=\"{}@0\"", piece.file.header_bytes);
        for range in piece.ranges {
            let _ = writeln!(
                text,
                "#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:{},\n#EXT-X-BYTERANGE:{}@{}\n{uri}",
                range.start,
                seconds(range.duration_micros.max(0)),
                range.length,
                range.offset
            );
        }
    }
    if !options.growing {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    Some(text)
}

/// Decimal seconds with six places.
fn seconds(micros: i64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::index::FileName;
    use super::*;
    use crate::media::frame::RunId;

    const SECOND: i64 = 1_000_000;

    /// A file of two-second ranges, times in seconds.
    pub fn file(run: u64, start: i64, seconds: i64) -> FileEntry {
        let ranges = (0..seconds / 2).map(|number| ByteRange {
            offset: 700 + number as u64 * 1000,
            length: 1000,
            start: UtcMicros((start + number * 2) * SECOND),
            duration_micros: 2 * SECOND,
            independent: true,
        });
        FileEntry {
            name: FileName::of(UtcMicros(start * SECOND)),
            run: RunId(run),
            first_sequence: start as u64 * 10,
            last_sequence: (start + seconds) as u64 * 10 - 1,
            start: UtcMicros(start * SECOND),
            end: UtcMicros((start + seconds) * SECOND),
            covered_micros: seconds * SECOND,
            header_bytes: 700,
            bytes: 700 + seconds as u64 * 500,
            codecs: "avc1.640028".into(),
            width: 640,
            height: 360,
            ranges: ranges.collect(),
            closed: true,
            dependent: false,
            gap_after: None,
        }
    }

    fn taken(pieces: &[Piece<'_>]) -> Vec<(i64, usize, bool)> {
        pieces.iter().map(|piece| (piece.ranges[0].start.0 / SECOND, piece.ranges.len(), piece.continues)).collect()
    }

    #[test]
    fn a_span_takes_the_ranges_it_touches_across_files_hours_and_runs() {
        let files = [file(1, 3540, 60), file(1, 3600, 60), file(2, 3700, 60)];
        let answer = pieces(&files, UtcMicros(3595 * SECOND), UtcMicros(3703 * SECOND));
        assert_eq!(taken(&answer), [(3594, 3, false), (3600, 30, true), (3700, 2, false)]);
        assert!(pieces(&files, UtcMicros(3660 * SECOND), UtcMicros(3700 * SECOND)).is_empty());
    }

    #[test]
    fn what_cannot_be_decoded_alone_begins_earlier() {
        let mut files = [file(1, 0, 60), file(1, 60, 60)];
        files[1].dependent = true;
        files[0].ranges[29].independent = false;
        files[1].ranges[0].independent = false;
        files[1].ranges[1].independent = false;
        let answer = pieces(&files, UtcMicros(63 * SECOND), UtcMicros(65 * SECOND));
        assert_eq!(taken(&answer), [(56, 2, false), (60, 3, true)]);
        let missing = [files[1].clone()];
        assert_eq!(taken(&pieces(&missing, UtcMicros(63 * SECOND), UtcMicros(65 * SECOND))), [(62, 2, false)]);
    }

    #[test]
    fn what_was_sent_after_a_while_in_mid_gop_is_decoded_behind_what_came_before() {
        let mut files = [file(1, 0, 60), file(1, 70, 60)];
        files[0].gap_after = Some("Stalled".into());
        let span = |files: &[FileEntry]| {
            let pieces = pieces(files, UtcMicros(71 * SECOND), UtcMicros(73 * SECOND));
            pieces
                .iter()
                .map(|piece| (piece.ranges[0].start.0 / SECOND, piece.continues, piece.follows))
                .collect::<Vec<_>>()
        };
        assert_eq!(span(&files), [(70, false, false)], "it begins with a key frame");
        files[1].dependent = true;
        files[1].ranges[0].independent = false;
        assert_eq!(span(&files), [(58, false, false), (70, false, true)]);
        let from = UtcMicros(71 * SECOND);
        let options = PlaylistOptions { from, gaps: &[], growing: false };
        let text = playlist(&pieces(&files, from, UtcMicros(73 * SECOND)), options).unwrap_or_default();
        assert!(text.contains("TIME-OFFSET=3.000000"), "a gap takes no time in a playlist\n{text}");
        files[1].codecs = "avc1.640028,mp4a.40.2".into();
        assert_eq!(span(&files), [(70, false, false)], "a file in between is missing");
        files[1].first_sequence = files[0].last_sequence + 1;
        assert_eq!(span(&files), [(58, false, false), (70, false, true)]);
        files[1].run = RunId(2);
        assert_eq!(span(&files), [(70, false, false)], "another run has nothing to do with it");
    }

    #[test]
    fn a_missing_file_breaks_the_run() {
        let files = [file(1, 0, 60), file(1, 120, 60)];
        let answer = pieces(&files, UtcMicros(0), UtcMicros(180 * SECOND));
        assert_eq!(taken(&answer), [(0, 30, false), (120, 30, false)]);
    }

    #[test]
    fn a_playlist_reads_like_this() {
        let files = [file(1, 3596, 4), file(1, 3600, 2), file(2, 3700, 2)];
        let pieces = pieces(&files, UtcMicros(3597 * SECOND), UtcMicros(3702 * SECOND));
        let gaps = [Gap { from: UtcMicros(3602 * SECOND), to: UtcMicros(3700 * SECOND), reason: "Stalled".into() }];
        let options = PlaylistOptions { from: UtcMicros(3597 * SECOND), gaps: &gaps, growing: false };
        insta::assert_snapshot!(playlist(&pieces, options).unwrap_or_default(), @r#"
        #EXTM3U
        #EXT-X-VERSION:7
        #EXT-X-TARGETDURATION:2
        #EXT-X-MEDIA-SEQUENCE:0
        #EXT-X-PLAYLIST-TYPE:VOD
        #EXT-X-INDEPENDENT-SEGMENTS
        #EXT-X-START:TIME-OFFSET=1.000000,PRECISE=YES
        #EXT-X-DATERANGE:ID="gap-3602000000",CLASS="camera-operator.dev/gap",START-DATE="1970-01-01T01:00:02.000Z",END-DATE="1970-01-01T01:01:40.000Z",X-REASON="Stalled"
        #EXT-X-MAP:URI="1970-01-01/00/59.mp4",BYTERANGE="700@0"
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:59:56.000Z
        #EXTINF:2.000000,
        #EXT-X-BYTERANGE:1000@700
        1970-01-01/00/59.mp4
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:59:58.000Z
        #EXTINF:2.000000,
        #EXT-X-BYTERANGE:1000@1700
        1970-01-01/00/59.mp4
        #EXT-X-MAP:URI="1970-01-01/01/00.mp4",BYTERANGE="700@0"
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T01:00:00.000Z
        #EXTINF:2.000000,
        #EXT-X-BYTERANGE:1000@700
        1970-01-01/01/00.mp4
        #EXT-X-DISCONTINUITY
        #EXT-X-MAP:URI="1970-01-01/01/01.mp4",BYTERANGE="700@0"
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T01:01:40.000Z
        #EXTINF:2.000000,
        #EXT-X-BYTERANGE:1000@700
        1970-01-01/01/01.mp4
        #EXT-X-ENDLIST
        "#);
        let growing = playlist(&pieces, PlaylistOptions { growing: true, ..options }).unwrap_or_default();
        assert!(
            !growing.contains("ENDLIST") && !growing.contains("END-DATE") && growing.contains("TYPE:EVENT"),
            "{growing}"
        );
        assert_eq!(playlist(&[], options), None);
    }

    proptest! {
        #[test]
        fn players_get_every_held_moment_of_the_span(
            lengths in prop::collection::vec((1_i64..20, 0_i64..3, any::<bool>()), 1..6), from in 0_i64..100, length in 1_i64..100, independent: u64,
        ) {
            let mut files: Vec<FileEntry> = Vec::new();
            let (mut at, mut run) = (0, 1);
            for (number, (ranges, hole, new_run)) in lengths.into_iter().enumerate() {
                run += u64::from(new_run);
                at += hole * 10;
                let mut next = file(run, at, ranges * 2);
                for (place, range) in next.ranges.iter_mut().enumerate() {
                    range.independent = independent >> ((number * 7 + place) % 64) & 1 == 1;
                }
                files.push(next);
                at += ranges * 2;
            }
            let (from, to) = (UtcMicros(from * SECOND), UtcMicros((from + length) * SECOND));
            let answer = pieces(&files, from, to);
            let listed: Vec<UtcMicros> = answer.iter().flat_map(|piece| piece.ranges).map(|range| range.start).collect();
            for range in files.iter().flat_map(|file| &file.ranges) {
                if range.start < to && range_end(range) > from {
                    prop_assert!(listed.contains(&range.start));
                }
            }
            let mut unique = listed.clone();
            unique.dedup();
            prop_assert_eq!(&unique, &listed, "none twice, all in order");
            if let Some(text) = playlist(&answer, PlaylistOptions { from, gaps: &[], growing: false }) {
                let parsed = m3u8_rs::parse_media_playlist(text.as_bytes()).map(|(_, playlist)| playlist);
                let Ok(parsed) = parsed else { return Err(TestCaseError::fail("not a playlist")) };
                prop_assert_eq!(parsed.segments.len(), listed.len());
                prop_assert!(parsed.end_list);
            } else {
                prop_assert!(listed.is_empty());
            }
        }
    }
}
