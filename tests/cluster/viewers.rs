//! Viewers of live media who go through Services as a program in the cluster does: by DNS, address after address, and again
//! when what they had has ended. They note what they saw, and of every wait what it was for.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{hls, http};

/// How long a connection may take to come about, as docs/cluster.md tells clients of these Services.
const CONNECT: Duration = Duration::from_secs(1);
/// A request that takes longer than this, or fails, is noted.
const NOTED: Duration = Duration::from_secs(1);

/// IPv4 addresses of a name by a DNS server (RFC 1035), as a client in a pod asks for them.
fn resolve(server: IpAddr, name: &str) -> Vec<String> {
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    let ask = || {
        let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        socket.send_to(&query, (server, 53)).ok()?;
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer).ok()?;
        let records = usize::from(u16::from_be_bytes([answer[6], answer[7]]));
        let mut rest = answer.get(query.len()..length)?;
        let mut addresses = Vec::new();
        for _ in 0..records {
            // The name once more, or in two bytes where it stands; then type, class, time to live, length, address.
            let name = if rest.first()? & 0xc0 == 0xc0 { 2 } else { query.len() - 16 };
            let (record, after) = rest.get(name..)?.split_first_chunk::<14>()?;
            addresses.push(format!("{}.{}.{}.{}", record[10], record[11], record[12], record[13]));
            rest = after;
        }
        Some(addresses)
    };
    ask().unwrap_or_default()
}

/// Whoever looks: where, and with which token.
#[derive(Clone)]
pub struct Way {
    pub dns: IpAddr,
    pub namespace: &'static str,
    pub token: String,
    pub stop: Arc<AtomicBool>,
}

impl Way {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The addresses of a Service in the order in which a client tries them.
    fn addresses(&self, service: &str) -> Vec<String> {
        resolve(self.dns, &format!("{service}.{}.svc.cluster.local", self.namespace))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn url(&self, address: &str, path: &str) -> String {
        format!("http://{address}:9090/live/{}/{path}", self.namespace)
    }
}

/// What a viewer of HLS saw: the times (seconds) that were played by the playlists, the longest wait for an answer, and what
/// each failed or slow request was.
pub struct Seen {
    pub spans: BTreeMap<i64, i64>,
    pub longest_without: Duration,
    pub waits: Vec<String>,
}

impl Seen {
    /// Seconds between the first and the last picture that no segment covers.
    pub fn holes(&self) -> f64 {
        let (mut until, mut missing): (Option<i64>, i64) = (None, 0);
        for (from, to) in &self.spans {
            if let Some(until) = until {
                missing += (from - until).max(0);
            }
            until = until.max(Some(*to));
        }
        missing as f64 / 1000.0
    }

    fn add(&mut self, playlist: &hls::Playlist) {
        let mut from = None;
        for segment in &playlist.segments {
            from = segment.time.map(jiff::Timestamp::as_millisecond).or(from);
            let Some(begin) = from else { continue };
            let end = begin + (segment.duration * 1000.0).round() as i64;
            let to = self.spans.entry(begin).or_insert(end);
            *to = (*to).max(end);
            from = Some(end);
        }
    }
}

/// A client that gives a connection [`CONNECT`], or one with its library's own limits.
fn client(patient: bool) -> reqwest::Client {
    let builder = http::builder();
    if patient { builder } else { builder.connect_timeout(CONNECT) }.build().unwrap()
}

/// A viewer of HLS, who fetches the playlist ten times a second.
pub fn watch_hls(way: Way, service: &'static str, stream: &'static str, patient: bool) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let mut seen = Seen { spans: BTreeMap::new(), longest_without: Duration::ZERO, waits: Vec::new() };
        let client = client(patient);
        let mut answered = Instant::now();
        while way.goes_on() {
            let addresses = way.addresses(service);
            let playlist = addresses.iter().find_map(|address| {
                let (url, began) = (way.url(address, &format!("{stream}/index.m3u8")), Instant::now());
                let request = client.get(&url).header("authorization", way.bearer());
                let answer = http::runtime().block_on(async {
                    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
                    let status = response.status();
                    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
                    if status.is_success() { Ok(text) } else { Err(status.to_string()) }
                });
                if answer.is_err() || began.elapsed() > NOTED {
                    seen.waits.push(format!(
                        "{:.3} {address} of {addresses:?} after {:.3} s: {}",
                        jiff::Timestamp::now(),
                        began.elapsed().as_secs_f64(),
                        answer.as_ref().map_or_else(Clone::clone, |_| "answered".to_owned())
                    ));
                }
                Some(hls::parse(&url, &answer.ok()?))
            });
            if let Some(playlist) = playlist {
                seen.longest_without = seen.longest_without.max(answered.elapsed());
                answered = Instant::now();
                seen.add(&playlist);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        seen
    })
}

/// A viewer of Motion JPEG, who connects again when the stream ends. The longest time between two pieces of it.
pub fn watch_mjpeg(way: Way, service: &'static str, stream: &'static str) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let (mut longest, mut last) = (Duration::ZERO, None::<Instant>);
        let client = client(false);
        while way.goes_on() {
            for address in way.addresses(service) {
                http::runtime().block_on(async {
                    let url = way.url(&address, &format!("{stream}/stream.mjpeg"));
                    let request = client.get(&url).header("authorization", way.bearer());
                    let Ok(mut response) = request.timeout(Duration::from_mins(10)).send().await else { return };
                    while response.status().is_success() && way.goes_on() {
                        let Ok(Ok(Some(_))) = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await
                        else {
                            return;
                        };
                        longest = longest.max(last.map_or(Duration::ZERO, |last| last.elapsed()));
                        last = Some(Instant::now());
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        longest
    })
}
