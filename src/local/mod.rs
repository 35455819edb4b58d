//! `camera-operator run`: control plane, agent and gateway in one process, from files, without a cluster.
//!
//! ```text
//! files ─ manifests ─┐
//!                    ├─ control ─ store ─ planning ─ plan ─► agent
//! REST ─── world ────┘              ▲                          │
//!   ▲                               └──── statuses ◄─ report ──┘
//! state.json
//! ```

pub mod alerts;
pub mod control;
pub mod data;
pub mod machine;
pub mod manifests;
pub mod numbers;
pub mod planning;
pub mod probe;
pub mod run;
pub mod secrets;
pub mod state;
pub mod store;
pub mod tls;
pub mod world;

pub use run::{Arguments, run};
