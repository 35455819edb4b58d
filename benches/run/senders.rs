//! Cameras that cost as little as cameras can: each picture's packets are made once, and are sent to all with the numbers of
//! each. So the machine is left to whoever reads them, and it is known which of the two is late. RTSP over TCP only, and only as
//! much of it as the program asks for.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rustix::net::SendFlags;

use crate::load::FRAMES_PER_SECOND;
use crate::support::rtp;

/// RTP ticks of a picture.
const TICKS: u32 = 90_000 / FRAMES_PER_SECOND;

/// A picture's packets as they stand in the connection, and where in it each packet begins.
struct Picture {
    bytes: Vec<u8>,
    packets: Vec<usize>,
}

struct Film {
    pictures: Vec<Picture>,
    /// Of the first packet of each picture, and of all.
    sets: Vec<Vec<u8>>,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Sent {
    /// Pictures that were handed to the kernel.
    pub pictures: AtomicU64,
    /// By how much the latest one was behind its time when it was sent, microseconds, at most since it was asked last.
    pub late: AtomicU64,
    /// The most bytes that waited for one connection since it was asked last.
    pub waiting: AtomicU64,
}

struct Session {
    stream: TcpStream,
    number: usize,
    /// The next picture, counted from the session's first.
    next: usize,
    sequence: u16,
    /// What the connection did not take yet.
    waiting: VecDeque<u8>,
}

/// A server of many cameras; ends when dropped.
pub struct Senders {
    /// One for each camera.
    pub urls: Vec<String>,
    /// What happened.
    pub sent: Arc<Sent>,
    stop: Arc<AtomicBool>,
}

impl Senders {
    /// Starts it; `encoded` is an H.264 byte stream.
    pub fn start(count: usize, encoded: &Path) -> Self {
        let film = Arc::new(Film::read(encoded));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sent, stop, begun) =
            (Arc::<Sent>::default(), Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Session>>>::default());
        let (shared, film_of_all) = (begun.clone(), film.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (begun, film) = (shared.clone(), film_of_all.clone());
                std::thread::spawn(move || answer(&connection, &film, &begun));
            }
        });
        let (counted, stopped) = (sent.clone(), stop.clone());
        std::thread::spawn(move || play(count, &film, &begun, &counted, &stopped));
        let urls = (0..count).map(|number| format!("rtsp://{address}/camera-{number}")).collect();
        Self { urls, sent, stop }
    }
}

impl Drop for Senders {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Film {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let mut film = Self { pictures: Vec::new(), sets: Vec::new() };
        let mut units: Vec<Vec<u8>> = Vec::new();
        for unit in units_of(&bytes).into_iter().map(<[u8]>::to_vec).chain([vec![9]]) {
            match unit[0] & 0x1f {
                9 if units.is_empty() => {}
                9 => film.add(&std::mem::take(&mut units)),
                7 | 8 if !film.sets.contains(&unit) => film.sets.push(unit),
                7 | 8 => {}
                _ => units.push(unit),
            }
        }
        film
    }

    fn add(&mut self, units: &[Vec<u8>]) {
        let mut picture = Picture { bytes: Vec::new(), packets: Vec::new() };
        for (place, unit) in units.iter().enumerate() {
            for (parts, last) in rtp::payloads(unit, "H264") {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                let packet = rtp::rtp(96, last && place + 1 == units.len(), 0, 0, 1, &parts);
                picture.packets.push(picture.bytes.len());
                picture.bytes.extend([b'$', 0]);
                picture.bytes.extend((packet.len() as u16).to_be_bytes());
                picture.bytes.extend(packet);
            }
        }
        self.pictures.push(picture);
    }
}

/// NAL units of an Annex B stream (ITU-T H.264 §B.1.1).
fn units_of(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..bytes.len().saturating_sub(2)).filter(|at| bytes[*at..*at + 3] == [0, 0, 1]).collect();
    let ends = starts.iter().copied().skip(1).chain([bytes.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| &bytes[start + 3..end]);
    units.map(|unit| &unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]).collect()
}

