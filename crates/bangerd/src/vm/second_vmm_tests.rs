//! A VM's life on a VMM that the rest of the daemon has never heard of, and what a next daemon makes of it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use banger_api::vm::{Acceleration, VmState};
use banger_host::process::{ProcessIdentity, Signal};
use tokio_util::sync::CancellationToken;

use super::registry::Vms;
use super::start;
use super::state::State;
use super::step_tests::Bench;
use super::steps::{self, Step};
use super::{VmError, VmView};
use crate::identity::VmId;
use crate::operation::Reporter;
use crate::paths::VmDir;
use crate::vmm::fake::ACCELERATION;

/// What a daemon that has just started knows.
pub(super) async fn daemon(bench: &Bench) -> Vms {
    let vms = Vms::new(bench.services.clone());
    vms.recover().await.unwrap();
    vms
}

/// The VM when it has come to rest in one of these states.
pub(super) async fn at_rest(vms: &Vms, id: &VmId, states: &[State]) -> VmView {
    let at_rest = async {
        loop {
            match vms.find(id.as_str()) {
                Ok(view) if states.contains(&view.state) => break view,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), at_rest).await.expect("it never came to rest")
}

pub(super) async fn started(bench: &Bench) -> (Vms, VmView) {
    let row = bench.created().await;
    let vms = daemon(bench).await;
    let view = vms.start(&row.id, &Reporter::unwatched()).await.unwrap();
    (vms, view)
}

/// How often the guest was given the user's files.
fn given(bench: &Bench) -> u32 {
    bench.fake.guest().synced.load(Ordering::Relaxed)
}

fn process(view: &VmView) -> ProcessIdentity {
    view.running.as_ref().unwrap().process.identity()
}

#[tokio::test]
async fn it_starts_answers_and_stops() {
    let bench = Bench::faked();
    let (vms, view) = started(&bench).await;
    let (id, dir) = (&view.row.id, bench.services.paths.vm(&view.row.id));
    let shown = view.to_api();
    assert_eq!((shown.state, shown.acceleration), (VmState::Running, Some(Acceleration::Tcg)));
    assert_eq!(shown.guest_init.as_deref(), Some("/sbin/init"));
    view.guest().unwrap().health().await.unwrap();
    let (view, killed) = vms.stop(id, Duration::from_secs(10), &Reporter::unwatched()).await.unwrap();
    assert_eq!((view.state, killed), (State::Stopped, false));
    bench.assert_not_running(&dir, "stopped");
    let view = vms.start(id, &Reporter::unwatched()).await.unwrap();
    assert_eq!(view.state, State::Running);
    let view = vms.kill(id, &Reporter::unwatched()).await.unwrap();
    assert_eq!((view.state, view.last_error), (State::Stopped, None));
    bench.assert_not_running(&dir, "killed");
    vms.start(id, &Reporter::unwatched()).await.unwrap();
    vms.delete(id, true, &Reporter::unwatched()).await.unwrap();
    assert!(vms.list().is_empty() && !dir.path().exists());
}

#[tokio::test]
async fn its_crash_is_told() {
    let bench = Bench::faked();
    let (vms, view) = started(&bench).await;
    view.running.as_ref().unwrap().process.signal(Signal::KILL).unwrap();
    let view = at_rest(&vms, &view.row.id, &[State::Stopped]).await;
    let why = view.last_error.unwrap();
    assert!(why.contains("signal: 9"), "{why}");
    bench.assert_not_running(&bench.services.paths.vm(&view.row.id), "crashed");
}

#[tokio::test]
async fn a_next_daemon_finds_it_as_it_is_and_gives_it_nothing_again() {
    let bench = Bench::faked();
    let (vms, before) = started(&bench).await;
    let given_before = given(&bench);
    drop(vms);
    for _ in 0..2 {
        let vms = daemon(&bench).await;
        // Not even for a moment is it anything but running.
        let view = vms.find(before.row.id.as_str()).unwrap();
        assert_eq!((view.state, process(&view)), (State::Running, process(&before)));
        assert_eq!(view.to_api().acceleration, before.to_api().acceleration);
        view.guest().unwrap().health().await.unwrap();
    }
    assert_eq!(given(&bench), given_before);
    daemon(&bench).await.kill(&before.row.id, &Reporter::unwatched()).await.unwrap();
}

#[tokio::test]
async fn a_vm_whose_handles_are_lost_keeps_what_the_user_has_changed_in_it() {
    let bench = Bench::faked();
    let (vms, before) = started(&bench).await;
    let given_before = given(&bench);
    drop(vms);
    let handles = bench.services.paths.vm(&before.row.id).file(VmDir::HANDLES);
    for content in [None, Some("{"), Some("{\"version\": 99}")] {
        match content {
            Some(content) => std::fs::write(&handles, content).unwrap(),
            None => std::fs::remove_file(&handles).unwrap(),
        }
        let vms = daemon(&bench).await;
        let view = at_rest(&vms, &before.row.id, &[State::Running, State::Stopped]).await;
        assert_eq!((view.state, process(&view)), (State::Running, process(&before)), "{content:?}");
        let shown = view.to_api();
        assert_eq!((shown.acceleration, shown.guest_init), (Some(ACCELERATION), before.to_api().guest_init));
        // Once found it is known, and a further daemon need not ask again.
        let view = daemon(&bench).await.find(before.row.id.as_str()).unwrap();
        assert_eq!((view.state, view.to_api().acceleration), (State::Running, Some(ACCELERATION)));
    }
    assert_eq!(given(&bench), given_before);
    daemon(&bench).await.kill(&before.row.id, &Reporter::unwatched()).await.unwrap();
}

/// A daemon that is killed after each step of a start: what it leaves is what the steps so far have made.
#[tokio::test]
async fn a_daemon_that_is_killed_after_any_step_leaves_a_vm_that_runs_or_is_stopped() {
    let mut ends = BTreeMap::new();
    for count in 0..=start::STEPS.len() {
        let bench = Bench::faked();
        let row = bench.created().await;
        let dir = bench.services.paths.vm(&row.id);
        let list: Vec<Step<_>> = start::STEPS[..count].to_vec();
        let mut context = bench.start(&row);
        steps::run(&list, &mut context, &CancellationToken::new()).await.unwrap();
        drop(context);
        let mut given_in_all = None;
        for round in ["first", "second", "third"] {
            let vms = daemon(&bench).await;
            let view = at_rest(&vms, &row.id, &[State::Running, State::Stopped]).await;
            let context = format!("after {count} steps, the {round} daemon");
            let end = *ends.entry(count).or_insert(view.state);
            assert_eq!(view.state, end, "{context}");
            if end == State::Running {
                // What it was started with, not what is asked of the VMM.
                assert_eq!(view.to_api().acceleration, Some(Acceleration::Tcg), "{context}");
                // Only a hand-over of which nobody knows how far it came is made again, once.
                let twice = start::STEPS[count - 1].name == "hand over";
                given_in_all.get_or_insert(given(&bench));
                assert_eq!(given_in_all, Some(given(&bench)), "{context}");
                assert_eq!(given(&bench), if twice { 2 } else { 1 }, "{context}");
                assert_eq!(bench.fake.guest().configured.load(Ordering::Relaxed), 1, "{context}");
                view.guest().unwrap().health().await.unwrap();
            } else {
                bench.assert_not_running(&dir, &context);
            }
        }
        let vms = daemon(&bench).await;
        vms.start(&row.id, &Reporter::unwatched()).await.unwrap();
        vms.kill(&row.id, &Reporter::unwatched()).await.unwrap();
        bench.assert_not_running(&dir, "killed");
    }
    let running = |count: &usize| ends[count] == State::Running;
    let names: Vec<_> = (1..=start::STEPS.len()).filter(running).map(|n| start::STEPS[n - 1].name).collect();
    assert_eq!(names, ["configure", "hand over", "record"]);
}

#[tokio::test]
async fn steps_that_miss_what_an_earlier_one_makes_fail() {
    let bench = Bench::faked();
    let row = bench.created().await;
    // The plan and the ports need nothing but the VM's row.
    for (index, step) in start::STEPS.iter().enumerate().skip(2) {
        let mut context = bench.start(&row);
        let outcome = (step.run)(&mut context).await;
        assert!(matches!(outcome, Err(VmError::Unmade(_))), "step {index}: {outcome:?}");
        assert!(context.into_started().is_err());
    }
    bench.assert_not_running(&bench.services.paths.vm(&row.id), "nothing was made");
}

#[tokio::test]
async fn a_vm_of_a_vmm_that_nobody_knows_is_broken_and_left_alone() {
    let bench = Bench::faked();
    let (vms, before) = started(&bench).await;
    drop(vms);
    let connection = rusqlite::Connection::open(bench.services.paths.database()).unwrap();
    let named = |name: &str| {
        let spec = format!("UPDATE vms SET spec = json_set(spec, '$.vmm', '{name}')");
        connection.execute_batch(&spec).unwrap();
    };
    named("crosvm");
    let vms = daemon(&bench).await;
    let view = vms.find(before.row.id.as_str()).unwrap();
    assert_eq!(view.to_api().state, VmState::Broken);
    assert!(view.broken.unwrap().contains("knows no VMM \"crosvm\""));
    vms.start(&before.row.id, &Reporter::unwatched()).await.err().unwrap();
    assert!(before.running.as_ref().unwrap().process.is_alive());
    named("fake");
    let vms = daemon(&bench).await;
    assert_eq!(process(&vms.find(before.row.id.as_str()).unwrap()), process(&before));
    vms.kill(&before.row.id, &Reporter::unwatched()).await.unwrap();
}
