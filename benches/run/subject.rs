//! What is compared: this program, a bare FFmpeg for each camera, and MediaMTX where it is installed, all doing the same work:
//! record and serve HLS, by copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::program::{Program, files_beneath};
use crate::support::{free_port, http, manifest, process};

/// Seconds of an HLS segment, for both.
pub const SEGMENT_SECONDS: u32 = 4;

/// Something that records cameras and serves them as HLS.
pub trait Subject {
    /// What the table calls it.
    fn name(&self) -> &'static str;
    /// All of its processes.
    fn processes(&mut self) -> Vec<u32>;
    /// The live playlist of a camera, if there is one yet.
    fn playlist(&self, camera: usize) -> Option<String>;
    /// A file that a playlist names.
    fn segment(&self, camera: usize, uri: &str) -> Option<Vec<u8>>;
    /// The recorded files of a camera, in order.
    fn recorded(&self, camera: usize) -> Vec<PathBuf>;
    /// Begins again what ended (a shell loop around FFmpeg would).
    fn tend(&mut self) {}
    /// Ends it in order.
    fn end(&mut self);

    /// Whether a camera has a live segment.
    fn is_live(&self, camera: usize) -> bool {
        self.playlist(camera).is_some_and(|text| text.contains("#EXTINF"))
    }

    /// Bytes of coded pictures that it keeps in memory, if it says.
    fn payload_bytes(&self) -> Option<u64> {
        None
    }

    /// CPU seconds of all processes until now, ended children included.
    fn cpu_seconds(&mut self) -> f64 {
        self.processes().into_iter().map(process::cpu_seconds).sum()
    }

    /// Proportional memory of all processes now.
    fn pss_bytes(&mut self) -> u64 {
        self.processes().into_iter().map(process::pss_bytes).sum()
    }
}

/// `camera-operator run`.
pub struct Operator {
    program: Program,
}

impl Operator {
    /// Starts it with these cameras, read by this engine.
    pub fn start(urls: &[String], data: &Path, low_latency: bool, engine: &str) -> Self {
        let low = if low_latency { ", lowLatency: true, partDuration: 500ms" } else { "" };
        let hls = format!("{{segmentDuration: {SEGMENT_SECONDS}s, playlistSegments: 6{low}}}");
        let one = |(number, url): (usize, &String)| {
            let camera = format!("camera-{number}");
            // The defaults of everything but the length of files.
            let bare = manifest::camera_with(&camera, url, &format!("engine: {engine}"))
                .lines()
                .take_while(|line| !line.contains("stallTimeout"))
                .fold(String::new(), |text, line| text + line + "\n");
            bare + &manifest::hls(&format!("live-{number}"), &camera, &hls)
                + &manifest::recording(&format!("rec-{number}"), &camera)
                    .replace("segmentDuration: 10s", "segmentDuration: 60s")
        };
        let manifests: String = urls.iter().enumerate().map(one).collect();
        let mut program = Program::prepare(&manifests, Some(data), &[]);
        program.run();
        Self { program }
    }

    /// The values of a metric (without the program's prefix) by the number at the end of the object's name; those of one object
    /// are added up.
    fn metric(&self, name: &str) -> BTreeMap<usize, f64> {
        let text = http::get(&self.program.url("/metrics")).map(|answer| answer.text()).unwrap_or_default();
        let mut values = BTreeMap::new();
        for line in text.lines() {
            let value = line.strip_prefix("camera_operator_").and_then(|line| line.strip_prefix(name));
            let Some((labels, value)) = value.and_then(|line| line.strip_prefix('{')?.rsplit_once(' ')) else {
                continue;
            };
            let object = labels.split_once("name=\"").and_then(|(_, rest)| rest.split_once('"')?.0.rsplit('-').next());
            if let (Some(object), Ok(value)) = (object.and_then(|number| number.parse().ok()), value.parse::<f64>()) {
                *values.entry(object).or_default() += value;
            }
        }
        values
    }

