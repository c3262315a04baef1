//! One module, and the interfaces that it sees: each is a message to the keeper.

use std::hash::{Hash, Hasher};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use stillpoint_contract::manifest::{Interface, Snapshot};
use stillpoint_contract::message::{
    self, Broken, Compatibility, FromEngine, Notice, Outcome, Phase, Reply, Request, ToEngine,
};
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, Store, Trap};

use crate::limit::{Limiter, Ticker};

wasmtime::component::bindgen!({
    path: "../../contract/wit/0.1.0",
    world: "module",
    imports: { default: trappable },
});

use stillpoint::workload as wit;
use wit::types;

/// The stack of a module, in bytes.
const STACK: usize = 512 * 1024;

/// What one call of ours may copy out of a module, in bytes.
const COPIED: usize = 4 * 1024 * 1024;

/// Handles of components that a module may hold: none of our interfaces gives any.
const HANDLES: usize = 64;

struct State {
    keeper: Arc<UnixStream>,
    limiter: Limiter,
    /// How many notices are left in this phase.
    notices: u32,
}

/// A module that is instantiated.
pub struct Loaded {
    store: Store<State>,
    bindings: Module,
    ticker: Ticker,
    broken: Option<Broken>,
}

/// A component, compiled.
pub struct Compiled {
    /// For which engine.
    pub compatibility: Compatibility,
    /// What [`load`] takes.
    pub artefact: Vec<u8>,
}

/// Why an artefact was not loaded.
pub enum NotLoaded {
    /// It is another engine's, or none.
    Stale,
    /// Its module cannot be used: in words.
    Unfit(String),
}

/// Compiles a component that imports nothing but these interfaces and exports what a module must.
///
/// # Errors
/// In words: why it cannot be used.
pub fn compile(component: &[u8], imports: &[Interface]) -> Result<Compiled, String> {
    let engine = Engine::new(&config()).map_err(words)?;
    let component = Component::from_binary(&engine, component).map_err(words)?;
    look(&engine, &component, imports)?;
    let linked = linker(&engine, imports).and_then(|linker| linker.instantiate_pre(&component)).map_err(words)?;
    ModulePre::new(linked).map_err(words)?;
    Ok(Compiled { compatibility: compatibility(&engine), artefact: component.serialize().map_err(words)? })
}

/// Loads and instantiates what [`compile`] made. `artefact` is asked for once it is known for which engine it is.
///
/// # Errors
/// [`NotLoaded`].
pub fn load(
    artefact: impl FnOnce() -> std::io::Result<Vec<u8>>,
    its: &Compatibility,
    memory: u64,
    imports: &[Interface],
    keeper: Arc<UnixStream>,
) -> Result<Loaded, NotLoaded> {
    let unfit = |e: wasmtime::Error| NotLoaded::Unfit(words(e));
    let engine = Engine::new(&config()).map_err(unfit)?;
    if compatibility(&engine) != *its {
        return Err(NotLoaded::Stale);
    }
    let artefact = artefact().map_err(|e| NotLoaded::Unfit(e.to_string()))?;
    let component = deserialize(&engine, &artefact).map_err(|_| NotLoaded::Stale)?;
    drop(artefact);
    look(&engine, &component, imports).map_err(NotLoaded::Unfit)?;
    let linker = linker(&engine, imports).map_err(unfit)?;
    let mut store = Store::new(&engine, State { keeper, limiter: Limiter::new(memory), notices: 0 });
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(COPIED);
    store.set_max_component_handles(HANDLES);
    store.epoch_deadline_trap();
    store.set_epoch_deadline(Ticker::epochs(1000));
    let ticker = Ticker::start(&engine).map_err(|e| NotLoaded::Unfit(e.to_string()))?;
    ticker.run();
    let bindings = Module::instantiate(&mut store, &component, &linker);
    ticker.rest();
    Ok(Loaded { bindings: bindings.map_err(unfit)?, store, ticker, broken: None })
}

