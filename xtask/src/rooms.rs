//! Who may know whom inside `bangerd` (DESIGN, "Crates"): server -> vm -> services -> store.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::sources::sources;

const SERVICES: &[&str] =
    &["vmm", "image", "kernel", "disk", "network", "dns", "guest", "workspace", "file_sync"];

/// Services that know another one all the same: who, and whom.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The git round trip is a conversation with the guest: taken out of it, nothing would be left but its words.
    ("workspace", "guest"),
];

/// The rooms that code in `room` must not name as `crate::<room>`.
fn forbidden(room: &str) -> Vec<&'static str> {
    let mut rooms = Vec::new();
    if room == "store" || SERVICES.contains(&room) {
        rooms.extend(["server", "vm", "doctor"]);
        let known = |other: &str| other == room || EXCEPTIONS.contains(&(room, other));
        rooms.extend(SERVICES.iter().filter(|other| !known(other)));
    }
    if room == "vm" {
        rooms.push("server");
    }
    rooms
}

/// Where a file of `bangerd` reaches into a room it must not know.
fn trespasses(sources: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        let Ok(inside) = path.strip_prefix("crates/bangerd/src") else { continue };
        let Some(first) = inside.iter().next().map(Path::new) else { continue };
        let room = first.with_extension("");
        let rooms = forbidden(&room.to_string_lossy());
        for other in named_rooms(text) {
            if rooms.contains(&other.as_str()) {
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
            if expects_room && depth == 1 && !character.is_whitespace() {
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
fn a_trespass_is_found() {
    let file = |path: &str, text: &str| (PathBuf::from("crates/bangerd/src").join(path), text.to_owned());
    let found = trespasses(&[
        file("image/build.rs", "use crate::store::Images;\nuse crate::kernel;\n// crate::disk, see there\n"),
        file(
            "image/mod.rs",
            "use crate::{\n    store::{disk, Row},\n    guest::{\n        A, B,\n    },\n    dns,\n};",
        ),
        file("store.rs", "fn f(x: crate::vm::State) {}"),
        file("vmm/qemu/args.rs", "use crate::vmm::Spec;\nuse crate::vm;"),
        file("vm/actor.rs", "use crate::{image, vmm};\nuse crate::server::Reply;"),
        file("server/vm.rs", "use crate::vm::Handle;"),
        file("workspace/send.rs", "use crate::guest::Guest;"),
        file("guest/files.rs", "use crate::workspace::Repository;"),
    ]);
    assert_eq!(
        found,
        [
            "crates/bangerd/src/image/build.rs: names crate::kernel",
            "crates/bangerd/src/image/mod.rs: names crate::dns",
            "crates/bangerd/src/image/mod.rs: names crate::guest",
            "crates/bangerd/src/store.rs: names crate::vm",
            "crates/bangerd/src/vmm/qemu/args.rs: names crate::vm",
            "crates/bangerd/src/vm/actor.rs: names crate::server",
            "crates/bangerd/src/guest/files.rs: names crate::workspace",
        ]
    );
}
