//! `camera-operator retain`: applies an archive's retention, or previews it, from the command line. On a folder (`--root`) it
//! does the work itself, when nobody else has the archive open; otherwise it asks whoever has: `run` (`--url`), or in a cluster
//! the archive's recorder (`--recorder`), to which it shows its ServiceAccount token. Prints every deletion with its reason. Must
//! not decide what goes.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use jiff::Timestamp;

use crate::agent::pod::secrets;
use crate::agent::problem::Problem;
use crate::agent::retention::rules;
use crate::agent::unit::Secret;
use crate::archive::index::RecordingPath;
use crate::archive::layout::LOCK;
use crate::archive::lock::Holder;
use crate::archive::retention_run::{self, ArchiveRules, Request, RetentionOutcome};
use crate::archive::schedule::Schedule;
use crate::archive::{Archive, ArchiveError};
use crate::check::{self, ProblemKind};
use crate::media::frame::UtcMicros;
use crate::plan::resolve::{Environment, plan};
use crate::plan::unit::ObjectKey;

/// Exit code: something that a rule names was held back; look at the preview, then run again with --confirm.
const WITHHELD: u8 = 3;
/// Exit code: another process has the archive open.
const IN_USE: u8 = 4;

/// Deletes what an archive's retention rules let go, and prints every file with its reason.
///
/// Exit codes: 0 done; 1 failed; 2 wrong arguments; 3 something that a rule names was held back until --confirm;
/// 4 another process has the archive open.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The archive's folder. It is worked on directly, which nobody else may be doing at the time.
    #[arg(long, value_name = "folder", required_unless_present_any = ["url", "recorder"], conflicts_with_all = ["url", "recorder"])]
    root: Option<PathBuf>,
    /// Manifests with the rules, files or folders; without them the rules stand in the archive, as its recorder was last told.
    #[arg(short = 'f', long = "filename", value_name = "file or folder", requires = "root")]
    files: Vec<PathBuf>,
    /// The `camera-operator run` to ask, as in `http://127.0.0.1:8080`.
    #[arg(long, conflicts_with = "recorder")]
    url: Option<reqwest::Url>,
    /// In a cluster: the archive's recorder to ask, as in `http://default-archive.shop.svc:9090`.
    #[arg(long, value_name = "URL")]
    recorder: Option<reqwest::Url>,
    /// The ServiceAccount token to show to the recorder; none is shown where there is no such file.
    #[arg(long, value_name = "file", requires = "recorder")]
    token_file: Option<PathBuf>,
    /// Namespace of the archive.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Name of the archive, or `namespace/name`.
    #[arg(long, default_value = "default")]
    archive: String,
    /// Only this recording of the namespace.
    #[arg(long, conflicts_with = "recorder")]
    recording: Option<String>,
    /// Print what would be deleted; delete nothing.
    #[arg(long)]
    preview: bool,
    /// Delete also what is held back because the rules would take over a quarter more than was foreseen, or because the
    /// clock is in doubt: you have looked at the preview, and it is right.
    #[arg(long)]
    confirm: bool,
    /// How to print.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A line for each file, and a total.
    Text,
    /// One JSON document, as the HTTP interface answers it.
    Json,
}

/// Runs `camera-operator retain`.
///
/// # Errors
/// When the archive cannot be read, the recorder cannot be asked, or a manifest is wrong.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let key = arguments.key()?;
    let outcome = match (&arguments.root, &arguments.url, &arguments.recorder) {
        (Some(root), ..) => match on_folder(arguments, &key, root)? {
            Some(outcome) => outcome,
            None => return Ok(ExitCode::from(IN_USE)),
        },
        (None, Some(url), _) => {
            let (kind, name) = match &arguments.recording {
                Some(recording) => ("recordings", recording),
                None => ("archives", &key.name),
            };
            ask(arguments, url, &["api", "v1", "namespaces", &key.namespace, kind, name], None)?
        }
        (None, None, Some(recorder)) => {
            let token = arguments.token()?;
            ask(arguments, recorder, &["v1", "archives", &key.namespace, &key.name], token)?
        }
        (None, None, None) => bail!("give --root <folder>, --url <address of run> or --recorder <address>"),
    };
    let text = match arguments.output {
        Output::Text => text(&outcome),
        Output::Json => serde_json::to_string_pretty(&outcome)? + "\n",
    };
    // A reader that has seen enough, such as `head`, is no failure: what was to be deleted is deleted.
    let _ = std::io::stdout().write_all(text.as_bytes());
    if outcome.deletions.iter().any(|line| line.failed.is_some()) {
        return Ok(ExitCode::FAILURE);
    }
    Ok(if outcome.withheld.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WITHHELD) })
}

