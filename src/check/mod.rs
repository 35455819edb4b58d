//! Manifests from files, validated offline as an API server would: structural schema, unknown fields refused, CEL rules,
//! and beyond that references that lead nowhere and objects declared twice. `camera-operator check` prints what is wrong;
//! `camera-operator run` loads through the same code and goes on with what is right. Must not start or plan anything.

pub mod config_map;
mod definitions;
pub mod files;
mod load;
mod manifests;
mod problem;
mod references;
pub mod schema;
pub mod secret;
pub mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

pub use load::{Loaded, load, load_text};
pub use manifests::Manifests;
pub use problem::{Note, Problem, ProblemKind};

pub use crate::plan::objects::{key, stable_uid};

/// Validates manifests without a cluster, as an API server would, and resolves their references.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A manifest file, or a folder whose .yaml, .yml and .json files are taken. Can be given several times.
    #[arg(short = 'f', long = "filename", required = true, value_name = "file or folder")]
    files: Vec<PathBuf>,
    /// Secrets are kept elsewhere: a Secret that is in none of the files is no problem.
    #[arg(long)]
    external_secrets: bool,
}

/// Runs `camera-operator check`: exit code 0, or 1 with a line for each problem on standard output.
pub fn run(arguments: &Arguments) -> ExitCode {
    let loaded = load(&arguments.files);
    for note in &loaded.notes {
        eprintln!("{note}");
    }
    let problems: Vec<&Problem> = loaded
        .problems
        .iter()
        .filter(|problem| !(arguments.external_secrets && problem.kind == ProblemKind::SecretMissing))
        .collect();
    let mut lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    if lines.is_empty() {
        lines.push(loaded.manifests.summary());
    }
    // A reader that has seen enough, such as `head`, is no failure.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), (lines.join("\n") + "\n").as_bytes());
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod agreement_tests;
