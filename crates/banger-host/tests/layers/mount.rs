//! A loop mount, undone when dropped.

use std::path::{Path, PathBuf};

use banger_host::command::Command;

pub(crate) struct Mount {
    point: PathBuf,
}

impl Mount {
    /// None, and says so, where that is not possible.
    pub(crate) async fn new(image: &Path, point: &Path) -> Option<Self> {
        Self::with_options(image, point, &["-o", "loop,ro"]).await
    }

    pub(crate) async fn with_options(image: &Path, point: &Path, options: &[&str]) -> Option<Self> {
        std::fs::create_dir_all(point).unwrap();
        match Command::new("mount").args(options.iter().copied()).arg(image).arg(point).run().await {
            Ok(_) => Some(Self { point: point.to_owned() }),
            Err(error) => {
                println!("skipped in part: no loop devices here: {error}");
                None
            }
        }
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.point, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}
