//! What a daemon makes of a state directory in which something is missing, damaged or of another day.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use banger_api::vm::VmState;

use super::registry::Vms;
use super::step_tests::Bench;
use super::{VmError, VmView};
use crate::lost_found::LostKind;
use crate::operation::Reporter;
use crate::paths::VmDir;
use crate::store::{Store, VmPhase, VmRow};

/// The store of a bench, for damage that no code of ours does.
fn sql(bench: &Bench, statement: &str) {
    let connection = rusqlite::Connection::open(bench.services.paths.database()).unwrap();
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {statement}")).unwrap();
}

async fn recovered(bench: &Bench) -> Vms {
    let vms = Vms::new(bench.services.clone());
    vms.recover().await.unwrap();
    vms
}

fn only(vms: &Vms) -> VmView {
    let [view] = &vms.list()[..] else { panic!("{} VMs", vms.list().len()) };
    view.clone()
}

async fn delete(vms: &Vms, view: &VmView) {
    vms.delete(&view.row.id, true, &Reporter::unwatched()).await.unwrap();
    assert!(vms.list().is_empty());
    assert_eq!(fs::read_dir(vms.services.paths.vms()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_lost_store_loses_no_vm() {
    let bench = Bench::new();
    let row = bench.created().await;
    let cow = bench.services.paths.vm(&row.id).file(VmDir::COW);
    fs::write(&cow, "what somebody has done").unwrap();
    sql(&bench, "DELETE FROM vms");
    let vms = recovered(&bench).await;
    let view = only(&vms);
    assert_eq!((&view.row, view.to_api().state), (&row, VmState::Stopped));
    assert_eq!(fs::read_to_string(&cow).unwrap(), "what somebody has done");
    delete(&vms, &view).await;
}

#[tokio::test]
async fn a_name_that_is_taken_by_now_does_not_keep_a_vm_from_coming_back() {
    let bench = Bench::new();
    let row = bench.created().await;
    sql(&bench, "UPDATE vms SET id = 'ffffffffffff'");
    let vms = recovered(&bench).await;
    let mut names: Vec<String> = vms.list().iter().map(|view| view.row.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["brave-otter".to_owned(), format!("brave-otter-{}", &row.id.as_str()[..4])]);
}

#[tokio::test]
async fn an_older_store_takes_no_whole_vm_for_a_half_made_one() {
    let bench = Bench::new();
    let row = bench.created().await;
    sql(&bench, "UPDATE vms SET phase = 'creating', image_id = NULL, kernel_id = NULL");
    let vms = recovered(&bench).await;
    assert_eq!(only(&vms).row, row);
    assert_eq!(row.phase, VmPhase::Exists);
}

#[tokio::test]
async fn a_name_that_was_only_reserved_is_free_again() {
    let bench = Bench::new();
    bench.services.store.insert_vm(&VmRow::example("0123456789ab", "x")).unwrap();
    assert!(recovered(&bench).await.list().is_empty());
}

#[tokio::test]
async fn a_directory_that_nothing_explains_is_kept_and_can_be_brought_back() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    fs::write(dir.file(VmDir::RECORD), "{").unwrap();
    fs::write(dir.file(VmDir::WORK), "work").unwrap();
    sql(&bench, "DELETE FROM vms");
    let vms = recovered(&bench).await;
    assert!(vms.list().is_empty());
    let [lost] = &vms.lost().unwrap()[..] else { panic!("not one thing") };
    assert_eq!(fs::read_to_string(lost.path.join(VmDir::WORK)).unwrap(), "work");
    let without = vms.restore_lost(&lost.name, None).await.unwrap_err();
    assert!(matches!(without, VmError::NeedsImage { .. }), "{without:?}");
    let other = vms.restore_lost(&lost.name, Some("none")).await.unwrap_err();
    assert!(matches!(other, VmError::NeedsImage { .. }), "{other:?}");
    vms.restore_lost(&lost.name, Some("tiny")).await.unwrap();
    let view = only(&vms);
    assert_eq!((&view.row.id, &view.row.image_id), (&row.id, &row.image_id));
    assert_eq!((view.row.spec.vmm.as_str(), view.to_api().state), ("qemu", VmState::Stopped));
    assert_eq!(fs::read_to_string(dir.file(VmDir::WORK)).unwrap(), "work");
    assert!(vms.lost().unwrap().is_empty());
    let gone = vms.restore_lost(&lost.name, None).await.unwrap_err();
    assert!(matches!(gone, VmError::NotLost { .. }), "{gone:?}");
}

#[tokio::test]
async fn what_cannot_be_moved_away_keeps_nobody_from_starting() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    fs::remove_file(dir.file(VmDir::RECORD)).unwrap();
    sql(&bench, "DELETE FROM vms");
    let lost_found = bench.services.paths.lost_found().path().to_owned();
    fs::write(&lost_found, "in the way").unwrap();
    let vms = recovered(&bench).await;
    let shown = only(&vms);
    assert_eq!((shown.row.id.clone(), shown.to_api().state), (row.id, VmState::Broken));
    assert!(dir.file(VmDir::COW).exists());
    delete(&vms, &shown).await;
    assert!(!dir.path().exists());
}

#[tokio::test]
async fn a_directory_that_was_renamed_is_brought_back_as_what_it_was() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    let renamed = dir.path().with_file_name("aaaabbbbcccc");
    fs::rename(dir.path(), &renamed).unwrap();
    let vms = recovered(&bench).await;
    assert_eq!(only(&vms).to_api().state, VmState::Broken);
    let [lost] = &vms.lost().unwrap()[..] else { panic!("not one thing") };
    let (_, name) = vms.restore_lost(&lost.name, None).await.unwrap();
    assert_eq!(name, row.name.as_str());
    assert_eq!(only(&vms).to_api().state, VmState::Stopped);
    assert!(vms.lost().unwrap().is_empty() && !renamed.exists());
}

