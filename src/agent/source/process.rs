//! Runs one FFmpeg, for a source or for a push: own process group, a pipe for each track, its messages redacted line by line, and a stop that always ends
//! it. Must not know what the arguments mean or what comes out of the pipes.
//!
//! When this program dies without a chance to stop it (SIGKILL), FFmpeg ends by itself: its next write meets a pipe that
//! nobody reads, and when nothing comes that it could write, its own time-out for silence ends it. (A parent-death signal would
//! be quicker but belongs to the thread that spawned, and asynchronous runtimes end threads while the program lives.)

use std::collections::VecDeque;
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::arguments::Invocation;
use super::classify::{failed_branch, is_expected};
use super::redact::Redactor;
use crate::agent::transcode::arguments::descriptor;
use crate::agent::unit::LogBuffer;
use crate::plan::report::Reason;

/// Room in the kernel for a key frame, so that FFmpeg need not wait while this program does something else.
const VIDEO_PIPE_BYTES: i32 = 256 * 1024;
/// FFmpeg ends in order on SIGINT, but not while it waits for the network: a second signal breaks that.
const BEFORE_TERM: Duration = Duration::from_secs(1);
/// An FFmpeg whose stream has ended writes what it holds in a fraction of this.
const BEFORE_INT: Duration = Duration::from_secs(1);
/// From SIGTERM to SIGKILL: ten seconds in all.
const BEFORE_KILL: Duration = Duration::from_secs(9);
/// How long a process that has closed its pipe is given to end.
const BEFORE_GIVEN_UP: Duration = Duration::from_secs(2);
/// Newest messages that are kept for finding out why it ended.
const KEPT_LINES: usize = 40;
/// Longest message that is looked at, bytes.
const LONGEST_LINE: u64 = 4096;

/// Environment that FFmpeg needs: nothing else of ours is its business.
const ENVIRONMENT: [&str; 12] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "FONTCONFIG_FILE",
    "FONTCONFIG_PATH",
    "XDG_CACHE_HOME",
    "XDG_DATA_DIRS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A running FFmpeg. Dropped, it is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    /// It is being ended: what it says of that is no news.
    quiet: Arc<AtomicBool>,
    messages: JoinHandle<Vec<String>>,
    /// Which branches of its tee have failed, a bit each.
    pub failed: watch::Receiver<u32>,
}

/// How it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It is asked to, and takes leave of the device. The picture whose end it has not seen yet is lost.
    InOrder,
    /// To it the stream ends here, so that it writes all that it holds. It cannot take leave of the device: the connection
    /// just ends.
    AsEndOfStream,
}

/// Where its tracks come out.
#[derive(Debug)]
pub struct Tracks {
    /// Fragmented MP4 with the pictures.
    pub video: pipe::Receiver,
    /// Fragmented MP4 with the sound, when some is expected.
    pub audio: Option<pipe::Receiver>,
    /// The sound as it is, when that is asked for.
    pub spare: Option<pipe::Receiver>,
}

/// A pipe: what we read, what FFmpeg writes.
fn track_pipe(bytes: Option<i32>) -> io::Result<(pipe::Receiver, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    if let Some(bytes) = bytes {
        // Refused when the user has used up what pipes may hold; the ordinary size works, too.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(bytes));
    }
    Ok((pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?, writer))
}

/// Why it could not be started, and one sentence that says so.
pub fn not_started(error: &io::Error) -> (Reason, String) {
    if error.kind() == io::ErrorKind::NotFound {
        return (Reason::FFmpegMissing, "FFmpeg is not installed; install the package ffmpeg".into());
    }
    (Reason::FFmpegFailed, format!("FFmpeg cannot be started: {error}"))
}

/// Starts `ffmpeg`, found by `PATH`. Its redacted messages go to `logs`.
pub async fn spawn(invocation: &Invocation, logs: Arc<LogBuffer>) -> io::Result<(Process, Tracks)> {
    let stdin = if invocation.input.is_some() { Stdio::piped() } else { Stdio::null() };
    spawn_with(invocation, stdin, logs).await
}

/// The same with a track of another one on its standard input.
pub async fn spawn_behind(
    track: pipe::Receiver,
    invocation: &Invocation,
    logs: Arc<LogBuffer>,
) -> io::Result<(Process, Tracks)> {
    spawn_with(invocation, Stdio::from(track.into_blocking_fd()?), logs).await
}

/// What a process that sends is fed with, and what it tells.
#[derive(Debug)]
pub struct Ends {
    /// Its standard input; dropped, the stream ends there.
    pub media: ChildStdin,
    /// Its standard output.
    pub progress: ChildStdout,
}

/// Starts `ffmpeg` for sending. `options` is what it finds on the descriptor of that number; its redacted messages go to `logs`.
pub fn spawn_sender(
    arguments: &[String],
    options: Option<(i32, &str)>,
    secrets: &[String],
    logs: Arc<LogBuffer>,
) -> io::Result<(Process, Ends)> {
    let mut command = command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some((child_fd, options)) = options {
        let (reader, mut writer) = io::pipe()?;
        // Smaller than a pipe holds, so this does not wait for anybody to read it.
        writer.write_all(options.as_bytes())?;
        command
            .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(reader), child_fd }])
            .map_err(io::Error::other)?;
    }
    let mut child = command.spawn()?;
    drop(command);
    let ends = child.stdin.take().zip(child.stdout.take()).map(|(media, progress)| Ends { media, progress });
    let ends = ends.ok_or_else(|| io::Error::other("no pipes to FFmpeg"))?;
    Ok((Process::watch(child, secrets, logs), ends))
}

