//! The engine: runs one module in a process of its own. The only place that knows wasmtime.
//!
//! It holds no authority: whatever the module asks for is passed on, over the one socket on standard input, to the
//! keeper, which checks it again. The component lies in a sealed file on standard output. There is nothing else, and
//! nothing else can be reached ([`walls`]). When the keeper's end closes, the engine ends.

mod host;
mod limit;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

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
    let Some(ToEngine::Load { size, memory, imports }) = message::read(&mut &*keeper)? else {
        return Err(io::Error::other("no module was given"));
    };
    let mut component = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_exact_at(&mut component, 0)?;
    drop(file);
    let mut module = match host::load(&component, memory, &imports, Arc::clone(&keeper)) {
        Ok(module) => module,
        Err(why) => return message::write(&mut &*keeper, &cut(FromEngine::Unfit(why))),
    };
    drop(component);
    message::write(&mut &*keeper, &FromEngine::Ready)?;
    while let Some(said) = message::read(&mut &*keeper)? {
        let ToEngine::Call { phase, plan, budget } = said else {
            return Err(io::Error::other("the keeper spoke out of turn"));
        };
        message::write(&mut &*keeper, &cut(module.call(phase, plan, budget)))?;
    }
    Ok(())
}

fn cut(mut said: FromEngine) -> FromEngine {
    // How long it was does not matter here.
    let _ = said.cut();
    said
}
