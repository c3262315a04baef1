//! How much a module may take: memory by a limiter of our own, so that too much is known for what it is; time by epochs.

use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use wasmtime::{Engine, ResourceLimiter};

/// The epoch rises this often while a call runs.
const TICK: Duration = Duration::from_millis(1);

/// Elements of all tables together.
const ELEMENTS: usize = 20_000;

/// Linear memory, tables and instances of one module.
pub struct Limiter {
    /// Bytes of all its memories together.
    memory: usize,
    used: usize,
    elements: usize,
    /// Set when it asked for more.
    pub exceeded: bool,
}

impl Limiter {
    /// With this many bytes of memory.
    pub fn new(memory: u64) -> Limiter {
        Limiter { memory: usize::try_from(memory).unwrap_or(usize::MAX), used: 0, elements: 0, exceeded: false }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.memory {
            self.exceeded = true;
            return Err(wasmtime::Error::msg("more memory than it may have"));
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_sub(current).saturating_add(desired);
        let granted = elements <= ELEMENTS;
        if granted {
            self.elements = elements;
        }
        Ok(granted)
    }

    fn instances(&self) -> usize {
        32
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        4
    }
}

/// Raises the epoch against an absolute clock, on a thread of its own, while a call runs.
pub struct Ticker(Sender<bool>);

impl Ticker {
    /// Starts the thread. It ends with the ticker.
    pub fn start(engine: &Engine) -> std::io::Result<Ticker> {
        let (sender, receiver) = mpsc::channel();
        let engine = engine.weak();
        std::thread::Builder::new().name("epochs".into()).spawn(move || {
            while let Ok(mut running) = receiver.recv() {
                let mut next = Instant::now() + TICK;
                while running {
                    match receiver.recv_timeout(next.saturating_duration_since(Instant::now())) {
                        Ok(said) => running = said,
                        Err(mpsc::RecvTimeoutError::Timeout) => {
                            let Some(engine) = engine.upgrade() else { return };
                            engine.increment_epoch();
                            next += TICK;
                        }
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                }
            }
        })?;
        Ok(Ticker(sender))
    }

    /// A call begins.
    pub fn run(&self) {
        let _ = self.0.send(true);
    }

    /// A call has ended.
    pub fn rest(&self) {
        let _ = self.0.send(false);
    }

    /// Epochs after which this many milliseconds have passed: n ticks fire in (n-1, n], so one more.
    pub fn epochs(milliseconds: u32) -> u64 {
        u64::from(milliseconds) + 1
    }
}
