//! An FFmpeg that makes AAC of sound and sees nothing else: it comes in on standard input and goes out on descriptor 1. Pure.

use super::outputs::{CONTAINER, EACH_MOMENT};
use super::{Invocation, common, push};

/// What makes AAC.
pub(super) const TO_AAC: [&str; 6] = [
    "-c:a",
    "aac",
    "-b:a",
    "64k",
    "-af",
    // Fills the holes that lost packets leave; rates below 16 kHz are more than some players take.
    "aresample=async=1,aformat=sample_rates=16000|22050|24000|32000|44100|48000",
];

/// What makes AAC of a spare track (see [`Invocation::spare`]), with the same times.
pub fn spare() -> Invocation {
    let mut arguments = common();
    push(&mut arguments, &["-protocol_whitelist", "pipe", "-probesize", "32", "-analyzeduration", "0"]);
    push(&mut arguments, &["-copyts", "-f", "nut", "-i", "pipe:0", "-map", "0:a:0"]);
    push(&mut arguments, &TO_AAC);
    push(&mut arguments, &CONTAINER);
    push(&mut arguments, &EACH_MOMENT);
    push(&mut arguments, &["pipe:1"]);
    Invocation { arguments, input: None, secrets: Vec::new(), audio: false, spare: false }
}
