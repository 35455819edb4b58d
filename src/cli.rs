//! The command line: parses arguments, sets up logging and hands over. Must not hold any behaviour of its own: each
//! subcommand's arguments and work are in the module that it belongs to.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::agent::pod;
use crate::{api, check, gateway, local, operator, reference, retain};

mod logging;

/// Camera streams, recordings and alerts, declared in manifests.
#[derive(Debug, Parser)]
#[command(name = "camera-operator", version, about, propagate_version = true)]
struct Cli {
    /// How log lines look; human on a terminal, JSON otherwise. `RUST_LOG` sets the level.
    #[arg(long, global = true, value_enum)]
    log_format: Option<logging::LogFormat>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(local::Arguments),
    Operator(operator::Arguments),
    Agent(pod::Arguments),
    Check(check::Arguments),
    Retain(retain::Arguments),
    Crds(api::crds::Arguments),
    Openapi(gateway::openapi::Arguments),
    Reference(reference::Arguments),
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The only provider that is compiled in; installing it twice is impossible here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    logging::set_up(cli.log_format);
    let result = match cli.command {
        Command::Run(arguments) => local::run(arguments),
        Command::Operator(arguments) => operator::run(arguments),
        Command::Agent(arguments) => pod::run(&arguments),
        Command::Check(arguments) => Ok(check::run(&arguments)),
        Command::Retain(arguments) => retain::run(&arguments),
        Command::Crds(arguments) => api::crds::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Reference(arguments) => reference::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Openapi(arguments) => gateway::openapi::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("camera-operator: {error:#}");
        ExitCode::FAILURE
    })
}
