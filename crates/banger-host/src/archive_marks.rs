//! Told by names: an archive of container images is no root filesystem, not even one that is damaged.

/// Directories that every root filesystem has some of, and no archive of images any.
const OF_ROOTS: [&[u8]; 10] =
    [b"bin", b"sbin", b"etc", b"usr", b"lib", b"lib64", b"dev", b"proc", b"sys", b"var"];

/// What the names in a tar file have in common with those in an archive of images.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    here: Level,
    /// The same below the one directory that all of it is in.
    below: Level,
    /// The first name of the first path, and whether all paths begin with it.
    top: Option<Vec<u8>>,
    has_others: bool,
}

impl Marks {
    /// Takes note of an entry.
    pub(crate) fn see(&mut self, path: &[u8], is_file: bool) {
        let mut parts = path.splitn(2, |byte| *byte == b'/');
        let first = parts.next().unwrap_or_default();
        if first.is_empty() {
            return;
        }
        match &self.top {
            None => self.top = Some(first.to_vec()),
            Some(top) => self.has_others |= top != first,
        }
        self.here.see(path, is_file);
        match parts.next() {
            Some(rest) => self.below.see(rest, is_file),
            None => self.has_others |= is_file,
        }
    }

    /// The directory in which the images are, if it is an archive of images: mostly the root, which is empty.
    pub(crate) fn images(&self) -> Option<Vec<u8>> {
        if self.here.is_archive() {
            return Some(Vec::new());
        }
        self.top.clone().filter(|_| !self.has_others && self.below.is_archive())
    }

    /// Whether a `manifest.json` is worth a look: it may name layers by names that tell nothing.
    pub(crate) fn may_have_manifest(&self) -> bool {
        self.here.has_manifest && !self.here.is_root
    }
}

#[derive(Debug, Default)]
struct Level {
    is_root: bool,
    has_layout: bool,
    has_index: bool,
    has_manifest: bool,
    has_repositories: bool,
    /// By its digest, as an OCI layout has it.
    has_blob: bool,
    /// As Docker has it.
    has_layer: bool,
    /// Some other tar file beside the manifest.
    has_tar: bool,
    /// Anything but lists.
    has_more: bool,
}

impl Level {
    fn see(&mut self, path: &[u8], is_file: bool) {
        let parts: Vec<&[u8]> = path.splitn(4, |byte| *byte == b'/').collect();
        self.is_root |= OF_ROOTS.contains(&parts[0]);
        match parts[..] {
            [b"oci-layout"] => self.has_layout |= is_file,
            [b"index.json"] => self.has_index |= is_file,
            [b"manifest.json"] => self.has_manifest |= is_file,
            [b"repositories"] => self.has_repositories |= is_file,
            [b"blobs", b"sha256", name] => self.has_blob |= is_file && is_hex(name),
            [directory, b"layer.tar"] => {
                self.has_layer |= is_hex(directory);
                self.has_tar = true;
            }
            [name] if is_file => {
                let stem = [&b".tar.gz"[..], b".tgz", b".tar"].iter().find_map(|end| name.strip_suffix(*end));
                self.has_tar |= stem.is_some();
                self.has_layer |= stem.is_some_and(is_hex);
                // The configuration, as far as it is called by its digest.
                self.has_tar |= is_hex(name.strip_prefix(b"sha256:").unwrap_or_default());
                self.has_tar |= name.strip_suffix(b".json").is_some_and(is_hex);
                self.has_more |= !name.ends_with(b".json");
            }
            _ => self.has_more = true,
        }
    }

    fn is_archive(&self) -> bool {
        // A list of no images is no root, either.
        let is_docker = self.has_layer || self.has_manifest && (self.has_tar || !self.has_more);
        let is_outdated = self.has_repositories && self.has_tar;
        !self.is_root && (self.has_layout || self.has_blob || is_docker || is_outdated)
    }
}

/// Is it a SHA-256 digest?
fn is_hex(name: &[u8]) -> bool {
    name.len() == 64 && name.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn images(paths: &[&str]) -> Option<String> {
        let mut marks = Marks::default();
        for path in paths {
            let path = path.replace("HEX", HEX);
            marks.see(path.trim_end_matches('/').as_bytes(), !path.ends_with('/'));
        }
        marks.images().map(|top| String::from_utf8(top).unwrap())
    }

    #[test]
    fn archives_of_images_are_told_whole_or_damaged() {
        for paths in [
            &["oci-layout", "index.json", "blobs/", "blobs/sha256/", "blobs/sha256/HEX"][..],
            &["blobs/", "blobs/sha256/", "blobs/sha256/HEX"],
            &["oci-layout"],
            &["HEX/", "HEX/VERSION", "HEX/json", "HEX/layer.tar", "manifest.json", "repositories"],
            &["HEX/", "HEX/VERSION", "HEX/json", "HEX/layer.tar"],
            &["repositories", "abc/layer.tar", "abc/json"],
            &["manifest.json", "layer.tar", "config.json"],
            &["sha256:HEX", "HEX.tar.gz", "manifest.json"],
            &["HEX.tar.gz"],
            &["HEX.json", "manifest.json"],
        ] {
            assert_eq!(images(paths).as_deref(), Some(""), "{paths:?}");
        }
        let wrapped = ["app/", "app/oci-layout", "app/index.json", "app/blobs/sha256/HEX"];
        assert_eq!(images(&wrapped).as_deref(), Some("app"));
    }

    #[test]
    fn root_filesystems_are_not() {
        for paths in [
            &["bin/", "bin/busybox"][..],
            &["manifest.json", "app.tar", "etc/"],
            &["oci-layout", "usr/bin/x"],
            &["manifest.json", "app"],
            &["cat"],
            &["index.json", "assets/x.js"],
            &["app/", "app/oci-layout", "other"],
            &["var/lib/x/blobs/sha256/HEX", "opt/HEX/layer.tar"],
            &["manifest.json/", "x.tar/"],
            &[],
        ] {
            assert_eq!(images(paths), None, "{paths:?}");
        }
    }
}