fn words(e: wasmtime::Error) -> String {
    format!("{e:#}")
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, artefact: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: these must be bytes that an engine like this one has serialized. Root keeps them, where nobody else
    // writes, under a digest that was just compared; an engine compiled them inside the same walls. One that was taken
    // over while it compiled could have written other code: that runs here, where it has what it had there, and nothing
    // else. The bytes are copied, so nobody changes them afterwards.
    unsafe { Component::deserialize(engine, artefact) }
}

/// All that decides whether an artefact is for this engine; wasmtime's whole version is among it.
fn compatibility(engine: &Engine) -> Compatibility {
    struct Digest(Sha256);
    impl Hasher for Digest {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        // Never asked: 64 bits of it would be too few.
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut digest = Digest(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.0.finalize().into()
}

/// It imports these interfaces and no other.
fn look(engine: &Engine, component: &Component, imports: &[Interface]) -> Result<(), String> {
    for (name, _) in component.component_type().imports(engine) {
        let interface = name.strip_prefix("stillpoint:workload/").and_then(|n| n.strip_suffix("@0.1.0"));
        // It holds types, and nothing that could be called.
        if interface == Some("types") {
            continue;
        }
        match interface.map(|name| Interface::ALL.into_iter().find(|i| i.name() == name)) {
            Some(Some(interface)) if imports.contains(&interface) => {}
            Some(Some(_)) => return Err(format!("it imports {name}, which its manifest does not name")),
            _ => return Err(format!("it imports {name}, which is not offered")),
        }
    }
    Ok(())
}

/// What it is given, and nothing else.
fn linker(engine: &Engine, imports: &[Interface]) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wit::types::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    for interface in imports {
        match interface {
            Interface::Database => wit::database::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state),
            Interface::State => wit::state::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state),
            Interface::Events => wit::events::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state),
            Interface::Log => wit::log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state),
            Interface::Clock => wit::clock::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state),
        }?;
    }
    Ok(linker)
}

fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .max_wasm_stack(STACK)
        .concurrency_support(false)
        // Where in the component a trap came from is told to nobody.
        .generate_address_map(false)
        // Its image would lie in a file in memory, and the walls let nothing be opened.
        .memory_init_cow(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false);
    config
}

impl Loaded {
    /// Runs one phase. A module that broke is never entered again.
    pub fn call(&mut self, phase: Phase, plan: message::Plan, budget: u32) -> FromEngine {
        if let Some(broken) = &self.broken {
            return FromEngine::Broken(broken.clone());
        }
        self.store.set_epoch_deadline(Ticker::epochs(budget));
        self.store.data_mut().notices = message::MOST_NOTICES;
        self.ticker.run();
        let plan = plan_of(plan);
        let lifecycle = self.bindings.stillpoint_workload_lifecycle();
        let store = &mut self.store;
        let nothing = |r: Result<(), types::Failure>| r.map(|()| Outcome::Nothing);
        let returned = match phase {
            Phase::Check => lifecycle.call_check(store, &plan).map(|r| r.map(report_of)),
            Phase::Prepare => lifecycle.call_prepare(store, &plan).map(nothing),
            Phase::Freeze => lifecycle.call_freeze(store, &plan).map(|r| r.map(point_of)),
            Phase::Thaw => lifecycle.call_thaw(store, &plan).map(nothing),
        };
        self.ticker.rest();
        match returned {
            Ok(outcome) => FromEngine::Done(outcome.and_then(short).map_err(failure_of)),
            Err(error) => {
                let broken = if self.store.data().limiter.exceeded {
                    Broken::TooMuchMemory
                } else if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
                    Broken::TooLong
                } else {
                    Broken::Trapped(error.root_cause().to_string())
                };
                self.broken = Some(broken.clone());
                FromEngine::Broken(broken)
            }
        }
    }
}

impl State {
    fn ask(&mut self, request: Request) -> wasmtime::Result<Reply> {
        self.say(FromEngine::Request(request))?;
        match message::read(&mut &*self.keeper) {
            Ok(Some(ToEngine::Reply(reply))) => Ok(reply),
            // Nobody is left to run for.
            Ok(_) | Err(_) => std::process::exit(1),
        }
    }

