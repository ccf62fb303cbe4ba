//! What becomes of those who ask at once, one after the other, and against one another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use banger_host::process::Signal;

use super::VmError;
use super::registry::Vms;
use super::second_vmm_tests::{at_rest, daemon, started};
use super::state::State;
use super::step_tests::Bench;
use crate::identity::VmId;
use crate::operation::Reporter;
use crate::store::words::Lifetime;

/// Longer than any test may take: whoever waits it out has waited for the wrong thing.
const FOR_EVER: Duration = Duration::from_secs(600);

/// A VM whose guest does not say hello, on its way up.
async fn starting(bench: &Bench) -> (Vms, VmId, tokio::task::JoinHandle<Result<(), Arc<VmError>>>) {
    bench.fake.is_mute.store(true, Ordering::Relaxed);
    let row = bench.created().await;
    let vms = daemon(bench).await;
    let (starter, id) = (vms.clone(), row.id.clone());
    let start = tokio::spawn(async move { starter.start(&id, &Reporter::unwatched()).await.map(drop) });
    at_rest(&vms, &row.id, &[State::Starting]).await;
    while bench.fake.launches.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (vms, row.id, start)
}

#[tokio::test]
async fn all_who_want_a_vm_started_get_the_one_start() {
    let bench = Bench::faked();
    let row = bench.created().await;
    let vms = daemon(&bench).await;
    let reporter = Reporter::unwatched();
    let starts = (0..5).map(|_| vms.start(&row.id, &reporter));
    for view in futures_util::future::join_all(starts).await {
        assert_eq!(view.unwrap().state, State::Running);
    }
    assert_eq!(bench.fake.launches.load(Ordering::Relaxed), 1);
    vms.kill(&row.id, &Reporter::unwatched()).await.unwrap();
}

#[tokio::test]
async fn a_kill_ends_a_start_and_whoever_waited_for_it_is_told() {
    let bench = Bench::faked();
    let (vms, id, start) = starting(&bench).await;
    let view = vms.kill(&id, &Reporter::unwatched()).await.unwrap();
    assert_eq!(view.state, State::Stopped);
    // Nothing went wrong, and nothing is said to have.
    assert_eq!(view.last_error, None);
    let error = start.await.unwrap().unwrap_err();
    assert!(matches!(*error, VmError::Cancelled), "{error:?}");
    bench.assert_not_running(&bench.services.paths.vm(&id), "killed while starting");
}

