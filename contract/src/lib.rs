//! What two sides must agree on.
//!
//! - `wit/`: the interfaces between a module and the host, one folder for each released version;
//! - [`manifest`]: what a module may do, the bytes that reviewers sign. Read by host, SDK and packaging alike;
//! - [`message`]: what engine and keeper say to each other.

pub mod manifest;
pub mod message;

pub use manifest::Manifest;

/// The one world that this build of Stillpoint offers.
pub const WORLD: &str = "stillpoint:workload/module@0.1.0";

/// The namespace of the signatures over a manifest (`ssh-keygen -Y sign -n …`).
pub const NAMESPACE: &str = "stillpoint.module.v1";
