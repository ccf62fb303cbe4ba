use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::home::Home;
use crate::oci_layout::LayerTar;
use crate::seed::cache_dir;
use crate::spawn::command;

/// A root filesystem of the shape that images of other distributions have, made of Debian packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// busybox's init starts openrc, as alpine has it.
    OpenRc,
    /// runit as void and artix have it, its stages of the distribution's own.
    Runit,
    /// sysvinit with its scripts, and a `/usr` that `/bin` and `/sbin` are not part of.
    Sysvinit,
    /// systemd with udev, networkd and resolved, and nobody has linked `/sbin/init` to it; no machine id; a
    /// DHCP client for whatever interface there is.
    Systemd,
}

/// How a tree is made.
struct Recipe {
    suite: &'static str,
    /// Packages only unpacked, or a system that is installed by its own scripts.
    variant: &'static str,
    packages: &'static str,
    /// For mmdebstrap; `$1` is the tree.
    hook: &'static str,
    more: &'static [&'static str],
}

/// What the packages that merge `/usr` would do, and busybox under all its names.
const BUSYBOX_LINKS: &str = r#"cd "$1"
for dir in bin sbin lib lib64; do [ -e $dir ] || ln -s usr/$dir $dir; done
mkdir -p root tmp
chroot . /bin/busybox --install -s 2>/dev/null || true
"#;

impl StandIn {
    /// Also what it is called as an image.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenRc => "openrc",
            Self::Runit => "runit",
            Self::Sysvinit => "sysvinit",
            Self::Systemd => "systemd",
        }
    }

    fn recipe(self) -> Recipe {
        match self {
            Self::OpenRc => Recipe {
                suite: "trixie",
                variant: "extract",
                packages: "busybox-static,openrc",
                hook: include_str!("stand_in/openrc.sh"),
                more: &[],
            },
            Self::Runit => Recipe {
                suite: "trixie",
                variant: "extract",
                packages: "busybox-static,runit,runit-init",
                hook: include_str!("stand_in/runit.sh"),
                more: &[],
            },
            Self::Sysvinit => Recipe {
                suite: "bookworm",
                variant: "minbase",
                packages: "sysvinit-core,procps",
                hook: "",
                more: &["--hook-dir=/usr/share/mmdebstrap/hooks/no-merged-usr"],
            },
            Self::Systemd => Recipe {
                suite: "trixie",
                variant: "minbase",
                packages: "systemd,systemd-resolved,udev,dbus,iproute2,procps",
                hook: include_str!("stand_in/systemd.sh"),
                more: &[],
            },
        }
    }

    /// The tarball, which is made when there is none of this recipe.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    pub fn tarball(self) -> PathBuf {
        cached(self.name(), &self.recipe())
    }
}

/// The one program that needs nothing else to be a shell, and everything that a shell calls.
///
/// # Panics
///
/// When it cannot be had.
pub fn busybox() -> Vec<u8> {
    let recipe =
        Recipe { suite: "trixie", variant: "extract", packages: "busybox-static", hook: "", more: &[] };
    let tar = File::open(cached("busybox", &recipe)).expect("the tarball with busybox");
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().expect("a tarball") {
        let mut entry = entry.expect("an entry of the tarball");
        if entry.path().is_ok_and(|path| path.ends_with("bin/busybox")) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("busybox");
            return bytes;
        }
    }
    panic!("the package busybox-static has no busybox")
}

/// Builds below another name first: what is there under its own is whole.
fn cached(name: &str, recipe: &Recipe) -> PathBuf {
    let dir = cache_dir().join("stand-ins");
    std::fs::create_dir_all(&dir).expect("a directory for stand-ins");
    let lock = File::create(dir.join(format!("{name}.lock"))).expect("a lock for the stand-in");
    flock(&lock, FlockOperation::LockExclusive).expect("our turn to make the stand-in");
    let args = recipe.args();
    let key: String = hex::encode(&Sha256::digest(args.join("\0"))[..6]);
    let finished = dir.join(format!("{name}-{key}.tar"));
    if finished.is_file() {
        return finished;
    }
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let building = dir.join(format!("{name}-building.tar"));
    let output = command("mmdebstrap").args(&args).arg(&building).output().expect("mmdebstrap is installed");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&building, &finished).expect("a place for the stand-in");
    finished
}

impl Recipe {
    fn args(&self) -> Vec<String> {
        let hook = match self.variant {
            "extract" => format!("--extract-hook=set -e\n{BUSYBOX_LINKS}{}", self.hook),
            _ => format!("--customize-hook=set -e\ncd \"$1\"\n{}", self.hook),
        };
        let mut args = vec![
            format!("--variant={}", self.variant),
            format!("--include={}", self.packages),
            "--aptopt=APT::Install-Recommends \"false\"".into(),
            "--dpkgopt=force-unsafe-io".into(),
            "--dpkgopt=path-exclude=/usr/share/locale/*".into(),
            "--dpkgopt=path-exclude=/usr/share/doc/*".into(),
            "--dpkgopt=path-exclude=/usr/share/man/*".into(),
            "--skip=output/dev".into(),
            hook,
        ];
        args.extend(self.more.iter().map(|option| (*option).to_owned()));
        args.push(self.suite.into());
        args
    }
}

impl Home {
    /// Has a stand-in as an image of its name.
    #[track_caller]
    pub fn import_stand_in(&self, stand_in: StandIn) {
        self.banger("image import").args([stand_in.name().into(), stand_in.tarball().into_os_string()]).ok();
    }

    /// Has an image's maker say so, as an OCI image's `config` would have it.
    ///
    /// # Panics
    ///
    /// When there is no such image.
    pub fn set_image_config(&self, image: &str, config: &serde_json::Value) {
        let store = rusqlite::Connection::open(self.state().join("banger.db")).expect("the store");
        let update = "UPDATE images SET details = json_set(details, '$.config', json(?2)) WHERE name = ?1";
        let changed = store.execute(update, (image, config.to_string())).expect("a change of the store");
        assert_eq!(changed, 1, "there is no image {image}");
    }

    /// Has an image of that name with nothing in it but these files.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    #[track_caller]
    pub fn import_files(&self, name: &str, files: LayerTar) {
        let path = self.root().join(format!("{name}.tar"));
        std::fs::write(&path, files.finish()).expect("a tarball");
        self.banger("image import").args([name.into(), path.into_os_string()]).ok();
    }
}