    /// How many objects have a metric.
    pub fn count(&self, name: &str) -> usize {
        self.metric(name).len()
    }

    /// A metric, over all objects.
    pub fn sum(&self, name: &str) -> f64 {
        self.metric(name).values().sum()
    }

    fn url(&self, camera: usize) -> String {
        self.program.url(&format!("/live/default/live-{camera}/index.m3u8"))
    }

    /// A playlist that has at least this part.
    pub fn playlist_with(&self, camera: usize, sequence: u64, part: usize) -> Option<String> {
        let url = format!("{}?_HLS_msn={sequence}&_HLS_part={part}", self.url(camera));
        http::get(&url).ok().filter(|answer| answer.status == 200).map(|answer| answer.text())
    }
}

impl Subject for Operator {
    fn name(&self) -> &'static str {
        "camera-operator"
    }

    /// Of each camera the larger of ring and window: both share the frames that they have in common, and end at the newest, so that
    /// one holds the other.
    fn payload_bytes(&self) -> Option<u64> {
        let windows = self.metric("hls_window_bytes");
        let rings = self.metric("hub_ring_bytes");
        let of = |(camera, ring): (&usize, &f64)| windows.get(camera).map_or(*ring, |window| ring.max(*window)) as u64;
        Some(rings.iter().map(of).sum())
    }

    fn processes(&mut self) -> Vec<u32> {
        self.program.processes()
    }

    fn playlist(&self, camera: usize) -> Option<String> {
        http::get(&self.url(camera)).ok().filter(|answer| answer.status == 200).map(|answer| answer.text())
    }

    fn segment(&self, camera: usize, uri: &str) -> Option<Vec<u8>> {
        let url = url::Url::parse(&self.url(camera)).ok()?.join(uri).ok()?;
        http::get(url.as_str()).ok().filter(|answer| answer.status == 200).map(|answer| answer.body.to_vec())
    }

    fn recorded(&self, camera: usize) -> Vec<PathBuf> {
        self.program.media_files(&format!("rec-{camera}"))
    }

    fn end(&mut self) {
        self.program.terminate();
    }
}

/// One FFmpeg for each camera: `tee` into the segment and the HLS muxer.
pub struct BareFfmpeg {
    urls: Vec<String>,
    folder: PathBuf,
    children: Vec<Child>,
}

impl BareFfmpeg {
    /// Starts one for each camera.
    pub fn start(urls: &[String], folder: &Path) -> Self {
        let mut bare = Self { urls: urls.to_vec(), folder: folder.to_path_buf(), children: Vec::new() };
        for camera in 0..urls.len() {
            fs::create_dir_all(bare.of(camera)).unwrap();
            let child = bare.spawn(camera);
            bare.children.push(child);
        }
        bare
    }

    fn of(&self, camera: usize) -> PathBuf {
        self.folder.join(camera.to_string())
    }

    fn spawn(&self, camera: usize) -> Child {
        // Named by time, so that a new life overwrites nothing; fragmented, so that a kill loses no more than ours would.
        let record = "[f=segment:segment_time=60:strftime=1:reset_timestamps=1:segment_format=mp4:\
                      segment_format_options=movflags=+frag_keyframe+empty_moov+default_base_moof]%s.mp4";
        let live = format!(
            "[f=hls:hls_time={SEGMENT_SECONDS}:hls_list_size=6:hls_segment_type=fmp4:hls_flags=delete_segments+program_date_time]live.m3u8"
        );
        Command::new("ffmpeg")
            .args([
                "-nostdin",
                "-v",
                "error",
                "-rtsp_transport",
                "tcp",
                "-i",
                &self.urls[camera],
                "-map",
                "0:v",
                "-c",
                "copy",
                "-f",
                "tee",
            ])
            .arg(format!("{record}|{live}"))
            .current_dir(self.of(camera))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ffmpeg")
    }
}

