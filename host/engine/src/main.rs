//! The engine: runs one module in a process of its own. The only place that knows wasmtime.
//!
//! It holds no authority: whatever the module asks for is passed on, over the one socket on standard input, to the
//! keeper, which checks it again. When the keeper's end closes, the engine ends.

mod host;
mod limit;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use stillpoint_contract::message::{self, FromEngine, ToEngine};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let mut keeper = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let Some(ToEngine::Load { component, memory }) = message::read(&mut keeper)? else {
        return Err(io::Error::other("no module was given"));
    };
    let mut module = match host::load(&component, memory, keeper.try_clone()?) {
        Ok(module) => module,
        Err(why) => return message::write(&mut keeper, &FromEngine::Unfit(why)),
    };
    drop(component);
    message::write(&mut keeper, &FromEngine::Ready)?;
    while let Some(said) = message::read(&mut keeper)? {
        let ToEngine::Call { phase, plan, budget } = said else {
            return Err(io::Error::other("the keeper spoke out of turn"));
        };
        message::write(&mut keeper, &module.call(phase, plan, budget))?;
    }
    Ok(())
}
