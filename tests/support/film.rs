//! A short film that is known picture by picture.

use std::process::Command;

/// A film: access units in decoding order.
#[derive(Clone)]
pub struct Film {
    /// Pictures a second.
    pub rate: i64,
    /// NAL units of each picture, without start codes, and when it is shown, in pictures.
    pub pictures: Vec<(Vec<Vec<u8>>, i64)>,
    /// As SDP names it.
    pub codec: &'static str,
    /// Parameter sets.
    pub sets: Vec<Vec<u8>>,
}

impl Film {
    /// Encodes one with `libx264` or `libx265`; parameter sets are taken out of the pictures.
    pub fn encode(codec: &'static str, seconds: u32, b_frames: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("film.mp4");
        let bare = folder.path().join(if codec == "H264" { "film.h264" } else { "film.h265" });
        let (encoder, parameters) = match codec {
            "H264" => ("libx264", "-x264-params"),
            _ => ("libx265", "-x265-params"),
        };
        let settings =
            format!("bframes={b_frames}:b-adapt=0:keyint=25:min-keyint=25:scenecut=0:log-level=none:repeat-headers=1");
        let settings =
            if codec == "H264" { settings.replace("log-level=none:repeat-headers=1", "open-gop=0") } else { settings };
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t"])
            .arg(seconds.to_string())
            .args(["-c:v", encoder, "-preset", "veryfast", "-threads", "1", parameters, &settings])
            .arg(&file)
            .status()
            .unwrap();
        assert!(made.success());
        let copied = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-i"])
            .arg(&file)
            .args([
                "-c",
                "copy",
                "-bsf:v",
                if codec == "H264" {
                    "h264_mp4toannexb,h264_metadata=aud=insert"
                } else {
                    "hevc_mp4toannexb,hevc_metadata=aud=insert"
                },
            ])
            .arg(&bare)
            .status()
            .unwrap();
        assert!(copied.success());
        let shown = super::judge::packets(file.to_str().unwrap(), "v").into_iter().map(|packet| packet.pts);
        let shown: Vec<i64> = shown.map(|at| (at * 25.0).round() as i64).collect();
        let first = shown.iter().min().copied().unwrap();
        let mut pictures: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut sets: Vec<Vec<u8>> = Vec::new();
        let bytes = std::fs::read(bare).unwrap();
        for unit in units(&bytes) {
            let (delimiter, set) = match codec {
                "H264" => (unit[0] & 0x1f == 9, matches!(unit[0] & 0x1f, 7 | 8)),
                _ => (unit[0] >> 1 & 0x3f == 35, matches!(unit[0] >> 1 & 0x3f, 32..=34)),
            };
            if delimiter {
                pictures.push(Vec::new());
            } else if set {
                if !sets.contains(&unit.to_vec()) {
                    sets.push(unit.to_vec());
                }
            } else {
                pictures.last_mut().unwrap().push(unit.to_vec());
            }
        }
        assert_eq!(pictures.len(), shown.len(), "a delimiter stands before each picture");
        let pictures = pictures.into_iter().zip(shown.into_iter().map(|at| at - first)).collect();
        Self { rate: 25, pictures, codec, sets }
    }

    /// Only the pictures that can be decoded by themselves, so many a second: a film that costs little to send.
    pub fn of_key_frames(mut self, rate: i64) -> Self {
        let keys: Vec<bool> = (0..self.pictures.len()).map(|index| self.is_key(index)).collect();
        let mut keys = keys.into_iter();
        self.pictures.retain(|_| keys.next() == Some(true));
        for (number, (_, shown)) in self.pictures.iter_mut().enumerate() {
            *shown = number as i64;
        }
        self.rate = rate;
        self
    }

    /// Whether a picture can be decoded by itself.
    pub fn is_key(&self, index: usize) -> bool {
        self.pictures[index].0.iter().any(|unit| match self.codec {
            "H264" => unit[0] & 0x1f == 5,
            _ => matches!(unit[0] >> 1 & 0x3f, 16..=21),
        })
    }
}

/// NAL units of an Annex B stream; zeros at their ends are the stream's (ITU-T H.264 §B.1.1).
fn units(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..bytes.len().saturating_sub(2)).filter(|at| bytes[*at..*at + 3] == [0, 0, 1]).collect();
    let ends = starts.iter().copied().skip(1).chain([bytes.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| &bytes[start + 3..end]);
    units
        .map(|unit| &unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)])
        .filter(|unit| !unit.is_empty())
        .collect()
}
