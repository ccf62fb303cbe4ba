//! Files of the user's that become images: copied, or used where they lie.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use banger_api::operation::Stage;
use banger_host::archive_files::{ArchiveFileError, ArchiveFiles};
use banger_host::image_format::{ImageFormat, ImageFormatError, recognise};
use banger_host::sparse_copy::{Piece, read_sparse, write_piece};
use banger_host::tar_source::TarError;
use banger_registry::ArchiveError;
use sha2::{Digest as _, Sha256};

use super::archive::ImageChoice;
use super::publish::{Finished, protect, staged_file};
use super::recover::RECORD;
use super::rootfs::Tarball;
use super::{ImageError, ImageService};
use crate::artifact::bundle::is_bundle;
use crate::artifact::{ArtifactError, ArtifactStore, Work, in_staging, turn};
use crate::clock::unix_ms;
use crate::identity::check_image_name;
use crate::operation::Reporter;
use crate::record;
use crate::store::{ImageDetails, ImageRow, InPlace};

/// What to import.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    pub name: String,
    /// Absolute: the daemon has a working directory of its own.
    pub path: PathBuf,
    /// Use the file where it lies, instead of a copy.
    pub in_place: bool,
    /// Which image of an archive of container images: a reference, a tag or a digest.
    pub tag: Option<String>,
    /// Of a new filesystem, in MiB.
    pub size_mib: Option<u64>,
    /// The kernel of its VMs when nobody asks for another.
    pub kernel: Option<String>,
}

/// Why a file cannot become an image.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("it could not be {action}")]
    File { action: &'static str, source: std::io::Error },
    #[error("it is {what}, not a file")]
    NoFile { what: &'static str },
    #[error(transparent)]
    Format(#[from] ImageFormatError),
    #[error("{0} cannot be used in place: it has to be made into a filesystem")]
    NoFilesystem(&'static str),
    #[error("it holds no container images that could be chosen among by their tags")]
    NothingToChoose,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("its filesystem has a size already")]
    SizeOfExt4,
    #[error("it was changed while it was read")]
    Changed,
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl From<ArchiveFileError> for ImportError {
    fn from(error: ArchiveFileError) -> Self {
        match error {
            ArchiveFileError::Tar(TarError::Cancelled) => Self::Artifact(ArtifactError::Cancelled),
            error => ArchiveError::File { what: "its list of files".into(), source: error.into() }.into(),
        }
    }
}

impl ImportError {
    pub(super) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Artifact(error) => return error.hint(),
            Self::Format(ImageFormatError::Other { fix, .. }) => fix,
            Self::Format(ImageFormatError::Unknown) => {
                "`docker export` and `tar -C DIR -c .` make tarballs of a root filesystem, `mke2fs -d` an ext4 filesystem"
            }
            Self::NoFile { what: "a directory" } => {
                "pack it: tar -C DIR --numeric-owner --xattrs -cf FILE .; of directories only those with container images \
                 (oci-layout, index.json) are imported"
            }
            Self::NoFilesystem(_) => "import it without --in-place",
            Self::NothingToChoose => "import it without --tag",
            Self::Archive(ArchiveError::Several { .. } | ArchiveError::NoSuchTag { .. }) => {
                "choose one with --tag: by its name, its tag or its digest"
            }
            Self::Archive(ArchiveError::Missing { .. } | ArchiveError::Incomplete(_)) => {
                "it is damaged, or was saved without it: save it anew (docker save, podman save, skopeo copy)"
            }
            Self::Archive(ArchiveError::Outdated) => {
                "convert it with what wrote it, or import the tar of a container: docker export"
            }
            Self::SizeOfExt4 => "import it without --size; `resize2fs FILE SIZE` changes its size",
            Self::Changed => "wait until nobody writes to it, then import it again",
            _ => return None,
        };
        Some(hint.into())
    }
}

/// What the user has named.
enum Given {
    File(Opened),
    /// With container images.
    Directory(PathBuf, ArchiveFiles),
}

impl Given {
    async fn in_background(path: PathBuf) -> Result<Self, ImportError> {
        let look = move || match ArchiveFiles::in_directory(&path) {
            Some(files) if path.is_dir() => Ok(Self::Directory(path, files)),
            _ => Opened::new(&path).map(Self::File),
        };
        tokio::task::spawn_blocking(look).await.map_err(ArtifactError::from)?
    }
}

/// A file of the user's, opened, and as it was then.
struct Opened {
    file: File,
    path: PathBuf,
    format: ImageFormat,
    version: Version,
}

/// Tells a file that was changed from one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    len: u64,
    mtime_unix_ns: i128,
}

impl Version {
    fn of(meta: &std::fs::Metadata) -> Self {
        let mtime_unix_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Self { len: meta.len(), mtime_unix_ns }
    }
}

impl Opened {
    async fn in_background(path: PathBuf) -> Result<Self, ImportError> {
        tokio::task::spawn_blocking(move || Self::new(&path)).await.map_err(ArtifactError::from)?
    }

