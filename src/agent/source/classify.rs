//! Why an attempt at a source ended, and what to do otherwise next time: FFmpeg's (redacted) messages and what was seen →
//! reason, sentence and next profile. Pure. Must not hold state between attempts: the profile does.

use super::messages::{NOBODY, NOT_CARRIED, REFUSED, find, told};
use super::profile::{AudioMode, LARGEST_PROBE, Profile};
use crate::plan::report::Reason;

/// What is concluded from the end of an FFmpeg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// Why; `None` when the messages do not tell whether anybody is there.
    pub reason: Option<Reason>,
    /// One sentence, redacted as the messages were.
    pub message: String,
    /// How to try next.
    pub profile: Profile,
    /// The next profile has what was missing: no need to wait.
    pub at_once: bool,
}

/// Any of these in a message means that the device does not know what is asked for.
const UNKNOWN: [&str; 5] =
    ["404 Not Found", "410 Gone", "StreamNotFound", "No such file or directory", "400 Bad Request"];
/// … that the device is there, and has no time.
const BUSY: [&str; 2] = ["503 Service Unavailable", "453 Not Enough Bandwidth"];
/// Sound is no AAC.
const NO_AAC: &str = "is not supported by the bitstream filter 'aac_adtstoasc'";
/// What a device beneath `/dev` may be at fault with: part of a message, reason, what is so, what to do.
const DEVICES: [(&str, Reason, &str, &str); 8] = [
    ("No such file or directory", Reason::NotFound, "is not there", ANOTHER_DEVICE),
    ("No such device", Reason::NotFound, "is not there any more", ANOTHER_DEVICE),
    ("VIDIOC_QUERYCAP", Reason::NotFound, "is no camera", ANOTHER_DEVICE),
    ("Is a directory", Reason::NotFound, "is no camera", ANOTHER_DEVICE),
    ("Not a video capture device", Reason::NotFound, "is no camera", ANOTHER_DEVICE),
    ("Permission denied", Reason::CredentialRefused, "may not be opened", "add this program's user to the group video"),
    (
        "Device or resource busy",
        Reason::Unreachable,
        "is in use",
        "end the program that uses it (fuser -v tells which)",
    ),
    (
        "Cannot find a proper format",
        Reason::CodecNotCarried,
        "does not offer this inputFormat",
        "choose another (v4l2-ctl --list-formats shows them)",
    ),
];
const ANOTHER_DEVICE: &str = "plug it in, or name another (ls /dev/v4l/by-id shows them)";
/// How FFmpeg names its reader of such devices.
const DEVICE_READER: &str = "[video4linux2";

/// … that this FFmpeg cannot draw text.
const NO_TEXT: [&str; 4] =
    ["Cannot find a valid font", "Could not load font", "No such filter: 'drawtext'", "No font filename provided"];

/// Whether a message only tells that a branch of the sound's tee cannot begin, which is how it is found out what the sound is.
pub fn is_expected(line: &str) -> bool {
    ["[tee @", "No streams to mux were specified", "not currently supported in container"]
        .iter()
        .any(|pattern| line.contains(pattern))
}

/// The number of the branch of a tee that a message says has failed.
pub fn failed_branch(line: &str) -> Option<u32> {
    let (number, rest) = line.split_once("Slave muxer #")?.1.split_once(' ')?;
    let number = number.parse().ok().filter(|number| *number < u32::BITS)?;
    rest.starts_with("failed").then_some(number)
}