impl Arguments {
    /// Which archive is meant.
    fn key(&self) -> anyhow::Result<ObjectKey> {
        match self.archive.split_once('/') {
            None => Ok(ObjectKey::new(&*self.namespace, &*self.archive)),
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(ObjectKey::new(namespace, name))
            }
            Some(_) => bail!("--archive {} is no archive; write its name, or namespace/name", self.archive),
        }
    }

    /// The token to show; a file that was named must be there.
    fn token(&self) -> anyhow::Result<Option<Secret>> {
        let usual = secrets::token_file(Path::new(secrets::FOLDER));
        let path = self.token_file.as_ref().unwrap_or(&usual);
        match std::fs::read_to_string(path) {
            Ok(token) => Ok(Some(Secret::new(token.trim()))),
            Err(error) if error.kind() == ErrorKind::NotFound && self.token_file.is_none() => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read the token in {}", path.display())),
        }
    }
}

/// Works on a folder; `None` when another process has it open, which is told.
fn on_folder(arguments: &Arguments, key: &ObjectKey, root: &Path) -> anyhow::Result<Option<RetentionOutcome>> {
    // Opening an archive makes one; here that would only hide a mistyped path.
    if !root.join(LOCK).is_file() {
        bail!(
            "{} is no archive: it has no {LOCK}; an archive's folder is the one that holds its namespaces",
            root.display()
        );
    }
    let archive = match Archive::open(root, &Holder::this_process("camera-operator retain")) {
        Ok(archive) => archive,
        Err(error @ ArchiveError::Locked { .. }) => {
            eprintln!(
                "camera-operator: {error}.\nAsk it instead: camera-operator retain --url http://127.0.0.1:8080 --namespace {} --archive {}",
                key.namespace, key.name
            );
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let told = if arguments.files.is_empty() { None } else { Some(rules_of(arguments, key, root)?) };
    let in_force = match &told {
        Some(rules) => rules.clone(),
        None => retention_run::read_state(&archive)?.rules,
    };
    if in_force.schedule.is_empty() {
        bail!("nobody has told {} its retention rules yet; give the manifests that hold them with -f", root.display());
    }
    let now = Timestamp::now();
    let next_run = Schedule::parse(&in_force.schedule, &in_force.time_zone)?.next_after(now)?;
    let only = arguments.recording.as_ref().map(|name| RecordingPath::new(key.namespace.clone(), name.clone()));
    let request = Request {
        only: only.transpose().context("--recording")?,
        confirmed: arguments.confirm,
        next_run: Some(UtcMicros::from_timestamp(next_run)),
        least_free_bytes: 0,
        rules: told,
    };
    let now = UtcMicros::from_timestamp(now);
    if arguments.preview {
        return Ok(Some(retention_run::preview(&archive, &request, now)?));
    }
    let mut progress = Progress::new();
    let outcome = retention_run::run(&archive, &request, now, &mut |line| progress.deleted(line.bytes))?;
    progress.end();
    Ok(Some(outcome))
}

/// The rules that manifests give to the archive that is meant.
fn rules_of(arguments: &Arguments, key: &ObjectKey, root: &Path) -> anyhow::Result<ArchiveRules> {
    let loaded = check::load(&arguments.files);
    // Retention needs no Secret.
    let problems: Vec<String> = loaded
        .problems
        .iter()
        .filter(|problem| problem.kind != ProblemKind::SecretMissing)
        .map(ToString::to_string)
        .collect();
    if !problems.is_empty() {
        bail!("the manifests are not right:\n{}", problems.join("\n"));
    }
    let environment = Environment { agent: "retain".to_owned(), data: root.display().to_string() };
    let planned = plan(&loaded.manifests.objects(), &environment).plan;
    let Some(archive) = planned.archives.iter().find(|archive| archive.key == *key) else {
        let known: Vec<String> = planned.archives.iter().map(|archive| archive.key.to_string()).collect();
        bail!(
            "the manifests have no archive {key} ({}); say which is meant with --namespace and --archive",
            if known.is_empty() { "they have none".to_owned() } else { format!("they have {}", known.join(", ")) }
        );
    };
    Ok(rules(archive, &planned.recordings))
}

/// Asks whoever has the archive open; `object` is the path of what is meant.
fn ask(
    arguments: &Arguments,
    url: &reqwest::Url,
    object: &[&str],
    token: Option<Secret>,
) -> anyhow::Result<RetentionOutcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let verb = if arguments.preview { "preview" } else { "run" };
        let mut target = url.clone();
        target
            .path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{url} is not the address of a recorder; write http://127.0.0.1:8080"))?
            .pop_if_empty()
            .extend(object.iter().chain(&["retention", verb]));
        if arguments.confirm {
            target.set_query(Some("confirm=true"));
        }
        let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).build()?;
        let mut request = if arguments.preview { client.get(target.clone()) } else { client.post(target.clone()) };
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if std::io::stderr().is_terminal() {
            eprintln!("asking {target}");
        }
        let response = request.send().await.with_context(|| format!("cannot reach the recorder at {url}"))?;
        if response.status().is_success() {
            return response.json().await.context("the recorder's answer cannot be understood");
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => bail!("{}: {}", problem.title, problem.detail),
            Err(_) => bail!("the recorder at {url} answers {status}; is it camera-operator?"),
        }
    })
}

