//! What a VM may reach, and what it has: its policy, which its gateway goes by, and its log.

use banger_api::egress::{ChangeEgress, Egress, EgressChanged, EgressRow, Protocol, Verdict};
use banger_gateway::config::{Config as GatewayConfig, ProxyVariables};
use banger_gateway::log;
use banger_gateway::policy::{Edited, Entry, Policy, PolicyError};
use tokio::sync::oneshot;

use super::VmError;
use super::mailbox::Mail;
use super::record::VmRecord;
use super::registry::{Services, Vms};
use super::state::State;
use super::view::VmView;
use super::workspace::WorkspaceSlot;
use crate::download::Environment;
use crate::network::{Contacts, Gateway, Traffic};
use crate::store::words::Network;
use crate::store::{StoredSpec, VmRow};

/// The variables that name a proxy for connections, in the order in which they count.
const HTTPS_PROXY: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What a VM may reach. One that an earlier banger has made goes by the configuration.
pub(super) fn policy(row: &VmRow, services: &Services) -> Result<Policy, PolicyError> {
    match row.spec.egress.as_slice() {
        [] => Ok(services.config.egress.value.clone()),
        texts => Policy::from_texts(texts),
    }
}

/// What the gateway of a VM is told that somebody with this environment starts.
pub(super) fn gateway_config(
    row: &VmRow,
    services: &Services,
    environment: &Environment,
) -> Result<GatewayConfig, VmError> {
    let first =
        |names: &[&str]| names.iter().find_map(|name| environment.get(name).filter(|it| !it.is_empty()));
    Ok(GatewayConfig {
        hostname: row.name.to_string(),
        egress: policy(row, services)?,
        proxy: ProxyVariables { https_proxy: first(&HTTPS_PROXY), no_proxy: first(&NO_PROXY) },
    })
}

/// Keeps another policy, in the store and beside the disks.
pub(super) fn keep(
    services: &Services,
    row: &VmRow,
    state: State,
    workspace: &WorkspaceSlot,
    texts: Vec<String>,
) -> Result<VmRow, VmError> {
    // What is being made is written by whoever makes it.
    if matches!(state, State::Creating | State::Deleting | State::Gone) {
        let name = row.name.to_string();
        return Err(VmError::Denied { action: "change the egress policy of", name, state });
    }
    let row = VmRow { spec: StoredSpec { egress: texts, ..row.spec.clone() }, ..row.clone() };
    services.store.rewrite_vm(&row)?;
    VmRecord::of(&row, workspace.current()).write(&services.paths.vm(&row.id))?;
    Ok(row)
}

/// Has the gateway of a VM that has come up go by a policy that was changed while it did.
pub(super) fn catch_up(services: &Services, row: &VmRow, gateway: &Gateway) {
    let changed = || -> Result<bool, VmError> {
        let (policy, config) = (policy(row, services)?, gateway.config()?);
        let is_other = config.egress != policy;
        if is_other {
            gateway.set_config(&GatewayConfig { egress: policy, ..config })?;
        }
        Ok(is_other)
    };
    match changed() {
        Ok(false) => {}
        Ok(true) => {
            let (gateway, name) = (gateway.clone(), row.name.clone());
            tokio::spawn(async move {
                if let Err(error) = gateway.reload().await {
                    let causes = crate::causes::chain(&error);
                    tracing::error!(vm = %name, ?causes, "its gateway goes by an earlier policy");
                }
            });
        }
        Err(error) => {
            let causes = crate::causes::chain(&error);
            tracing::error!(vm = %row.name, ?causes, "its gateway may go by an earlier policy");
        }
    }
}

impl Vms {
    /// What the VM may reach, and what it has reached so far.
    ///
    /// # Errors
    ///
    /// When it has no network, or its log cannot be read.
    pub async fn egress(&self, view: &VmView) -> Result<Egress, VmError> {
        require_network(view)?;
        let contacts = self.contacts(view).await?;
        let policy = policy(&view.row, &self.services)?;
        let rows = contacts.into_rows().into_iter().map(row_to_api).collect();
        Ok(Egress { policy: policy.texts(), rows })
    }

