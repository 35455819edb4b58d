//! The recordings on disk: layout, index, coverage, retention, export, recovery. Imports `media` only; must not know of
//! agents, HTTP or Kubernetes.

pub mod index;
