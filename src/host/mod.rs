//! What a process of ours asks of the machine that it runs on: signals, and whether files have changed. Imports nothing of ours
//! and must not know what for.

pub mod signals;
pub mod watch;
