//! Every system call that is not plain reading and writing, and every `unsafe`.

pub mod disk;
pub mod launch;
pub mod ownership;
pub mod process;
pub mod sealed;
pub mod walls;
