//! A camera of this machine, by V4L2. Pure.

use super::outputs::{self, ENCODER};
use super::{Error, Invocation, common, push};
use crate::agent::source::profile::{Profile, SILENT};

/// What to start for a device.
pub(super) fn build(
    device: &str,
    input_format: Option<&str>,
    (width, height): (Option<i32>, Option<i32>),
    frames_per_second: Option<i32>,
    profile: Profile,
) -> Result<Invocation, Error> {
    let named = device.strip_prefix("/dev/").filter(|name| !name.is_empty() && !name.contains(".."));
    if !named.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_.-:".contains(&byte))) {
        return Err(Error::Device);
    }
    let mut arguments = common();
    push(&mut arguments, &["-f", "v4l2"]);
    if let Some(format) = input_format {
        push(&mut arguments, &["-input_format", format]);
    }
    if let (Some(width), Some(height)) = (width, height) {
        push(&mut arguments, &["-video_size", &format!("{width}x{height}")]);
    }
    if let Some(rate) = frames_per_second {
        push(&mut arguments, &["-framerate", &rate.to_string()]);
    }
    push(&mut arguments, &["-i", device]);
    if profile.encode {
        let group = (frames_per_second.unwrap_or(30) * 2).to_string();
        let mut video = ENCODER.to_vec();
        video.extend(["-g", &group, "-fps_mode:v", "passthrough"]);
        outputs::add(&mut arguments, &video, "", SILENT, false);
    } else {
        outputs::add(&mut arguments, &["-c:v", "copy"], "", SILENT, false);
    }
    Ok(Invocation { arguments, input: None, secrets: Vec::new(), audio: false, spare: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_copied_unless_raw() {
        let built = |device, profile| super::build(device, Some("mjpeg"), (Some(1280), Some(720)), Some(30), profile);
        let line = |profile| built("/dev/video0", profile).expect("acceptable").arguments.join(" ");
        let copied = line(Profile::default());
        assert!(
            copied.contains("-f v4l2 -input_format mjpeg -video_size 1280x720 -framerate 30 -i /dev/video0"),
            "{copied}"
        );
        assert!(copied.contains("-c:v copy") && !copied.contains("pipe:3"));
        assert!(line(Profile { encode: true, ..Profile::default() }).contains("-tune zerolatency"));
        for bad in ["/etc/passwd", "/dev/../etc/passwd", "video0", "/dev/", "/dev/video0 -f"] {
            assert_eq!(built(bad, Profile::default()), Err(Error::Device));
        }
    }
}
