//! The command line: parses arguments, sets up logging and hands over. Must not hold any behaviour of its own: each
//! subcommand's arguments and work are in the module that it belongs to.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::{api, check};

/// Camera streams, recordings and alerts, declared in manifests.
#[derive(Debug, Parser)]
#[command(name = "camera-operator", version, about, propagate_version = true)]
struct Cli {
    /// How log lines look; human on a terminal, JSON otherwise. `RUST_LOG` sets the level.
    #[arg(long, global = true, value_enum)]
    log_format: Option<LogFormat>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Arguments),
    Crds(api::crds::Arguments),
}

fn set_up_logging(format: Option<LogFormat>) {
    use std::io::IsTerminal as _;
    let format = format.unwrap_or(if std::io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json });
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The only provider that is compiled in; installing it twice is impossible here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    set_up_logging(cli.log_format);
    let result = match cli.command {
        Command::Check(arguments) => Ok(check::run(&arguments)),
        Command::Crds(arguments) => api::crds::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("camera-operator: {error:#}");
        ExitCode::FAILURE
    })
}
