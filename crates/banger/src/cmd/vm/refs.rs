use banger_api::vm::Vm;
use banger_api::{Client, ClientError};
use clap::Args;
use futures_util::future::join_all;

use crate::cmd::many::first_of_each;

// VMs by what their user calls them.
#[derive(Debug, Args)]
pub(crate) struct Refs {
    /// Name, id, or unique beginning of an id
    #[arg(required = true, value_name = "REF")]
    refs: Vec<String>,
}

impl Refs {
    /// Looks all of them up; each VM appears once, however often and by whatever names it was asked for.
    pub(crate) async fn resolve(self, client: &Client) -> Vec<Result<Vm, ClientError>> {
        let refs = first_of_each(self.refs, String::clone);
        let found = join_all(refs.iter().map(|name| client.vm(name))).await;
        let named = refs.into_iter().zip(found).collect();
        let identity = |(name, found): &(String, Result<Vm, ClientError>)| match found {
            Ok(vm) => (Some(vm.id.clone()), None),
            Err(_) => (None, Some(name.clone())),
        };
        first_of_each(named, identity).into_iter().map(|(_, found)| found).collect()
    }

    pub(crate) fn several(&self) -> bool {
        self.refs.len() > 1
    }
}