/// A line for each file, what was held back, and the total.
fn text(outcome: &RetentionOutcome) -> String {
    let mut lines = Vec::with_capacity(outcome.deletions.len() + 4);
    let verb = if outcome.preview { "would delete" } else { "deleted" };
    for line in &outcome.deletions {
        let path = format!("{}/{}/{}", line.namespace, line.recording, line.file);
        lines.push(match &line.failed {
            None => format!("{verb} {path} ({}, {} to {}): {}", size(line.bytes), line.from, line.to, line.reason),
            Some(error) => format!("kept {path}: {error}"),
        });
    }
    for withheld in &outcome.withheld {
        lines.push(format!("held back {} files ({}): {}", withheld.files, size(withheld.bytes), withheld.message));
    }
    if outcome.short_bytes > 0 {
        lines
            .push(format!("the volume still lacks {} to minFree, and no rule lets more go", size(outcome.short_bytes)));
    }
    lines.push(format!("{verb} {} files, {}", outcome.files, size(outcome.bytes)));
    lines.join("\n") + "\n"
}

/// Bytes for a person, in powers of 1024.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Tells on a terminal that a long run is getting on.
struct Progress {
    shown: Option<Instant>,
    terminal: bool,
    files: u64,
    bytes: u64,
}

impl Progress {
    fn new() -> Self {
        Self { shown: None, terminal: std::io::stderr().is_terminal(), files: 0, bytes: 0 }
    }

    fn deleted(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        if self.terminal && self.shown.is_none_or(|at| at.elapsed() > Duration::from_millis(200)) {
            self.shown = Some(Instant::now());
            eprint!("\r{} files, {} deleted", self.files, size(self.bytes));
        }
    }

    fn end(&self) {
        if self.shown.is_some() {
            // The line goes; what follows says it all.
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