#[tokio::test]
async fn what_has_no_place_to_come_back_to_stays_in_lost_found() {
    let bench = Bench::new();
    let row = bench.created().await;
    let lost_found = bench.services.paths.lost_found();
    let (vm_dir, images) = (bench.services.paths.vm(&row.id), bench.services.paths.images());
    let twin = vm_dir.path().with_file_name("twin");
    fs::create_dir(&twin).unwrap();
    fs::copy(vm_dir.file(VmDir::RECORD), twin.join(VmDir::RECORD)).unwrap();
    fs::create_dir_all(images.join("nameless")).unwrap();
    lost_found.take(&twin, LostKind::Vm, "a twin\nof another").unwrap();
    lost_found.take(&images.join("nameless"), LostKind::Image, "no record").unwrap();
    fs::write(lost_found.path().join("note"), "no entry").unwrap();
    let vms = recovered(&bench).await;
    let entries = || vms.lost().unwrap().into_iter().map(|lost| lost.name).collect::<Vec<_>>();
    let before = entries();
    assert_eq!(before.len(), 3, "{before:?}");
    for name in &before {
        vms.restore_lost(name, None).await.unwrap_err();
    }
    assert_eq!(entries(), before);
    for name in &before {
        assert!(lost_found.content(name).unwrap().exists() || name == "note", "{name}");
        vms.delete_lost(name).await.unwrap();
    }
    assert!(entries().is_empty());
}

#[tokio::test]
async fn vms_of_one_name_come_back_under_names_of_their_own() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    for id in ["aaaa00000001", "aaaa00000002", "aaaa00000003"] {
        let twin = dir.path().with_file_name(id);
        fs::create_dir(&twin).unwrap();
        let record = fs::read_to_string(dir.file(VmDir::RECORD)).unwrap();
        fs::write(twin.join(VmDir::RECORD), record.replace(row.id.as_str(), id)).unwrap();
    }
    let vms = recovered(&bench).await;
    let names: HashSet<String> = vms.list().iter().map(|view| view.row.name.to_string()).collect();
    assert_eq!((names.len(), vms.lost().unwrap().len()), (4, 0), "{names:?}");
}

#[tokio::test]
async fn what_is_missing_makes_a_vm_broken_until_it_is_back() {
    let bench = Bench::new();
    let row = bench.created().await;
    let dir = bench.services.paths.vm(&row.id);
    for path in [dir.file(VmDir::COW), dir.file(VmDir::WORK), dir.path().to_owned()] {
        let (aside, name) = (dir.path().with_file_name("aside"), path.display());
        fs::rename(&path, &aside).unwrap();
        let vms = recovered(&bench).await;
        let shown = only(&vms).to_api();
        assert_eq!(shown.state, VmState::Broken, "{name}");
        assert!(shown.last_error.unwrap().contains("is gone"), "{name}");
        let start = vms.start(&row.id, &Reporter::unwatched()).await.err().unwrap();
        assert!(matches!(*start, VmError::Broken { .. }), "{name}: {start:?}");
        fs::rename(&aside, &path).unwrap();
        assert_eq!(only(&recovered(&bench).await).to_api().state, VmState::Stopped, "{name}");
    }
    fs::remove_dir_all(dir.path()).unwrap();
    let vms = recovered(&bench).await;
    delete(&vms, &only(&vms)).await;
}

