//! Messages in chunks (RTMP 1.0 §5.3), both ways. Whole messages go in and come out; how chunks are interleaved and their headers
//! shortened is known here only. Payloads are passed on and not copied when they are written.

use std::collections::HashMap;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

/// Kinds of messages that chunks themselves are about (§5.4).
pub const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;
/// Sizes of chunks: at first (§5.4.1), and what is used of what may be agreed upon.
const FIRST_SIZE: usize = 128;
const GREATEST_SIZE: usize = 0x00ff_ffff;
/// A time that stands in four bytes of its own (§5.3.1.3).
const EXTENDED: u32 = 0x00ff_ffff;
/// The longest message that a server may send: its commands are some hundred bytes long.
const LONGEST: usize = 1 << 20;
/// How many chunk streams a server may use.
const MOST_STREAMS: usize = 64;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its kind (§5.4, §7.1).
    pub kind: u8,
    /// The message stream that it belongs to; 0 is the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Bytes,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The chunk stream, 2 to 63. Messages of one are in order.
    pub chunks: u8,
    /// The kind of message.
    pub kind: u8,
    /// The message stream.
    pub stream: u32,
    /// Time in milliseconds, which wraps.
    pub milliseconds: u32,
}

/// Writes messages.
#[derive(Debug)]
pub struct ChunkWriter {
    size: usize,
    /// Message stream and time of the newest message of each chunk stream.
    newest: HashMap<u8, (u32, u32)>,
}

impl Default for ChunkWriter {
    fn default() -> Self {
        Self { size: FIRST_SIZE, newest: HashMap::new() }
    }
}

impl ChunkWriter {
    /// From the next message on, chunks are so large; the peer must have been told.
    pub fn set_size(&mut self, size: usize) {
        self.size = size.clamp(1, GREATEST_SIZE);
    }

    /// Puts a message into `out`, whose payload is `head` and then `body`.
    pub fn write(&mut self, route: Route, head: &[u8], mut body: Bytes, out: &mut impl Extend<Bytes>) {
        let Route { kind, stream, milliseconds, .. } = route;
        let chunks = route.chunks & 0x3f;
        // By how much it is later, as all publishers tell it: so a time needs its long form when hours pass between two messages only,
        // and servers that read that one wrongly never see it.
        let before = self.newest.insert(chunks, (stream, milliseconds)).filter(|before| before.0 == stream);
        let passed = before.map(|(_, before)| milliseconds.wrapping_sub(before)).filter(|passed| *passed < 1 << 31);
        let time = passed.unwrap_or(milliseconds);
        let is_extended = time >= EXTENDED;
        let mut first = BytesMut::with_capacity(16 + head.len());
        first.put_u8(if passed.is_some() { 0x40 } else { 0 } | chunks);
        first.put_uint(time.min(EXTENDED).into(), 3);
        first.put_uint((head.len() + body.len()) as u64, 3);
        first.put_u8(kind);
        if passed.is_none() {
            first.put_u32_le(stream);
        }
        if is_extended {
            first.put_u32(time);
        }
        let continued = || {
            let mut header = BytesMut::with_capacity(5);
            header.put_u8(0xc0 | chunks);
            if is_extended {
                header.put_u32(time);
            }
            header
        };
        let mut room = self.size;
        for byte in head {
            if room == 0 {
                first.unsplit(continued());
                room = self.size;
            }
            first.put_u8(*byte);
            room -= 1;
        }
        out.extend([first.freeze()]);
        while !body.is_empty() {
            if room == 0 {
                out.extend([continued().freeze()]);
                room = self.size;
            }
            let part = body.split_to(body.len().min(room));
            room -= part.len();
            out.extend([part]);
        }
    }
}

/// What a chunk stream repeats, and what has come of its message.
#[derive(Debug, Default)]
struct Chunks {
    length: usize,
    kind: u8,
    stream: u32,
    is_extended: bool,
    has_begun: bool,
    partial: BytesMut,
}

/// What came of one chunk.
enum Chunk {
    /// It is not all there.
    Missing,
    /// Its message goes on.
    Part,
    Whole(Message),
}

/// Reads messages.
#[derive(Debug)]
pub struct ChunkReader {
    buffer: BytesMut,
    size: usize,
    streams: HashMap<u32, Chunks>,
}

