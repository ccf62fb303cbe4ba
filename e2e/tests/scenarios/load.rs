use e2e::{BusyCores, Home};

/// `bench` does fifty.
#[test]
fn boots_get_through_on_a_busy_machine() {
    let home = Home::new();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let _busy = BusyCores::start(cores);
    for _ in 0..3 {
        home.banger("run --rm -- true").ok();
    }
    home.assert_no_residue();
}
