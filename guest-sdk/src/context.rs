//! What a phase is given: the operator's plan, and for check the report.

use std::cell::RefCell;
use std::fmt::Display;
use std::time::Duration;

use crate::{Coordinate, Error, Finding, Level, Plan, Report, Result, Snapshot};

macro_rules! context {
    ($(#[$doc:meta])* $name:ident { $($field:ident : $kind:ty),* }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            plan: Plan,
            $($field: $kind,)*
        }

        impl $name {
            pub(crate) fn new(plan: Plan) -> $name {
                $name { plan, $($field: Default::default(),)* }
            }

            /// The cycle's id.
            #[must_use]
            pub fn cycle(&self) -> &str {
                &self.plan.cycle
            }

            /// The workload's name in the configuration.
            #[must_use]
            pub fn workload(&self) -> &str {
                &self.plan.workload
            }

            /// The databases of `dbnames`; empty means all.
            #[must_use]
            pub fn databases(&self) -> &[String] {
                &self.plan.databases
            }

            /// What the agent will do while the databases stand still.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                self.plan.snapshot
            }

            /// The longest that taking the freeze may make writers wait.
            #[must_use]
            pub fn stall_budget(&self) -> Duration {
                Duration::from_millis(self.plan.stall_budget.into())
            }

            /// The longest that anything may stand still.
            #[must_use]
            pub fn timeout(&self) -> Duration {
                Duration::from_millis(self.plan.timeout.into())
            }
        }
    };
}

context!(
    /// The context of `check`.
    Check { version: RefCell<String>, findings: RefCell<Vec<Finding>> }
);
context!(
    /// The context of `prepare`.
    Prepare {}
);
context!(
    /// The context of `freeze`.
    Freeze {}
);
context!(
    /// The context of `thaw`.
    Thaw {}
);

impl Check {
    /// The database's version, for people.
    pub fn version(&self, version: impl Into<String>) {
        *self.version.borrow_mut() = version.into();
    }

    /// Worth knowing.
    pub fn note(&self, text: impl Display) {
        self.find(Level::Note, text);
    }

    /// It will work, but not well.
    pub fn warn(&self, text: impl Display) {
        self.find(Level::Warning, text);
    }

    /// It will not work: the cycle ends after check. Check goes on, so that everything is said at once.
    pub fn problem(&self, text: impl Display) {
        self.find(Level::Problem, text);
    }

    /// Ends check here with a reason, unless `holds`: for what makes all further questions useless.
    ///
    /// # Errors
    /// `text`, unless `holds`.
    pub fn require(&self, holds: bool, text: impl Display) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::new(text)) }
    }

    fn find(&self, level: Level, text: impl Display) {
        self.findings.borrow_mut().push(Finding { level, text: text.to_string() });
    }

    pub(crate) fn into_report(self) -> Report {
        Report { version: self.version.into_inner(), findings: self.findings.into_inner() }
    }
}

/// From where a log could be rolled forward: names and values, in the database's own words.
#[derive(Debug, Clone, Default)]
pub struct RecoveryPoint(pub(crate) Vec<Coordinate>);

impl RecoveryPoint {
    /// Without coordinates: the snapshot itself is the point.
    #[must_use]
    pub fn new() -> RecoveryPoint {
        RecoveryPoint::default()
    }

    /// Adds a coordinate, such as `gtid` and `0-1-48213`. The first 32 are kept. Names and values are at most 4096 bytes
    /// together, and with `ipc_folder` less, for as JSON all of it must fit into a file of 4 KiB: a longer one fails the freeze.
    #[must_use]
    pub fn and(mut self, name: impl Into<String>, value: impl Display) -> RecoveryPoint {
        self.0.push(Coordinate { name: name.into(), value: value.to_string() });
        self
    }

    /// The coordinates, in order.
    pub fn coordinates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|c| (c.name.as_str(), c.value.as_str()))
    }
}
