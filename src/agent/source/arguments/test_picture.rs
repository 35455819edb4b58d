//! A picture that is made up, with the time in it. Pure.

use std::fmt::Write as _;

use super::outputs::{self, ENCODER};
use super::{Invocation, common, push};
use crate::agent::source::filter_text::filter_text;
use crate::agent::source::profile::{AudioMode, Profile, SILENT};

/// What is to be seen.
pub(super) struct Picture<'a> {
    pub width: i32,
    pub height: i32,
    /// Pictures a second.
    pub rate: i32,
    pub key_frame_interval_ms: u64,
    pub text: &'a str,
}

/// What to start for it.
pub(super) fn build(picture: &Picture<'_>, audio: bool, profile: Profile) -> Invocation {
    let Picture { width, height, rate, key_frame_interval_ms, text } = picture;
    let mut graph = format!("testsrc2=size={width}x{height}:rate={rate}");
    if !profile.without_text {
        let size = (height / 14).clamp(10, 96);
        let style = format!("fontsize={size}:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw={}", size / 4);
        // Milliseconds would need a newer FFmpeg than distributions have.
        // Writing to a String cannot fail.
        let _ = write!(graph, r",drawtext=x=(w-tw)/2:y=h-2.2*th:{style}:text='%{{gmtime\:%Y-%m-%d %T UTC}}'");
        if !text.is_empty() {
            let text = filter_text(text);
            let _ = write!(graph, ",drawtext=x=(w-tw)/2:y=h-4*th:{style}:expansion=none:text={text}");
        }
    }
    let group = (u64::from(rate.unsigned_abs()) * key_frame_interval_ms / 1000).max(1).to_string();
    let mut arguments = common();
    push(&mut arguments, &["-re", "-f", "lavfi", "-i", &graph]);
    let audio = audio && profile.audio != AudioMode::Leave;
    if audio {
        push(&mut arguments, &["-re", "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000"]);
    }
    let mut video = ENCODER.to_vec();
    video.extend(["-g", &group, "-keyint_min", &group]);
    let encoded = Profile { audio: AudioMode::Aac, ..SILENT };
    outputs::add(&mut arguments, &video, "1:a:0?", if audio { encoded } else { SILENT }, false);
    Invocation { arguments, input: None, secrets: Vec::new(), audio, spare: false }
}
