//! A repository and, where the whole of it is wanted, the repositories inside it.

use std::path::Path;
use std::pin::Pin;

use banger_guest_protocol::ByteString;

use super::WorkspaceError;
use super::inspect::{GITLINK, History, Listing, Repository};
use super::off_the_workers::off_the_workers;

/// What is copied: the repository itself first, then its submodules.
#[derive(Debug)]
pub struct Checkout {
    pub(super) parts: Vec<Part>,
}

/// One repository of a checkout.
#[derive(Debug)]
pub(super) struct Part {
    /// Where it lies in the checkout; empty for the repository itself.
    pub(super) inside: ByteString,
    pub(super) repository: Repository,
    pub(super) listing: Listing,
    /// Only where the whole history is copied.
    pub(super) history: Option<History>,
}

impl Part {
    /// A path of this repository's, as the checkout has it.
    pub(super) fn path(&self, path: &[u8]) -> ByteString {
        join(&self.inside, path)
    }
}

/// `path` below `inside`. Either may be empty.
pub(super) fn join(inside: &ByteString, path: &[u8]) -> ByteString {
    match (inside.as_bytes(), path) {
        ([], path) => path.to_vec().into(),
        (inside, []) => inside.to_vec().into(),
        (inside, path) => [inside, b"/", path].concat().into(),
    }
}

impl Checkout {
    /// Looks at the repository that `path` is in; `whole`: at its history and its submodules as well.
    ///
    /// # Errors
    ///
    /// When there is none, or git cannot make sense of it.
    pub async fn look(path: &Path, from: Option<&str>, whole: bool) -> Result<Self, WorkspaceError> {
        let (path, from) = (path.to_owned(), from.map(str::to_owned));
        off_the_workers(async move { Self::look_at(&path, from.as_deref(), whole).await }).await
    }

    async fn look_at(path: &Path, from: Option<&str>, whole: bool) -> Result<Self, WorkspaceError> {
        let repository = Repository::open(path, from).await?;
        let listing = repository.list().await?;
        let history = if whole { Some(repository.history().await?) } else { None };
        let mut parts = vec![Part { inside: ByteString::default(), repository, listing, history }];
        if whole && from.is_none() {
            let mut submodules = Vec::new();
            find_submodules(&parts[0], &mut submodules).await?;
            parts.append(&mut submodules);
        }
        Ok(Self { parts })
    }

    /// The repository itself.
    pub fn repository(&self) -> &Repository {
        &self.parts[0].repository
    }

    pub fn listing(&self) -> &Listing {
        &self.parts[0].listing
    }
}

type Finding<'a> = Pin<Box<dyn Future<Output = Result<(), WorkspaceError>> + Send + 'a>>;

/// Adds the submodules of `part` that are checked out, and theirs.
fn find_submodules<'a>(part: &'a Part, found: &'a mut Vec<Part>) -> Finding<'a> {
    Box::pin(async move {
        for tracked in part.listing.tracked.iter().filter(|tracked| tracked.mode == GITLINK) {
            let place = part.repository.root().join(tracked.path.as_os_str());
            let repository = match Repository::open(&place, None).await {
                Err(WorkspaceError::NoSuchPath { .. }) => continue,
                opened => opened?,
            };
            // One that is not checked out is an empty directory of the repository around it.
            if place.canonicalize().ok().as_deref() != Some(repository.root()) {
                continue;
            }
            let listing = repository.list().await?;
            let history = Some(repository.history().await?);
            let submodule = Part { inside: part.path(tracked.path.as_bytes()), repository, listing, history };
            let mut inner = Vec::new();
            find_submodules(&submodule, &mut inner).await?;
            found.push(submodule);
            found.append(&mut inner);
        }
        Ok(())
    })
}
