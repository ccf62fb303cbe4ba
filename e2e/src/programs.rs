use std::path::{Path, PathBuf};

const ALL: [&str; 4] = ["banger", "bangerd", "banger-gateway", "banger-agent"];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// The programs under test.
    ///
    /// # Panics
    ///
    /// When they have not been built.
    pub fn find() -> Self {
        let dir = match std::env::var_os("BANGER_E2E_BIN_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => target_dir().join("dist"),
        };
        for name in ALL {
            let path = dir.join(name);
            assert!(path.is_file(), "{} is missing: build it with `cargo xtask dist`", path.display());
        }
        Self { dir }
    }

    /// Copies of the programs in a directory of their own, to be changed or handed to somebody else.
    ///
    /// # Panics
    ///
    /// When they cannot be copied.
    pub fn copy_to(&self, dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("a directory for the programs' copies");
        for name in ALL {
            std::fs::copy(self.dir.join(name), dir.join(name)).expect("a copy of a program");
        }
        Self { dir: dir.into() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Two levels above the test's own program (`<target>/<profile>/deps/x`), wherever cargo's configuration has
/// that.
fn target_dir() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    let deps =
        own.ancestors().find(|dir| dir.ends_with("deps")).expect("a test runs in cargo's deps directory");
    deps.ancestors().nth(2).expect("deps lies two levels below the target directory").to_owned()
}