/// Concludes from messages. `had_video`: whether pictures came before the end.
pub fn classify(lines: &[String], profile: Profile, had_video: bool) -> Conclusion {
    let refused = lines.iter().any(|line| line.contains("header for output file #"));
    let lines: Vec<String> = lines.iter().filter(|line| refused || !is_expected(line)).cloned().collect();
    let lines = lines.as_slice();
    let find = |patterns: &[&str]| find(lines, &[patterns]);
    let conclude =
        |reason: Reason, message: String| Conclusion { reason: Some(reason), message, profile, at_once: false };
    let retry = |reason: Reason, message: String, next: Profile| Conclusion {
        reason: Some(reason),
        message,
        profile: next,
        at_once: next != profile,
    };
    if let Some(line) = find(&REFUSED) {
        return conclude(Reason::CredentialRefused, refusal(told(line)));
    }
    if had_video {
        let last = lines.last().map_or_else(String::new, |line| format!(": {}", told(line)));
        return conclude(Reason::SourceEnded, format!("the source ended{last}"));
    }
    if let Some((reason, message)) = of_device(lines) {
        return conclude(reason, message);
    }
    if let Some(line) = find(&NOT_CARRIED) {
        return unsupported(lines, line, profile, &retry);
    }
    if find(&[NO_AAC]).is_some() {
        let next = Profile { sound_as_is: true, ..profile };
        return retry(Reason::FFmpegFailed, "the sound is no AAC".into(), next);
    }
    if let Some(line) =
        find(&["Error initializing output stream 1:", "Error while opening encoder for output stream #1"])
            .filter(|_| find(&["dimensions not set"]).is_none())
    {
        return retry(Reason::FFmpegFailed, format!("the sound cannot be used: {}", told(line)), next_audio(profile));
    }
    if find(&NO_TEXT).is_some() {
        let next = Profile { without_text: true, ..profile };
        return retry(Reason::FFmpegFailed, "FFmpeg finds no font; install fonts-dejavu-core".into(), next);
    }
    if find(&["dimensions not set", "matches no streams", "Could not find codec parameters"]).is_some() {
        let next = Profile { probe: (profile.probe + 1).min(LARGEST_PROBE), ..profile };
        return retry(Reason::NoVideo, "the device answers but sends no video that can be read".into(), next);
    }
    if let Some(line) = find(&["Unknown encoder"]) {
        return conclude(Reason::FFmpegFailed, format!("FFmpeg was built without what is needed: {}", told(line)));
    }
    if let Some(line) = find(&["not on whitelist"]) {
        return conclude(Reason::FFmpegFailed, format!("the source leads to where it may not: {}", told(line)));
    }
    if let Some(line) = find(&UNKNOWN) {
        return conclude(Reason::NotFound, format!("the device does not know the path: {}", told(line)));
    }
    if let Some(line) = find(&NOBODY).or_else(|| find(&BUSY)) {
        return conclude(Reason::Unreachable, format!("no connection: {}", told(line)));
    }
    if find(&["Invalid data found", "Input/output error", "Operation not permitted"]).is_some() || lines.is_empty() {
        return Conclusion {
            reason: None,
            message: lines.last().map_or_else(|| "no answer".into(), |line| told(line).to_owned()),
            profile,
            at_once: false,
        };
    }
    conclude(Reason::FFmpegFailed, lines.last().map_or_else(String::new, |line| told(line).to_owned()))
}

/// What is said of a device that refuses, as it puts it; whoever reads it.
pub fn refusal(as_it_says: &str) -> String {
    format!(
        "the device refuses the user name or password, or has no session left: put the right ones into its Secret, or close \
         other clients ({as_it_says})"
    )
}

/// What is wrong with a device of this machine, if the messages are about one.
fn of_device(lines: &[String]) -> Option<(Reason, String)> {
    lines.iter().find(|line| line.starts_with(DEVICE_READER))?;
    // FFmpeg ends with a line that names the device: `[error] /dev/null: Inappropriate ioctl for device`.
    let device = lines.iter().rev().find_map(|line| told(line).split_once(": ").map(|(name, _)| name));
    let device = device.filter(|name| name.starts_with("/dev/")).unwrap_or("the device");
    let (_, reason, what, advice) =
        DEVICES.iter().find(|(message, ..)| lines.iter().any(|line| line.contains(message)))?;
    Some((*reason, format!("{device} {what}; {advice}")))
}

/// MP4 cannot carry one of the codecs. Output 0 is the pictures, output 1 the sound.
fn unsupported(
    lines: &[String],
    line: &str,
    profile: Profile,
    retry: &dyn Fn(Reason, String, Profile) -> Conclusion,
) -> Conclusion {
    let codec = line.split("for codec ").nth(1).and_then(|rest| rest.split([' ', ',']).next()).unwrap_or("it");
    let of_sound = lines.iter().any(|line| line.contains("header for output file #1"));
    if of_sound {
        return retry(Reason::FFmpegFailed, format!("sound in {codec} is encoded as AAC"), next_audio(profile));
    }
    let next = Profile { encode: true, ..profile };
    if codec == "rawvideo" {
        return retry(Reason::FFmpegFailed, "raw pictures are encoded as H.264".into(), next);
    }
    let message = format!("video in {codec} is not carried; set the camera to H.264, H.265 or MJPEG");
    retry(Reason::CodecNotCarried, message, profile)
}

