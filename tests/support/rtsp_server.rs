//! A scriptable RTSP server: sends a short film that is known picture by picture, and behaves as badly as real cameras do.
//! RTSP is made by hand here, so that anything can be wrong with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::film::Film;
use super::rtp::{message, payloads, report, rtp};

/// Ticks of the pictures' clock a second.
const RATE: i64 = 90_000;
/// Bytes of sound in a packet: 20 ms of G.711.
const SOUND: usize = 160;
const VIDEO_SSRC: u32 = 0x1234_5678;
const AUDIO_SSRC: u32 = 0x8765_4321;

/// What `RTP-Info` says of a track, given its true sequence and time.
type Announced = fn(u16, u32) -> (u16, u32);

/// How it behaves.
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "habits that have nothing to do with one another")]
pub struct Script {
    /// What it sends, once.
    pub film: Film,
    /// How often the film is sent; then nothing more comes.
    pub times: usize,
    /// Whether there is sound (G.711), and how many seconds before (negative: behind) the first picture its packets begin.
    pub sound: Option<f64>,
    /// `None`: there is no such header.
    pub rtp_info: Option<Announced>,
    /// Whether the answers to PLAY and later requests name the session.
    pub session_in_play: bool,
    /// Time-out of the session that it announces, and keeps.
    pub session_timeout: u64,
    /// Methods that it does not know, answered 501.
    pub unknown_methods: &'static [&'static str],
    /// Whether the description has the parameter sets.
    pub sets_in_description: bool,
    /// Whether each key frame has them.
    pub sets_in_band: bool,
    /// The pictures' RTP time, given the true one and the picture's number.
    pub time: fn(i64, usize) -> i64,
    /// Whether sender reports come.
    pub reports: bool,
    /// By how many seconds its clock is ahead.
    pub clock_ahead: i64,
    /// The media packets, given those of a picture and its number: to drop or mix them.
    pub packets: fn(Vec<Vec<u8>>, usize) -> Vec<Vec<u8>>,
    /// Bytes of a message that nobody needs, in the first picture.
    pub padding: usize,
    /// What it sends on the connection before the first packet.
    pub before: fn() -> Vec<u8>,
    /// How many first DESCRIBE requests get this status.
    pub refuse: (usize, &'static str),
    /// `Server` and `a=tool`.
    pub tool: &'static str,
}

impl Script {
    /// A camera that does all as it should.
    pub fn good(film: Film) -> Self {
        Self {
            film,
            times: 1,
            sound: None,
            rtp_info: Some(|sequence, time| (sequence, time)),
            session_in_play: true,
            session_timeout: 60,
            unknown_methods: &[],
            sets_in_description: true,
            sets_in_band: false,
            time: |time, _| time,
            reports: false,
            clock_ahead: 0,
            packets: |packets, _| packets,
            padding: 0,
            before: Vec::new,
            refuse: (0, ""),
            tool: "test",
        }
    }
}

/// What it was asked.
#[derive(Default)]
pub struct Seen {
    /// Methods, in order.
    pub requests: Vec<String>,
    /// Connections so far.
    pub connections: usize,
    /// A session ended because nothing was heard of its client.
    pub expired: bool,
    /// Up to when sound has been sent, since the beginning of the newest session.
    pub sound_until: Duration,
}

/// The server; ended when dropped.
pub struct RtspServer {
    /// Where it is.
    pub url: String,
    /// What happened.
    pub seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
}

impl RtspServer {
    /// Starts one.
    pub fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let stop: Arc<AtomicBool> = Arc::default();
        let (shared, stopped) = (seen.clone(), stop.clone());
        let refusals = Arc::new(AtomicUsize::new(script.refuse.0));
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                shared.lock().unwrap().connections += 1;
                let (script, shared, refusals) = (script.clone(), shared.clone(), refusals.clone());
                let stopped = stopped.clone();
                std::thread::spawn(move || serve(&connection, &script, &shared, &refusals, &stopped));
            }
        });
        Self { url: format!("rtsp://{address}/film"), seen, stop, address }
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Where a session's media goes.
#[derive(Default)]
struct Paths {
    /// RTP and RTCP of the pictures, and of the sound.
    udp: [Option<(UdpSocket, UdpSocket)>; 2],
}

