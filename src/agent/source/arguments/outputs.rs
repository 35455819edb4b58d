//! What FFmpeg writes: fragmented MP4, one output for each track, each on a pipe of its own. Pure.

use super::convert::TO_AAC;
use super::push;
use crate::agent::source::profile::{AudioMode, Profile};

/// One output for each track, each on a pipe of its own, so that neither can hold the other back. With `spare`, sound comes on
/// two.
pub(super) fn add(arguments: &mut Vec<String>, video: &[&str], audio_map: &str, profile: Profile, spare: bool) {
    // Pictures before the first key frame show that the camera lives; FFmpeg would keep them back.
    push(arguments, &["-map", "0:v:0", "-copyinkf:v"]);
    push(arguments, video);
    push(arguments, &CONTAINER);
    push(arguments, &EACH_FRAME);
    push(arguments, &["pipe:1"]);
    if profile.audio == AudioMode::Leave {
        return;
    }
    if spare {
        // An output that begins with no track, or with sound that its container cannot carry, ends FFmpeg, and with it the
        // connection to the camera. A branch of a tee that cannot begin is left out. The pictures are there so that there is
        // a track in any case, and are dropped; so nothing must wait for them.
        push(arguments, &["-map", "0:v:0", "-map", audio_map, "-c", "copy", "-bsf:v", "noise=drop=1"]);
        push(arguments, &["-max_interleave_delta", "1", "-map_metadata", "-1", "-map_chapters", "-1"]);
        push(arguments, &["-f", "tee", BRANCHES]);
        return;
    }
    push(arguments, &["-map", audio_map]);
    match profile.audio {
        AudioMode::Aac => push(arguments, &TO_AAC),
        // In MPEG transport streams AAC comes in ADTS frames. FFmpeg unwraps them by itself for files, but not for fragments;
        // what is not wrapped passes.
        _ if !profile.sound_as_is => push(arguments, &["-c:a", "copy", "-bsf:a", "aac_adtstoasc"]),
        _ => push(arguments, &["-c:a", "copy"]),
    }
    // Without any sound FFmpeg takes the pictures here of its own accord: one, copied, says so at no cost.
    push(arguments, &["-c:v", "copy", "-frames:v", "1", "-sn", "-dn"]);
    push(arguments, &CONTAINER);
    push(arguments, &EACH_MOMENT);
    push(arguments, &["pipe:3"]);
}

/// Fragmented MP4 without anything besides; the edit list tells the offset between tracks, finely.
pub(super) const CONTAINER: [&str; 12] = [
    "-map_metadata",
    "-1",
    "-map_chapters",
    "-1",
    "-f",
    "mp4",
    "-use_editlist",
    "1",
    "-movie_timescale",
    "90000",
    "-write_tmcd",
    "0",
];

// All of these last for as long as the camera does. FFmpeg would keep an entry for each fragment, to list them at the end
// (`skip_trailer` spares 35 to 130 MB a day), and an index of NUT (`write_index`).

/// Sound as it is: for us where MP4 carries it, and for [`super::convert::spare`] whatever it is.
const BRANCHES: &str = "[select=a:onfail=ignore:f=mp4:use_editlist=1:movie_timescale=90000:write_tmcd=0:\
     movflags=+delay_moov+empty_moov+default_base_moof+skip_trailer:frag_duration=100000]pipe\\:3\
     |[select=a:onfail=ignore:f=nut:write_index=0]pipe\\:4|[select=v:f=null]-";

/// The number of the branch that is for us, and of the one for [`super::convert::spare`].
pub const BRANCH_COPIED: u32 = 0;
/// See [`BRANCH_COPIED`].
pub const BRANCH_SPARE: u32 = 1;

/// Pictures: a fragment for each, written at once.
const EACH_FRAME: [&str; 2] = ["-movflags", "+frag_every_frame+delay_moov+empty_moov+default_base_moof+skip_trailer"];

/// Sound: a fragment every 100 ms. One for each frame would wake this program twice as often as the pictures do.
pub(super) const EACH_MOMENT: [&str; 4] =
    ["-movflags", "+delay_moov+empty_moov+default_base_moof+skip_trailer", "-frag_duration", "100000"];

/// Small and quick to encode, without frames held back, and with parameter sets that do not change.
pub(super) const ENCODER: [&str; 12] = [
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-tune",
    "zerolatency",
    "-pix_fmt",
    "yuv420p",
    "-threads",
    "1",
    "-x264-params",
    "scenecut=0:sliced-threads=0",
];
