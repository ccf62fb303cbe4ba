//! From a request to a VM: what it comes to, then the making of it.

use std::sync::Arc;
use std::time::Duration;

use banger_api::vm::{CreateVm, VmSpec};
use tokio::sync::oneshot;

use super::actor::{Actor, Initial};
use super::mailbox::PendingRequest;
use super::registry::{Vms, not_found};
use super::state::Request;
use super::view::VmView;
use super::workspace::Inspected;
use super::{VmError, spec};
use crate::clock::unix_ms;
use crate::identity::{VmId, VmName};
use crate::image::WantedImage;
use crate::operation::Reporter;
use crate::store::{StoredSpec, VmPhase, VmRow};
use crate::vmm::room_to_start;

/// A VM that could be made.
pub struct Plan {
    pub id: VmId,
    pub name: VmName,
    spec: StoredSpec,
    image: WantedImage,
    start: bool,
    /// The repository that it gets once it has started.
    workspace: Option<Inspected>,
}

impl Plan {
    /// The VM as it will be.
    pub fn to_api(&self) -> VmSpec {
        spec::planned(&self.name, &self.spec)
    }
}

impl Vms {
    /// Fills in what the request leaves open, and checks what can be checked without touching anything.
    ///
    /// # Errors
    ///
    /// When the request makes no sense, image or kernel are unknown, the name is taken, or there is no VMM.
    pub async fn plan(&self, request: &CreateVm) -> Result<Plan, VmError> {
        let services = &self.services;
        let vmm = services.vmms.get(spec::vmm(request, &services.config))?;
        vmm.find()?;
        room_to_start(&services.paths.vms()).await?;
        let acceleration = services.accelerator.acceleration().await;
        let image = services.images.want(spec::image(request, &services.config)).await?;
        let (name, spec) =
            spec::resolve(request, &image, &services.config, services.host, acceleration, vmm.limits())?;
        if self.views().iter().any(|view| view.row.name == name) {
            return Err(VmError::NameTaken { name: name.to_string() });
        }
        // Whoever mistypes the kernel's name should not learn of it after the image was built.
        services.kernels.show(&spec.kernel).await?;
        // Nor that a port is taken. Nobody has it until the VM starts.
        if request.start {
            services.host_ports.bind_all(name.as_str(), &spec.publish).map_err(VmError::forward)?;
        }
        let workspace = match &request.workspace {
            Some(_) if !request.start => return Err(VmError::WorkspaceWithoutStart),
            Some(wanted) => Some(Inspected::look(wanted).await?),
            None => None,
        };
        Ok(Plan { id: VmId::random(), name, spec, image, start: request.start, workspace })
    }

    /// Makes the VM, and starts it and copies a repository into it if that is planned. When any of it fails,
    /// nothing is left.
    ///
    /// # Errors
    ///
    /// What went wrong.
    pub async fn create(&self, plan: Plan, reporter: &Reporter) -> Result<VmView, Arc<VmError>> {
        let Plan { id, name, spec, image, start, workspace } = plan;
        let view = self.make(&id, &name, spec, image, reporter).await?;
        if !start {
            return Ok(view);
        }
        let done = match (self.start(&id, reporter).await, workspace) {
            (Ok(_), Some(inspected)) => self.prepare(&id, inspected, reporter).await.map_err(Arc::new),
            (started, _) => started,
        };
        if done.is_err() {
            // It was one request: half of it is not what was asked for.
            if let Err(error) = self.discard(&id, reporter).await {
                tracing::error!(vm = %name, causes = ?crate::causes::chain(&*error), "could not be removed");
            }
        }
        done
    }

    async fn make(
        &self,
        id: &VmId,
        name: &VmName,
        spec: StoredSpec,
        image: WantedImage,
        reporter: &Reporter,
    ) -> Result<VmView, Arc<VmError>> {
        let row = VmRow {
            id: id.clone(),
            name: name.clone(),
            phase: VmPhase::Creating,
            image_id: None,
            kernel_id: None,
            created_at_unix_ms: unix_ms(),
            spec,
        };
        self.services.store.insert_vm(&row).map_err(|error| match error.is_taken() {
            true => VmError::NameTaken { name: name.to_string() },
            false => error.into(),
        })?;
        // The actor has it from the start: a creation that fails at once would be gone before it is asked.
        let (reply, answer) = oneshot::channel();
        let pending = PendingRequest {
            request: Request::Exist,
            grace: Duration::ZERO,
            reporter: reporter.clone(),
            reply,
        };
        Actor::spawn(self.services.clone(), self.table.clone(), row, Initial::Create(pending, image));
        Ok(answer.await.map_err(|_| not_found(id))??.view)
    }
}
