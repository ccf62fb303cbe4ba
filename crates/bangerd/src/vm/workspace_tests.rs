//! Who may work on a VM's workspace, and what is known of it afterwards.

use std::path::Path;
use std::time::Duration;

use banger_api::workspace::{ExportWorkspace, PrepareWorkspace};
use banger_host::command::Command;

use super::VmError;
use super::registry::Vms;
use super::second_vmm_tests::{daemon, started};
use super::step_tests::Bench;
use super::workspace::{Inspected, WorkspaceSlot};
use crate::identity::VmId;
use crate::operation::Reporter;
use crate::store::StoredWorkspace;

/// A repository with one commit.
async fn repository(dir: &Path) -> Inspected {
    let git = |args: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
        Command::new("git").args(identity).args(args.iter().copied()).cwd(dir).run()
    };
    std::fs::write(dir.join("file"), "content\n").unwrap();
    for args in [&["init", "-q"][..], &["add", "file"], &["commit", "-qm", "first"]] {
        git(args).await.unwrap();
    }
    inspected(dir).await
}

async fn inspected(dir: &Path) -> Inspected {
    let path = dir.to_string_lossy().into_owned().into();
    Inspected::look(&PrepareWorkspace { path, ..PrepareWorkspace::default() }).await.unwrap()
}

fn stored(host: &Path, complete: bool) -> StoredWorkspace {
    let stored = serde_json::json!({
        "guest_path": "/root/repo", "host_path": host, "inside": "", "mode": "shallow", "include_untracked": false,
        "commit": "1".repeat(40), "branch": null, "bases": [], "prepared_at_unix_ms": 7, "complete": complete
    });
    serde_json::from_value(stored).unwrap()
}

async fn exported(vms: &Vms, id: &VmId) -> VmError {
    let wanted = ExportWorkspace::default();
    vms.export(id, &wanted, &Reporter::unwatched()).await.err().expect("there is nothing to export")
}

#[tokio::test]
async fn one_at_a_time_works_on_it() {
    let slot = WorkspaceSlot::new(None);
    let reporter = Reporter::unwatched();
    assert!(slot.is_free());
    let turn = slot.turn(&reporter).await;
    assert!(!slot.is_free());
    let mut second = Box::pin(slot.turn(&reporter));
    tokio::select! {
        biased;
        _ = &mut second => panic!("two at once"),
        () = tokio::task::yield_now() => {}
    }
    drop(turn);
    drop(second.await);
    assert!(slot.is_free());
}

#[tokio::test]
async fn what_was_exported_is_told_from_what_was_done_since() {
    let slot = WorkspaceSlot::new(None);
    assert!(!slot.is_exported());
    slot.set_exported(vec!["tree".into()]);
    assert!(slot.is_exported() && slot.was_exported(&["tree".into()]));
    assert!(!slot.was_exported(&["another".into()]) && !slot.was_exported(&[]));
}

#[tokio::test]
async fn a_vm_that_does_not_run_gets_no_workspace() {
    let (bench, dir) = (Bench::faked(), tempfile::tempdir().unwrap());
    let row = bench.created().await;
    let vms = daemon(&bench).await;
    let prepared = vms.prepare(&row.id, repository(dir.path()).await, &Reporter::unwatched()).await;
    let error = prepared.err().unwrap();
    assert!(matches!(error, VmError::NotRunning { .. }), "{error:?}");
    assert!(matches!(exported(&vms, &row.id).await, VmError::NotRunning { .. }));
    assert_eq!(bench.services.store.workspace(&row.id).unwrap(), None);
}

#[tokio::test]
async fn a_guest_that_refuses_a_copy_leaves_no_trace_of_one() {
    let (bench, dir) = (Bench::faked(), tempfile::tempdir().unwrap());
    let (vms, view) = started(&bench).await;
    // This guest knows nothing of workspaces.
    let prepared = vms.prepare(&view.row.id, repository(dir.path()).await, &Reporter::unwatched()).await;
    assert!(prepared.is_err());
    let view = vms.find(view.row.id.as_str()).unwrap();
    assert_eq!((view.workspace.clone(), bench.services.store.workspace(&view.row.id).unwrap()), (None, None));
    let error = exported(&vms, &view.row.id).await;
    assert!(matches!(error, VmError::NoWorkspace { .. }), "{error:?}");
    // The turn is over.
    let reporter = Reporter::unwatched();
    let again = vms.prepare(&view.row.id, inspected(dir.path()).await, &reporter);
    assert!(tokio::time::timeout(Duration::from_secs(20), again).await.unwrap().is_err());
    vms.kill(&view.row.id, &Reporter::unwatched()).await.unwrap();
}

#[tokio::test]
async fn a_copy_that_was_cut_off_is_known_as_such_by_every_later_daemon() {
    let (bench, dir) = (Bench::faked(), tempfile::tempdir().unwrap());
    let row = bench.created().await;
    bench.services.store.set_workspace(&row.id, &stored(dir.path(), false)).unwrap();
    let vms = daemon(&bench).await;
    vms.start(&row.id, &Reporter::unwatched()).await.unwrap();
    for _ in 0..2 {
        let vms = daemon(&bench).await;
        let error = exported(&vms, &row.id).await;
        assert!(matches!(error, VmError::IncompleteWorkspace { .. }), "{error:?}");
    }
    vms.kill(&row.id, &Reporter::unwatched()).await.unwrap();
}

#[tokio::test]
async fn a_workspace_is_stale_when_its_repository_has_gone_on() {
    let (bench, dir) = (Bench::faked(), tempfile::tempdir().unwrap());
    let row = bench.created().await;
    let none = daemon(&bench).await.find(row.id.as_str()).unwrap();
    assert!(matches!(daemon(&bench).await.staleness(&none).await, Err(VmError::NoWorkspace { .. })));
    bench.services.store.set_workspace(&row.id, &stored(dir.path(), true)).unwrap();
    let vms = daemon(&bench).await;
    let view = vms.find(row.id.as_str()).unwrap();
    // Nothing is there to have gone on.
    let gone = vms.staleness(&view).await.unwrap();
    assert_eq!((gone.stale, gone.host_commit), (false, None));
    repository(dir.path()).await;
    let moved = vms.staleness(&view).await.unwrap();
    assert!(moved.stale && moved.host_commit.is_some() && moved.prepared_commit == Some("1".repeat(40)));
}
