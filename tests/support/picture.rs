//! Pictures of one colour: made as a file, and recognised in what was made of them.

use std::path::Path;
use std::process::Command;

/// A PNG of one colour, as FFmpeg names it.
pub fn paint(file: &Path, color: &str) {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", &format!("color=c={color}:s=640x360")])
        .args(["-frames:v", "1"])
        .arg(file)
        .status()
        .expect("ffmpeg");
    assert!(made.success());
}

/// The colour (red, green, blue) of the middle of each picture of a file.
pub fn colors(path: &Path) -> Vec<[u8; 3]> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-an", "-vsync", "passthrough", "-vf", "crop=iw/4:ih/4,scale=1:1:flags=area,format=rgb24"])
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("ffmpeg");
    output.stdout.as_chunks().0.to_vec()
}