#[tokio::test]
async fn a_vm_without_its_image_is_broken_and_says_which_one_it_was() {
    let bench = Bench::new();
    bench.created().await;
    sql(&bench, "UPDATE vms SET image_id = NULL; DELETE FROM images");
    let vms = recovered(&bench).await;
    let why = only(&vms).to_api().last_error.unwrap();
    assert!(why.contains("image tiny (1111111111111111)"), "{why}");
}

#[tokio::test]
async fn a_vm_whose_files_go_is_listed_as_broken_among_the_active_until_they_are_back() {
    let bench = Bench::new();
    let row = bench.created().await;
    let vms = recovered(&bench).await;
    let dir = vms.services.paths.vm(&row.id);
    let aside = vms.services.paths.vms().join("aside");
    for path in [dir.file(VmDir::COW), dir.file(VmDir::WORK), dir.path().to_owned()] {
        assert!(vms.list_active().is_empty() && only(&vms).broken.is_none());
        fs::rename(&path, &aside).unwrap();
        let [active] = &vms.list_active()[..] else { panic!("{} is not missed", path.display()) };
        assert_eq!((&active.broken, active.broken.is_some()), (&only(&vms).broken, true));
        fs::rename(&aside, &path).unwrap();
    }
    assert!(vms.list_active().is_empty());
}

#[tokio::test]
async fn an_unreadable_row_is_repaired_by_the_record_or_shown_as_broken() {
    let bench = Bench::new();
    let row = bench.created().await;
    for damage in ["spec = '{'", "phase = 'dreaming'", "name = ''"] {
        sql(&bench, &format!("UPDATE vms SET {damage}"));
        assert_eq!(only(&recovered(&bench).await).row, row, "{damage}");
    }
    fs::remove_file(bench.services.paths.vm(&row.id).file(VmDir::RECORD)).unwrap();
    sql(&bench, "UPDATE vms SET spec = '{', id = 'no id'");
    let vms = recovered(&bench).await;
    let broken = vms.list().into_iter().find(|view| view.broken.is_some()).unwrap();
    assert_eq!(broken.to_api().state, VmState::Broken);
    let start = vms.start(&broken.row.id, &Reporter::unwatched()).await.err().unwrap();
    assert!(matches!(*start, VmError::Broken { .. }), "{start:?}");
    vms.delete(&broken.row.id, false, &Reporter::unwatched()).await.unwrap();
    assert!(bench.services.store.vms().unwrap().is_empty());
    // The disks were the other VM's, and nobody deleted that one.
    assert_eq!(vms.services.paths.lost_found().list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_workspace_that_an_older_store_does_not_know_is_known_again() {
    let bench = Bench::new();
    let row = bench.created().await;
    let vms = recovered(&bench).await;
    drop(vms);
    let path = bench.services.paths.vm(&row.id).file(VmDir::RECORD);
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    record["content"]["workspace"] = serde_json::json!({
        "guest_path": "/root/repo", "host_path": "/x", "inside": "", "mode": "shallow", "include_untracked": false,
        "commit": null, "branch": null, "bases": [], "prepared_at_unix_ms": 7, "complete": true
    });
    fs::write(&path, record.to_string()).unwrap();
    let vms = recovered(&bench).await;
    assert_eq!(only(&vms).workspace.unwrap().prepared_at_unix_ms, 7);
}

#[tokio::test]
async fn a_store_that_cannot_be_used_is_rebuilt_from_the_directories() {
    let bench = Bench::new();
    let row = bench.created().await;
    let paths = bench.services.paths.clone();
    drop(bench.services.store.clone());
    fs::write(paths.database(), "no database, but as long as one could be".repeat(200)).unwrap();
    for suffix in ["-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{suffix}", paths.database().display())));
    }
    let repaired = crate::repair::repair(&paths).await.unwrap();
    assert_eq!(repaired.vms, [row.name.to_string()]);
    assert!(fs::metadata(repaired.set_aside.unwrap()).is_ok());
    let store = Store::open(&paths.database()).unwrap();
    assert_eq!(store.vms().unwrap().len(), 1);
    let again = crate::repair::repair(&paths).await.unwrap();
    assert_eq!((again.set_aside, again.vms.len()), (None, 0));
    let held = fs::File::open(paths.lock()).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let running = crate::repair::repair(&paths).await.unwrap_err();
    assert!(matches!(running, crate::repair::RepairError::Running { .. }), "{running:?}");
    drop(Arc::clone(&bench.services));
}
