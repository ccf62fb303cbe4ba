//! How to reach a VM's actor: what can be asked of it, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::VmError;
use super::state::Request;
use super::view::VmView;
use super::workspace::Slot;
use crate::operation::Reporter;

/// What somebody wants of a VM, and where to tell them how it went.
pub(super) struct Ask {
    pub(super) request: Request,
    /// How long a guest may take to shut down, where it is asked to.
    pub(super) grace: Duration,
    pub(super) reporter: Reporter,
    pub(super) reply: oneshot::Sender<Result<Answer, Arc<VmError>>>,
}

/// How it went.
pub(super) struct Answer {
    pub(super) view: VmView,
    /// The last stop had to kill.
    pub(super) killed: bool,
}

/// How to reach an actor.
#[derive(Clone)]
pub(super) struct VmHandle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) view: watch::Receiver<VmView>,
    pub(super) workspace: Arc<Slot>,
}

impl VmHandle {
    /// The VM as it is now.
    pub(super) fn view(&self) -> VmView {
        VmView { workspace: self.workspace.current(), ..self.view.borrow().clone() }
    }
}