fn serve(
    connection: &TcpStream,
    script: &Script,
    seen: &Arc<Mutex<Seen>>,
    refusals: &AtomicUsize,
    stop: &Arc<AtomicBool>,
) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    let writer = Arc::new(Mutex::new(connection.try_clone().ok()?));
    let heard = Arc::new(Mutex::new(Instant::now()));
    let mut paths = Paths::default();
    loop {
        let mut lines = Vec::new();
        loop {
            // Receiver reports come between the requests, framed (RFC 2326 §10.12).
            while reader.fill_buf().ok()?.first()? == &b'$' {
                let mut head = [0; 4];
                std::io::Read::read_exact(&mut reader, &mut head).ok()?;
                let mut body = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]]))];
                std::io::Read::read_exact(&mut reader, &mut body).ok()?;
            }
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        *heard.lock().unwrap() = Instant::now();
        let header = |name: &str| {
            lines.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let method = lines.first()?.split(' ').next()?.to_owned();
        let target = lines.first()?.split(' ').nth(1)?.to_owned();
        seen.lock().unwrap().requests.push(method.clone());
        let sequence = header("cseq").unwrap_or_default();
        let session = format!("Session: 4711;timeout={}\r\n", script.session_timeout);
        let mut play = false;
        let (status, headers, body) = if script.unknown_methods.contains(&method.as_str()) {
            ("501 Not Implemented", String::new(), String::new())
        } else {
            match method.as_str() {
                "OPTIONS" => {
                    let all = ["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER"];
                    let known: Vec<&str> =
                        all.into_iter().filter(|name| !script.unknown_methods.contains(name)).collect();
                    ("200 OK", format!("Public: {}\r\n", known.join(", ")), String::new())
                }
                "DESCRIBE" => {
                    let left = refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                    if left.is_ok() {
                        let ask = "WWW-Authenticate: Digest realm=\"film\", nonce=\"1\"\r\n";
                        (script.refuse.1, ask.to_owned(), String::new())
                    } else {
                        let base = format!("Content-Base: {target}/\r\nContent-Type: application/sdp\r\n");
                        ("200 OK", base, describe(script))
                    }
                }
                "SETUP" => {
                    let track = usize::from(target.ends_with('1'));
                    let asked = header("transport")?;
                    let transport = if let Some(ports) = asked.split("client_port=").nth(1) {
                        let (rtp, rtcp) = ports.split(';').next()?.split_once('-')?;
                        let (ours, ours_next) = pair();
                        let own = ours.local_addr().unwrap().port();
                        ours.connect(("127.0.0.1", rtp.parse::<u16>().ok()?)).ok()?;
                        ours_next.connect(("127.0.0.1", rtcp.parse::<u16>().ok()?)).ok()?;
                        paths.udp[track] = Some((ours, ours_next));
                        format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={own}-{}", own + 1)
                    } else {
                        format!("RTP/AVP/TCP;unicast;interleaved={}-{}", track * 2, track * 2 + 1)
                    };
                    ("200 OK", format!("{session}Transport: {transport}\r\n"), String::new())
                }
                "PLAY" => {
                    play = true;
                    let mut headers = if script.session_in_play { session.clone() } else { String::new() };
                    if let Some(tell) = script.rtp_info {
                        let url = target.trim_end_matches('/');
                        let of = |track: usize, sequence, time| {
                            let (sequence, time) = tell(sequence, time);
                            format!("url={url}/track{track};seq={sequence};rtptime={time}")
                        };
                        let mut all = vec![of(0, FIRST_SEQUENCE, FIRST_TIME)];
                        if script.sound.is_some() {
                            all.push(of(1, FIRST_SEQUENCE, FIRST_TIME));
                        }
                        headers += &format!("RTP-Info: {}\r\n", all.join(","));
                    }
                    ("200 OK", headers, String::new())
                }
                _ => ("200 OK", session.clone(), String::new()),
            }
        };
        let answer = format!(
            "RTSP/1.0 {status}\r\nCSeq: {sequence}\r\nServer: {}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            script.tool,
            body.len()
        );
        writer.lock().unwrap().write_all(answer.as_bytes()).ok()?;
        if method == "TEARDOWN" {
            let _ = connection.shutdown(Shutdown::Both);
            return None;
        }
        if play {
            writer.lock().unwrap().write_all(&(script.before)()).ok()?;
            let sender = Sender { writer: writer.clone(), paths: std::mem::take(&mut paths), stop: stop.clone() };
            let (script, connection) = (script.clone(), connection.try_clone().ok()?);
            let (heard, seen) = (heard.clone(), seen.clone());
            let expired = Arc::new(AtomicBool::new(false));
            let flag = expired.clone();
            std::thread::spawn(move || {
                if sender.play(&script, &heard, &seen).is_none() {
                    flag.store(true, Ordering::Relaxed);
                    let _ = connection.shutdown(Shutdown::Both);
                }
            });
            let _ = expired;
        }
    }
}

const FIRST_SEQUENCE: u16 = 65_000;
const FIRST_TIME: u32 = u32::MAX - 200_000;

/// Two sockets on neighbouring ports, the first even.
fn pair() -> (UdpSocket, UdpSocket) {
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port.is_multiple_of(2)
            && let Ok(second) = UdpSocket::bind(("127.0.0.1", port + 1))
        {
            return (first, second);
        }
    }
}

fn describe(script: &Script) -> String {
    let encode = |set: &Vec<u8>| base64::engine::general_purpose::STANDARD.encode(set);
    let sets: Vec<String> = script.film.sets.iter().map(encode).collect();
    let format = match (script.film.codec, script.sets_in_description) {
        ("H264", true) => format!("a=fmtp:96 packetization-mode=1;sprop-parameter-sets={}\r\n", sets.join(",")),
        ("H264", false) => "a=fmtp:96 packetization-mode=1\r\n".into(),
        (_, true) => {
            format!("a=fmtp:96 sprop-vps={};sprop-sps={};sprop-pps={}\r\n", sets[0], sets[1], sets[2])
        }
        (_, false) => String::new(),
    };
    let sound = match script.sound {
        Some(_) => "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:track1\r\n",
        None => "",
    };
    format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=film\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=tool:{}\r\na=control:*\r\n\
         m=video 0 RTP/AVP 96\r\na=rtpmap:96 {}/90000\r\n{format}a=control:track0\r\n{sound}",
        script.tool, script.film.codec
    )
}

