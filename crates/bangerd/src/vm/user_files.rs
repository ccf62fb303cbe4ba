//! What is the user's own and each start gives to the guest, before the VM counts as running: the files of
//! `[[file_sync]]`, and whom commits are by.

use std::time::Duration;

use banger_api::operation::Stage;
use banger_guest_protocol::messages::{FileAt, FileKind, GuestErrorKind, Unpack};
use banger_host::command::CommandError;
use tokio_util::task::AbortOnDropHandle;

use super::VmError;
use crate::causes::on_one_line;
use crate::config::Config;
use crate::file_sync::{self, Entry, FileSyncError, Survey, UNPACK_DIR};
use crate::guest::{Guest, GuestError};
use crate::operation::Reporter;
use crate::{paths, workspace};

/// git answers within milliseconds, unless the home directory is on a server that does not.
const IDENTITY_LIMIT: Duration = Duration::from_secs(5);

type Identity = Vec<(String, String)>;

pub(super) struct UserFiles {
    entries: Vec<Entry>,
    survey: Survey,
    identity: AbortOnDropHandle<Result<Identity, CommandError>>,
}

impl UserFiles {
    /// Looks at the files, and begins to ask the host's git, which has time for its answer until the guest is
    /// up.
    ///
    /// # Errors
    ///
    /// When there are files that cannot be copied.
    pub(super) async fn gather(config: &Config) -> Result<Self, VmError> {
        let identity = AbortOnDropHandle::new(tokio::spawn(workspace::identity()));
        let configured = &config.file_sync.value;
        if configured.is_empty() {
            return Ok(Self { entries: Vec::new(), survey: Survey::default(), identity });
        }
        let entries = Entry::all(configured, &paths::home()?);
        let survey = file_sync::survey(&entries).await?;
        Ok(Self { entries, survey, identity })
    }

    /// Copies all of it into a guest that is configured.
    ///
    /// # Errors
    ///
    /// When files cannot be copied. Without an identity one can do.
    pub(super) async fn hand_over(self, guest: &Guest, reporter: &Reporter) -> Result<(), VmError> {
        if !self.entries.is_empty() {
            self.copy_files(guest, reporter).await?;
        }
        // Only now: one of the files may be git's configuration.
        if let Err(why) = self.introduce(guest).await {
            reporter.notice(format!("the guest has not got the host's git identity: {why}"));
        }
        Ok(())
    }

    async fn copy_files(&self, guest: &Guest, reporter: &Reporter) -> Result<(), VmError> {
        let files = self.survey.files;
        reporter.stage(Stage::Copy, format!("copying {files} files of [[file_sync]]"));
        let (archive, packing) = file_sync::pack(&self.entries, self.survey, reporter);
        let what = Unpack { dir: UNPACK_DIR.into(), create: false };
        let unpacked = guest.unpack(&what, archive).await;
        match (packing.notices().await, unpacked) {
            (Ok(notices), Ok(_)) => {
                notices.into_iter().for_each(|notice| reporter.notice(notice));
                Ok(())
            }
            // Whoever stopped taking the archive knows why.
            (Ok(_) | Err(FileSyncError::Cut), Err(source)) => {
                let what = self.refused(guest, &source).await;
                Err(VmError::FilesRefused { what, source })
            }
            (Err(error), _) => Err(error.into()),
        }
    }

    /// What the guest did not take. It only knows of one archive; but where it had a directory in a file's
    /// place, that is still there to be seen.
    async fn refused(&self, guest: &Guest, error: &GuestError) -> String {
        if let [entry] = &self.entries[..] {
            return entry.to_string();
        }
        if matches!(error, GuestError::Refused { kind: GuestErrorKind::Refused, .. }) {
            for entry in self.entries.iter().filter(|entry| entry.is_file()) {
                let stat = guest.file_stat(&FileAt { path: entry.guest_path().into() }).await;
                if stat.is_ok_and(|stat| stat.kind == FileKind::Directory) {
                    return entry.to_string();
                }
            }
        }
        "something of [[file_sync]]".into()
    }

    async fn introduce(self, guest: &Guest) -> Result<(), String> {
        let asked = tokio::time::timeout(IDENTITY_LIMIT, self.identity).await;
        let identity = match asked {
            Ok(Ok(Ok(identity))) => identity,
            // Who has no git has no identity either.
            Ok(Ok(Err(CommandError::NotFound { .. }))) => return Ok(()),
            Ok(Ok(Err(error))) => return Err(on_one_line(&error)),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("git did not answer".into()),
        };
        workspace::introduce(guest, &identity).await.map_err(|error| on_one_line(&error))
    }
}
