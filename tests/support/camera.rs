//! A scriptable RTSP camera: `camera.py` as a child process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{free_port, process, wait};

/// A camera that runs, or is killed for the moment.
pub struct Camera {
    options: Vec<String>,
    credentials: Option<(String, String)>,
    running: Option<Running>,
    /// Of those that were killed.
    earlier_skips: Vec<(u32, u32)>,
    /// Where it listens; the same over restarts.
    pub port: u16,
    /// Its RTSP URL, without credentials.
    pub url: String,
}

struct Running {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Sends a command; `None` when it has ended.
    fn ask(&mut self, command: &Value) -> Option<Value> {
        writeln!(self.stdin, "{command}").ok()?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }
}

/// Counts that the camera keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// TCP connections that stand now.
    pub connections: u64,
    /// TCP connections since it was started.
    pub total_connections: u64,
    /// PLAY requests since it was started.
    pub plays: u64,
    /// Pictures sent since it was started.
    pub frames: u64,
    /// Counter of the first picture since it was started.
    pub first_counter: Option<u32>,
    /// Counter of the last picture.
    pub last_counter: Option<u32>,
    /// Counters that were left out because the camera's process was stopped, or could not run for very long (from, to; the end
    /// is not left out). Those of processes that were killed stay here.
    pub skips: Vec<(u32, u32)>,
    /// How often it sent nothing for 1.5 s and more since it was started, because a busy machine kept it from that.
    pub pauses: u64,
}

impl Camera {
    /// Starts a camera with these options of `camera.py`, such as `"--codec h265 --audio mulaw"`.
    pub fn start(options: &str) -> Self {
        Self::launch(options, None)
    }

    /// The same with digest authentication.
    pub fn with_password(options: &str, user: &str, password: &str) -> Self {
        Self::launch(options, Some((user.to_owned(), password.to_owned())))
    }

    fn launch(options: &str, credentials: Option<(String, String)>) -> Self {
        let options = options.split_whitespace().map(str::to_owned).collect();
        // A port of its own, so that nobody else gets it while the camera is killed.
        let port = free_port();
        let mut camera =
            Self { options, credentials, running: None, earlier_skips: Vec::new(), port, url: String::new() };
        camera.run();
        camera
    }

    /// Whether it shows pictures in another order than it sends them.
    pub fn reorders(&self) -> bool {
        self.options.iter().any(|option| option == "--b-frames")
    }

    fn run(&mut self) {
        self.run_with(&[]);
    }

    fn run_with(&mut self, more: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/camera.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).args(["--port", &self.port.to_string()]).args(&self.options).args(more);
        if let Some((user, _)) = &self.credentials {
            command.args(["--user", user, "--password-stdin"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("python3 with GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0)");
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if let Some((_, password)) = &self.credentials {
            writeln!(stdin, "{password}").unwrap();
        }
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let hello: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the camera did not start: {line:?} {:?}", self.options));
        self.port = u16::try_from(hello["port"].as_u64().unwrap()).unwrap();
        hello["url"].as_str().unwrap().clone_into(&mut self.url);
        self.running = Some(Running { child, stdin, stdout });
    }

    /// Sends a command and returns its answer.
    pub fn ask(&mut self, command: &Value) -> Value {
        let running = self.running.as_mut().expect("the camera runs");
        let answer = running.ask(command).unwrap_or_else(|| panic!("{command}: no answer from the camera"));
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer
    }

    /// No more pictures; sound goes on. Returns the counter of the last picture.
    pub fn freeze(&mut self) -> u32 {
        as_counter(&self.ask(&json!({"do": "freeze"}))["lastCounter"]).unwrap()
    }

    /// Pictures again.
    pub fn unfreeze(&mut self) {
        self.ask(&json!({"do": "unfreeze"}));
    }

    /// Only one picture of so many from now on; 1 for all of them.
    pub fn slow(&mut self, every: u32) {
        self.ask(&json!({"do": "slow", "every": every}));
    }

    /// Keeps what it makes, as a line that stands still does.
    pub fn hold(&mut self) {
        self.ask(&json!({"do": "hold"}));
    }

    /// Sends what it has kept at once, and goes on.
    pub fn release(&mut self) {
        self.ask(&json!({"do": "release"}));
    }

    /// The counts.
    pub fn stats(&mut self) -> Stats {
        let answer = self.ask(&json!({"do": "stats"}));
        let number = |name: &str| answer[name].as_u64().unwrap();
        let mut skips = self.earlier_skips.clone();
        skips.extend(skips_in(&answer));
        Stats {
            connections: number("connections"),
            total_connections: number("totalConnections"),
            plays: number("plays"),
            frames: number("frames"),
            first_counter: as_counter(&answer["firstCounter"]),
            last_counter: as_counter(&answer["lastCounter"]),
            skips,
            pauses: number("pauses"),
        }
    }

    /// Kills it as a power cut would; [`Self::restart`] brings it back on the same port.
    pub fn kill(&mut self) {
        // What it has left out it takes with it. One that stands still does not answer.
        if let Some(running) = self.running.as_mut().filter(|running| !process::is_stopped(running.child.id()))
            && let Some(answer) = running.ask(&json!({"do": "stats"}))
        {
            self.earlier_skips.extend(skips_in(&answer));
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }

    /// Back after [`Self::kill`].
    pub fn restart(&mut self) {
        self.kill();
        self.run();
    }

    /// The same, but nobody finds anything there until it is told otherwise (`refuse`): no connection comes before that.
    pub fn restart_refusing(&mut self) {
        self.kill();
        self.run_with(&["--refuse"]);
    }

    /// Stops the process; the kernel keeps its TCP connections. What it misses is left out and not caught up with.
    pub fn pause(&mut self) {
        self.ask(&json!({"do": "pause"}));
        process::signal(self.pid(), "STOP");
        wait("the camera stands still", || process::is_stopped(self.pid()).then_some(()));
    }

    /// Goes on after [`Self::pause`].
    pub fn resume(&self) {
        process::signal(self.pid(), "CONT");
    }

    fn pid(&self) -> u32 {
        self.running.as_ref().expect("the camera runs").child.id()
    }
}

fn skips_in(stats: &Value) -> Vec<(u32, u32)> {
    let skips = stats["skips"].as_array().unwrap();
    skips.iter().map(|skip| (as_counter(&skip[0]).unwrap(), as_counter(&skip[1]).unwrap())).collect()
}

fn as_counter(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|counter| u32::try_from(counter).ok())
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.end();
    }
}
