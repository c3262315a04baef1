//! A fake host for unit tests: it answers what the test scripted, and remembers what was asked.
//!
//! It proves a module's logic, nothing about a database: that takes a real server.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use crate::{
    Check, DatabaseError, Freeze, Plan, Prepare, RecoveryPoint, Report, Result, Snapshot, StatementError, Thaw, Value,
    Workload,
};

type Answer = std::result::Result<Vec<Vec<Value>>, StatementError>;

/// One row of a scripted answer: `row!["10.11.19-MariaDB", 3]`.
#[macro_export]
macro_rules! row {
    ($($cell:expr),* $(,)?) => {
        ::std::vec![$($crate::Value::from($cell)),*]
    };
}

/// A host whose answers the test writes. A statement without an answer gives no rows; the last answer of several
/// is given again and again.
#[derive(Debug)]
pub struct FakeHost {
    plan: Plan,
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: RefCell<BTreeMap<String, VecDeque<Answer>>>,
    sent: RefCell<Vec<String>>,
    files: RefCell<BTreeMap<String, Vec<u8>>>,
    events: RefCell<Vec<(String, String)>>,
    log: RefCell<Vec<String>>,
    remaining: Cell<Duration>,
}

thread_local! {
    static HOST: RefCell<Option<Rc<Shared>>> = const { RefCell::new(None) };
}

impl Default for FakeHost {
    fn default() -> FakeHost {
        FakeHost::new()
    }
}

impl FakeHost {
    /// A host with the defaults of the configuration: 90 seconds of timeout, 5 of stall budget, an atomic snapshot.
    #[must_use]
    pub fn new() -> FakeHost {
        let plan = Plan {
            cycle: "fake".into(),
            workload: "fake".into(),
            databases: Vec::new(),
            snapshot: Snapshot::Atomic,
            stall_budget: 5_000,
            timeout: 90_000,
        };
        let shared = Shared { remaining: Cell::new(Duration::from_secs(90)), ..Shared::default() };
        FakeHost { plan, shared: Rc::new(shared) }
    }

    /// The plan of all phases, to be changed by the test.
    pub fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Scripts an answer of `statement`.
    pub fn answer(&self, statement: &str, rows: impl Into<Vec<Vec<Value>>>) -> &FakeHost {
        self.script(statement, Ok(rows.into()))
    }

    /// Scripts an error of the database.
    pub fn fail(&self, statement: &str, code: &str, message: &str) -> &FakeHost {
        let error = DatabaseError { code: code.into(), state: String::new(), message: message.into() };
        self.script(statement, Err(StatementError::Failed(error)))
    }

    /// Scripts any outcome.
    pub fn script(&self, statement: &str, answer: Answer) -> &FakeHost {
        self.shared.answers.borrow_mut().entry(statement.into()).or_default().push_back(answer);
        self
    }

    /// What is left of every phase.
    pub fn remaining(&self, left: Duration) -> &FakeHost {
        self.shared.remaining.set(left);
        self
    }

    /// Calls `check`.
    ///
    /// # Errors
    /// The workload's.
    pub fn check<W: Workload>(&self) -> Result<Report> {
        let cx = Check::new(self.plan.clone());
        self.with(|| W::check(&cx))?;
        Ok(cx.into_report())
    }

    /// Calls `prepare`.
    ///
    /// # Errors
    /// The workload's.
    pub fn prepare<W: Workload>(&self) -> Result<()> {
        self.with(|| W::prepare(&Prepare::new(self.plan.clone())))
    }

    /// Calls `freeze`.
    ///
    /// # Errors
    /// The workload's.
    pub fn freeze<W: Workload>(&self) -> Result<RecoveryPoint> {
        self.with(|| W::freeze(&Freeze::new(self.plan.clone())))
    }

    /// Calls `thaw`.
    ///
    /// # Errors
    /// The workload's.
    pub fn thaw<W: Workload>(&self) -> Result<()> {
        self.with(|| W::thaw(&Thaw::new(self.plan.clone())))
    }

    /// What was sent, in order: `lock_wait(5)`, on one of several databases `begin_immediate@/srv/a.db()`.
    #[must_use]
    pub fn sent(&self) -> Vec<String> {
        self.shared.sent.borrow().clone()
    }

    /// The state files.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.shared.files.borrow().clone()
    }

    /// The events that were emitted: kind and text.
    #[must_use]
    pub fn events(&self) -> Vec<(String, String)> {
        self.shared.events.borrow().clone()
    }

    /// The lines that were logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.shared.log.borrow().clone()
    }

    fn with<T>(&self, phase: impl FnOnce() -> T) -> T {
        struct Leave(Option<Rc<Shared>>);
        impl Drop for Leave {
            fn drop(&mut self) {
                HOST.set(self.0.take());
            }
        }
        let _leave = Leave(HOST.replace(Some(Rc::clone(&self.shared))));
        phase()
    }
}

#[allow(clippy::panic)] // Outside of a phase there is no host, on wasm neither.
fn here() -> Rc<Shared> {
    HOST.with_borrow(Clone::clone).unwrap_or_else(|| panic!("this runs only inside a phase of a FakeHost"))
}

pub(crate) mod database {
    use super::{StatementError, Value, here};

    pub fn run(
        statement: &str,
        database: Option<&str>,
        arguments: &[Value],
    ) -> Result<Vec<Vec<Value>>, StatementError> {
        let here = here();
        let words: Vec<String> = arguments
            .iter()
            .map(|a| match a {
                Value::Null => "null".into(),
                Value::Integer(n) => n.to_string(),
                Value::Text(text) => format!("{text:?}"),
                Value::Bytes(bytes) => format!("{bytes:?}"),
            })
            .collect();
        let database = database.map(|d| format!("@{d}")).unwrap_or_default();
        here.sent.borrow_mut().push(format!("{statement}{database}({})", words.join(", ")));
        let mut answers = here.answers.borrow_mut();
        match answers.get_mut(statement) {
            None => Ok(Vec::new()),
            Some(queue) if queue.len() > 1 => queue.pop_front().unwrap_or(Ok(Vec::new())),
            Some(queue) => queue.front().cloned().unwrap_or(Ok(Vec::new())),
        }
    }
}

pub(crate) mod state {
    use super::here;

    pub fn put(name: &str, content: &[u8]) -> Result<(), String> {
        here().files.borrow_mut().insert(name.into(), content.into());
        Ok(())
    }

    pub fn get(name: &str) -> Result<Option<Vec<u8>>, String> {
        Ok(here().files.borrow().get(name).cloned())
    }

    pub fn list_names() -> Result<Vec<String>, String> {
        Ok(here().files.borrow().keys().cloned().collect())
    }

    pub fn remove(name: &str) -> Result<(), String> {
        here().files.borrow_mut().remove(name);
        Ok(())
    }
}

pub(crate) mod events {
    pub fn emit(kind: &str, text: &str) {
        super::here().events.borrow_mut().push((kind.into(), text.into()));
    }
}

pub(crate) mod log {
    pub use crate::bindings::stillpoint::workload::log::Severity;

    pub fn write(_severity: Severity, text: &str) {
        super::here().log.borrow_mut().push(text.into());
    }
}

pub(crate) mod clock {
    pub fn now() -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub fn remaining() -> u32 {
        u32::try_from(super::here().remaining.get().as_millis()).unwrap_or(u32::MAX)
    }

    /// Nobody waits; what is left gets less.
    pub fn sleep(milliseconds: u32) {
        let here = super::here();
        let slept = std::time::Duration::from_millis(milliseconds.min(50).into());
        here.remaining.set(here.remaining.get().saturating_sub(slept));
    }
}
