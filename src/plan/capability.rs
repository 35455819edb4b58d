//! What an output can carry, in one table: asked when planning, of the codec that is encoded or, by copy, of the source's as far
//! as that is known before it runs, and again by outputs when frames come. Pure.

use crate::api::camera::{CameraSource, V4l2Format};
use crate::media::frame::Codec;

/// What carries frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// HLS segments (fragmented MP4 as RFC 8216 and its bis have it).
    Hls,
    /// Motion JPEG; re-encoded where it must be, so that it carries any pictures.
    Mjpeg,
    /// A file of the archive.
    Recording,
    /// A push over RTMP: FLV, as servers know it (FFmpeg 5.1 refuses H.265 in it).
    Rtmp,
    /// A push over SRT: an MPEG transport stream (ISO/IEC 13818-1).
    Srt,
    /// A push over RTSP: RTP.
    Rtsp,
}

/// All carriers, for tables.
pub const CARRIERS: [Carrier; 6] =
    [Carrier::Hls, Carrier::Mjpeg, Carrier::Recording, Carrier::Rtmp, Carrier::Srt, Carrier::Rtsp];
/// All codecs, for tables.
pub const CODECS: [Codec; 5] = [Codec::H264, Codec::H265, Codec::Mjpeg, Codec::Aac, Codec::Opus];

impl Carrier {
    /// What carries a push to a URL; `None` for one that nothing can be sent to.
    pub fn of_push(url: &str) -> Option<Self> {
        match url.split_once("://")?.0 {
            "rtmp" | "rtmps" => Some(Self::Rtmp),
            "srt" => Some(Self::Srt),
            "rtsp" => Some(Self::Rtsp),
            _ => None,
        }
    }

    /// Whether frames of this codec can be carried.
    pub const fn carries(self, codec: Codec) -> bool {
        match (self, codec) {
            // Players know no Motion JPEG in HLS, and Motion JPEG has no sound.
            (Self::Hls | Self::Rtmp | Self::Srt | Self::Rtsp, Codec::Mjpeg)
            | (Self::Mjpeg, Codec::Aac | Codec::Opus)
            | (Self::Rtmp, Codec::H265 | Codec::Opus) => false,
            _ => true,
        }
    }

    /// One sentence for the condition `CodecNotCarried`; `None` where the codec is carried.
    pub fn refusal(self, codec: Codec) -> Option<String> {
        if self.carries(codec) {
            return None;
        }
        let (carrier, advice) = match self {
            Self::Hls => ("HLS", "add video: {codec: H264}, use output.mjpeg, or let the camera send H264 or H265"),
            Self::Mjpeg => ("Motion JPEG", "use output.hls for sound"),
            Self::Recording => ("the archive", "let the camera send H264 or H265"),
            Self::Rtmp => ("RTMP", "add video: {codec: H264}, or let the camera send H264, and AAC for sound"),
            Self::Srt => ("SRT", "add video: {codec: H264}, or let the camera send H264 or H265"),
            Self::Rtsp => ("a push over RTSP", "add video: {codec: H264}, or let the camera send H264 or H265"),
        };
        Some(format!("{carrier} cannot carry {}: {advice}", codec.name()))
    }
}

/// The codec of a source's pictures, where it is known before the source runs.
pub fn known_video_codec(source: &CameraSource) -> Option<Codec> {
    if source.test.is_some() {
        return Some(Codec::H264);
    }
    source.v4l2.as_ref().map(|device| match device.input_format {
        None | Some(V4l2Format::Mjpeg) => Codec::Mjpeg,
        Some(V4l2Format::H264) => Codec::H264,
        Some(V4l2Format::H265) => Codec::H265,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix() {
        let mut table = String::new();
        for carrier in CARRIERS {
            for codec in CODECS {
                let carried = if carrier.carries(codec) { "yes" } else { "no" };
                table += &format!("{carrier:?} {}: {carried}\n", codec.name());
                assert_eq!(carrier.refusal(codec).is_none(), carrier.carries(codec));
            }
        }
        insta::assert_snapshot!(table, @r"
        Hls H264: yes
        Hls H265: yes
        Hls MJPEG: no
        Hls AAC: yes
        Hls Opus: yes
        Mjpeg H264: yes
        Mjpeg H265: yes
        Mjpeg MJPEG: yes
        Mjpeg AAC: no
        Mjpeg Opus: no
        Recording H264: yes
        Recording H265: yes
        Recording MJPEG: yes
        Recording AAC: yes
        Recording Opus: yes
        Rtmp H264: yes
        Rtmp H265: no
        Rtmp MJPEG: no
        Rtmp AAC: yes
        Rtmp Opus: no
        Srt H264: yes
        Srt H265: yes
        Srt MJPEG: no
        Srt AAC: yes
        Srt Opus: yes
        Rtsp H264: yes
        Rtsp H265: yes
        Rtsp MJPEG: no
        Rtsp AAC: yes
        Rtsp Opus: yes
        ");
    }
}
