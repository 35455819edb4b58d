//! A publisher's side of a connection (RTMP 1.0 §5.2, §7.2): handshake, `connect`, `createStream`, `publish`, then the stream; and
//! what the server says meanwhile. The caller moves bytes.

use std::fmt;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::amf::{self, Value};
use super::chunk::{ChunkReader, ChunkWriter, Message, Route, SET_CHUNK_SIZE};
use super::flv::Body;

/// The protocol's version (§5.2.2), and how long its two packets are.
const VERSION: u8 = 3;
const PACKET: usize = 1536;
/// Kinds of messages (§5.4, §6.2, §7.1).
const ACKNOWLEDGEMENT: u8 = 3;
const USER_CONTROL: u8 = 4;
const WINDOW: u8 = 5;
const BANDWIDTH: u8 = 6;
const COMMAND: u8 = 20;
/// User control events (§6.2).
const PING: u16 = 6;
const PONG: u16 = 7;
/// Chunk streams, as publishers number them.
const CONTROL_CHUNKS: u8 = 2;
const COMMAND_CHUNKS: u8 = 3;
const AUDIO_CHUNKS: u8 = 4;
const VIDEO_CHUNKS: u8 = 6;
const DATA_CHUNKS: u8 = 5;
/// How large our chunks are: a usual picture is in one, and servers take it (FFmpeg's are as large).
const CHUNK_SIZE: u32 = 60_000;
/// Transactions, by the order in which they are begun.
const CONNECT: f64 = 1.0;
const RELEASE: f64 = 2.0;
const PREPARE: f64 = 3.0;
const CREATE: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const UNPUBLISH: f64 = 6.0;
const DELETE: f64 = 7.0;
const CHECK: f64 = 8.0;

/// Where a stream goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    /// The application, with its instance and parameters.
    pub application: String,
    /// The URL without the stream's name.
    pub url: String,
    /// The stream's name; often a key, and then a secret.
    pub stream: String,
}

impl fmt::Debug for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Place(…)")
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Versions and random bytes are exchanged.
    Handshake,
    /// The application is asked for.
    Connecting,
    /// A stream is asked for, and to publish it.
    Preparing,
    /// The server takes frames.
    Publishing,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// What the server sends is no RTMP.
    Malformed(&'static str),
    /// The server has said no. Code and text are its own.
    Refused {
        /// Such as `NetStream.Publish.BadName`; may be empty.
        code: String,
        /// What it adds.
        description: String,
    },
}

/// One connection.
pub struct Client {
    place: Place,
    stage: Stage,
    /// What has come of the handshake.
    handshake: BytesMut,
    reader: ChunkReader,
    writer: ChunkWriter,
    out: Vec<Bytes>,
    stream: u32,
    received: u64,
    acknowledged: u64,
    window: Option<u64>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is to be sent holds the stream's name.
        formatter.debug_struct("Client").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Client {
    /// One that begins with the handshake, of which `random` is a part.
    pub fn new(place: Place, random: &[u8; PACKET - 8]) -> Self {
        let mut hello = BytesMut::with_capacity(1 + PACKET);
        hello.put_u8(VERSION);
        // Its time, and zeros: the plain handshake.
        hello.put_u64(0);
        hello.extend_from_slice(random);
        Self {
            place,
            stage: Stage::Handshake,
            handshake: BytesMut::new(),
            reader: ChunkReader::default(),
            writer: ChunkWriter::default(),
            out: vec![hello.freeze()],
            stream: 0,
            received: 0,
            acknowledged: 0,
            window: None,
        }
    }

    /// How far it has come.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// Takes what is to be sent now.
    pub fn take_output(&mut self) -> std::vec::Drain<'_, Bytes> {
        self.out.drain(..)
    }

    /// Takes what was received.
    ///
    /// # Errors
    /// When the connection is of no further use.
    pub fn receive(&mut self, mut bytes: &[u8]) -> Result<(), Problem> {
        if self.stage == Stage::Handshake {
            let missing = (1 + 2 * PACKET).saturating_sub(self.handshake.len());
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.handshake.extend_from_slice(part);
            bytes = rest;
            if self.handshake.first().is_some_and(|version| *version != VERSION) {
                return Err(Problem::Malformed("it does not answer in RTMP"));
            }
            if self.handshake.len() < 1 + 2 * PACKET {
                return Ok(());
            }
            let mut answer = std::mem::take(&mut self.handshake);
            answer.advance(1);
            answer.truncate(PACKET);
            self.out.push(answer.freeze());
            self.connect();
        }
        self.received += bytes.len() as u64;
        self.reader.feed(bytes);
        while let Some(message) = self.reader.next_message().map_err(Problem::Malformed)? {
            self.heed(&message)?;
        }
        self.acknowledge();
        Ok(())
    }

