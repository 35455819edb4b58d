//! `camera-operator run`: control plane, agent and gateway in one process, from files, without a cluster.

pub mod store;
