//! Stillpoint's host: brings a machine's databases to a consistent standstill while a snapshot is taken, and always
//! starts them again.
//!
//! All authority lies in [`broker`], [`trust`], [`client`] and [`sys`]; in [`log_backup`], which as root opens and copies
//! files that a database names; and in [`recipe`], which prints what root will run. Dependencies point one way:
//! `cli → keeper → cycle → broker → client → sys`; [`ledger`], [`trust`] and [`compiled`] stand alone.

pub mod audit;
pub mod azure;
pub mod broker;
pub mod cli;
pub mod client;
pub mod compiled;
pub mod config;
pub mod crash;
pub mod cycle;
pub mod events;
pub mod fault;
pub mod guard;
pub mod keeper;
pub mod ledger;
pub mod log_backup;
pub mod recipe;
pub mod recover;
pub mod sys;
pub mod trust;
