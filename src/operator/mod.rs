//! The control plane of a cluster. `build` is pure: plans become the objects that run them. Must not import `agent`.

pub mod build;
pub mod names;