/// What to do with sound when what was done does not work.
pub fn next_audio(profile: Profile) -> Profile {
    let audio = match profile.audio {
        AudioMode::Copy => AudioMode::Aac,
        AudioMode::Aac | AudioMode::Leave => AudioMode::Leave,
    };
    Profile { audio, ..profile }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conclusion(lines: &[&str], profile: Profile) -> Conclusion {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        classify(&lines, profile, false)
    }

    #[test]
    fn messages_become_reasons() {
        // As FFmpeg 5.1 says them.
        for (lines, expected) in [
            (vec!["[rtsp @ 0x55] [error] method DESCRIBE failed: 401 Unauthorized"], Some(Reason::CredentialRefused)),
            (vec!["[error] http://h/: Server returned 403 Forbidden (access denied)"], Some(Reason::CredentialRefused)),
            (vec!["[rtsp @ 0x55] [error] method DESCRIBE failed: 404 Not Found"], Some(Reason::NotFound)),
            (vec!["[error] /dev/video9: No such file or directory"], Some(Reason::NotFound)),
            (
                vec![
                    "[tcp @ 0x5] [error] Connection to tcp://127.0.0.1:1?*** failed: Connection refused",
                    "[error] rtsp://127.0.0.1:1/cam: Connection refused",
                ],
                Some(Reason::Unreachable),
            ),
            (
                vec![
                    "[tcp @ 0x5] [error] Failed to resolve hostname no.such: Name or service not known",
                    "[error] rtsp://no.such/cam: Input/output error",
                ],
                Some(Reason::Unreachable),
            ),
            (vec!["[error] http://h/500: Server returned 5XX Server Error reply"], Some(Reason::Unreachable)),
            (
                vec![
                    "[srt @ 0x5] [error] Connection to srt://127.0.0.1:2 failed: Input/output error",
                    "[error] srt://127.0.0.1:2: Input/output error",
                ],
                Some(Reason::Unreachable),
            ),
            (vec!["[error] rtsp://h/cam: Invalid data found when processing input"], None),
            (vec![], None),
            (vec!["[fatal] Unknown encoder 'libx264'"], Some(Reason::FFmpegFailed)),
            (vec!["[file @ 0x] [error] Protocol 'file' not on whitelist 'http'!"], Some(Reason::FFmpegFailed)),
            (vec!["[error] something new"], Some(Reason::FFmpegFailed)),
        ] {
            let found = conclusion(&lines, Profile::default());
            assert_eq!(found.reason, expected, "{lines:?}");
            assert!(!found.at_once, "{lines:?}");
            assert!(!found.message.contains("@ 0x"), "{}", found.message);
        }
    }

    #[test]
    fn devices_of_this_machine_are_told_what_to_do_about() {
        for (lines, reason, message) in [
            (
                [
                    "[video4linux2,v4l2 @ 0x5] [error] Cannot open video device /dev/video9: No such file or directory",
                    "[error] /dev/video9: No such file or directory",
                ],
                Reason::NotFound,
                "/dev/video9 is not there; plug it in",
            ),
            (
                [
                    "[video4linux2,v4l2 @ 0x5] [error] ioctl(VIDIOC_QUERYCAP): Inappropriate ioctl for device",
                    "[error] /dev/null: Inappropriate ioctl for device",
                ],
                Reason::NotFound,
                "/dev/null is no camera; plug it in, or name another",
            ),
            (
                [
                    "[video4linux2,v4l2 @ 0x5] [error] Cannot open video device /dev/video0: Permission denied",
                    "[error] /dev/video0: Permission denied",
                ],
                Reason::CredentialRefused,
                "/dev/video0 may not be opened; add this program's user to the group video",
            ),
            (
                [
                    "[video4linux2,v4l2 @ 0x5] [error] ioctl(VIDIOC_STREAMON): Device or resource busy",
                    "[error] /dev/video0: Device or resource busy",
                ],
                Reason::Unreachable,
                "/dev/video0 is in use; end the program",
            ),
            (
                [
                    "[video4linux2,v4l2 @ 0x5] [error] Cannot find a proper format for codec 'h264' (id 27), pixel format 'none' (id -1)",
                    "[error] /dev/video0: Invalid argument",
                ],
                Reason::CodecNotCarried,
                "/dev/video0 does not offer this inputFormat; choose another",
            ),
        ] {
            let found = conclusion(&lines, Profile::default());
            assert_eq!(found.reason, Some(reason), "{lines:?}");
            assert!(found.message.starts_with(message), "{}", found.message);
        }
    }

    #[test]
    fn what_can_be_done_otherwise_is_done_at_once() {
        let profile = Profile::default();
        let sound = [
            "[mp4 @ 0x55] [error] Could not find tag for codec pcm_alaw in stream #0, codec not currently supported in container",
            "[error] Could not write header for output file #1 (incorrect codec parameters ?): Invalid argument",
            "[error] Error initializing output stream 1:0 -- ",
        ];
        let next = conclusion(&sound, profile);
        assert_eq!((next.profile.audio, next.at_once), (AudioMode::Aac, true));
        let next = conclusion(&["[error] Error while opening encoder for output stream #1:0"], next.profile);
        assert_eq!((next.profile.audio, next.at_once), (AudioMode::Leave, true));

        let other = [
            "[aac_adtstoasc @ 0x5] [error] Codec 'opus' (86076) is not supported by the bitstream filter 'aac_adtstoasc'. \
             Supported codecs are: aac (86018)",
            "[error] Error initializing output stream 1:0 -- ",
        ];
        let next = conclusion(&other, profile);
        assert_eq!((next.profile.sound_as_is, next.profile.audio, next.at_once), (true, AudioMode::Copy, true));

        let size = ["[mp4 @ 0x55] [error] dimensions not set", "[error] Error initializing output stream 1:0 -- "];
        let next = conclusion(&size, profile);
        assert_eq!((next.profile.probe, next.profile.audio, next.at_once), (1, AudioMode::Copy, true));
        let last = conclusion(&size, Profile { probe: LARGEST_PROBE, ..profile });
        assert_eq!((last.reason, last.at_once), (Some(Reason::NoVideo), false), "looking harder does not help");

        let font =
            conclusion(&["[Parsed_drawtext_1 @ 0x] [error] Cannot find a valid font for the family Sans"], profile);
        assert!(font.profile.without_text && font.at_once);
    }

    #[test]
    fn sound_that_mp4_cannot_carry_is_no_reason_for_an_end() {
        let tee = [
            "[mp4 @ 0x55] [error] Could not find tag for codec pcm_mulaw in stream #0, codec not currently supported in container",
            "[tee @ 0x55] [error] Slave '[select=a:f=mp4]pipe:3': error writing header: Invalid argument",
            "[tee @ 0x55] [error] Slave muxer #0 failed: Invalid argument, continuing with 2/3 slaves.",
        ];
        let found = conclusion(&tee, Profile::default());
        assert_eq!((found.reason, found.profile, found.message.as_str()), (None, Profile::default(), "no answer"));
        assert_eq!(tee.map(failed_branch), [None, None, Some(0)]);
        assert_eq!(failed_branch("Slave muxer #99 failed: x"), None);
        let line = [tee[0], "[error] rtsp://h/cam: Connection timed out"];
        assert_eq!(conclusion(&line, Profile::default()).reason, Some(Reason::Unreachable));
    }

    #[test]
    fn video_is_never_transcoded_unless_it_is_raw() {
        let line = |codec: &str| {
            [
                format!(
                    "[mp4 @ 0x5] [error] Could not find tag for codec {codec} in stream #0, codec not currently supported in container"
                ),
                "[error] Could not write header for output file #0 (incorrect codec parameters ?): Invalid argument"
                    .into(),
            ]
        };
        let raw = classify(&line("rawvideo"), Profile::default(), false);
        assert!(raw.profile.encode && raw.at_once);
        let other = classify(&line("vp8"), Profile::default(), false);
        assert_eq!((other.reason, other.at_once), (Some(Reason::CodecNotCarried), false));
    }

    #[test]
    fn after_pictures_an_end_is_an_end() {
        let lines = ["[tcp @ 0x5] [error] Connection timed out".to_owned()];
        assert_eq!(classify(&lines, Profile::default(), true).reason, Some(Reason::SourceEnded));
        assert_eq!(classify(&[], Profile::default(), true).reason, Some(Reason::SourceEnded));
    }
}
