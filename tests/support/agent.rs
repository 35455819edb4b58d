//! `camera-operator agent` as a process, with everything that kubelet mounts for it: its plan, Secrets and its token.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use camera_operator::plan::unit::Plan;
use serde_json::Value;
use tempfile::TempDir;

use super::http::{self, Answer};
use super::program::BINARY;
use super::{PATIENCE, free_port, poll, process, wait};

/// Replaces everything in a mounted folder at once, as kubelet does it: a new hidden folder, and a link that is turned to it.
pub fn mount(folder: &Path, files: &[(&str, &[u8])]) {
    fs::create_dir_all(folder).unwrap();
    let version = tempfile::Builder::new().prefix("..").tempdir_in(folder).unwrap().keep();
    for (name, content) in files {
        fs::write(version.join(name), content).unwrap();
        let link = folder.join(name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    let before = fs::read_link(folder.join("..data")).ok();
    symlink(version.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if let Some(before) = before {
        fs::remove_dir_all(folder.join(before)).unwrap();
    }
}

/// An agent, running or ended for the moment.
pub struct Agent {
    folder: TempDir,
    child: Option<Child>,
    log: Arc<Mutex<Vec<String>>>,
    /// Where it listens, the same over restarts.
    pub port: u16,
    /// What the test shows to it.
    pub token: String,
}

impl Agent {
    /// Everything but the process. `token`: what the test shows to the agent.
    pub fn prepare(plan: &Plan, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Self { folder, child: None, log: Arc::default(), port: free_port(), token: token.to_owned() };
        agent.write_plan(plan);
        agent
    }

    /// Starts it and waits until it is ready.
    pub fn start(plan: &Plan, token: &str) -> Self {
        let mut agent = Self::prepare(plan, token);
        agent.run();
        agent.await_ready();
        agent
    }

    /// Swaps the plan; a running agent applies it by itself.
    pub fn write_plan(&self, plan: &Plan) {
        self.write_plan_text(&serde_json::to_string(plan).unwrap());
    }

    /// [`Self::write_plan`] of any text.
    pub fn write_plan_text(&self, text: &str) {
        mount(&self.folder.path().join("plan"), &[("plan.json", text.as_bytes())]);
    }

    /// Swaps a Secret.
    pub fn write_secret(&self, name: &str, keys: &[(&str, &str)]) {
        let keys: Vec<(&str, &[u8])> = keys.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
        mount(&self.folder.path().join("secrets/users").join(name), &keys);
    }

    /// Swaps its own token.
    pub fn write_token(&self, token: &str) {
        mount(&self.folder.path().join("secrets/agent"), &[("token", token.as_bytes())]);
    }

    /// Starts the process and does not wait for anything.
    pub fn run(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = Command::new(BINARY);
        command.arg("agent").arg("--plan").arg(self.folder.path().join("plan/plan.json"));
        command.arg("--secrets").arg(self.folder.path().join("secrets"));
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (log, pipe) = (self.log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                log.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
            }
        });
        self.child = Some(child);
    }

    /// Waits until `/readyz` says yes.
    pub fn await_ready(&self) {
        wait("an agent that is ready", || {
            http::get(&self.url("/readyz")).ok().filter(|answer| answer.status == 200).map(drop)
        });
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the agent runs");
        process::signal(child.id(), "TERM");
        let status = poll(PATIENCE, || child.try_wait().unwrap());
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status.expect("the agent ends")
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The whole URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// GET with the test's token.
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, Some(&self.token))
    }

    /// GET with any token, or none.
    pub fn get_with(&self, path: &str, token: Option<&str>) -> Answer {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        http::request("GET", &self.url(path), &headers).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The report.
    pub fn report(&self) -> Value {
        let answer = self.get("/v1/report");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// A unit in the report, such as `("Recording", "door")`.
    pub fn unit(&self, kind: &str, name: &str) -> Option<Value> {
        let report = self.report();
        let units = report["units"].as_array()?.clone();
        units.into_iter().find(|unit| unit["object"]["kind"] == kind && unit["object"]["name"] == name)
    }

    /// Waits until a unit is in this state.
    pub fn await_unit(&self, kind: &str, name: &str, state: &str) -> Value {
        let found = poll(PATIENCE, || self.unit(kind, name).filter(|unit| unit["state"] == state));
        found.unwrap_or_else(|| panic!("{kind} {name} is not {state}: {:#}", self.report()))
    }

    /// Waits until this plan is in force.
    pub fn await_plan(&self, plan: &Plan) {
        wait("a plan in force", || (self.report()["planHash"] == plan.hash().as_str()).then_some(()));
    }

    /// A folder for an archive, that lasts as long as this value.
    pub fn archive(&self) -> PathBuf {
        self.folder.path().join("archive")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log.lock().unwrap();
            eprintln!("---- the end of an agent's log ----\n{}", log[log.len().saturating_sub(40)..].join("\n"));
        }
    }
}
