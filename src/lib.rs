//! camera-operator: camera streams as Kubernetes custom resources.
//!
//! This page is the table of contents. Imports point one way, from the bottom of this list to the top:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`api`] | what users write: the custom resources, their schema and CEL rules. Imports nothing of ours. |
//! | [`media`] | formats and time: frames, fragmented MP4, HLS playlists, clocks. No IO. Imports nothing of ours. |
//! | [`host`] | what a process asks of its machine: signals, and whether files changed. Imports nothing of ours. |
//! | [`plan`] | pure: objects → validated plans (the contract to the data plane), reports → conditions (the contract back). |
//! | [`archive`] | the recordings on disk: layout, index, coverage, retention, export, recovery. |
//! | [`agent`] | the data plane: sources → hub → outputs, supervised; applies a changed plan by difference. |
//! | [`alert`] | conditions → alerts → who is told what (pure); and the receivers that tell them. |
//! | [`operator`] | the control plane of a cluster: plans become objects, objects' states become statuses. |
//! | [`check`] | validates manifests offline as the API server would. |
//! | [`gateway`] | HTTP for people and apps: REST API, live and recorded media, the page. |
//! | [`local`] | `camera-operator run`: control plane, agent and gateway in one process, from files. |
//! | [`reference`] | the API reference for people, generated. |
//! | [`retain`] | `camera-operator retain`: retention from the command line. |
//! | [`cli`] | the command line. |

pub mod agent;
pub mod alert;
pub mod api;
pub mod archive;
pub mod check;
pub mod cli;
pub mod gateway;
pub mod host;
pub mod local;
pub mod media;
pub mod operator;
pub mod plan;
pub mod reference;
pub mod retain;
