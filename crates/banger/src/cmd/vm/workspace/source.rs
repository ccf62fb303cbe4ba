use std::ffi::OsString;
use std::path::{Path, PathBuf};

use banger_api::workspace::{PrepareWorkspace, WorkspaceContents, WorkspaceMode};
use banger_api::{ByteString, Client};
use clap::{Args, ValueEnum};

use crate::cmd::Outcome;
use crate::error::CommandError;
use crate::ui;

// What of a repository is copied.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// How much: the last commit and the working tree, the whole history and submodules, or the last commit
    /// alone
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Copy files that are neither tracked nor ignored, too
    #[arg(long)]
    include_untracked: bool,
    /// List what would be copied, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Check out a new branch in the VM
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Begin the new branch at this commit, without what the working tree has changed
    #[arg(long, value_name = "COMMIT", requires = "branch")]
    from: Option<String>,
    /// Where the repository is to be in the VM [default: /root/repo]
    #[arg(long, value_name = "PATH")]
    guest_path: Option<OsString>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Mode {
    #[default]
    Shallow,
    Full,
    Metadata,
}

impl SourceArgs {
    /// Is anything of it given, which makes sense with a repository only?
    pub(crate) fn is_used(&self) -> bool {
        !matches!(self.mode, Mode::Shallow)
            || self.include_untracked
            || self.dry_run
            || self.branch.is_some()
            || self.from.is_some()
            || self.guest_path.is_some()
    }

    /// # Errors
    ///
    /// When the present directory is gone.
    pub(crate) fn request(&self, path: &Path, discard: bool) -> Result<PrepareWorkspace, CommandError> {
        let absolute = std::path::absolute(path)
            .map_err(|error| CommandError::io(format!("cannot use {}", path.display()), error))?;
        let from_home = |path: &OsString| {
            let path = PathBuf::from(path);
            let path = if path.is_absolute() { path } else { Path::new("/root").join(path) };
            ByteString::from(path.into_os_string())
        };
        Ok(PrepareWorkspace {
            path: absolute.into_os_string().into(),
            mode: match self.mode {
                Mode::Shallow => WorkspaceMode::Shallow,
                Mode::Full => WorkspaceMode::Full,
                Mode::Metadata => WorkspaceMode::Metadata,
            },
            include_untracked: self.include_untracked,
            branch: self.branch.clone(),
            from: self.from.clone(),
            guest_path: self.guest_path.as_ref().map(from_home),
            discard,
        })
    }
}

/// Lists what would be copied: names on stdout, the sum on stderr.
pub(crate) async fn dry_run(client: &Client, request: &PrepareWorkspace) -> Outcome {
    let WorkspaceContents { files, bytes, untracked, .. } = client.workspace_contents(request).await?;
    for file in &files {
        ui::line(ui::file_name(file.as_os_str()))?;
    }
    let noun = |count: usize| if count == 1 { "file" } else { "files" };
    ui::note(format_args!("{} {}, {} would be copied", files.len(), noun(files.len()), ui::bytes(bytes)));
    if untracked > 0 {
        ui::note(format_args!("{untracked} untracked {} would stay behind", noun(untracked as usize)));
    }
    Ok(0)
}
