//! What the hostile guests share: how a module behaves that does everything well. Each guest departs from it in one place.

pub mod mariadb;
pub mod sqlite;

use std::hint::black_box;

use stillpoint_sdk::Value;
use stillpoint_sdk::phase::MayRead;
use stillpoint_sdk::prelude::*;

/// Makes it the module, as `stillpoint_sdk::export!` does, and counts as its use where that does nothing.
#[macro_export]
macro_rules! export {
    ($guest:ty) => {
        const _: Option<$guest> = None;
        stillpoint_sdk::export!($guest);
    };
}

/// What every guest needs.
pub mod prelude {
    pub use crate::{INJECTIONS, export, forever, injected, tell, try_it};
    pub use std::hint::black_box;
    pub use std::time::Duration;
    pub use stillpoint_sdk::prelude::*;
    pub use stillpoint_sdk::{Value, execute};
}

/// Never returns, and asks for nothing.
pub fn forever() -> ! {
    loop {
        black_box(0);
    }
}

/// A line in the record, which tests read.
pub fn tell(line: impl std::fmt::Display) {
    log::info(line);
}

/// Runs a statement past the typed functions, which would not compile, and tells what came of it. Goes on in any case.
pub fn try_it(cx: &impl MayRead, statement: &'static str, database: Option<&str>, arguments: &[Value]) -> bool {
    let done = stillpoint_sdk::execute(cx, statement, database, arguments);
    match &done {
        Ok(()) => tell(format_args!("{statement}: done")),
        Err(e) => tell(e),
    }
    done.is_ok()
}

/// Texts that would be more than a text if they were not quoted well: for either dialect, and for either client.
pub const INJECTIONS: [&str; 24] = [
    "'; DROP TABLE canary; --",
    "''; DROP TABLE canary; --",
    "\\'; DROP TABLE canary; --",
    "\\''; DROP TABLE canary; -- ",
    "\"; DROP TABLE canary; --",
    "`; DROP TABLE canary; -- ",
    "``; DROP TABLE canary; -- ",
    "canary`; DELETE FROM canary; -- `",
    "canary\"; DELETE FROM canary; -- \"",
    "canary; DELETE FROM canary",
    "1; DELETE FROM canary",
    "' || (DELETE FROM canary) || '",
    "*/ DROP TABLE canary; /*",
    "'/*!50000; DROP TABLE canary*/",
    "\n; DROP TABLE canary;\n",
    "\r\nDROP TABLE canary;",
    "'\n.shell echo injected\n'",
    "'\n\\! echo injected\n'",
    "\0'; DROP TABLE canary; --",
    "\u{1a}'; DROP TABLE canary; --",
    "\u{bf}'; DROP TABLE canary; --",
    "\u{2019}; DROP TABLE canary; --",
    "%'; DROP TABLE canary; --",
    "{text}'; DROP TABLE canary; --",
];

/// What one injection gave: the text as the database saw it, or nothing where it was refused.
pub fn injected(kind: &str, sent: &str, seen: Result<Option<Vec<u8>>>) {
    match seen {
        Ok(Some(seen)) if seen == sent.as_bytes() => tell(format_args!("{kind}: the same")),
        Ok(None) => tell(format_args!("{kind}: ANOTHER THING")),
        Ok(Some(seen)) => tell(format_args!("{kind}: ANOTHER THING: {seen:?}")),
        Err(e) => tell(format_args!("{kind}: {e}")),
    }
}