    /// Says it, cut to its longest; drops it where enough was said.
    fn notice(&mut self, notice: Notice) -> wasmtime::Result<()> {
        let Some(left) = self.notices.checked_sub(1) else { return Ok(()) };
        self.notices = left;
        let mut notice = FromEngine::Notice(notice);
        let _ = notice.cut();
        self.say(notice)
    }

    fn say(&mut self, what: FromEngine) -> wasmtime::Result<()> {
        message::write(&mut &*self.keeper, &what).map_err(|e| wasmtime::Error::msg(e.to_string()))
    }
}

fn out_of_turn<T>() -> wasmtime::Result<T> {
    Err(wasmtime::Error::msg("the keeper gave another answer than was asked for"))
}

/// What the keeper would say, if it were asked something so long.
fn too_long(request: &Request) -> String {
    match request {
        Request::Put { name, .. } if name.len() <= message::LONGEST_NAME => {
            format!("more than {} bytes of state", message::LONGEST_CONTENT)
        }
        _ => format!("a name longer than {} bytes is no name for a state file", message::LONGEST_NAME),
    }
}

/// A recovery point that is too long cannot be cut: it would be another one.
fn short(mut outcome: Outcome) -> Result<Outcome, types::Failure> {
    match &mut outcome {
        Outcome::Point(point) => {
            point.truncate(message::MOST_COORDINATES);
            if point.iter().map(|c| c.name.len() + c.value.len()).sum::<usize>() > message::LONGEST_POINT {
                let text = format!("its recovery point is longer than {} bytes", message::LONGEST_POINT);
                return Err(types::Failure { text, error: None });
            }
            Ok(outcome)
        }
        _ => Ok(outcome),
    }
}

impl wit::database::Host for State {
    fn run(
        &mut self,
        statement: String,
        database: Option<String>,
        arguments: Vec<types::Value>,
    ) -> wasmtime::Result<Result<Vec<Vec<types::Value>>, types::StatementError>> {
        let arguments = arguments.into_iter().map(value_of).collect();
        let request = Request::Run { statement, database, arguments };
        if request.is_too_long() {
            return Ok(Err(types::StatementError::Undeclared("no statement has names or arguments so long".into())));
        }
        match self.ask(request)? {
            Reply::Rows(Ok(rows)) => Ok(Ok(rows.into_iter().map(|r| r.into_iter().map(value_to).collect()).collect())),
            Reply::Rows(Err(error)) => Ok(Err(error_to(error))),
            _ => out_of_turn(),
        }
    }
}

impl wit::state::Host for State {
    fn put(&mut self, name: String, content: Vec<u8>) -> wasmtime::Result<Result<(), String>> {
        let request = Request::Put { name, content };
        if request.is_too_long() {
            return Ok(Err(too_long(&request)));
        }
        match self.ask(request)? {
            Reply::Done(done) => Ok(done),
            _ => out_of_turn(),
        }
    }

    fn get(&mut self, name: String) -> wasmtime::Result<Result<Option<Vec<u8>>, String>> {
        let request = Request::Get { name };
        if request.is_too_long() {
            return Ok(Err(too_long(&request)));
        }
        match self.ask(request)? {
            Reply::Content(content) => Ok(content),
            _ => out_of_turn(),
        }
    }

    fn list_names(&mut self) -> wasmtime::Result<Result<Vec<String>, String>> {
        match self.ask(Request::List)? {
            Reply::Names(names) => Ok(names),
            _ => out_of_turn(),
        }
    }

    fn remove(&mut self, name: String) -> wasmtime::Result<Result<(), String>> {
        let request = Request::Remove { name };
        if request.is_too_long() {
            return Ok(Err(too_long(&request)));
        }
        match self.ask(request)? {
            Reply::Done(done) => Ok(done),
            _ => out_of_turn(),
        }
    }
}

impl wit::events::Host for State {
    fn emit(&mut self, kind: String, text: String) -> wasmtime::Result<()> {
        // The keeper publishes none whose kind is so long.
        if kind.len() > message::LONGEST_KIND { Ok(()) } else { self.notice(Notice::Event { kind, text }) }
    }
}

