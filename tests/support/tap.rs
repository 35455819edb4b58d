//! A relay between the program and an RTSP camera that keeps what it passed on: what *arrived* is known exactly. What a camera
//! that is killed or stopped had still in its own memory, or its kernel in a queue, never left it, and no number of pictures
//! can say how much that is. Interleaved RTP (RFC 2326 §10.12) of H.264 (RFC 6184) and H.265 (RFC 7798) in the first track.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::camera::Camera;
use super::{free_port, judge, wait};

/// What one connection passed on to the program.
#[derive(Default)]
struct Passed {
    bytes: Vec<u8>,
    /// The program has asked for the session's end: what a camera that goes on still sends is nothing that it waits for.
    given_up: bool,
}

/// A relay that runs until it is dropped.
pub struct Tap {
    /// The camera's URL by way of the relay.
    pub url: String,
    port: u16,
    camera: u16,
    connections: Arc<Mutex<Vec<Arc<Mutex<Passed>>>>>,
    listening: Option<Arc<AtomicBool>>,
}

impl Tap {
    /// Listens in front of a camera.
    pub fn before(camera: &Camera) -> Self {
        // Not one of those that the kernel gives to whoever asks: while it is closed, nobody else may get it.
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let url = camera.url.replace(&format!(":{}", camera.port), &format!(":{port}"));
        let mut tap = Self { url, port, camera: camera.port, connections: Arc::default(), listening: None };
        tap.listen(listener);
        tap
    }

    fn listen(&mut self, listener: TcpListener) {
        listener.set_nonblocking(true).unwrap();
        let listening = Arc::new(AtomicBool::new(true));
        self.listening = Some(listening.clone());
        let (camera, connections) = (self.camera, self.connections.clone());
        std::thread::spawn(move || {
            while listening.load(Ordering::Relaxed) {
                let Ok((program, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let Ok(camera) = TcpStream::connect(("127.0.0.1", camera)) else { continue };
                program.set_nonblocking(false).unwrap();
                let passed = Arc::<Mutex<Passed>>::default();
                connections.lock().unwrap().push(passed.clone());
                relay(&program, &camera, passed);
            }
        });
    }

    /// Nobody listens any more, as where a camera is dead; what stands goes on.
    pub fn close(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.store(false, Ordering::Relaxed);
            // The thread lets the port go when it looks next.
            wait("a free port", || TcpListener::bind(("127.0.0.1", self.port)).ok());
        }
    }

    /// Listens again after [`Self::close`].
    pub fn open(&mut self) {
        let listener = wait("the port", || TcpListener::bind(("127.0.0.1", self.port)).ok());
        self.listen(listener);
    }

    /// How often the program has connected.
    pub fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// The counters of the pictures that arrived whole before the program gave their session up, in the order of connections;
    /// those that came before the first key frame of a connection cannot be decoded and are not counted.
    pub fn counters(&self) -> Vec<u32> {
        // Judged only when no lock is held any more: the relay goes on meanwhile.
        let connections = self.connections.lock().unwrap().clone();
        let passed: Vec<Vec<u8>> = connections.iter().map(|passed| passed.lock().unwrap().bytes.clone()).collect();
        passed.iter().flat_map(|bytes| counters(bytes)).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.store(false, Ordering::Relaxed);
        }
    }
}

fn relay(program: &TcpStream, camera: &TcpStream, passed: Arc<Mutex<Passed>>) {
    let (mut from, mut to, asked) = (program.try_clone().unwrap(), camera.try_clone().unwrap(), passed.clone());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // A request is one small write, and comes as such (RFC 2326 §10.7).
            asked.lock().unwrap().given_up |= buffer[..count].windows(9).any(|nine| nine == b"TEARDOWN ");
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (camera.try_clone().unwrap(), program.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            // Kept only when it is in the program's own queue.
            let mut passed = passed.lock().unwrap();
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            if !passed.given_up {
                passed.bytes.extend_from_slice(&buffer[..count]);
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn counters(passed: &[u8]) -> Vec<u32> {
    let (stream, h265) = elementary_stream(passed);
    if stream.is_empty() {
        return Vec::new();
    }
    let file = tempfile::Builder::new().suffix(if h265 { ".h265" } else { ".h264" }).tempfile().unwrap();
    std::fs::write(file.path(), &stream).unwrap();
    let counters = judge::counters(file.path().to_str().unwrap());
    let decodable: Vec<Option<u32>> = counters.into_iter().skip_while(Option::is_none).collect();
    decodable.iter().copied().collect::<Option<Vec<u32>>>().unwrap_or_else(|| panic!("unreadable: {decodable:?}"))
}

/// The whole pictures of the first track as a stream with start codes, and whether they are H.265.
fn elementary_stream(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let (mut whole, mut picture, mut h265) = (Vec::new(), Vec::new(), false);
    while let Some(&first) = rest.first() {
        if first != b'$' {
            // An answer, and its body.
            let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else { break };
            let head = String::from_utf8_lossy(&rest[..end]).into_owned();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length:")?.trim().parse().ok());
            let Some((body, after)) = rest[end + 4..].split_at_checked(length.unwrap_or(0)) else { break };
            h265 |= String::from_utf8_lossy(body).contains("H265/90000");
            rest = after;
            continue;
        }
        let Some((&[_, channel, high, low], after)) = rest.split_first_chunk::<4>() else { break };
        let Some((packet, after)) = after.split_at_checked(usize::from(u16::from_be_bytes([high, low]))) else { break };
        rest = after;
        if channel == 0 {
            let sources = usize::from(packet[0] & 0x0f);
            append(&packet[12 + sources * 4..], h265, &mut picture);
            let marker = packet[1] & 0x80 != 0;
            if marker {
                whole.append(&mut picture);
            }
        }
    }
    (whole, h265)
}

/// Appends a packet's share of its picture.
fn append(payload: &[u8], h265: bool, picture: &mut Vec<u8>) {
    const START: [u8; 4] = [0, 0, 0, 1];
    let mut aggregated = |mut units: &[u8]| {
        while let Some((&[high, low], after)) = units.split_first_chunk::<2>() {
            let (unit, after) = after.split_at(usize::from(u16::from_be_bytes([high, low])));
            picture.extend_from_slice(&START);
            picture.extend_from_slice(unit);
            units = after;
        }
    };
    if h265 {
        match payload[0] >> 1 & 0x3f {
            48 => aggregated(&payload[2..]),
            49 => {
                if payload[2] & 0x80 != 0 {
                    picture.extend_from_slice(&START);
                    picture.extend_from_slice(&[payload[0] & 0x81 | (payload[2] & 0x3f) << 1, payload[1]]);
                }
                picture.extend_from_slice(&payload[3..]);
            }
            _ => {
                picture.extend_from_slice(&START);
                picture.extend_from_slice(payload);
            }
        }
        return;
    }
    match payload[0] & 0x1f {
        24 => aggregated(&payload[1..]),
        28 => {
            if payload[1] & 0x80 != 0 {
                picture.extend_from_slice(&START);
                picture.push(payload[0] & 0xe0 | payload[1] & 0x1f);
            }
            picture.extend_from_slice(&payload[2..]);
        }
        _ => {
            picture.extend_from_slice(&START);
            picture.extend_from_slice(payload);
        }
    }
}
