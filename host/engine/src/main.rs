//! The engine: compiles one module, or runs one that was compiled, in a process of its own. The only place that knows
//! wasmtime.
//!
//! It holds no authority: whatever the module asks for is passed on, over the one socket on standard input, to the
//! keeper, which checks it again. The component, or what came of it, lies in a sealed file on standard output. There is
//! nothing else, and nothing else can be reached ([`walls`]). When the keeper's end closes, the engine ends.

mod host;
mod limit;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use host::{Compiled, Loaded, NotLoaded};
use stillpoint_contract::manifest::Interface;
use stillpoint_contract::message::{self, FromEngine, ToEngine};
use stillpoint_engine::walls;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let keeper = Arc::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?));
    let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    match walls::raise() {
        Ok(landlock) => message::write(&mut &*keeper, &FromEngine::Walled(landlock))?,
        Err(which) => return message::write(&mut &*keeper, &cut(FromEngine::Unwalled(which))),
    }
    match message::read(&mut &*keeper)? {
        Some(ToEngine::Compile { size, imports }) => compile(&whole(&file, size)?, &imports, &keeper),
        Some(ToEngine::Load { size, memory, imports, compatibility }) => {
            let artefact = move || whole(&file, size);
            match host::load(artefact, &compatibility, memory, &imports, Arc::clone(&keeper)) {
                Ok(module) => run(module, &keeper),
                Err(NotLoaded::Stale) => message::write(&mut &*keeper, &FromEngine::Stale),
                Err(NotLoaded::Unfit(why)) => message::write(&mut &*keeper, &cut(FromEngine::Unfit(why))),
            }
        }
        _ => Err(io::Error::other("no module was given")),
    }
}

/// All bytes of the sealed file.
fn whole(file: &File, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn compile(component: &[u8], imports: &[Interface], mut keeper: &UnixStream) -> io::Result<()> {
    match host::compile(component, imports) {
        Ok(Compiled { compatibility, artefact }) => {
            let size = artefact.len() as u64;
            if size > message::longest_artefact(component.len() as u64) {
                let why = format!("it compiles to {size} bytes, which is more than it may");
                return message::write(&mut keeper, &FromEngine::Unfit(why));
            }
            message::write(&mut keeper, &FromEngine::Compiled { size, compatibility })?;
            keeper.write_all(&artefact)
        }
        Err(why) => message::write(&mut keeper, &cut(FromEngine::Unfit(why))),
    }
}

fn run(mut module: Loaded, mut keeper: &UnixStream) -> io::Result<()> {
    message::write(&mut keeper, &FromEngine::Ready)?;
    while let Some(said) = message::read(&mut keeper)? {
        let ToEngine::Call { phase, plan, budget } = said else {
            return Err(io::Error::other("the keeper spoke out of turn"));
        };
        message::write(&mut keeper, &cut(module.call(phase, plan, budget)))?;
    }
    Ok(())
}

fn cut(mut said: FromEngine) -> FromEngine {
    // How long it was does not matter here.
    let _ = said.cut();
    said
}