    fn new(path: &Path) -> Result<Self, ImportError> {
        let failed = |action| move |source| ImportError::File { action, source };
        // Opening a FIFO would wait for a writer.
        let meta = path.metadata().map_err(failed("found"))?;
        let kind = meta.file_type();
        let what = match () {
            () if kind.is_file() => None,
            () if kind.is_dir() => Some("a directory"),
            () if kind.is_block_device() => Some("a block device"),
            () => Some("something else"),
        };
        if let Some(what) = what {
            return Err(ImportError::NoFile { what });
        }
        let path = path.canonicalize().map_err(failed("found"))?;
        let file = File::open(&path).map_err(failed("opened"))?;
        let version = Version::of(&file.metadata().map_err(failed("read"))?);
        let format = recognise(&file)?;
        Ok(Self { file, path, format, version })
    }

    fn in_place(&self) -> InPlace {
        InPlace { path: self.path.clone(), mtime_unix_ns: self.version.mtime_unix_ns }
    }

    /// # Errors
    ///
    /// When the file is another one now than when it was opened.
    fn unchanged(&self) -> Result<(), ImportError> {
        let now = self.file.metadata().map_err(|source| ImportError::File { action: "read", source })?;
        if Version::of(&now) == self.version { Ok(()) } else { Err(ImportError::Changed) }
    }
}

/// Is a file that is used in place still what it was?
pub(super) fn is_as_imported(in_place: &InPlace, size_bytes: u64) -> bool {
    in_place.path.metadata().is_ok_and(|meta| {
        let now = Version::of(&meta);
        meta.is_file() && now.len == size_bytes && now.mtime_unix_ns == in_place.mtime_unix_ns
    })
}

impl ImageService {
    /// Makes an image of a local file.
    ///
    /// # Errors
    ///
    /// When the name is taken or the file is none that an image can be made of. Nothing is left then.
    pub async fn import(&self, request: &ImportRequest, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        check_image_name(&request.name)
            .map_err(|source| ImageError::Name { name: request.name.clone(), source })?;
        let failed =
            |source: ImportError| ImageError::Import { path: request.path.clone(), source: source.into() };
        let given = Given::in_background(request.path.clone()).await.map_err(failed)?;
        let turn = turn(&self.flights, &request.name, reporter).await;
        let _turn = turn.map_err(ImportError::from).map_err(failed)?;
        if self.store.image(&request.name)?.is_some() {
            return Err(ImageError::NameTaken { name: request.name.clone() });
        }
        let finished = match given {
            Given::File(opened) if request.in_place => return self.use_in_place(request, &opened),
            Given::File(opened) => self.import_file(request, opened, reporter).await,
            Given::Directory(..) if request.in_place => Err(ImportError::NoFilesystem("a container image")),
            Given::Directory(path, files) => {
                self.convert_directory(&path, files, self.choice(request), reporter).await
            }
        };
        let mut finished = finished.map_err(failed)?;
        finished.details.kernel = request.kernel.clone();
        self.publish(&request.name, finished, None).await
    }

    fn choice(&self, request: &ImportRequest) -> ImageChoice {
        let (name, tag) = (request.name.clone(), request.tag.clone());
        ImageChoice { name, tag, size: self.size_of(request.size_mib) }
    }

    async fn import_file(
        &self,
        request: &ImportRequest,
        opened: Opened,
        reporter: &Reporter,
    ) -> Result<Finished, ImportError> {
        let unreadable = |source| ImportError::File { action: "read", source };
        let has_size = request.size_mib.is_some();
        match opened.format {
            ImageFormat::Ext4 { .. } if has_size => Err(ImportError::SizeOfExt4),
            ImageFormat::Ext4 { .. } if request.tag.is_some() => Err(ImportError::NothingToChoose),
            ImageFormat::Ext4 { size_bytes } => {
                reporter.stage(Stage::Image, format!("copying {}", opened.path.display()));
                self.copy(opened, size_bytes, reporter).await
            }
            ImageFormat::Tar(_) if is_bundle(&opened.file).map_err(unreadable)? => {
                if has_size {
                    return Err(ImportError::SizeOfExt4);
                }
                if request.tag.is_some() {
                    return Err(ImportError::NothingToChoose);
                }
                Ok(self.unpack_bundle(&opened.path, reporter).await?)
            }
            ImageFormat::Tar(compression) => {
                let tarball = Tarball { path: opened.path.clone(), compression };
                let finished = self.convert(tarball, self.choice(request), reporter).await?;
                opened.unchanged()?;
                Ok(finished)
            }
        }
    }

    fn use_in_place(&self, request: &ImportRequest, opened: &Opened) -> Result<ImageRow, ImageError> {
        let refused = match opened.format {
            ImageFormat::Tar(_) => ImportError::NoFilesystem("a tarball"),
            ImageFormat::Ext4 { .. } if request.size_mib.is_some() => ImportError::SizeOfExt4,
            ImageFormat::Ext4 { .. } if request.tag.is_some() => ImportError::NothingToChoose,
            ImageFormat::Ext4 { .. } => return self.register(request, opened),
        };
        Err(ImageError::Import { path: request.path.clone(), source: refused.into() })
    }

