//! The database's own client program, run as `linux_user`: the only way in which anything here reaches a database.
//!
//! - [`program`]: which program, and whether it may be run;
//! - [`reach`]: all that is needed to start it again, but the secret;
//! - [`credential`]: how the login reaches it;
//! - [`quote`]: a declared statement and its arguments into text;
//! - [`session`]: one client that stays connected;
//! - [`answer`]: what it printed into typed rows.

pub mod answer;
pub mod credential;
pub mod program;
pub mod quote;
pub mod reach;
pub mod session;