impl Subject for BareFfmpeg {
    fn name(&self) -> &'static str {
        "bare FFmpeg"
    }

    fn processes(&mut self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    fn playlist(&self, camera: usize) -> Option<String> {
        fs::read_to_string(self.of(camera).join("live.m3u8")).ok()
    }

    fn segment(&self, camera: usize, uri: &str) -> Option<Vec<u8>> {
        fs::read(self.of(camera).join(uri)).ok()
    }

    fn recorded(&self, camera: usize) -> Vec<PathBuf> {
        let mut files = files_beneath(&self.of(camera));
        let is_media = |path: &Path| path.extension().is_some_and(|extension| extension == "mp4");
        let is_record = |path: &Path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        };
        files.retain(|path| is_media(path) && is_record(path));
        files
    }

    fn tend(&mut self) {
        for camera in 0..self.children.len() {
            if self.children[camera].try_wait().unwrap().is_some() {
                self.children[camera] = self.spawn(camera);
            }
        }
    }

    fn end(&mut self) {
        for child in &self.children {
            process::signal(child.id(), "INT");
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

impl Drop for BareFfmpeg {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One MediaMTX for all cameras: each is pulled, recorded and always served as HLS, whose window it keeps in memory.
pub struct MediaMtx {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl MediaMtx {
    /// Its version, if there is one in PATH.
    pub fn version() -> Option<String> {
        let output = Command::new("mediamtx").arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.split_whitespace().find(|word| word.starts_with('v')).map(str::to_owned)
    }

    /// Starts it.
    pub fn start(urls: &[String], folder: &Path) -> Self {
        let port = free_port();
        let mut text = format!(
            "logLevel: error\nrtsp: no\nrtmp: no\nwebrtc: no\nsrt: no\nmoq: no\nhls: yes\nhlsAddress: 127.0.0.1:{port}\n\
             hlsAlwaysRemux: yes\nhlsVariant: fmp4\nhlsSegmentCount: 6\nhlsSegmentDuration: {SEGMENT_SECONDS}s\n\
             pathDefaults:\n  rtspTransport: tcp\n  record: yes\n  recordPath: {}/%path/%Y-%m-%d_%H-%M-%S-%f\n  \
             recordFormat: fmp4\n  recordPartDuration: 1s\n  recordSegmentDuration: 60s\n  recordDeleteAfter: 0s\npaths:\n",
            folder.display()
        );
        for (number, url) in urls.iter().enumerate() {
            text += &format!("  camera-{number}:\n    source: {url}\n");
        }
        let configuration = folder.join("mediamtx.yml");
        fs::write(&configuration, text).unwrap();
        let child = Command::new("mediamtx")
            .arg(configuration)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mediamtx");
        Self { child, port, folder: folder.to_path_buf() }
    }

    fn url(&self, camera: usize) -> url::Url {
        url::Url::parse(&format!("http://127.0.0.1:{}/camera-{camera}/index.m3u8", self.port)).unwrap()
    }

    fn get(url: &url::Url) -> Option<http::Answer> {
        http::get(url.as_str()).ok().filter(|answer| answer.status == 200)
    }
}

impl Subject for MediaMtx {
    fn name(&self) -> &'static str {
        "MediaMTX"
    }

    fn processes(&mut self) -> Vec<u32> {
        vec![self.child.id()]
    }

    /// The media playlist: that of the only variant.
    fn playlist(&self, camera: usize) -> Option<String> {
        let entry = Self::get(&self.url(camera))?.text();
        let variant = entry.lines().find(|line| !line.starts_with('#') && !line.is_empty())?;
        Some(Self::get(&self.url(camera).join(variant).ok()?)?.text())
    }

    fn segment(&self, camera: usize, uri: &str) -> Option<Vec<u8>> {
        Some(Self::get(&self.url(camera).join(uri).ok()?)?.body.to_vec())
    }

    fn recorded(&self, camera: usize) -> Vec<PathBuf> {
        files_beneath(&self.folder.join(format!("camera-{camera}")))
    }

    fn end(&mut self) {
        process::signal(self.child.id(), "INT");
        let _ = self.child.wait();
    }
}

impl Drop for MediaMtx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
