use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::KernelDirectoryError;
use super::read::read_text;
use crate::kernel_version::is_release;

const FILE: &str = "metadata.json";

const MAX_LEN: u64 = 64 << 10;

/// What `metadata.json` says.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) kernel: PathBuf,
    pub(super) initrd: Option<PathBuf>,
    pub(super) modules: Option<PathBuf>,
    pub(super) release: Option<String>,
}

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    vmlinux: Option<String>,
    vmlinuz: Option<String>,
    initrd: Option<String>,
    modules: Option<String>,
    release: Option<String>,
}

/// What the directory's file says; none when it has no such file.
pub(super) fn read_metadata(dir: &Path) -> Result<Option<Metadata>, KernelDirectoryError> {
    let path = dir.join(FILE);
    let Some(text) = read_text(&path, MAX_LEN)? else { return Ok(None) };
    let wrong = |line, column, message: String| KernelDirectoryError::Metadata {
        path: path.clone(),
        line,
        column,
        message,
    };
    let written: Written = serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        wrong(line, column, message.strip_suffix(&place).unwrap_or(&message).to_owned())
    })?;
    let within = |key, text: String| {
        let relative = Path::new(&text);
        let stays =
            relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if stays && !text.is_empty() && !text.contains('\0') {
            return Ok(dir.join(relative));
        }
        Err(KernelDirectoryError::MetadataPath { path: path.clone(), key, found: text })
    };
    let kernel = match (written.vmlinux, written.vmlinuz) {
        (Some(vmlinux), None) => within("vmlinux", vmlinux)?,
        (None, Some(vmlinuz)) => within("vmlinuz", vmlinuz)?,
        _ => return Err(wrong(1, 1, "it must have either `vmlinux` or `vmlinuz`".into())),
    };
    if let Some(release) = written.release.as_deref().filter(|release| !is_release(release)) {
        return Err(wrong(1, 1, format!("`release` must be what `uname -r` prints, found {release:?}")));
    }
    Ok(Some(Metadata {
        kernel,
        initrd: written.initrd.map(|path| within("initrd", path)).transpose()?,
        modules: written.modules.map(|path| within("modules", path)).transpose()?,
        release: written.release,
    }))
}
