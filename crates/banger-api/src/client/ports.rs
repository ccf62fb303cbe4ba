use http::Method;

use super::{Client, ClientError, Lines, path};
use crate::ports::{ForwardEvent, ForwardPorts, VmPorts};

/// What listens in a VM, and the way to it.
impl Client {
    pub async fn vm_ports(&self, vm: &str) -> Result<VmPorts, ClientError> {
        self.get(&path(&["vms", vm, "ports"]), &()).await
    }

    /// Forwards ports for as long as the returned stream is held.
    pub async fn vm_forward(
        &self,
        vm: &str,
        what: &ForwardPorts,
    ) -> Result<Lines<ForwardEvent>, ClientError> {
        self.lines(Method::POST, &path(&["vms", vm, "forward"]), what).await
    }
}
