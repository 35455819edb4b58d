//! The control plane of a cluster: `camera-operator operator`. Must not import `agent`.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`run`] | starts everything, takes part in the election, ends cleanly |
//! | [`lease`], [`election`] | who leads: the rules (pure), and the talking |
//! | [`client`] | the way to the API server: counted, and closed to writes of who does not lead |
//! | [`kinds`], [`live`], [`world`] | what is watched, what is remembered of it, who is concerned by a change (pure) |
//! | [`watches`], [`queue`] | what fills the world; what is looked at, when (pure), and by how many workers |
//! | [`reconcile`] | one look at one object: the order of the steps |
//! | [`build`], [`names`] | plans become objects (pure) |
//! | [`difference`], [`rollout`], [`apply`] | what is to be written, what has to wait (pure); the only writer |
//! | [`reports`], [`status`], [`events`] | what agents say; how they are (pure); what people are told |
//! | [`pod_events`], [`pod_problem`] | what the cluster says of a pod that does not start; why a pod does not run, and what to do (pure) |
//! | [`alerts`] | where alerts are delivered, for whoever leads |
//! | [`access`] | how agents can tell who calls them |
//! | [`server`], [`metrics`] | probes and metrics |

pub mod access;
pub mod alerts;
pub mod apply;
pub mod build;
pub mod client;
pub mod difference;
pub mod election;
pub mod events;
pub mod kinds;
pub mod lease;
pub mod live;
pub mod metrics;
pub mod names;
pub mod pod_events;
pub mod pod_problem;
pub mod queue;
pub mod reconcile;
pub mod reports;
pub mod rollout;
pub mod run;
pub mod server;
pub mod status;
pub mod watches;
pub mod world;

pub use run::{Arguments, run};