    /// Takes note of a file that is used where it lies.
    fn register(&self, request: &ImportRequest, opened: &Opened) -> Result<ImageRow, ImageError> {
        let row = ImageRow {
            id: ArtifactStore::new_id(),
            name: request.name.clone(),
            source: opened.path.display().to_string(),
            size_bytes: opened.version.len,
            // Reading it all takes as long as a copy, and says nothing of the file as it will be tomorrow.
            sha256: String::new(),
            created_at_unix_ms: unix_ms(),
            details: ImageDetails {
                in_place: Some(opened.in_place()),
                kernel: request.kernel.clone(),
                ..ImageDetails::default()
            },
        };
        let noted = record::write(&self.in_place_record(&row.id), &row);
        noted.map_err(|source| self.got(&row.name, source.into()))?;
        if let Err(error) = self.record(&row, None) {
            self.forget_in_place(&row.id);
            return Err(error);
        }
        Ok(row)
    }

    /// Makes a copy of banger's own of an image that is used in place, for its VMs from their next start on.
    ///
    /// # Errors
    ///
    /// When it is not used in place, or the file has changed. It is as it was then.
    pub async fn promote(&self, name: &str, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        let _turn = turn(&self.flights, name, reporter).await.map_err(|error| self.got(name, error))?;
        let Some(row) = self.find(name)? else { return Err(self.not_here(name).await) };
        let Some(in_place) = &row.details.in_place else {
            return Err(ImageError::Managed { name: row.name });
        };
        if !is_as_imported(in_place, row.size_bytes) {
            return Err(self.lost(&row)?);
        }
        let failed =
            |source: ImportError| ImageError::Import { path: in_place.path.clone(), source: source.into() };
        let opened = Opened::in_background(in_place.path.clone()).await.map_err(failed)?;
        reporter.stage(Stage::Image, format!("copying {}", in_place.path.display()));
        let size_bytes = opened.version.len;
        let finished = self.copy(opened, size_bytes, reporter).await.map_err(failed)?;
        let mut managed = row.clone();
        managed.sha256 = finished.sha256;
        managed.details.in_place = None;
        let (staging, dest) = (finished.staging, self.artifacts.dir(&row.id));
        let recorded = record::write(&staging.path().join(RECORD), &managed);
        recorded.map_err(|source| self.got(name, source.into()))?;
        let moved = tokio::task::spawn_blocking(move || staging.publish(&dest)).await;
        moved.map_err(ArtifactError::from).and_then(|moved| Ok(moved?)).map_err(|e| self.got(name, e))?;
        // From here on the copy counts; before, nobody looks at it.
        if self.store.update_image(&managed)? {
            self.forget_in_place(&row.id);
            return Ok(managed);
        }
        self.remove_files(&row.id).await;
        Err(self.not_here(name).await)
    }

    /// Copies the first `size_bytes` of a file, with its holes.
    async fn copy(
        &self,
        opened: Opened,
        size_bytes: u64,
        reporter: &Reporter,
    ) -> Result<Finished, ImportError> {
        let held_bytes = opened.file.metadata().map_or(size_bytes, |meta| meta.blocks() * 512);
        self.artifacts.require_space(held_bytes.min(size_bytes) >> 20)?;
        let staging = self.artifacts.staging()?;
        let source = opened.path.display().to_string();
        let copied = in_staging(staging, reporter, move |work| {
            let sha256 = copy(&opened.file, size_bytes, work)?;
            Ok(opened.unchanged().map(|()| sha256))
        });
        let (staging, sha256) = copied.await?;
        Ok(Finished { staging, source, size_bytes, sha256: sha256?, details: ImageDetails::default() })
    }

    pub(super) fn got(&self, name: &str, source: ArtifactError) -> ImageError {
        ImageError::Get { name: name.into(), source }
    }
}

/// Copies into the staging directory; answers the checksum.
fn copy(from: &File, size_bytes: u64, work: &Work<'_>) -> Result<String, ArtifactError> {
    let path = staged_file(work.dir);
    let to = File::create_new(&path).map_err(ArtifactError::io("create", &path))?;
    to.set_len(size_bytes).map_err(ArtifactError::io("set the size of", &path))?;
    let zeros = vec![0; 1 << 20];
    let mut hash = Sha256::new();
    let copied: Result<ControlFlow<()>, std::io::Error> = read_sparse(from, size_bytes, |offset, piece| {
        match piece {
            Piece::Data(bytes) => hash.update(bytes),
            Piece::Zeros(mut len) => {
                while len > 0 {
                    let now = len.min(zeros.len() as u64);
                    hash.update(&zeros[..now as usize]);
                    len -= now;
                    if work.progress(offset + piece.len() - len, size_bytes).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
        }
        write_piece(&to, offset, piece)?;
        Ok(work.progress(offset + piece.len(), size_bytes))
    });
    match copied.map_err(ArtifactError::io("write", &path))? {
        ControlFlow::Break(()) => return Err(ArtifactError::Cancelled),
        ControlFlow::Continue(()) => {}
    }
    protect(&path)?;
    Ok(hex::encode(hash.finalize()))
}
