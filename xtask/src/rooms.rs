//! Who may know whom inside `bangerd` (DESIGN, "Crates"): server -> vm -> services -> store and leaves.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sources::sources;

/// Every room (a file or directory of `bangerd/src`), and those that its code may name as `crate::<room>`.
/// Each knows only rooms that stand above it, so that there are no circles. Services (`disk` to `file_sync`)
/// do not know one another, but for one: the git round trip is a conversation with the guest, and taken out
/// of it nothing would be left but its words.
const ROOMS: &[(&str, &[&str])] = &[
    // Leaves.
    ("causes", &[]),
    ("channel", &[]),
    ("checksum", &[]),
    ("clock", &[]),
    ("download", &[]),
    ("identity", &[]),
    ("latest", &[]),
    ("record", &[]),
    ("spelling", &[]),
    ("watchdog", &[]),
    ("lost_found", &["clock", "record"]),
    ("paths", &["identity", "lost_found"]),
    ("store", &["clock", "identity"]),
    // What services share.
    ("operation", &["clock", "download", "latest"]),
    ("catalog", &["causes", "checksum", "download", "operation", "spelling"]),
    ("config", &["catalog", "paths", "spelling"]),
    ("logging", &["config"]),
    (
        "artifact",
        &[
            "catalog",
            "causes",
            "checksum",
            "download",
            "identity",
            "lost_found",
            "operation",
            "record",
            "store",
        ],
    ),
    // Services.
    ("disk", &[]),
    ("dns", &["latest"]),
    ("vmm", &["causes", "channel", "identity", "paths"]),
    ("network", &["causes", "identity", "paths"]),
    ("guest", &["channel", "clock", "identity", "paths"]),
    ("workspace", &["causes", "clock", "guest", "operation"]),
    ("file_sync", &["config", "operation"]),
    ("ssh", &["identity", "paths", "record"]),
    (
        "image",
        &[
            "artifact",
            "catalog",
            "causes",
            "checksum",
            "clock",
            "download",
            "identity",
            "lost_found",
            "operation",
            "paths",
            "record",
            "spelling",
            "store",
        ],
    ),
    (
        "kernel",
        &[
            "artifact",
            "catalog",
            "causes",
            "checksum",
            "clock",
            "download",
            "lost_found",
            "operation",
            "paths",
            "record",
            "store",
        ],
    ),
    // The only orchestrator.
    (
        "vm",
        &[
            "causes",
            "checksum",
            "clock",
            "config",
            "disk",
            "download",
            "file_sync",
            "guest",
            "identity",
            "image",
            "kernel",
            "latest",
            "lost_found",
            "network",
            "operation",
            "paths",
            "record",
            "spelling",
            "ssh",
            "store",
            "vmm",
            "workspace",
        ],
    ),
    // What uses it.
    (
        "doctor",
        &[
            "artifact",
            "catalog",
            "causes",
            "config",
            "dns",
            "download",
            "identity",
            "image",
            "kernel",
            "network",
            "operation",
            "paths",
            "store",
            "vm",
            "vmm",
        ],
    ),
    ("repair", &["catalog", "causes", "identity", "image", "kernel", "lost_found", "paths", "store", "vm"]),
    (
        "server",
        &[
            "artifact",
            "catalog",
            "causes",
            "config",
            "dns",
            "download",
            "guest",
            "identity",
            "image",
            "kernel",
            "network",
            "operation",
            "paths",
            "ssh",
            "store",
            "vm",
            "vmm",
            "watchdog",
            "workspace",
        ],
    ),
    // The program itself, over the library.
    ("cli", &[]),
    ("main", &[]),
    ("lib", &[]),
];

