use banger_api::vm::{DeleteVm, Vm};
use banger_api::{Client, ClientError, ErrorCode, Event};
use clap::Args;

use super::refs::Refs;
use crate::cmd::many::each;
use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    refs: Refs,
    /// Kill running VMs instead of shutting them down first
    #[arg(long, short)]
    force: bool,
}

pub(crate) fn run(args: DeleteArgs) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        let how = DeleteVm { force: args.force };
        let several = args.refs.several();
        let vms = args.refs.resolve(&client).await;
        each(vms.into_iter().map(|vm| delete(&client, vm, how, several)), ui::line).await
    })
}

async fn delete(
    client: &Client,
    vm: Result<Vm, ClientError>,
    how: DeleteVm,
    several: bool,
) -> Result<String, ClientError> {
    let vm = vm?;
    let mut progress = (!several).then(ui::Progress::transient);
    let mut stream = client.vm_delete(&vm.id, how).await?;
    stream.finish::<()>(|event| show(progress.as_mut(), &vm.spec.name, event)).await?;
    Ok(vm.spec.name)
}

/// Shows what happens to a VM; of several, only what is worth a line, and whose it is.
pub(super) fn show(progress: Option<&mut ui::Progress>, name: &str, event: &Event) {
    match (progress, event) {
        (Some(progress), event) => progress.show(event),
        (None, Event::Notice { text }) => ui::note(format_args!("{name}: {}", ui::clean(text))),
        (None, _) => {}
    }
}

/// Deletes a VM that this command made, whatever it does at the moment. One that is gone already is as good.
pub(super) async fn by_force(client: &Client, id: &str) -> Result<(), ClientError> {
    let mut progress = ui::Progress::transient();
    let deleted = match client.vm_delete(id, DeleteVm { force: true }).await {
        Ok(mut stream) => stream.finish::<()>(|event| progress.show(event)).await,
        Err(error) => Err(error),
    };
    match deleted {
        Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => Ok(()),
        other => other,
    }
}
