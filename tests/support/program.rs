//! The program as a process: `camera-operator run` with a manifest and a data folder of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, Answer};
use super::{PATIENCE, free_port, poll, process, wait};

/// Where the binary is.
pub const BINARY: &str = env!("CARGO_BIN_EXE_camera-operator");

/// `camera-operator run`, running or ended for the moment.
pub struct Program {
    folder: TempDir,
    data: PathBuf,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    scheme: &'static str,
    child: Option<Child>,
    /// Every process that was seen beneath it; they must be gone when it is.
    seen: BTreeSet<u32>,
    log: Arc<Mutex<Vec<String>>>,
    /// Where it listens, the same over restarts.
    pub port: u16,
}

impl Program {
    /// Starts it with these manifests and waits until it is ready.
    pub fn start(manifests: &str) -> Self {
        Self::start_with(manifests, None, &[])
    }

    /// The same with a data folder that is elsewhere, and with more environment.
    pub fn start_with(manifests: &str, data: Option<&Path>, environment: &[(&str, &str)]) -> Self {
        let mut program = Self::prepare(manifests, data, environment);
        program.run();
        program.await_ready();
        program
    }

    /// Everything but the process.
    pub fn prepare(manifests: &str, data: Option<&Path>, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = Self {
            data: data.map_or_else(|| folder.path().join("data"), Path::to_path_buf),
            folder,
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            arguments: Vec::new(),
            scheme: "http",
            child: None,
            seen: BTreeSet::new(),
            log: Arc::default(),
            port: free_port(),
        };
        program.write_manifests(manifests);
        program
    }

    /// Serves HTTPS from now on, with this certificate and key.
    pub fn with_certificate(mut self, certificate: &Path, key: &Path) -> Self {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        self.arguments.extend(["--tls-certificate".into(), path(certificate), "--tls-key".into(), path(key)]);
        self.scheme = "https";
        self
    }

    /// Replaces the manifests; a running program applies them by itself.
    pub fn write_manifests(&self, manifests: &str) {
        // As editors do: a new file in place of the old one.
        let (path, new) = (self.manifests(), self.folder.path().join("new.tmp"));
        fs::write(&new, manifests).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests.yaml")
    }

    /// Starts the process (again) and does not wait for anything.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = Command::new(BINARY);
        command.args(["--log-format", "human", "run", "-f"]).arg(self.manifests());
        command.arg("--data").arg(&self.data).args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(&self.arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        self.read_log(child.stdout.take().unwrap());
        self.read_log(child.stderr.take().unwrap());
        self.child = Some(child);
    }

    fn read_log(&self, pipe: impl std::io::Read + Send + 'static) {
        let log = self.log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                log.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    /// Waits until `/readyz` says yes.
    pub fn await_ready(&mut self) {
        let ready = poll(PATIENCE, || {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                return Some(Err(status));
            }
            http::get(&self.url("/readyz")).ok().filter(|answer| answer.status == 200).map(Ok)
        });
        assert!(matches!(ready, Some(Ok(_))), "the program did not get ready: {ready:?}");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the program runs").id()
    }

    /// It and all processes beneath it.
    pub fn processes(&mut self) -> Vec<u32> {
        let tree = process::tree(self.pid());
        self.seen.extend(&tree);
        tree
    }

