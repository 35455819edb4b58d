//! A reader of HLS media playlists that is no part of the program, so that both can be wrong only independently; and the
//! program's own linter for the rules.

use std::collections::BTreeMap;

use camera_operator::media::hls::lint;
use camera_operator::media::hls::lint_headers::lint_headers;

use super::http::{self, Answer};

/// One segment of a playlist.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segment {
    /// Absolute URL.
    pub url: String,
    /// Seconds.
    pub duration: f64,
    /// `EXT-X-DISCONTINUITY` stands before it.
    pub discontinuity: bool,
    /// Offset and length, where it is a part of a file.
    pub range: Option<(u64, u64)>,
    /// Absolute URL of its `EXT-X-MAP`.
    pub map: String,
    /// Offset and length of the map.
    pub map_range: Option<(u64, u64)>,
    /// `EXT-X-PROGRAM-DATE-TIME`.
    pub time: Option<jiff::Timestamp>,
    /// `EXT-X-GAP`.
    pub gap: bool,
}

/// A media playlist.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Playlist {
    /// Where it was fetched.
    pub url: String,
    /// As it was fetched.
    pub text: String,
    /// `EXT-X-MEDIA-SEQUENCE`.
    pub media_sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// The segments.
    pub segments: Vec<Segment>,
    /// `EXT-X-ENDLIST`.
    pub ended: bool,
}

/// Fetches a playlist; `None` while there is none.
pub fn fetch(url: &str) -> Option<(Answer, Playlist)> {
    let answer = http::get(url).ok().filter(|answer| answer.status == 200)?;
    let playlist = parse(url, &answer.text());
    Some((answer, playlist))
}

fn parse_range(text: &str, implied: u64) -> (u64, u64) {
    let (length, offset) = text.split_once('@').unwrap_or((text, ""));
    (offset.parse().unwrap_or(implied), length.parse().unwrap())
}

/// Reads a playlist that was fetched from `url`.
pub fn parse(url: &str, text: &str) -> Playlist {
    let base = url::Url::parse(url).unwrap();
    let absolute = |relative: &str| base.join(relative).unwrap().to_string();
    let mut playlist = Playlist { url: url.to_owned(), text: text.to_owned(), ..Playlist::default() };
    let mut next = Segment::default();
    let mut end_of_last = 0;
    for line in text.lines() {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = value.parse().unwrap(),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = value.parse().unwrap(),
            "#EXTINF" => next.duration = value.split(',').next().unwrap().parse().unwrap(),
            "#EXT-X-DISCONTINUITY" => next.discontinuity = true,
            "#EXT-X-GAP" => next.gap = true,
            "#EXT-X-BYTERANGE" => next.range = Some(parse_range(value, end_of_last)),
            "#EXT-X-PROGRAM-DATE-TIME" => next.time = Some(value.parse().unwrap()),
            "#EXT-X-MAP" => {
                let attribute = |name: &str| {
                    value.split_once(&format!("{name}=\"")).and_then(|(_, rest)| Some(rest.split_once('"')?.0))
                };
                next.map = absolute(attribute("URI").unwrap());
                next.map_range = attribute("BYTERANGE").map(|range| parse_range(range, 0));
            }
            "#EXT-X-ENDLIST" => playlist.ended = true,
            _ if line.starts_with('#') || line.is_empty() => {}
            _ => {
                next.url = absolute(line);
                end_of_last = next.range.map_or(0, |(offset, length)| offset + length);
                let (map, map_range) = (next.map.clone(), next.map_range);
                playlist.segments.push(std::mem::take(&mut next));
                (next.map, next.map_range) = (map, map_range);
            }
        }
    }
    playlist
}

fn download(url: &str, range: Option<(u64, u64)>) -> Vec<u8> {
    let answer = match range {
        Some((offset, length)) => {
            let value = format!("bytes={offset}-{}", offset + length - 1);
            let answer = http::request("GET", url, &[("range", &value)]).unwrap();
            assert_eq!(answer.status, 206, "{url} {value}: {}", answer.text());
            assert_eq!(answer.body.len() as u64, length, "{url} {value}");
            answer
        }
        None => http::get(url).unwrap(),
    };
    assert!(answer.status < 300, "{url}: {} {}", answer.status, answer.text());
    answer.body.to_vec()
}

/// Downloads segments that share a map, one after the other, as one file for each map.
pub fn download_all(segments: &[Segment], folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<std::path::PathBuf> = Vec::new();
    let mut bytes = Vec::new();
    let mut map = None;
    for segment in segments.iter().filter(|segment| !segment.gap) {
        let its = Some((segment.map.clone(), segment.map_range));
        if map != its || segment.discontinuity {
            flush(&mut bytes, folder, &mut files);
            bytes = download(&segment.map, segment.map_range);
            map = its;
        }
        bytes.extend(download(&segment.url, segment.range));
    }
    flush(&mut bytes, folder, &mut files);
    files
}

fn flush(bytes: &mut Vec<u8>, folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    if !bytes.is_empty() {
        let path = folder.join(format!("{:03}.mp4", files.len()));
        std::fs::write(&path, std::mem::take(bytes)).unwrap();
        files.push(path);
    }
}

/// The initialisation sections that a playlist names, downloaded: each must be there.
fn sections(playlist: &Playlist) -> BTreeMap<lint::Map, Vec<u8>> {
    let base = url::Url::parse(&playlist.url).unwrap();
    let download = |map: lint::Map| {
        let range = map.range.as_deref().map(|range| parse_range(range, 0));
        let bytes = download(base.join(&map.uri).unwrap().as_str(), range);
        (map, bytes)
    };
    lint::maps(&playlist.text).into_iter().map(download).collect()
}

/// The playlist keeps the rules of RFC 8216 and its bis, by itself, with its initialisation sections, and after an earlier fetch
/// of it.
pub fn assert_clean(playlist: &Playlist, earlier: Option<&Playlist>) {
    let text = &playlist.text;
    let mut violations = lint::lint(text);
    violations.extend(lint_headers(text, &sections(playlist)));
    assert!(violations.is_empty(), "{violations:#?}\n{text}");
    if let Some(earlier) = earlier {
        let violations = lint::lint_successor(&earlier.text, text);
        assert!(violations.is_empty(), "{violations:#?}\n{}\n{text}", earlier.text);
    }
    // What players stumble over most, once more and independently.
    let target: f64 = text.lines().find_map(|line| line.strip_prefix("#EXT-X-TARGETDURATION:")?.parse().ok()).unwrap();
    for segment in &playlist.segments {
        assert!(segment.duration.round() <= target, "EXTINF {} over the target duration\n{text}", segment.duration);
        assert!(segment.gap || !segment.map.is_empty(), "no EXT-X-MAP\n{text}");
    }
    if let Some(earlier) = earlier {
        assert!(
            playlist.media_sequence >= earlier.media_sequence,
            "media sequence went back\n{}\n{text}",
            earlier.text
        );
        assert!(
            playlist.discontinuity_sequence >= earlier.discontinuity_sequence,
            "discontinuity sequence went back\n{}\n{text}",
            earlier.text
        );
        let number = |of: &Playlist, segment: &Segment| {
            of.segments
                .iter()
                .position(|other| other.url == segment.url && other.range == segment.range)
                .map(|at| of.media_sequence + at as u64)
        };
        for segment in &earlier.segments {
            if let Some(now) = number(playlist, segment) {
                assert_eq!(
                    number(earlier, segment),
                    Some(now),
                    "{} changed its number\n{}\n{text}",
                    segment.url,
                    earlier.text
                );
            }
        }
    }
}