#[tokio::test]
async fn a_vm_that_starts_can_be_deleted() {
    let bench = Bench::faked();
    let (vms, id, start) = starting(&bench).await;
    vms.delete(&id, false, &Reporter::unwatched()).await.unwrap();
    assert!(start.await.unwrap().is_err());
    assert!(vms.list().is_empty() && bench.services.store.vms().unwrap().is_empty());
    assert!(!bench.services.paths.vm(&id).path().exists());
    // Nobody minds that it is gone already.
    vms.delete(&id, true, &Reporter::unwatched()).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_does_not_shut_down_is_killed_when_its_time_is_over() {
    let bench = Bench::faked();
    bench.fake.stays_up.store(true, Ordering::Relaxed);
    let (vms, view) = started(&bench).await;
    let grace = Duration::from_millis(300);
    let (view, killed) = vms.stop(&view.row.id, grace, &Reporter::unwatched()).await.unwrap();
    assert_eq!((view.state, killed), (State::Stopped, true));
}

#[tokio::test]
async fn a_kill_does_not_wait_for_a_stop() {
    let bench = Bench::faked();
    bench.fake.stays_up.store(true, Ordering::Relaxed);
    let (vms, view) = started(&bench).await;
    let (stopper, id) = (vms.clone(), view.row.id.clone());
    let began = Instant::now();
    let stop = tokio::spawn(async move { stopper.stop(&id, FOR_EVER, &Reporter::unwatched()).await });
    at_rest(&vms, &view.row.id, &[State::Stopping]).await;
    let start = vms.start(&view.row.id, &Reporter::unwatched()).await.err().unwrap();
    assert!(matches!(*start, VmError::Denied { action: "start", .. }), "{start:?}");
    vms.kill(&view.row.id, &Reporter::unwatched()).await.unwrap();
    let (view, killed) = stop.await.unwrap().unwrap();
    assert_eq!((view.state, killed), (State::Stopped, true));
    assert!(began.elapsed() < FOR_EVER / 10);
}

#[tokio::test]
async fn a_stop_goes_on_under_the_next_daemon() {
    let bench = Bench::faked();
    bench.fake.stays_up.store(true, Ordering::Relaxed);
    let (vms, view) = started(&bench).await;
    // The first daemon dies with its request under way.
    let (stopper, id) = (vms.clone(), view.row.id.clone());
    let stop = tokio::spawn(async move { stopper.stop(&id, Duration::ZERO, &Reporter::unwatched()).await });
    at_rest(&vms, &view.row.id, &[State::Stopping, State::Stopped]).await;
    stop.abort();
    let vms = daemon(&bench).await;
    let view = at_rest(&vms, &view.row.id, &[State::Stopped]).await;
    bench.assert_not_running(&bench.services.paths.vm(&view.row.id), "stopped by the next daemon");
}

#[tokio::test]
async fn a_vm_that_lives_until_it_stops_goes_however_it_stops() {
    for signal in [None, Some(Signal::KILL)] {
        let bench = Bench::faked();
        let (vms, view) = started_as(&bench, Lifetime::UntilStopped).await;
        match signal {
            Some(signal) => drop(view.running.as_ref().unwrap().process.signal(signal).unwrap()),
            None => drop(vms.stop(&view.row.id, FOR_EVER, &Reporter::unwatched()).await.unwrap()),
        }
        let gone = async {
            while !vms.list().is_empty() || bench.services.paths.vm(&view.row.id).path().exists() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it is still there");
        assert!(bench.services.store.vms().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_vm_that_lived_by_a_connection_goes_with_the_daemon_that_held_it() {
    let bench = Bench::faked();
    let (vms, view) = started_as(&bench, Lifetime::Leased).await;
    assert_eq!(vms.counts().leased, [view.row.name.to_string()]);
    drop(vms);
    assert!(daemon(&bench).await.list().is_empty());
    assert!(!view.running.unwrap().process.is_alive());
}

async fn started_as(bench: &Bench, lifetime: Lifetime) -> (Vms, super::VmView) {
    let row = bench.created_as(lifetime).await;
    // Its daemon is this one: at the start of a next one it would be gone.
    let vms = Vms::new(bench.services.clone());
    vms.take_in(row.clone());
    let view = vms.start(&row.id, &Reporter::unwatched()).await.unwrap();
    (vms, view)
}

#[tokio::test]
async fn vms_are_found_by_name_by_id_and_by_the_beginning_of_one_id_only() {
    let bench = Bench::faked();
    let vms = Vms::new(bench.services.clone());
    for (id, name) in [("aaaa00000001", "one"), ("aaaa00000002", "two"), ("bbbb00000003", "aaaa")] {
        vms.take_in(crate::store::VmRow::example(id, name));
    }
    let found = |reference: &str| vms.find(reference).map(|view| view.row.id.to_string());
    assert_eq!(found("two").unwrap(), "aaaa00000002");
    assert_eq!(found("aaaa00000001").unwrap(), "aaaa00000001");
    assert_eq!(found("b").unwrap(), "bbbb00000003");
    // A name is meant before the beginning of an id.
    assert_eq!(found("aaaa").unwrap(), "bbbb00000003");
    let error = found("aaa").unwrap_err();
    assert!(matches!(&error, VmError::Ambiguous { candidates, .. } if candidates.len() == 2), "{error:?}");
    assert!(matches!(found(""), Err(VmError::NotFound { .. })));
    let error = found("tow").unwrap_err();
    assert!(
        matches!(&error, VmError::NotFound { similar: Some(similar), .. } if similar == "two"),
        "{error:?}"
    );
    assert_eq!((vms.counts().total, vms.counts().running), (3, 0));
}
