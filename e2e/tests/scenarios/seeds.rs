use e2e::{Home, Seed};

/// It runs first (`.config/nextest.toml`), beside the unit tests: built later, scenarios would wait for it
/// two at a time.
#[test]
fn what_the_other_scenarios_begin_with_is_built() {
    if std::env::var_os("BANGER_E2E_SEED").is_some() {
        return;
    }
    for (seed, home) in [
        (Seed::Minimal, Home::new as fn() -> Home),
        (Seed::Golden, Home::golden),
        (Seed::Docker, Home::docker),
    ] {
        let image = home().image_id(seed.image());
        assert!(!image.is_empty(), "{seed:?}");
    }
}
