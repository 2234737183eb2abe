//! The `kiln` program: what this machine can train on, training, and trained models at work.

mod bench;
mod devices;
mod digits;
mod draw;
mod examples;
mod failure;
mod plan;
mod predict;
mod profile;
mod report;
mod train;
mod tune;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Trains neural networks on any GPU through compute shaders.
#[derive(Parser)]
#[command(version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List this machine's adapters, what they can do, and which one is used.
    Devices(devices::Args),
    /// Train a model.
    Train {
        #[command(subcommand)]
        task: Task,
    },
    /// Measure which variant of each kernel is fastest here, and use it.
    Tune(tune::Args),
    /// Measure how fast this adapter is, kernel by kernel and step by step.
    Bench {
        #[command(subcommand)]
        command: bench::Command,
    },
    /// Show what a saved model says to images that it has not learned from.
    Predict(predict::Args),
}

#[derive(Subcommand)]
enum Task {
    /// Learn to read handwritten digits (1,797 images, in the program).
    Digits(train::Args),
    #[command(flatten)]
    Example(examples::Example),
}

const AFTER: &str = "\
KILN_ADAPTER=part-of-its-name and KILN_BACKEND=vulkan|metal|dx12 choose the
adapter; RUST_LOG=info shows more.
Exit status: 0 done, 1 failed, 2 wrong arguments, 3 no adapter, 130 stopped.";

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,wgpu_hal=error"))
        .format_timestamp(None)
        .init();
    let done = match Cli::parse().command {
        Command::Devices(args) => devices::run(&args),
        Command::Train { task: Task::Digits(args) } => train::run(&args),
        Command::Train { task: Task::Example(example) } => examples::run(&example),
        Command::Tune(args) => tune::run(&args),
        Command::Bench { command } => bench::run(&command),
        Command::Predict(args) => predict::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            let text = text.trim_end();
            // other programs get it as it is
            let shown = if std::io::stderr().is_terminal() { draw::wrapped(text, "", 80) } else { text.to_owned() };
            let _ = writeln!(std::io::stderr(), "{shown}");
            failure.exit_code()
        }
    }
}
