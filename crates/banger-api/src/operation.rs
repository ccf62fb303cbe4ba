//! Work that takes time. Its events are streamed as NDJSON: first [`Event::Accepted`], then progress, last
//! one of [`Event::Succeeded`] and [`Event::Failed`]. Blank lines are keep-alives and mean nothing.
//!
//! Hanging up does not stop an operation, except where the request says that the VM lives as long as the
//! connection ([`crate::vm::Lifetime::Leased`]). `DELETE /v1/operations/{id}` calls one off; `GET
//! /v1/operations/{id}/events` shows it from its beginning, to any number of watchers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ApiError;
use crate::vm::VmSpec;

/// What an operation tells about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first event.
    Accepted { operation: String },
    /// The VM as it will really be created.
    Planned { spec: VmSpec },
    /// Worth saying once: a choice the user did not make, and why.
    Notice { text: String },
    /// A stage began. Stages do not overlap: the next one ends it.
    Stage {
        stage: Stage,
        /// What it works on, in a few words.
        detail: String,
    },
    /// How far the present stage has come.
    Progress {
        done: u64,
        /// None when it cannot be known.
        total: Option<u64>,
        unit: ProgressUnit,
        /// Where both matter, the files beside the bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<FileCount>,
    },
    /// The newest line of a tool that runs for the present stage.
    Output { line: String },
    /// The last event of one that worked; the type of `result` belongs to the request.
    Succeeded {
        #[schema(value_type = Object)]
        result: serde_json::Value,
    },
    /// The last event of one that did not.
    Failed { error: ApiError },
}

/// The parts of long work, in the words people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Get the image: download, build, convert.
    Image,
    /// Get the kernel.
    Kernel,
    /// Make the VM's disks.
    Disks,
    /// Start the VMM and wait for the agent's hello.
    Boot,
    /// Tell the guest who it is; mount its root.
    Configure,
    /// Copy a repository between host and guest.
    Workspace,
    /// Ask the guest to shut down.
    Shutdown,
    /// Remove what is left.
    Cleanup,
    /// Bring files in or out.
    Copy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProgressUnit {
    Bytes,
    Files,
    Packages,
}

/// How many files are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileCount {
    pub done: u64,
    pub total: u64,
}

/// An operation that the daemon knows: running, or ended a short while ago.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Operation {
    pub id: String,
    /// What it does: `create vm brave-otter`.
    pub title: String,
    /// Milliseconds since the Unix epoch.
    pub started_at_unix_ms: u64,
    pub done: bool,
}