impl Default for ChunkReader {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), size: FIRST_SIZE, streams: HashMap::new() }
    }
}

impl ChunkReader {
    /// Appends what was received.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` until more bytes are there. What it says of chunks is heeded here and passed on.
    ///
    /// # Errors
    /// When what came is no RTMP, or more than a server would send. The reader is of no further use then.
    pub fn next_message(&mut self) -> Result<Option<Message>, &'static str> {
        loop {
            let message = match self.next_chunk()? {
                Chunk::Whole(message) => message,
                Chunk::Part => continue,
                Chunk::Missing => return Ok(None),
            };
            match (message.kind, message.payload.first_chunk()) {
                (SET_CHUNK_SIZE, Some(size)) => {
                    // The highest bit says nothing, and no message is longer than the greatest size.
                    self.size = ((u32::from_be_bytes(*size) & 0x7fff_ffff) as usize).min(GREATEST_SIZE);
                    if self.size == 0 {
                        return Err("it wants chunks of nothing");
                    }
                }
                (ABORT, Some(id)) => {
                    if let Some(chunks) = self.streams.get_mut(&u32::from_be_bytes(*id)) {
                        chunks.partial.clear();
                    }
                }
                _ => {}
            }
            return Ok(Some(message));
        }
    }

    /// Takes a chunk.
    fn next_chunk(&mut self) -> Result<Chunk, &'static str> {
        let bytes = &self.buffer[..];
        let Some(&basic) = bytes.first() else { return Ok(Chunk::Missing) };
        let (id, mut at) = match basic & 0x3f {
            0 => match bytes.get(1) {
                Some(low) => (64 + u32::from(*low), 2),
                None => return Ok(Chunk::Missing),
            },
            1 => match bytes.get(1..3) {
                Some(id) => (64 + u32::from(id[0]) + 256 * u32::from(id[1]), 3),
                None => return Ok(Chunk::Missing),
            },
            id => (id.into(), 1),
        };
        let format = basic >> 6;
        let header_size = [11, 7, 3, 0][usize::from(format)];
        let Some(header) = bytes.get(at..at + header_size) else { return Ok(Chunk::Missing) };
        at += header_size;
        if !self.streams.contains_key(&id) && self.streams.len() == MOST_STREAMS {
            return Err("it uses more chunk streams than any server does");
        }
        let known = self.streams.entry(id).or_default();
        if format != 0 && !known.has_begun {
            return Err("it sends a chunk without the header that it repeats");
        }
        let is_extended = if format == 3 { known.is_extended } else { header[..3] == EXTENDED.to_be_bytes()[1..] };
        let length = match header.get(3..6) {
            Some(&[high, middle, low]) => u32::from_be_bytes([0, high, middle, low]) as usize,
            _ => known.length,
        };
        if length > LONGEST {
            return Err("it sends a message that is longer than any command");
        }
        let before = if format == 3 { known.partial.len() } else { 0 };
        at += if is_extended { 4 } else { 0 };
        let part = length.saturating_sub(before).min(self.size);
        if bytes.len() < at + part {
            return Ok(Chunk::Missing);
        }
        if format != 3 {
            known.partial.clear();
        }
        if let Some(&kind) = header.get(6) {
            known.kind = kind;
        }
        if let Some(stream) = header.get(7..11).and_then(|stream| stream.first_chunk()) {
            known.stream = u32::from_le_bytes(*stream);
        }
        (known.length, known.is_extended, known.has_begun) = (length, is_extended, true);
        self.buffer.advance(at);
        known.partial.extend_from_slice(&self.buffer[..part]);
        self.buffer.advance(part);
        if known.partial.len() < length {
            return Ok(Chunk::Part);
        }
        let (kind, stream) = (known.kind, known.stream);
        Ok(Chunk::Whole(Message { kind, stream, payload: known.partial.split().freeze() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(writer: &mut ChunkWriter, route: Route, head: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out: Vec<Bytes> = Vec::new();
        writer.write(route, head, Bytes::copy_from_slice(body), &mut out);
        out.concat()
    }

    proptest! {
        #[test]
        fn messages_of_any_size_are_read_as_they_were_written_in_pieces_of_any_size(
            messages in prop::collection::vec(
                (2_u8..64, 8_u8..20, any::<u32>(), any::<u32>(), 0_usize..40, 0_usize..1000), 1..6),
            size in prop_oneof![Just(1_usize), Just(7), Just(128), Just(60_000)],
            piece in 1_usize..300,
        ) {
            let mut writer = ChunkWriter::default();
            let told = Route { chunks: 2, kind: SET_CHUNK_SIZE, stream: 0, milliseconds: 0 };
            let mut bytes = written(&mut writer, told, &(size as u32).to_be_bytes(), &[]);
            writer.set_size(size);
            let mut expected = Vec::new();
            for (chunks, kind, stream, milliseconds, head, body) in messages {
                let route = Route { chunks, kind, stream, milliseconds };
                let payload: Vec<u8> = (0..head + body).map(|byte| byte as u8).collect();
                bytes.extend(written(&mut writer, route, &payload[..head], &payload[head..]));
                expected.push(Message { kind, stream, payload: payload.into() });
            }
            let (mut reader, mut read) = (ChunkReader::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                reader.feed(piece);
                while let Some(message) = reader.next_message().unwrap() {
                    read.push(message);
                }
            }
            read.remove(0);
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut reader = ChunkReader::default();
            reader.feed(&bytes);
            while let Ok(Some(_)) = reader.next_message() {}
            let held: usize = reader.streams.values().map(|chunks| chunks.partial.len()).sum();
            prop_assert!(held <= bytes.len());
        }
    }

    #[test]
    fn short_headers_and_interleaved_chunks_are_read() {
        let mut reader = ChunkReader::default();
        // A message of 130 bytes on chunk stream 3, in whose midst another comes on chunk stream 4.
        reader.feed(&[3, 0, 0, 0, 0, 0, 130, 20, 0, 0, 0, 0]);
        reader.feed(&[1; 128]);
        reader.feed(&[4, 0, 0, 0, 0, 0, 2, 4, 0, 0, 0, 0, 8, 8]);
        reader.feed(&[0xc3, 2, 2]);
        // The same kind again with a difference of time only, then with a length, then with nothing at all.
        reader.feed(&[0x84, 0, 0, 5, 9, 9]);
        reader.feed(&[0x44, 0, 0, 5, 0, 0, 1, 6, 7]);
        reader.feed(&[0xc4, 6]);
        let mut read = Vec::new();
        while let Some(message) = reader.next_message().unwrap() {
            read.push((message.kind, message.payload.len(), *message.payload.last().unwrap()));
        }
        assert_eq!(read, [(4, 2, 8), (20, 130, 2), (4, 2, 9), (6, 1, 7), (6, 1, 6)]);
    }

    #[test]
    fn times_are_told_by_what_has_passed() {
        let mut writer = ChunkWriter::default();
        let mut head = |milliseconds: u32| {
            let route = Route { chunks: 6, kind: 9, stream: 1, milliseconds };
            written(&mut writer, route, &[0xaa], &[])
        };
        assert_eq!(head(0x0123_4567), [6, 0xff, 0xff, 0xff, 0, 0, 1, 9, 1, 0, 0, 0, 0x01, 0x23, 0x45, 0x67, 0xaa]);
        assert_eq!(head(0x0123_458f), [0x46, 0, 0, 0x28, 0, 0, 1, 9, 0xaa]);
        // Back: it is told whole. Hours: in its long form. Where times wrap they go on.
        assert_eq!(head(5), [6, 0, 0, 5, 0, 0, 1, 9, 1, 0, 0, 0, 0xaa]);
        assert_eq!(head(0x0200_0005), [0x46, 0xff, 0xff, 0xff, 0, 0, 1, 9, 2, 0, 0, 0, 0xaa]);
        assert_eq!(head(u32::MAX - 9)[0], 6);
        assert_eq!(head(30), [0x46, 0, 0, 40, 0, 0, 1, 9, 0xaa]);
    }

    #[test]
    fn what_no_server_sends_is_refused() {
        let refused = |bytes: &[u8]| {
            let mut reader = ChunkReader::default();
            reader.feed(bytes);
            reader.next_message().is_err()
        };
        assert!(refused(&[0xc3, 0]), "a header that was never there");
        assert!(refused(&[3, 0, 0, 0, 255, 255, 255, 20, 0, 0, 0, 0]), "a message of 16 MiB");
        assert!(refused(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0]), "chunks of nothing");
    }
}
