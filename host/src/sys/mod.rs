//! Every system call that is not plain reading and writing, and every `unsafe`.

pub mod boot;
pub mod cgroup;
pub mod disk;
pub mod freeze;
pub mod launch;
pub mod memory;
pub mod ownership;
pub mod process;
pub mod scope;
pub mod sealed;
pub mod socket;
pub mod walls;