impl wit::log::Host for State {
    fn write(&mut self, severity: wit::log::Severity, text: String) -> wasmtime::Result<()> {
        let severity = match severity {
            wit::log::Severity::Debug => message::Severity::Debug,
            wit::log::Severity::Info => message::Severity::Info,
            wit::log::Severity::Warn => message::Severity::Warn,
            wit::log::Severity::Error => message::Severity::Error,
        };
        self.notice(Notice::Log { severity, text })
    }
}

/// The longest that a module sleeps at once: it is not to be found asleep when its phase is over.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

impl wit::clock::Host for State {
    fn sleep(&mut self, milliseconds: u32) -> wasmtime::Result<()> {
        std::thread::sleep(Duration::from_millis(milliseconds.into()).min(LONGEST_SLEEP));
        Ok(())
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        match self.ask(Request::Now)? {
            Reply::Milliseconds(n) => Ok(n),
            _ => out_of_turn(),
        }
    }

    fn remaining(&mut self) -> wasmtime::Result<u32> {
        match self.ask(Request::Remaining)? {
            Reply::Milliseconds(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
            _ => out_of_turn(),
        }
    }
}

impl types::Host for State {}

fn plan_of(plan: message::Plan) -> types::Plan {
    types::Plan {
        cycle: plan.cycle,
        workload: plan.workload,
        databases: plan.databases,
        snapshot: match plan.snapshot {
            Snapshot::Atomic => types::Snapshot::Atomic,
            Snapshot::PerVolume => types::Snapshot::PerVolume,
            Snapshot::Files => types::Snapshot::Files,
        },
        stall_budget: plan.stall_budget,
        timeout: plan.timeout,
    }
}

fn report_of(report: types::Report) -> Outcome {
    let findings = report.findings.into_iter().map(|f| message::Finding {
        level: match f.level {
            types::Level::Note => message::Level::Note,
            types::Level::Warning => message::Level::Warning,
            types::Level::Problem => message::Level::Problem,
        },
        text: f.text,
    });
    Outcome::Report { version: report.version, findings: findings.collect() }
}

fn point_of(point: Vec<types::Coordinate>) -> Outcome {
    Outcome::Point(point.into_iter().map(|c| message::Coordinate { name: c.name, value: c.value }).collect())
}

fn failure_of(failure: types::Failure) -> message::Failure {
    message::Failure { text: failure.text, error: failure.error.map(error_of) }
}

fn value_of(value: types::Value) -> message::Value {
    match value {
        types::Value::Null => message::Value::Null,
        types::Value::Integer(n) => message::Value::Integer(n),
        types::Value::Text(t) => message::Value::Text(t),
        types::Value::Bytes(b) => message::Value::Bytes(b),
    }
}

fn value_to(value: message::Value) -> types::Value {
    match value {
        message::Value::Null => types::Value::Null,
        message::Value::Integer(n) => types::Value::Integer(n),
        message::Value::Text(t) => types::Value::Text(t),
        message::Value::Bytes(b) => types::Value::Bytes(b),
    }
}

fn error_of(error: types::StatementError) -> message::StatementError {
    use message::StatementError as To;
    match error {
        types::StatementError::Undeclared(t) => To::Undeclared(t),
        types::StatementError::Refused(t) => To::Refused(t),
        types::StatementError::Failed(e) => {
            To::Failed(message::DatabaseError { code: e.code, state: e.state, message: e.message })
        }
        types::StatementError::TimedOut => To::TimedOut,
        types::StatementError::Lost(t) => To::Lost(t),
        types::StatementError::TooLarge => To::TooLarge,
        types::StatementError::Unexpected(t) => To::Unexpected(t),
    }
}

fn error_to(error: message::StatementError) -> types::StatementError {
    use message::StatementError as From;
    match error {
        From::Undeclared(t) => types::StatementError::Undeclared(t),
        From::Refused(t) => types::StatementError::Refused(t),
        From::Failed(e) => {
            types::StatementError::Failed(types::DatabaseError { code: e.code, state: e.state, message: e.message })
        }
        From::TimedOut => types::StatementError::TimedOut,
        From::Lost(t) => types::StatementError::Lost(t),
        From::TooLarge => types::StatementError::TooLarge,
        From::Unexpected(t) => types::StatementError::Unexpected(t),
    }
}
