//! What a slate looks like, and what FFmpeg is told to draw and encode it. Pure; must not start anything.

use std::fmt::Write as _;

use crate::agent::source::filter_text::filter_text;
use crate::media::frame::Codec;
use crate::media::h264_slice::Tools;

/// Pictures a second: enough for a clock, a whole number of them in any part of Low-Latency HLS.
pub const RATE: i64 = 10;
/// Pictures from one key frame to the next: segments of HLS end there, and viewers begin there.
const KEY_FRAME_EVERY: i64 = 2 * RATE;
/// Size of the slate of a camera that has never been seen.
pub const UNSEEN: (u32, u32) = (1280, 720);

/// What a slate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Above the text: the camera's name.
    pub title: String,
    /// In the middle.
    pub text: String,
    /// It is drawn without any letters, because there is no font.
    pub without_letters: bool,
}

/// How it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Of the pictures.
    pub codec: Codec,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// H.264: what the pictures are made of.
    pub tools: Tools,
}

/// What lies behind the letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// One colour.
    Plain,
    /// A picture on FFmpeg's standard input, the camera's last one: dimmed and out of focus.
    LastPicture,
    /// A picture on FFmpeg's standard input that is the whole slate.
    Image,
}

impl Background {
    /// Whether FFmpeg reads a picture.
    pub const fn is_read(self) -> bool {
        !matches!(self, Self::Plain)
    }
}

/// Arguments of an FFmpeg that writes one picture, a key frame, as fragmented MP4 to its standard output.
pub fn still(card: &Card, shape: Shape, background: Background) -> Vec<String> {
    arguments(&graph(card, shape, background, 0), shape, background, &["-frames:v", "1"])
}

/// Arguments of an FFmpeg that writes pictures in real time for as long as it is read. `away`: for how many seconds the camera
/// has been away when it starts.
pub fn moving(card: &Card, shape: Shape, background: Background, away: u64) -> Vec<String> {
    arguments(&(graph(card, shape, background, away) + ",realtime"), shape, background, &[])
}

fn arguments(graph: &str, shape: Shape, background: Background, more: &[&str]) -> Vec<String> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |more: &[&str]| arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    add(&["-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+error", "-threads", "1"]);
    add(&["-filter_threads", "1", "-protocol_whitelist", "pipe"]);
    if background.is_read() {
        add(&["-framerate", &RATE.to_string(), "-f", "image2pipe", "-i", "pipe:0"]);
        add(&["-vf", graph]);
    } else {
        add(&["-f", "lavfi", "-i", graph]);
    }
    add(more);
    let every = KEY_FRAME_EVERY.to_string();
    add(&["-fps_mode", "passthrough", "-threads", "1", "-g", &every, "-keyint_min", &every, "-sc_threshold", "0"]);
    let flag = u8::from;
    // Whatever is drawn, the parameter sets are the same: they must not tell of what the background was made.
    match shape.codec {
        Codec::H265 => {
            add(&["-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-crf", "26"]);
            add(&["-pix_fmt", "yuv420p", "-tag:v", "hvc1"]);
            let of_encoder = format!(
                "log-level=error:pools=none:frame-threads=1:bframes=0:keyint={every}:scenecut=0:range=limited:\
                 colorprim=unknown:transfer=unknown:colormatrix=unknown:chromaloc=0"
            );
            add(&["-x265-params", &of_encoder]);
        }
        Codec::Mjpeg => add(&["-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-strict", "unofficial", "-q:v", "4"]),
        _ => {
            add(&["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-crf", "24"]);
            add(&["-pix_fmt", "yuv420p"]);
            // What a slice looks like must follow from the camera's parameter sets and from nothing that an encoder likes.
            let tools = shape.tools;
            add(&[
                "-x264-params",
                &format!(
                    "cabac={}:8x8dct={}:chroma-qp-offset={}:constrained-intra={}:ref=1:bframes=0:weightp=0:no-psy=1:\
                     no-deblock=0:deblock=0,0:slices=1:sliced-threads=0:repeat-headers=0:range=tv:colorprim=undef:transfer=undef:\
                     colormatrix=undef:chromaloc=0",
                    flag(tools.arithmetic),
                    flag(tools.large_transform),
                    tools.chroma_offset,
                    flag(tools.constrained_intra)
                ),
            ]);
        }
    }
    add(&["-an", "-map_metadata", "-1", "-flush_packets", "1"]);
    add(&["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof", "-f", "mp4", "pipe:1"]);
    arguments
}

