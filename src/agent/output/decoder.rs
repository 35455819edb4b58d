//! An FFmpeg that turns coded frames, fed to it as fragmented MP4, into JPEG pictures. It sees no address and no credential,
//! opens nothing but its two pipes, and dies with whoever holds it. Must not decide which frames are decoded or when.

use std::io;
use std::process::Stdio;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A JPEG larger than this is no picture of a camera.
const LARGEST_PICTURE: usize = 64 << 20;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// FFmpeg is not installed.
    #[error("FFmpeg is not installed; install it (Debian: apt-get install ffmpeg) to get pictures as JPEG")]
    Missing,
    /// FFmpeg could not be started, or a pipe broke.
    #[error("the picture cannot be decoded: {0}")]
    Pipe(#[from] io::Error),
    /// FFmpeg ended without a picture.
    #[error("the picture cannot be decoded: {0}")]
    Failed(String),
}

/// How pictures are chosen and written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// FFmpeg filter graph; empty = every picture as it is.
    pub filter: String,
    /// FFmpeg's `-q:v` scale for JPEG, 2 (best) to 31.
    pub quality: i32,
    /// Give every picture out at once instead of reading ahead.
    pub low_delay: bool,
}

fn arguments(options: &Options) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1"].map(String::from).into();
    if options.low_delay {
        arguments.extend(["-fflags", "nobuffer", "-flags", "low_delay", "-probesize", "32"].map(String::from));
        arguments.extend(["-analyzeduration", "0"].map(String::from));
    }
    arguments.extend(["-protocol_whitelist", "pipe", "-f", "mp4", "-i", "pipe:0", "-map", "0:v:0"].map(String::from));
    if !options.filter.is_empty() {
        arguments.extend(["-vf".into(), options.filter.clone()]);
    }
    arguments.extend(["-fps_mode", "passthrough", "-c:v", "mjpeg", "-pix_fmt", "yuvj420p"].map(String::from));
    arguments.extend(["-strict", "unofficial", "-threads", "1", "-q:v"].map(String::from));
    arguments.push(options.quality.clamp(2, 31).to_string());
    arguments.extend(["-flush_packets", "1", "-f", "mpjpeg", "pipe:1"].map(String::from));
    arguments
}

/// A running decoder. Dropped, it is killed.
#[derive(Debug)]
pub struct Decoder {
    child: Child,
    /// Fragmented MP4 goes in here; dropped, the decoder finishes what it has.
    pub input: Option<ChildStdin>,
    /// JPEG pictures come out here.
    pub pictures: Pictures<BufReader<ChildStdout>>,
}

impl Decoder {
    /// Starts one.
    pub fn start(options: &Options) -> Result<Self, DecodeError> {
        let mut child = Command::new("ffmpeg")
            .args(arguments(options))
            .env_clear()
            .envs(["PATH", "LD_LIBRARY_PATH"].iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => DecodeError::Missing,
                _ => DecodeError::Pipe(error),
            })?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no pipe to read pictures from"))?;
        Ok(Self { child, input, pictures: Pictures::new(BufReader::with_capacity(64 * 1024, output)) })
    }

    /// What FFmpeg said, once it has ended.
    pub async fn complaint(mut self) -> String {
        drop(self.input.take());
        let mut text = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(4096).read_to_string(&mut text).await;
        }
        let _ = self.child.kill().await;
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("FFmpeg gave no reason");
        last.trim().to_owned()
    }
}

/// Splits FFmpeg's `mpjpeg` (`multipart/x-mixed-replace`) into pictures.
#[derive(Debug)]
pub struct Pictures<R> {
    reader: R,
}

impl<R: AsyncBufRead + Unpin> Pictures<R> {
    /// Reads pictures from `reader`.
    pub fn new(reader: R) -> Self {
        Self { reader }
    }

    /// The next picture, or `None` at the end. Not cancel safe: a picture that was begun is lost with the call.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = None;
        let mut line = String::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let header = line.trim().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            } else if header.is_empty()
                && let Some(length) = length.take()
            {
                if length > LARGEST_PICTURE {
                    return Err(io::Error::other(format!("a picture of {length} bytes is no picture")));
                }
                let mut picture = BytesMut::zeroed(length);
                self.reader.read_exact(&mut picture).await?;
                return Ok(Some(picture.freeze()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pictures_are_split_by_their_length() {
        let stream = b"--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 4\r\n\r\n\xff\xd8\r\n\r\n--ffmpeg\r\nContent-type: image/jpeg\r\nContent-length: 2\r\n\r\n\xff\xd9";
        let mut pictures = Pictures::new(&stream[..]);
        assert_eq!(pictures.next().await.unwrap().as_deref(), Some(&b"\xff\xd8\r\n"[..]));
        assert_eq!(pictures.next().await.unwrap().as_deref(), Some(&b"\xff\xd9"[..]));
        assert_eq!(pictures.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_torn_picture_is_an_error_and_an_absurd_one_is_not_allocated() {
        let mut torn = Pictures::new(&b"Content-length: 10\r\n\r\nabc"[..]);
        assert!(torn.next().await.is_err());
        let mut absurd = Pictures::new(&b"Content-length: 99999999999\r\n\r\nabc"[..]);
        assert!(absurd.next().await.is_err());
    }
}
