//! The cameras that load both: one encoded file behind many RTSP URLs, made once and kept.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Pictures a second.
pub const FRAMES_PER_SECOND: u32 = 25;

/// A server of `count` cameras; ends when dropped.
pub struct Cameras {
    child: Child,
    /// One for each camera.
    pub urls: Vec<String>,
}

impl Cameras {
    /// Starts the server. `folder` keeps the encoded file.
    pub fn start(count: usize, folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/run/cameras.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(encoded(folder))
            .args([FRAMES_PER_SECOND.to_string(), count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python3 with GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0)");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let hello: serde_json::Value = serde_json::from_str(&line).unwrap();
        let urls = (0..count).map(|number| format!("rtsp://127.0.0.1:{}/camera-{number}", hello["port"])).collect();
        Self { child, urls }
    }
}

impl Drop for Cameras {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Twenty seconds of 1080p25 at 4 Mbit/s, a key frame every two seconds. The picture is noisy, so that the rate is used.
pub fn encoded(folder: &Path) -> PathBuf {
    let path = folder.join("camera-1080p25-4m.h264");
    if !path.exists() {
        let unfinished = folder.join("unfinished.h264");
        let status = Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-v",
                "error",
                "-y",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=1920x1080:rate=25,noise=alls=12:allf=t",
            ])
            .args([
                "-t",
                "20",
                "-pix_fmt",
                "yuv420p",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-tune",
                "zerolatency",
            ])
            .args([
                "-b:v",
                "4M",
                "-minrate",
                "4M",
                "-maxrate",
                "4M",
                "-bufsize",
                "4M",
                "-g",
                "50",
                "-sc_threshold",
                "0",
            ])
            .args(["-x264-params", "nal-hrd=cbr:aud=1", "-bsf:v", "h264_metadata=aud=insert"])
            .arg(&unfinished)
            .status()
            .expect("ffmpeg");
        assert!(status.success());
        fs::rename(unfinished, &path).unwrap();
    }
    path
}
