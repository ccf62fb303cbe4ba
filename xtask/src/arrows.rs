//! Who may depend on whom (DESIGN, "Crates"). A missing arrow is fine, an extra one is not.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cargo::Cargo;

/// Every member of the workspace, and which of our own crates it may name: as a normal, a dev or a build
/// dependency.
const ARROWS: &[(&str, &[&str])] = &[
    ("banger-guest-protocol", &["banger-tar"]),
    ("banger-host", &["banger-tar"]),
    ("banger-registry", &[]),
    ("banger-tar", &[]),
    // docs/decisions/0001: the frames of an exec stream pass through the daemon unchanged.
    ("banger-api", &["banger-guest-protocol"]),
    ("banger-agent", &["banger-guest-protocol"]),
    ("banger-gateway", &["banger-guest-protocol", "banger-host"]),
    // What a policy may say is checked before there is a gateway.
    (
        "bangerd",
        &[
            "banger-api",
            "banger-gateway",
            "banger-host",
            "banger-registry",
            "banger-guest-protocol",
            "banger-tar",
        ],
    ),
    ("banger", &["banger-api"]),
    // One scenario speaks to a guest in the place of the daemon.
    ("e2e", &["banger-api", "banger-guest-protocol"]),
    // It boots QEMU bare, as the daemon would, and waits for the agent's hello; images come from the
    // scenarios' registry.
    ("bench", &["banger-api", "banger-host", "banger-guest-protocol", "e2e"]),
    ("xtask", &[]),
];

/// What breaks the rules in the output of `cargo metadata --no-deps`, one line each.
fn broken_arrows(metadata: &Value) -> Vec<String> {
    let empty = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&empty);
    let members: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut broken = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(member, _)| *member == name) else {
            broken.push(format!("{name} is not in the table of arrows"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().unwrap_or(&empty);
        for dependency in dependencies.iter().filter_map(|dependency| dependency["name"].as_str()) {
            if members.contains(dependency) && !allowed.contains(&dependency) {
                broken.push(format!("{name} -> {dependency}"));
            }
        }
    }
    for (member, _) in ARROWS {
        if !members.contains(member) {
            broken.push(format!("{member} is in the table of arrows and not in the workspace"));
        }
    }
    broken
}

#[test]
fn the_workspace_keeps_its_arrows() {
    let output =
        Cargo::new(&["metadata", "--no-deps", "--offline", "--format-version", "1"]).stdout().unwrap();
    let metadata = serde_json::from_slice(&output).unwrap();
    assert_eq!(broken_arrows(&metadata), Vec::<String>::new());
}

#[test]
fn an_extra_arrow_and_a_stranger_are_found() {
    let mut packages: Vec<Value> =
        ARROWS.iter().map(|(name, _)| serde_json::json!({"name": name, "dependencies": []})).collect();
    packages[1]["dependencies"] =
        serde_json::json!([{"name": "banger-api", "kind": "dev"}, {"name": "rustix"}]);
    packages.push(serde_json::json!({"name": "banger-misc", "dependencies": []}));
    assert_eq!(
        broken_arrows(&serde_json::json!({ "packages": packages })),
        ["banger-host -> banger-api", "banger-misc is not in the table of arrows"]
    );
    assert_eq!(broken_arrows(&Value::Null).len(), ARROWS.len());
}