    /// `kill -9`, and nothing else: what it started is left to itself.
    pub fn kill(&mut self) {
        self.processes();
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Processes that it started and that are still there.
    pub fn left_behind(&self) -> Vec<u32> {
        self.seen.iter().copied().filter(|pid| process::is_alive(*pid)).collect()
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.processes();
        process::signal(self.pid(), "TERM");
        self.await_end()
    }

    /// Waits until it ends by itself.
    pub fn await_end(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the program runs");
        let status = poll(PATIENCE, || child.try_wait().unwrap());
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status.unwrap_or_else(|| panic!("the program does not end"))
    }

    /// Begins again after [`Self::kill`] or [`Self::terminate`].
    pub fn start_again(&mut self) {
        self.run();
        self.await_ready();
    }

    /// Everything that it printed so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The end of what it printed: enough to see what went wrong last.
    fn log_end(&self) -> String {
        let log = self.log.lock().unwrap();
        log[log.len().saturating_sub(60)..].join("\n")
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The whole URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// GET of a path; it must be answered.
    pub fn get(&self, path: &str) -> Answer {
        http::get(&self.url(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The whole part of a metric (without the program's prefix) of which there is one series.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("camera_operator_{name}{{")));
        let line = lines.next().unwrap_or_else(|| panic!("no {name} in {text}"));
        assert_eq!(lines.next(), None, "one {name}");
        line.rsplit(' ').next().unwrap().split('.').next().unwrap().parse().unwrap()
    }

    /// GET of a path that must be there, as JSON.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// POST to a path.
    pub fn post(&self, path: &str) -> Answer {
        http::request("POST", &self.url(path), &[]).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// An object with its status, such as `cameras/front-door`; `None` while it is not there.
    pub fn object(&self, path: &str) -> Option<Value> {
        let answer = http::get(&self.url(&format!("/api/v1/namespaces/default/{path}"))).ok()?;
        (answer.status == 200).then(|| answer.json())
    }

    /// A condition of an object as (status, reason, message).
    pub fn condition(&self, path: &str, kind: &str) -> Option<(String, String, String)> {
        let object = self.object(path)?;
        let conditions = object["status"]["conditions"].as_array()?.clone();
        let condition = conditions.into_iter().find(|condition| condition["type"] == kind)?;
        let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// Waits until an object's `Ready` has this status and one of these reasons (any, where none is named).
    pub fn await_ready_condition(&self, path: &str, status: &str, reasons: &[&str]) -> (String, String, String) {
        let fits = |(is, reason, _): &(String, String, String)| {
            is == status && (reasons.is_empty() || reasons.contains(&reason.as_str()))
        };
        poll(PATIENCE, || self.condition(path, "Ready").filter(fits)).unwrap_or_else(|| {
            let now = self.object(path).map_or(serde_json::Value::Null, |object| object["status"].clone());
            panic!("{path} is not Ready={status} {reasons:?} but {now:#}")
        })
    }

    /// Waits until an object is ready.
    pub fn await_object(&self, path: &str) {
        self.await_ready_condition(path, "True", &[]);
    }

    /// The folder of a recording within the data folder.
    pub fn recording_folder(&self, name: &str) -> PathBuf {
        wait(&format!("folder of recording {name}"), || {
            files_beneath(&self.data).into_iter().find_map(|path| {
                let folder = path.parent()?;
                (path.file_name()? == "recording.json" && folder.file_name()? == name).then(|| folder.to_path_buf())
            })
        })
    }

    /// The media files of a recording, in order of their names, which is that of time as long as no clock steps.
    pub fn media_files(&self, recording: &str) -> Vec<PathBuf> {
        media_files_beneath(&self.recording_folder(recording))
    }
}

/// The media files of a recording's folder, in order of their names.
pub fn media_files_beneath(folder: &Path) -> Vec<PathBuf> {
    let mut files = files_beneath(folder);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "mp4"));
    files.sort_by_key(|path| order(path));
    files
}

/// `37.mp4` comes before `37-1.mp4`, and that before `38.mp4`.
fn order(path: &Path) -> (PathBuf, u32, u32) {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let (minute, counter) = stem.split_once('-').unwrap_or((stem, "0"));
    (path.parent().unwrap_or(path).to_path_buf(), minute.parse().unwrap_or(0), counter.parse().unwrap_or(0))
}

/// All files beneath a folder, sorted.
pub fn files_beneath(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_beneath(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        for pid in self.left_behind() {
            process::signal(pid, "KILL");
        }
        if std::thread::panicking() {
            eprintln!("---- the end of the program's log ----\n{}", self.log_end());
        }
    }
}