/// Starts `ffmpeg` for encoding: fed on standard input; `outputs` pipes for what comes out, on the descriptors that
/// `transcode::arguments` names.
pub fn spawn_encoder(
    arguments: &[String],
    outputs: usize,
    logs: Arc<LogBuffer>,
) -> io::Result<(Process, ChildStdin, Vec<pipe::Receiver>)> {
    let mut command = command(arguments);
    command.stdin(Stdio::piped());
    let mut readers = Vec::with_capacity(outputs);
    let mut mappings = Vec::new();
    for output in 0..outputs {
        let (reader, end) = track_pipe(Some(VIDEO_PIPE_BYTES))?;
        readers.push(reader);
        if output == 0 {
            command.stdout(Stdio::from(end));
        } else {
            mappings.push(FdMapping { parent_fd: OwnedFd::from(end), child_fd: descriptor(output) });
        }
    }
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    drop(command);
    let media = child.stdin.take().ok_or_else(|| io::Error::other("no pipe to FFmpeg"))?;
    Ok((Process::watch(child, &[], logs), media, readers))
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new("ffmpeg");
    command
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    command
}

async fn spawn_with(invocation: &Invocation, stdin: Stdio, logs: Arc<LogBuffer>) -> io::Result<(Process, Tracks)> {
    let (video, video_end) = track_pipe(Some(VIDEO_PIPE_BYTES))?;
    let mut command = command(&invocation.arguments);
    command.stdin(stdin).stdout(Stdio::from(video_end));
    let mut mappings = Vec::new();
    let mut more = |wanted: bool, child_fd: i32| -> io::Result<Option<pipe::Receiver>> {
        if !wanted {
            return Ok(None);
        }
        let (reader, end) = track_pipe(None)?;
        mappings.push(FdMapping { parent_fd: OwnedFd::from(end), child_fd });
        Ok(Some(reader))
    };
    let (audio, spare) = (more(invocation.audio, 3)?, more(invocation.spare, 4)?);
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // The command holds our copies of the writing ends: without them gone, the end of FFmpeg would not be the end of the pipes.
    drop(command);
    if let (Some(input), Some(mut stdin)) = (&invocation.input, child.stdin.take()) {
        // Smaller than a pipe holds, so this does not wait for FFmpeg to read it.
        stdin.write_all(input.as_bytes()).await?;
    }
    Ok((Process::watch(child, &invocation.secrets, logs), Tracks { video, audio, spare }))
}

async fn read_messages(
    stderr: ChildStderr,
    redactor: Redactor,
    logs: Arc<LogBuffer>,
    quiet: Arc<AtomicBool>,
    failed: watch::Sender<u32>,
) -> Vec<String> {
    let mut kept = VecDeque::new();
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let text = redactor.redact(String::from_utf8_lossy(&line).trim());
        if text.is_empty() || text == "[error]" {
            continue;
        }
        tracing::debug!(ffmpeg = %text);
        if let Some(branch) = failed_branch(&text) {
            failed.send_modify(|failed| *failed |= 1 << branch);
        }
        if !quiet.load(Ordering::Relaxed) && !is_expected(&text) {
            logs.push("warning", format!("ffmpeg: {text}"));
        }
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(text);
    }
    kept.into()
}

impl Process {
    /// Reads the messages of a process that has been started.
    fn watch(mut child: Child, secrets: &[String], logs: Arc<LogBuffer>) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let redactor = Redactor::new(secrets.iter().cloned());
        let quiet = Arc::new(AtomicBool::new(false));
        let (tell, failed) = watch::channel(0);
        let messages = match child.stderr.take() {
            Some(stderr) => tokio::spawn(read_messages(stderr, redactor, logs, quiet.clone(), tell)),
            None => tokio::spawn(async { Vec::new() }),
        };
        Self { child, group, quiet, messages, failed }
    }

    /// Its process number, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has ended by itself. Cancel safe.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Gives one that takes or writes nothing any more the time to end by itself: its end says why.
    pub async fn wait_for_its_end(&mut self) {
        let _ = timeout(BEFORE_GIVEN_UP, self.child.wait()).await;
    }

    /// Ends it, at last by SIGINT, then SIGTERM, then SIGKILL. Returns its newest messages.
    pub async fn stop(mut self, manner: Manner) -> Vec<String> {
        self.quiet.store(true, Ordering::Relaxed);
        let ended = manner == Manner::AsEndOfStream
            && self.end_stream()
            && timeout(BEFORE_INT, self.child.wait()).await.is_ok();
        let steps = [(Signal::SIGINT, BEFORE_TERM), (Signal::SIGTERM, BEFORE_KILL), (Signal::SIGKILL, BEFORE_KILL)];
        for (signal, patience) in steps {
            if ended || matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            if let Some(group) = self.group {
                // It may have ended just now.
                let _ = killpg(group, signal);
            }
            if timeout(patience, self.child.wait()).await.is_ok() {
                break;
            }
        }
        // Whoever inherited the descriptor could keep it open for ever.
        timeout(Duration::from_secs(1), self.messages).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Makes its next wait for the network fail, within the tenth of a second that FFmpeg's waits are long: poll(2) refuses
    /// more descriptors than the process may have. What is open stays open, so it writes the rest of its files. (No signal
    /// does that: the first one ends it without looking for what its parsers hold, two make its outputs fail as well.)
    /// Returns whether it could be done.
    fn end_stream(&self) -> bool {
        let Some(process) = self.group.and_then(|group| rustix::process::Pid::from_raw(group.as_raw())) else {
            return false;
        };
        prlimit(Some(process), Resource::Nofile, Rlimit { current: Some(0), maximum: Some(0) }).is_ok()
    }
}