    fn connect(&mut self) {
        self.stage = Stage::Connecting;
        self.control(SET_CHUNK_SIZE, &CHUNK_SIZE.to_be_bytes());
        self.writer.set_size(CHUNK_SIZE as usize);
        let named = |name: &str, value: &str| (name.to_owned(), Value::text(value));
        let properties = Value::Object(vec![
            named("app", &self.place.application),
            named("type", "nonprivate"),
            // Servers look for a Flash Media Live Encoder here.
            named("flashVer", concat!("FMLE/3.0 (compatible; camera-operator ", env!("CARGO_PKG_VERSION"), ")")),
            named("tcUrl", &self.place.url),
        ]);
        self.command(0, "connect", CONNECT, &[properties]);
    }

    fn heed(&mut self, message: &Message) -> Result<(), Problem> {
        let number = |at: usize| {
            let bytes = message.payload.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map(|bytes| u32::from_be_bytes(*bytes))
        };
        match message.kind {
            WINDOW => self.window = number(0).map(u64::from).filter(|size| *size > 0),
            BANDWIDTH => {
                // It wants to know that it was heard.
                if let Some(size) = number(0) {
                    self.control(WINDOW, &size.to_be_bytes());
                }
            }
            USER_CONTROL if message.payload.starts_with(&PING.to_be_bytes()) => {
                let mut pong = PONG.to_be_bytes().to_vec();
                pong.extend(message.payload.iter().skip(2).take(4));
                self.control(USER_CONTROL, &pong);
            }
            COMMAND => {
                self.answer(&amf::read(&message.payload))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a command of the server, most of which are answers.
    fn answer(&mut self, values: &[Value]) -> Result<(), Problem> {
        let name = values.first().and_then(Value::as_str).unwrap_or_default();
        let transaction = values.get(1).and_then(Value::as_number).unwrap_or_default();
        let told = values.get(3).unwrap_or(&Value::Null);
        let text = |field: &str| told.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "_result" if transaction == CONNECT && self.stage == Stage::Connecting => {
                self.stage = Stage::Preparing;
                let stream = Value::text(&self.place.stream);
                // Not in the standard, and expected by content delivery networks.
                self.command(0, "releaseStream", RELEASE, &[Value::Null, stream.clone()]);
                self.command(0, "FCPublish", PREPARE, &[Value::Null, stream]);
                self.command(0, "createStream", CREATE, &[Value::Null]);
            }
            "_result" if transaction == CREATE && self.stage == Stage::Preparing => {
                let stream = told.as_number().filter(|number| (1.0..4e9).contains(number));
                self.stream = stream.ok_or(Problem::Malformed("it names no stream"))? as u32;
                let stream = Value::text(&self.place.stream);
                self.command(self.stream, "publish", PUBLISH, &[Value::Null, stream, Value::text("live")]);
            }
            // Others, which the standard does not know, it may refuse.
            "_error" if [CONNECT, CREATE, PUBLISH].contains(&transaction) => {
                return Err(Problem::Refused { code: text("code"), description: text("description") });
            }
            "onStatus" => {
                let code = text("code");
                if text("level") == "error" || code == "NetStream.Publish.BadName" {
                    return Err(Problem::Refused { code, description: text("description") });
                }
                if code == "NetStream.Publish.Start" {
                    self.stage = Stage::Publishing;
                }
            }
            // How fast is the line? FFmpeg asks back, and some wait for it.
            "onBWDone" => self.command(0, "_checkbw", CHECK, &[Value::Null]),
            "close" => {
                return Err(Problem::Refused { code: String::new(), description: "it closes the connection".into() });
            }
            _ => {}
        }
        Ok(())
    }

    /// Says how much has come, as often as the server wants to hear it (§5.4.3).
    fn acknowledge(&mut self) {
        if self.window.is_some_and(|window| self.received - self.acknowledged >= window) {
            self.acknowledged = self.received;
            self.control(ACKNOWLEDGEMENT, &(self.received as u32).to_be_bytes());
        }
    }

    /// Sends frames, or what is told before them; heeded only while it publishes.
    pub fn send(&mut self, bodies: impl IntoIterator<Item = Body>) {
        if self.stage != Stage::Publishing {
            return;
        }
        for body in bodies {
            let chunks = match body.kind {
                super::flv::VIDEO => VIDEO_CHUNKS,
                super::flv::AUDIO => AUDIO_CHUNKS,
                _ => DATA_CHUNKS,
            };
            // Times wrap.
            let milliseconds = body.milliseconds as u32;
            let route = Route { chunks, kind: body.kind, stream: self.stream, milliseconds };
            self.writer.write(route, &body.head, body.payload, &mut self.out);
        }
    }

    /// Takes leave.
    pub fn finish(&mut self) {
        if self.stage == Stage::Publishing {
            let stream = Value::text(&self.place.stream);
            self.command(0, "FCUnpublish", UNPUBLISH, &[Value::Null, stream]);
            let number = Value::Number(self.stream.into());
            self.command(0, "deleteStream", DELETE, &[Value::Null, number]);
        }
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        let route = Route { chunks: CONTROL_CHUNKS, kind, stream: 0, milliseconds: 0 };
        self.writer.write(route, body, Bytes::new(), &mut self.out);
    }

    fn command(&mut self, stream: u32, name: &str, transaction: f64, values: &[Value]) {
        let mut body = Vec::new();
        amf::write(&mut body, &Value::text(name));
        amf::write(&mut body, &Value::Number(transaction));
        values.iter().for_each(|value| amf::write(&mut body, value));
        let route = Route { chunks: COMMAND_CHUNKS, kind: COMMAND, stream, milliseconds: 0 };
        self.writer.write(route, &[], body.into(), &mut self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server does, by the same chunks.
    struct Server {
        reader: ChunkReader,
        writer: ChunkWriter,
        /// Of the handshake, that it has not read yet.
        skip: usize,
        sent: Vec<Bytes>,
        heard: Vec<(u32, Vec<Value>)>,
        media: Vec<Message>,
    }

    impl Server {
        fn new() -> Self {
            let hello = [&[VERSION][..], &[7; 2 * PACKET]].concat();
            Self {
                reader: ChunkReader::default(),
                writer: ChunkWriter::default(),
                skip: 1 + 2 * PACKET,
                sent: vec![hello.into()],
                heard: Vec::new(),
                media: Vec::new(),
            }
        }

        fn say(&mut self, kind: u8, body: &[u8]) {
            let route = Route { chunks: 3, kind, stream: 0, milliseconds: 0 };
            self.writer.write(route, body, Bytes::new(), &mut self.sent);
        }

        fn command(&mut self, values: &[Value]) {
            let mut body = Vec::new();
            values.iter().for_each(|value| amf::write(&mut body, value));
            self.say(COMMAND, &body);
        }

        /// Hands on what waits, both ways; true when something did.
        fn exchange(&mut self, client: &mut Client) -> Result<bool, Problem> {
            let output = client.take_output().collect::<Vec<_>>().concat();
            let skipped = self.skip.min(output.len());
            self.skip -= skipped;
            self.reader.feed(&output[skipped..]);
            while let Some(message) = self.reader.next_message().unwrap() {
                match message.kind {
                    COMMAND => self.heard.push((message.stream, amf::read(&message.payload))),
                    _ => self.media.push(message),
                }
            }
            let answer = std::mem::take(&mut self.sent).concat();
            // In pieces, as networks do.
            for piece in answer.chunks(1000) {
                client.receive(piece)?;
            }
            Ok(!output.is_empty() || !answer.is_empty())
        }
    }

    fn status(level: &str, code: &str) -> Value {
        let fields = [("level", level), ("code", code), ("description", "because")];
        Value::Object(fields.map(|(name, text)| (name.to_owned(), Value::text(text))).into())
    }

    fn client() -> Client {
        let place = Place { application: "live".into(), url: "rtmp://h/live".into(), stream: "key".into() };
        Client::new(place, &[1; PACKET - 8])
    }

    /// A client that has come to the point where it asks to publish.
    fn prepared() -> (Client, Server) {
        let (mut client, mut server) = (client(), Server::new());
        while server.exchange(&mut client).unwrap() {}
        assert_eq!(client.stage(), Stage::Connecting);
        server.command(&[Value::text("_result"), Value::Number(CONNECT), Value::Null, Value::Null]);
        while server.exchange(&mut client).unwrap() {}
        // Those that it does not know.
        server.command(&[Value::text("_error"), Value::Number(RELEASE), Value::Null, status("error", "x")]);
        server.command(&[Value::text("_result"), Value::Number(CREATE), Value::Null, Value::Number(9.0)]);
        while server.exchange(&mut client).unwrap() {}
        (client, server)
    }

    #[test]
    fn a_stream_is_published_and_left() {
        let (mut client, mut server) = prepared();
        let names: Vec<&str> = server.heard.iter().filter_map(|(_, values)| values[0].as_str()).collect();
        assert_eq!(names, ["connect", "releaseStream", "FCPublish", "createStream", "publish"]);
        let connect = &server.heard[0].1;
        assert_eq!(connect[2].get("app"), Some(&Value::text("live")));
        assert_eq!(connect[2].get("tcUrl"), Some(&Value::text("rtmp://h/live")));
        assert_eq!(server.heard[4].0, 9, "on the stream that was named");
        assert_eq!(server.heard[4].1[3..], [Value::text("key"), Value::text("live")]);
        let body =
            || Body { kind: 9, milliseconds: 0x1_0000_0005, head: vec![0x17, 1], payload: vec![5; 200_000].into() };
        client.send([body()]);
        assert_eq!(client.take_output().count(), 0, "not before it may");
        server.command(&[
            Value::text("onStatus"),
            Value::Number(0.0),
            Value::Null,
            status("status", "NetStream.Publish.Start"),
        ]);
        while server.exchange(&mut client).unwrap() {}
        assert_eq!(client.stage(), Stage::Publishing);
        server.media.clear();
        client.send([body()]);
        // It wants to be answered, and to hear how much has come.
        server.say(WINDOW, &100_u32.to_be_bytes());
        server.say(USER_CONTROL, &[0, 6, 1, 2, 3, 4]);
        server.say(BANDWIDTH, &[0, 0, 1, 0, 2]);
        server.say(4, &[0; 200]);
        while server.exchange(&mut client).unwrap() {}
        let sent: Vec<(u8, usize)> = server.media.iter().map(|message| (message.kind, message.payload.len())).collect();
        assert_eq!(sent, [(9, 200_002), (USER_CONTROL, 6), (WINDOW, 4), (ACKNOWLEDGEMENT, 4)]);
        assert_eq!(server.media[1].payload[..], [0, 7, 1, 2, 3, 4]);
        client.finish();
        while server.exchange(&mut client).unwrap() {}
        let names: Vec<&str> = server.heard.iter().skip(5).filter_map(|(_, values)| values[0].as_str()).collect();
        assert_eq!(names, ["FCUnpublish", "deleteStream"]);
        assert_eq!(server.heard[6].1[3], Value::Number(9.0));
    }

    #[test]
    fn a_no_is_understood_whenever_it_comes() {
        let refused = |client: &mut Client, server: &mut Server, values: &[Value]| {
            server.command(values);
            match server.exchange(client) {
                Err(Problem::Refused { code, description }) => (code, description),
                other => panic!("{other:?}"),
            }
        };
        let said = |code: &str| (code.to_owned(), "because".to_owned());
        let (mut other, mut server) = (client(), Server::new());
        while server.exchange(&mut other).unwrap() {}
        let no = status("error", "NetConnection.Connect.Rejected");
        let values = [Value::text("_error"), Value::Number(CONNECT), Value::Null, no];
        assert_eq!(refused(&mut other, &mut server, &values), said("NetConnection.Connect.Rejected"));
        let (mut other, mut server) = prepared();
        let no = status("error", "NetStream.Publish.BadName");
        let values = [Value::text("onStatus"), Value::Number(0.0), Value::Null, no];
        assert_eq!(refused(&mut other, &mut server, &values), said("NetStream.Publish.BadName"));
    }

    #[test]
    fn what_does_not_speak_rtmp_is_told_at_its_first_byte() {
        assert_eq!(client().receive(b"HTTP/1.1 400"), Err(Problem::Malformed("it does not answer in RTMP")));
    }
}