/// Sends media.
struct Sender {
    writer: Arc<Mutex<TcpStream>>,
    paths: Paths,
    stop: Arc<AtomicBool>,
}

impl Sender {
    fn send(&self, track: usize, report: bool, packet: &[u8]) -> Option<()> {
        if let Some((rtp, rtcp)) = &self.paths.udp[track] {
            let _ = if report { rtcp.send(packet) } else { rtp.send(packet) };
            return Some(());
        }
        let mut framed = vec![b'$', (track * 2 + usize::from(report)) as u8];
        framed.extend((packet.len() as u16).to_be_bytes());
        framed.extend_from_slice(packet);
        self.writer.lock().unwrap().write_all(&framed).ok()
    }

    /// `None` when the client is gone, or was not heard of for the session's time-out.
    fn play(&self, script: &Script, heard: &Mutex<Instant>, seen: &Mutex<Seen>) -> Option<()> {
        let film = &script.film;
        let begun = Instant::now();
        let begun_at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let begun_at = Duration::from_secs(begun_at.as_secs().checked_add_signed(script.clock_ahead).unwrap())
            + Duration::from_nanos(u64::from(begun_at.subsec_nanos()));
        let (mut sequence, mut sound_sequence) = (FIRST_SEQUENCE, FIRST_SEQUENCE);
        let lead = script.sound.unwrap_or(0.0);
        // The pictures begin later when the sound leads.
        let delay = Duration::from_secs_f64(lead.max(0.0));
        let mut sound_sent = 0_u32;
        let sound_start = Duration::from_secs_f64((-lead).max(0.0));
        let span = film.pictures.len() as i64;
        for number in 0..film.pictures.len() * script.times {
            let index = number % film.pictures.len();
            let due = begun + delay + Duration::from_micros(number as u64 * 1_000_000 / film.rate as u64);
            loop {
                let now = Instant::now();
                if script.sound.is_some() {
                    while begun + sound_start + Duration::from_millis(20) * sound_sent <= now {
                        // Sound is sampled from the session's beginning, whenever its packets begin.
                        let at = sound_start.as_millis() as u32 * 8 + sound_sent * SOUND as u32;
                        let time = FIRST_TIME.wrapping_add(at);
                        let packet = rtp(0, true, sound_sequence, time, AUDIO_SSRC, &[&[0x55; SOUND]]);
                        self.send(1, false, &packet)?;
                        sound_sequence = sound_sequence.wrapping_add(1);
                        sound_sent += 1;
                        seen.lock().unwrap().sound_until = sound_start + Duration::from_millis(20) * sound_sent;
                    }
                }
                if now >= due {
                    break;
                }
                let most = if script.sound.is_some() { Duration::from_millis(5) } else { Duration::from_millis(500) };
                std::thread::sleep((due - now).min(most));
            }
            if self.stop.load(Ordering::Relaxed)
                || heard.lock().unwrap().elapsed() > Duration::from_secs(script.session_timeout)
            {
                return None;
            }
            let (units, shown) = &film.pictures[index];
            let shown = shown + (number / film.pictures.len()) as i64 * span;
            let true_time = shown * RATE / film.rate + delay.as_millis() as i64 * (RATE / 1000);
            let time = FIRST_TIME.wrapping_add((script.time)(true_time, number) as u32);
            if script.reports && number % 25 == 0 {
                let media = Duration::from_micros((true_time * 1_000_000 / RATE) as u64);
                self.send(0, true, &report(VIDEO_SSRC, begun_at + media, time))?;
                if script.sound.is_some() {
                    let at = media.as_millis() as u32 * 8;
                    self.send(1, true, &report(AUDIO_SSRC, begun_at + media, FIRST_TIME.wrapping_add(at)))?;
                }
            }
            let mut all: Vec<Vec<u8>> = Vec::new();
            if script.sets_in_band && film.is_key(index) {
                all.extend(film.sets.iter().cloned());
            }
            if number == 0 && script.padding > 0 {
                all.push(message(script.padding));
            }
            all.extend(units.iter().cloned());
            let mut packets = Vec::new();
            for (at, unit) in all.iter().enumerate() {
                let last = at + 1 == all.len();
                for (payloads, ends) in payloads(unit, film.codec) {
                    let parts: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
                    packets.push(rtp(96, last && ends, sequence, time, VIDEO_SSRC, &parts));
                    sequence = sequence.wrapping_add(1);
                }
            }
            for packet in (script.packets)(packets, number) {
                self.send(0, false, &packet)?;
            }
        }
        // The connection stands, and nothing comes any more.
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(())
    }
}
