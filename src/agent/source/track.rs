//! A track's pipe and what reads it: the fragmented MP4 that an FFmpeg writes. Must not know what becomes of the samples.

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::media::fmp4::reader::{Limits, Reader};

/// What is read at once; frames are slices of it, so little of it is wasted.
const VIDEO_CHUNK: usize = 64 * 1024;
const AUDIO_CHUNK: usize = 8 * 1024;
/// Less room than this is not worth a read.
const SMALLEST_READ: usize = 4 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Track {
    /// `None` once it has ended.
    pub pipe: Option<pipe::Receiver>,
    /// What makes samples of what was read.
    pub reader: Reader,
    chunk: usize,
}

impl Track {
    /// A pipe that pictures come by.
    pub fn of_pictures(pipe: pipe::Receiver) -> Self {
        Self { pipe: Some(pipe), reader: Reader::new(Limits::default()), chunk: VIDEO_CHUNK }
    }

    /// A pipe that sound comes by, if there is any.
    pub fn of_sound(pipe: Option<pipe::Receiver>) -> Self {
        let limits = Limits { media_bytes: 1 << 20, ..Limits::default() };
        Self { pipe, reader: Reader::new(limits), chunk: AUDIO_CHUNK }
    }

    /// Whether more may come.
    pub const fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads what is there, into room for a whole box if one has begun. False when the track has ended. Cancel safe.
    pub async fn fill(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let wanted = self.reader.wanted();
        let buffer: &mut BytesMut = self.reader.buffer();
        let room = buffer.capacity() - buffer.len();
        if room < wanted.max(SMALLEST_READ) {
            buffer.reserve(wanted.max(self.chunk));
        }
        let more = matches!(pipe.read_buf(buffer).await, Ok(1..));
        if !more {
            self.pipe = None;
        }
        more
    }
}
