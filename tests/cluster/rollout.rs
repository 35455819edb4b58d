//! A new image for agents: how it is rolled out, and what it costs those who look and what is recorded. The costs are measured
//! and printed, never asserted: they stand in docs/cluster.md.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Test;
use crate::media::{archive, await_more, recorded};
use crate::site::{REPOSITORY, Site, TAG, helm_upgrade, wait};
use crate::support::cluster::Cluster;
use crate::support::{hls, http, judge, manifest};

pub const TESTS: &[Test] = &[(
    "a_new_agent_image_is_rolled_out_and_its_gaps_are_measured",
    a_new_agent_image_is_rolled_out_and_its_gaps_are_measured,
)];

/// The tag that the same image gets beside its own: another image to Kubernetes.
const NEW_TAG: &str = "test-2";

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
struct Way {
    dns: IpAddr,
    token: String,
    stop: Arc<AtomicBool>,
}

impl Way {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The addresses of a Service in the order in which a client tries them.
    fn addresses(&self, service: &str) -> Vec<String> {
        resolve(self.dns, &format!("{service}.rollout.svc.cluster.local"))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// What a viewer of HLS saw: the times (seconds) that were played by the playlists, and the longest wait for an answer.
struct Seen {
    spans: BTreeMap<i64, i64>,
    longest_without: Duration,
}

impl Seen {
    /// Seconds between the first and the last picture that no segment covers.
    fn holes(&self) -> f64 {
        let (mut until, mut missing): (Option<i64>, i64) = (None, 0);
        for (from, to) in &self.spans {
            if let Some(until) = until {
                missing += (from - until).max(0);
            }
            until = until.max(Some(*to));
        }
        missing as f64 / 1000.0
    }
}

fn watch_hls(way: Way, service: &'static str, stream: &'static str) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let mut seen = Seen { spans: BTreeMap::new(), longest_without: Duration::ZERO };
        let mut answered = Instant::now();
        while way.goes_on() {
            let bearer = way.bearer();
            let playlist = way.addresses(service).into_iter().find_map(|address| {
                let url = format!("http://{address}:9090/live/rollout/{stream}/index.m3u8");
                let answer = http::request("GET", &url, &[("authorization", &bearer)]).ok()?;
                (answer.status == 200).then(|| hls::parse(&url, &answer.text()))
            });
            if let Some(playlist) = playlist {
                seen.longest_without = seen.longest_without.max(answered.elapsed());
                answered = Instant::now();
                let mut from = None;
                for segment in &playlist.segments {
                    from = segment.time.map(jiff::Timestamp::as_millisecond).or(from);
                    let Some(begin) = from else { continue };
                    let end = begin + (segment.duration * 1000.0).round() as i64;
                    let to = seen.spans.entry(begin).or_insert(end);
                    *to = (*to).max(end);
                    from = Some(end);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        seen
    })
}

/// A viewer of Motion JPEG, who connects again when the stream ends. The longest time between two pieces of it.
fn watch_mjpeg(way: Way) -> JoinHandle<Duration> {
    std::thread::spawn(move || {
        let (mut longest, mut last) = (Duration::ZERO, None::<Instant>);
        while way.goes_on() {
            for address in way.addresses("pictures-stream") {
                http::runtime().block_on(async {
                    let url = format!("http://{address}:9090/live/rollout/pictures/stream.mjpeg");
                    let request = http::client().get(&url).header("authorization", way.bearer());
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

/// Whether a Deployment's pods are being replaced, as the API server has it.
fn is_rolling(deployment: &Value) -> bool {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    let (status, wanted) = (&deployment["status"], number(&deployment["spec"]["replicas"]));
    number(&status["observedGeneration"]) < number(&deployment["metadata"]["generation"])
        || number(&status["updatedReplicas"]) < wanted
        || number(&status["replicas"]) > number(&status["updatedReplicas"])
        || number(&status["availableReplicas"]) < number(&status["updatedReplicas"])
}

/// How many pictures between the first and the last are not in the recording's files; none may be there twice.
fn missing_pictures(volume: &Path, skips: &[(u32, u32)]) -> usize {
    let mut there = BTreeSet::new();
    let mut files = Vec::new();
    for file in recorded(volume, "rollout", "front-rec") {
        let counters = judge::counters_of(&[&file]);
        let twice = counters.iter().filter(|counter| !there.insert(**counter)).count();
        let name = file.strip_prefix(volume).unwrap().display().to_string();
        files.push(format!("{name}: {:?} to {:?}, {twice} of them twice", counters.first(), counters.last()));
    }
    assert!(files.iter().all(|file| file.contains(" 0 of them")), "pictures are there twice:\n{}", files.join("\n"));
    let sent = there.first().zip(there.last()).map_or(0..0, |(first, last)| *first..*last);
    let was_sent = |counter: &u32| !skips.iter().any(|(from, to)| (from..to).contains(&counter));
    sent.filter(was_sent).filter(|counter| !there.contains(counter)).count()
}

fn a_new_agent_image_is_rolled_out_and_its_gaps_are_measured(cluster: &Cluster) {
    if !cluster.is_own() {
        println!("SKIPPED: a new agent image, because only a cluster of the tests' own can be given one");
        return;
    }
    let site = Site::new(cluster, "rollout");
    let values =
        ["--set", "media.allowedSubjects={system:serviceaccount:rollout:viewer}", "--set", "maxConcurrentRollouts=1"];
    helm_upgrade(cluster, &values);
    site.kubectl(&["create", "serviceaccount", "viewer"]);
    let audience = ["create", "token", "viewer", "--audience=camera-operator.dev/agent", "--duration=1h"];
    let token = site.kubectl(&audience);
    let socket = cluster.kubeconfig().with_file_name("containerd.sock");
    let images = ["ctr", "--address", socket.to_str().unwrap(), "--namespace", "k8s.io", "images", "tag", "--force"];
    let (old, new) = (format!("{REPOSITORY}:{TAG}"), format!("{REPOSITORY}:{NEW_TAG}"));
    cluster.part(&[&["exec"], &images[..], &[&old, &new]].concat());

    let volume = site.volume("default");
    let (mut front, side) = (site.camera("--fps 25"), site.camera("--fps 25"));
    site.apply(
        &(manifest::all_of("front", &front.url)
            + &manifest::mjpeg("pictures", "front")
            + &manifest::camera("side", &side.url)
            + &archive("default")),
    );
    let all = [
        "camera/front",
        "camera/side",
        "stream/front-live",
        "stream/pictures",
        "recording/front-rec",
        "archive/default",
    ];
    site.await_ready(&all);
    let dns = cluster.kubectl(&[
        "get",
        "node",
        "test-node",
        "--output=jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}",
    ]);
    let way = Way { dns: dns.parse().unwrap(), token, stop: Arc::default() };
    let viewer = watch_hls(way.clone(), "front-camera", "front-live");
    let mjpeg = watch_mjpeg(way.clone());
    await_more(&volume, "rollout", "front-rec");
    let deployments = || cluster.list("rollout", "deployments", "");
    assert_eq!(deployments().len(), 4);

    // From here on the operator makes agents of another image: one at a time, each new one before the old one goes where
    // both can be there.
    helm_upgrade(cluster, &[&values[..], &["--set", &format!("image.tag={NEW_TAG}")]].concat());
    let is_new = |deployment: &Value| deployment["spec"]["template"]["spec"]["containers"][0]["image"] == new;
    let mut most = 0;
    let mut waited = false;
    wait("all agents to be of the new image", || {
        let now = deployments();
        most = most.max(now.iter().filter(|deployment| is_rolling(deployment)).count());
        let pending = ["camera/front", "camera/side", "stream/pictures", "archive/default"];
        waited |= pending.iter().any(|object| site.condition(object, "UpdatePending").is_some());
        now.iter().all(|deployment| is_new(deployment) && !is_rolling(deployment)).then_some(())
    });
    assert_eq!(most, 1, "no more at once than maxConcurrentRollouts");
    assert!(waited, "the others say that they wait for their turn");
    let events = cluster.list("rollout", "events.events.k8s.io", "");
    let rolled = events.iter().filter(|event| event["reason"] == "RollOut");
    let named = rolled.filter(|event| event["note"].as_str().is_some_and(|note| note.contains(&new)));
    assert_eq!(named.count(), 4, "each says why its pod is replaced");
    site.await_ready(&all);
    for _ in 0..2 {
        await_more(&volume, "rollout", "front-rec");
    }

    way.stop.store(true, Ordering::Relaxed);
    let (seen, longest) = (viewer.join().unwrap(), mjpeg.join().unwrap());
    // Closed, so that all of it can be counted.
    site.kubectl(&["patch", "recording", "front-rec", "--type=merge", "--patch", r#"{"spec":{"suspend":true}}"#]);
    wait("its reason", || {
        site.condition("recording/front-rec", "Ready").filter(|(_, reason, _)| reason == "Suspended")
    });
    let missing = missing_pictures(&volume, &front.stats().skips);
    assert!(seen.spans.len() > 10 && longest > Duration::ZERO, "both viewers saw the stream: {:?}", seen.spans);
    println!("measured over a roll-out of camera, Motion JPEG stream and archive:");
    println!(
        "  HLS viewer: {:.1} s of the time line missing; {:.1} s at most between two answers",
        seen.holes(),
        seen.longest_without.as_secs_f64()
    );
    println!("  Motion JPEG viewer: {:.1} s at most between two pictures", longest.as_secs_f64());
    println!("  recording: {missing} of 25 pictures a second missing, none there twice");
    drop(site);
    helm_upgrade(cluster, &[]);
}
