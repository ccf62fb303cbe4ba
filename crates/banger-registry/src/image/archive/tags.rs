//! The images of an archive by their names, and the choice among them.

use super::super::printable;
use super::ArchiveError;
use crate::reference::Reference;

/// How many are named in an error.
const SHOWN: usize = 20;

/// An image of which only the names are known.
pub(super) trait Named {
    /// References in full, or tags alone.
    fn names(&self) -> &[String];
    /// What it is called where it has no name.
    fn digest(&self) -> String;
}

/// The one that is called `tag`, or the only one.
pub(super) fn choose<T: Named>(mut images: Vec<T>, tag: Option<&str>) -> Result<T, ArchiveError> {
    let all = printable_names(&images);
    if let Some(tag) = tag {
        // What is called so to the letter comes before what only ends so.
        let exact = |image: &T| image.names().iter().any(|name| is_same(name, tag)) || is_digest(image, tag);
        match images.iter().any(exact) {
            true => images.retain(exact),
            false => images.retain(|image| image.names().iter().any(|name| tag_of(name) == Some(tag))),
        }
    }
    match (images.len(), tag) {
        (1, _) => Ok(images.remove(0)),
        (0, None) => Err(ArchiveError::Empty),
        (0, Some(tag)) => Err(ArchiveError::NoSuchTag { tag: printable(tag, 200), images: all }),
        _ => Err(ArchiveError::Several { images: printable_names(&images) }),
    }
}

fn printable_names<T: Named>(images: &[T]) -> Vec<String> {
    let name = |image: &T| match image.names() {
        [] => image.digest(),
        names => printable(&names.join(" = "), 200),
    };
    let mut shown: Vec<String> = images.iter().take(SHOWN).map(name).collect();
    if images.len() > SHOWN {
        shown.push(format!("and {} more", images.len() - SHOWN));
    }
    shown
}

fn is_digest(image: &impl Named, tag: &str) -> bool {
    let digest = image.digest();
    digest == tag || digest.strip_prefix("sha256:") == Some(tag)
}

/// Whether two names mean one image: `alpine` is `docker.io/library/alpine:latest`.
fn is_same(name: &str, wanted: &str) -> bool {
    let full = |name: &str| Some(name.parse::<Reference>().ok()?.to_string());
    // A tag alone would be read as the name of a repository.
    let is_bare = |name: &str| !name.contains(['/', ':']);
    name == wanted || !is_bare(name) && full(name).is_some_and(|name| full(wanted).as_ref() == Some(&name))
}

fn tag_of(name: &str) -> Option<&str> {
    name.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
}

/// The first of an image's names that is a whole reference.
pub(super) fn reference(names: &[String]) -> Option<String> {
    let whole = names.iter().filter(|name| name.contains(['/', ':']));
    whole.filter_map(|name| name.parse::<Reference>().ok()).map(|name| name.to_string()).next()
}
