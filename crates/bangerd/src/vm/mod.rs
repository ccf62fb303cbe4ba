//! The life of VMs: the only orchestrator of the daemon.
//!
//! ```text
//!            create                    start                 hello, configured
//!   (nothing) ───► creating ───► stopped ───► starting ───────────────────────► running
//!                     │           │ ▲ ▲          │                                │ │
//!        failed, undone           │ │ └──────────┘ failed or interrupted, undone  │ │
//!                     ▼           │ │                                             │ │
//!                  (gone)         │ └──── stopping ◄──────────────────────────────┘ │
//!                     ▲           │          stop, kill, delete                     │
//!                     └─ deleting ◄┘                                                │
//!                                 ▲── the VMM's process ended by itself: stopped ◄──┘
//! ```
//!
//! The happy path of `banger vm run`: [`Vms::create`] checks the request and reserves the name with a row in
//! the store. One task per VM ([`actor`]) does everything from then on: it gets the image and the kernel,
//! makes the disks ([`create`]), starts the VMM, waits for the agent's hello and configures the guest
//! ([`start`]). A command is then a stream from the guest's agent to the client. [`stop`] and [`delete`] take
//! it all apart again.
//!
//! What may happen when is decided by a pure function ([`state::decide`]). What happens is a list of steps,
//! each with its undo beside it ([`steps`]). [`recover`] compares the store with reality when the daemon
//! starts.

mod actor;
#[cfg(test)]
mod actor_tests;
mod configuration;
mod create;
mod delete;
mod egress;
mod error;
mod export;
mod forward;
mod handles;
mod job;
mod logs;
mod lost;
mod mailbox;
mod patches;
mod plan;
mod record;
mod recover;
#[cfg(test)]
mod recover_tests;
mod registry;
mod returned;
#[cfg(test)]
mod second_vmm_tests;
mod spec;
mod start;
pub mod state;
#[cfg(test)]
mod step_tests;
mod steps;
mod stop;
mod strays;
mod unexported;
mod user_files;
mod view;
mod wholeness;
mod words;
mod workspace;
#[cfg(test)]
mod workspace_tests;

pub use error::VmError;
pub use export::{Exported, check_export};
pub use forward::{ForwardError, Forwards, HostPorts, Session as ForwardSession, report as ports_report};
pub use logs::LogReader;
pub use lost::LostEntry;
pub use plan::Plan;
pub use registry::{Services, Vms};
pub use stop::parse_signal;
pub(crate) use strays::Strays;
pub use view::{RunningView, VmView};
pub(crate) use wholeness::fault;
pub use workspace::{Inspected, Staleness};