/// What is drawn: once what stands still, then for every picture what moves.
fn graph(card: &Card, shape: Shape, background: Background, away: u64) -> String {
    let Shape { width, height, .. } = shape;
    let mut graph = match background {
        Background::Plain => {
            format!("color=c=0x161b24:s={width}x{height}:r={RATE},format=yuv420p,trim=end_frame=1")
        }
        Background::LastPicture => format!(
            "scale={width}:{height}:force_original_aspect_ratio=increase:in_range=full:out_range=limited,crop={width}:{height},\
             format=yuv420p,boxblur=luma_radius=min(h\\,w)/60:luma_power=2,lutyuv=y=16+(val-16)*0.35:u=128+(val-128)*0.4:v=128+(val-128)*0.4"
        ),
        Background::Image => format!(
            "scale={width}:{height}:force_original_aspect_ratio=decrease:out_range=limited,\
             pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:color=black,format=yuv420p"
        ),
    };
    let letters = background != Background::Image && !card.without_letters;
    if letters {
        let line = |graph: &mut String, text: &str, y: &str, share: u32, color: &str| {
            let text = text.trim();
            if text.is_empty() {
                return;
            }
            // A line as wide as the picture: letters are about 0.6 as wide as high.
            let widest = width * 15 / 10 / text.chars().count().max(1) as u32;
            let size = (height / share).min(widest).max(8);
            // Writing to a String cannot fail.
            let _ = write!(
                graph,
                ",drawtext=fontsize={size}:fontcolor={color}:x=(w-tw)/2:y={y}-th/2:expansion=none:text={}",
                filter_text(text)
            );
        };
        line(&mut graph, &card.title, "h*0.33", 20, "0xa9b8cf");
        line(&mut graph, &card.text, "h*0.47", 9, "white");
        let _ = write!(graph, ",drawbox=x=iw*0.4:y=ih*0.6:w=iw*0.2:h=max(2\\,ih/240):color=0x5b9bff:t=fill");
    }
    let _ = write!(graph, ",setsar=1,loop=loop=-1:size=1:start=0,settb=1/{RATE},setpts=N");
    if letters {
        let size = (height / 16).max(8);
        let part = |of: &str| format!("%{{eif\\:{of}\\:d\\:2}}");
        let since = format!("(t+{away})");
        let _ = write!(
            graph,
            ",drawtext=fontsize={size}:fontcolor=0xa9b8cf:x=(w-tw)/2:y=h*0.69-th/2:text='{}\\:{}\\:{}'",
            part(&format!("floor({since}/3600)")),
            part(&format!("mod(floor({since}/60)\\,60)")),
            part(&format!("mod(floor({since})\\,60)")),
        );
    }
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_drawn_and_no_command() {
        let card = Card { title: "a:b'c".into(), text: "50%, [now]; \\o/".into(), without_letters: false };
        let shape = Shape { codec: Codec::H264, width: 640, height: 360, tools: Tools::default() };
        let graph = graph(&card, shape, Background::Plain, 7);
        assert!(graph.contains(r"expansion=none:text=a\\:b\\\'c"), "{graph}");
        assert!(graph.contains(r"text=50%\, \[now\]\; \\\\o/"), "{graph}");
        let bare = Card { without_letters: true, ..card };
        assert!(!super::graph(&bare, shape, Background::LastPicture, 7).contains("drawtext"));
    }
}
