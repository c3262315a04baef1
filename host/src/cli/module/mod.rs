//! `module`: what a module may do, and whether it may do it here.

mod inspect;

use std::path::PathBuf;

use clap::Subcommand;

use super::Context;
use crate::fault::Exit;

/// What to do with modules.
#[derive(Debug, Subcommand)]
pub enum Module {
    /// Show all that a module may ever do, on one page; it need not be trusted for that
    Inspect {
        /// The bundle, or the folder of its source
        #[arg(value_name = "DIR")]
        bundle: PathBuf,
        /// Write the page for a browser, too
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
}

pub fn module(context: &Context, module: &Module) -> Exit {
    match module {
        Module::Inspect { bundle, html } => inspect::inspect(context, bundle, html.as_deref()),
    }
}