/// What breaks the rules, one line each: an arrow that is not in the table, and a room that is not.
fn trespasses(sources: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        let Ok(inside) = path.strip_prefix("crates/bangerd/src") else { continue };
        let Some(first) = inside.iter().next().map(Path::new) else { continue };
        let room = first.with_extension("");
        let room = room.to_string_lossy();
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            found.push(format!("{}: {room} is in no table", path.display()));
            continue;
        };
        // Tests build what they need out of any room.
        if path.to_string_lossy().ends_with("tests.rs") || path.ends_with("fake.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for other in named_rooms(code) {
            if other != room && !allowed.contains(&other.as_str()) {
                found.push(format!("{}: names crate::{other}", path.display()));
            }
        }
    }
    found
}

/// The first segments after every `crate::` in the code (comments aside), also in `crate::{a, b::{c, d}}`.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut rooms = BTreeSet::new();
    for path in code.split("crate::").skip(1) {
        let Some(group) = path.strip_prefix('{') else {
            rooms.insert(leading_name(path));
            continue;
        };
        let mut depth = 1;
        let mut expects_room = true;
        for (offset, character) in group.char_indices() {
            if expects_room && depth == 1 && !character.is_whitespace() && character != '}' {
                rooms.insert(leading_name(&group[offset..]));
                expects_room = false;
            }
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' => expects_room = depth == 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms
}

fn leading_name(path: &str) -> String {
    path.chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect()
}

#[test]
fn rooms_keep_to_themselves() {
    assert_eq!(trespasses(&sources(&crate::workspace_dir())), Vec::<String>::new());
}

#[test]
fn rooms_know_only_what_stands_above_them() {
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        for other in *allowed {
            assert!(ROOMS[..index].iter().any(|(name, _)| name == other), "{room} -> {other}");
        }
    }
}

#[test]
fn every_room_of_the_table_is_there_and_on_the_map() {
    let dir = crate::workspace_dir();
    let map = std::fs::read_to_string(dir.join("ARCHITECTURE.md")).unwrap();
    for (room, _) in ROOMS {
        let path = dir.join("crates/bangerd/src").join(room);
        assert!(path.is_dir() || path.with_extension("rs").is_file(), "{room}");
        let named =
            [format!("`{room}/`"), format!("`{room}.rs`")].iter().any(|name| map.contains(name.as_str()));
        assert!(named || ["cli", "main", "lib"].contains(room), "ARCHITECTURE.md does not name {room}");
    }
}

#[test]
fn a_trespass_is_found() {
    let file = |path: &str, text: &str| (PathBuf::from("crates/bangerd/src").join(path), text.to_owned());
    let found = trespasses(&[
        file("image/build.rs", "use crate::store::Images;\nuse crate::kernel;\n// crate::disk, see there\n"),
        file(
            "image/mod.rs",
            "use crate::{\n    store::{disk, Row},\n    guest::{\n        A, B,\n    },\n    vmm,\n};",
        ),
        file("store.rs", "fn f(x: crate::vm::State) {}\n#[cfg(test)]\nmod tests {\n use crate::kernel;"),
        file("vmm/qemu/args.rs", "use crate::vmm::Machine;\nuse crate::vm;"),
        file("vm/actor.rs", "use crate::{image, vmm};\nuse crate::server::Reply;"),
        file("vm/actor_tests.rs", "use crate::server::Reply;"),
        file("server/vm.rs", "use crate::vm::Handle;"),
        file("workspace/send.rs", "use crate::guest::Guest;"),
        file("guest/files.rs", "use crate::workspace::Repository;"),
        file("attic.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "crates/bangerd/src/image/build.rs: names crate::kernel",
            "crates/bangerd/src/image/mod.rs: names crate::guest",
            "crates/bangerd/src/image/mod.rs: names crate::vmm",
            "crates/bangerd/src/store.rs: names crate::vm",
            "crates/bangerd/src/vmm/qemu/args.rs: names crate::vm",
            "crates/bangerd/src/vm/actor.rs: names crate::server",
            "crates/bangerd/src/guest/files.rs: names crate::workspace",
            "crates/bangerd/src/attic.rs: attic is in no table",
        ]
    );
}