/// Answers a connection's requests; its camera is played from PLAY on.
fn answer(stream: &TcpStream, film: &Film, begun: &Mutex<Vec<Session>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut playing = false;
    loop {
        let mut lines: Vec<String> = Vec::new();
        while lines.last().is_none_or(|line| !line.is_empty()) {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            lines.push(line.trim_end().to_owned());
        }
        if playing {
            // Only that it lives on: an answer would have to wait for its place among the packets, and nobody waits for it.
            continue;
        }
        let sequence = lines.iter().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or_default();
        let mut words = lines[0].split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let mut body = String::new();
        let headers = match method {
            "DESCRIBE" => {
                let encode = |set: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(set);
                let sets: Vec<String> = film.sets.iter().map(encode).collect();
                let _ = write!(
                    body,
                    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=film\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\nm=video 0 RTP/AVP 96\r\n\
                     a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={}\r\na=control:track0\r\n",
                    sets.join(",")
                );
                format!("Content-Base: {target}/\r\nContent-Type: application/sdp\r\n")
            }
            // Longer than any load is watched: nothing has to be said meanwhile.
            "SETUP" => "Session: 4711;timeout=86400\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n".into(),
            "PLAY" => format!("Session: 4711\r\nRTP-Info: url={target}track0;seq=0;rtptime=0\r\n"),
            _ => "Session: 4711\r\n".into(),
        };
        let length = body.len();
        let text = format!("RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        (&*stream).write_all(text.as_bytes()).ok()?;
        if method == "PLAY" {
            playing = true;
            let number = target.trim_end_matches('/').rsplit('-').next()?.parse().ok()?;
            let sending = stream.try_clone().ok()?;
            let waiting = VecDeque::new();
            begun.lock().unwrap().push(Session { stream: sending, number, next: 0, sequence: 0, waiting });
        }
    }
}

/// Sends every camera its pictures, each camera a part of a picture's time after the one before it.
fn play(count: usize, film: &Film, begun: &Mutex<Vec<Session>>, sent: &Sent, stop: &AtomicBool) {
    let mut cameras: Vec<Option<Session>> = (0..count).map(|_| None).collect();
    let mut bytes = Vec::new();
    let start = Instant::now();
    for slot in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let due = start + Duration::from_secs_f64(f64::from(slot) / (count as f64 * f64::from(FRAMES_PER_SECOND)));
        let now = Instant::now();
        match due.checked_duration_since(now) {
            Some(wait) => std::thread::sleep(wait),
            None => {
                sent.late.fetch_max((now - due).as_micros() as u64, Ordering::Relaxed);
            }
        }
        for session in begun.lock().unwrap().drain(..) {
            let number = session.number;
            cameras[number] = Some(session);
        }
        let camera = &mut cameras[slot as usize % count];
        let Some(session) = camera else { continue };
        let picture = &film.pictures[session.next % film.pictures.len()];
        bytes.clear();
        bytes.extend_from_slice(&picture.bytes);
        let time = (session.next as u32).wrapping_mul(TICKS);
        for at in &picture.packets {
            bytes[at + 6..at + 8].copy_from_slice(&session.sequence.to_be_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&time.to_be_bytes());
            session.sequence = session.sequence.wrapping_add(1);
        }
        session.next += 1;
        if session.send(&bytes).is_err() {
            *camera = None;
            continue;
        }
        sent.pictures.fetch_add(1, Ordering::Relaxed);
        sent.waiting.fetch_max(session.waiting.len() as u64, Ordering::Relaxed);
    }
}

impl Session {
    /// Sends what waited and these, as far as the connection takes it.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = &self.stream;
        let some = |bytes: &[u8]| match rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            sent => sent.map_err(io::Error::from),
        };
        if !self.waiting.is_empty() {
            let count = some(self.waiting.make_contiguous())?;
            self.waiting.drain(..count);
        }
        let count = if self.waiting.is_empty() { some(bytes)? } else { 0 };
        self.waiting.extend(&bytes[count..]);
        Ok(())
    }
}