    /// Changes what it may reach, at once where it runs. Answers with the policy in force.
    ///
    /// # Errors
    ///
    /// When an entry is none, when the VM has no network, or its gateway does not answer.
    pub async fn change_egress(
        &self,
        view: &VmView,
        change: &ChangeEgress,
    ) -> Result<EgressChanged, VmError> {
        require_network(view)?;
        let (edited, gateway) = {
            let _turn = self.egress_turn.lock().await;
            // As it is now: others may have changed it since it was looked at.
            let view = self.find(view.row.id.as_str())?;
            let edited = self.changed(&view, policy(&view.row, &self.services)?, change).await?;
            self.store_egress(&view, edited.policy.texts()).await?;
            let gateway = view.running.as_ref().and_then(|running| running.gateway.clone());
            if let Some(gateway) = &gateway {
                let egress = edited.policy.clone();
                gateway.set_config(&GatewayConfig { egress, ..gateway.config()? })?;
            }
            (edited, gateway)
        };
        let cut = match gateway {
            Some(gateway) => gateway.reload().await?,
            None => 0,
        };
        Ok(EgressChanged { policy: edited.policy.texts(), remarks: edited.remarks, cut: cut as u64 })
    }

    async fn changed(&self, view: &VmView, before: Policy, change: &ChangeEgress) -> Result<Edited, VmError> {
        let mut remarks = Vec::new();
        let mut policy = before;
        if change.lock {
            let allowed = self.contacts(view).await?.allowed();
            if allowed.is_empty() {
                remarks.push("it has contacted nothing yet: from now on it reaches nothing".into());
            }
            policy = policy.lock(&allowed);
        }
        let entries =
            |texts: &[String]| texts.iter().map(|text| Entry::parse(text)).collect::<Result<Vec<_>, _>>();
        let allowed = policy.with_allowed(&entries(&change.allow)?);
        let denied = allowed.policy.with_denied(&entries(&change.deny)?);
        remarks.extend(allowed.remarks);
        remarks.extend(denied.remarks);
        Ok(Edited { policy: denied.policy, remarks })
    }

    async fn contacts(&self, view: &VmView) -> Result<Contacts, VmError> {
        let under_way = match view.running.as_ref().and_then(|running| running.gateway.as_ref()) {
            // One that is just being started again has nothing under way.
            Some(gateway) => gateway.flows().await.unwrap_or_default(),
            None => Vec::new(),
        };
        let dir = self.services.paths.vm(&view.row.id);
        // Some megabytes of lines.
        let read = tokio::task::spawn_blocking(move || Contacts::read(&dir, under_way)).await;
        Ok(read.map_err(|error| VmError::Broke(error.to_string()))??)
    }

    async fn store_egress(&self, view: &VmView, texts: Vec<String>) -> Result<(), VmError> {
        let gone = || VmError::NotFound { reference: view.row.name.to_string(), similar: None };
        let handle = self.table.get(&view.row.id).ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        handle.requests.send(Mail::SetEgress { texts, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn require_network(view: &VmView) -> Result<(), VmError> {
    match view.row.spec.network {
        Network::User => Ok(()),
        Network::None => Err(VmError::NoNetwork { name: view.row.name.to_string() }),
    }
}

fn row_to_api(traffic: Traffic) -> EgressRow {
    let Traffic { last, open } = traffic;
    EgressRow {
        protocol: match last.protocol {
            log::Protocol::Tcp => Protocol::Tcp,
            log::Protocol::Udp => Protocol::Udp,
            log::Protocol::Icmp => Protocol::Icmp,
            log::Protocol::Dns => Protocol::Dns,
        },
        name: last.name,
        address: last.address.map(|address| address.to_string()),
        port: last.port,
        verdict: match last.verdict {
            log::Verdict::Allowed => Verdict::Allowed,
            log::Verdict::Refused => Verdict::Refused,
            log::Verdict::Failed => Verdict::Failed,
        },
        rule: last.rule,
        reason: last.reason,
        detail: last.detail,
        attempts: last.count,
        open,
        sent_bytes: last.sent,
        received_bytes: last.received,
        last: last.time,
    }
}
