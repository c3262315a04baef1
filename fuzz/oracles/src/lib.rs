//! What must hold for any bytes that somebody else wrote: one oracle for each fuzz target, of the same name.
//!
//! An oracle takes bytes and panics where a promise is broken, so the fuzzer, the replay of what it found (the test
//! `replay`, on the stable compiler) and a person with one file all ask the same question.

// To panic is what an oracle is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod answer;
pub mod config;
pub mod ending;
pub mod grant;
pub mod ledger;
pub mod login;
pub mod manifest;
pub mod message;
pub mod quote;
pub mod record;
pub mod signature;
pub mod signers;
pub mod sql;

/// An oracle.
pub type Oracle = fn(&[u8]);

/// Every oracle with the name of its target and of its folders.
pub const ORACLES: [(&str, Oracle); 12] = [
    ("answer", answer::check),
    ("config", config::check),
    ("ending", ending::check),
    ("grant", grant::check),
    ("ledger", ledger::check),
    ("login", login::check),
    ("manifest", manifest::check),
    ("message", message::check),
    ("quote", quote::check),
    ("record", record::check),
    ("signature", signature::check),
    ("signers", signers::check),
];
