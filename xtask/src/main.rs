//! What is done with the source: package, demo, test. `cargo xtask --help`

mod crash;
mod debian;
mod demo;
mod newer;
mod package;
mod test;
mod wasm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, packages, shows and tests Stillpoint.")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Freezes, snapshots and thaws a database whose writers never stop, and proves what the copy holds.
    Demo {
        /// Which database.
        #[arg(default_value = "sqlite")]
        database: demo::Database,
    },
    /// Installs the Debian packages that the tests need, where it may; builds; runs every test.
    Test {
        /// Where a real server is missing, name the tests that cannot run instead of failing.
        #[arg(long)]
        allow_missing: bool,
        /// Fetches newer servers than Debian 12 has, once, and runs only the tests that want them: those that are
        /// otherwise ignored, as `newer: …`.
        #[arg(long)]
        newer: bool,
        /// Passed on to `cargo test`.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Builds the command that tests break, beside the one that is shipped.
    Breakable,
    /// Builds the programs, and builds and signs the modules, into the target folder.
    Package {
        /// Only the modules' components, unsigned, into this folder.
        #[arg(long)]
        components: Option<PathBuf>,
        /// The components of another copy of the source, built in that copy's own target folder.
        #[arg(long, requires = "components")]
        source: Option<PathBuf>,
        /// A reviewer's key of ssh-keygen, whose public half stands in packaging/trust; otherwise two throwaway keys sign.
        #[arg(long, value_name = "KEY", conflicts_with = "components")]
        sign_with: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Demo { database } => demo::run(database),
        Task::Test { allow_missing, newer, rest } => test::run(allow_missing, newer, &rest),
        Task::Breakable => crash::build().map(|folder| println!("{}", folder.display())),
        Task::Package { components: Some(folder), source, .. } => package::components(&folder, source),
        Task::Package { components: None, sign_with, .. } => {
            package::run(sign_with).map(|dist| println!("{}", dist.display()))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("✘ {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// The source.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Cargo's target folder: this very program lies in `debug` there.
fn target() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors().nth(2).map(Path::to_owned).context("xtask was not started by cargo")
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} could not be started"))?;
    if !status.success() {
        bail!("{command:?} failed ({status})");
    }
    Ok(())
}
