//! The command `stillpoint`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(stillpoint::cli::main() as u8)
}
