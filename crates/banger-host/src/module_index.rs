//! Which kernel modules are needed, and in which order.

use std::collections::{BTreeMap, BTreeSet};

/// How many soft dependencies are followed in a row: far more than any kernel has, and nothing that fills a
/// stack.
const SOFT_DEPTH_MAX: usize = 16;

/// A module that is asked for, by name (`-` and `_` mean the same).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedModule<'a> {
    pub name: &'a str,
    /// Do without it where the kernel has none.
    pub optional: bool,
}

impl<'a> WantedModule<'a> {
    pub fn required(name: &'a str) -> Self {
        Self { name, optional: false }
    }

    pub fn optional(name: &'a str) -> Self {
        Self { name, optional: true }
    }
}

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// As in modules.dep: relative to the release's directory, maybe compressed.
    pub path: String,
    /// Whether only optional modules need it.
    pub optional: bool,
}

impl Module {
    /// The plain file name: `dm-mod.ko`.
    pub fn file_name(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        name.find(".ko").map_or(name, |at| &name[..at + 3])
    }
}

/// What depmod's files say.
#[derive(Clone, Debug, Default)]
pub struct ModuleIndex {
    /// By normalised name: the path, and the paths of all it needs, the deepest last.
    loadable: BTreeMap<String, (String, Vec<String>)>,
    built_in: BTreeSet<String>,
    /// By normalised name: the normalised names of what should be loaded before, where there is a module for
    /// it.
    before: BTreeMap<String, Vec<String>>,
}

impl ModuleIndex {
    /// Lines that are not of the expected form are skipped: they cannot name a module.
    pub fn parse(dep: &str, builtin: &str) -> Self {
        let loadable = dep.lines().filter_map(|line| {
            let (path, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            Some((module_name(path)?, (path.trim().to_owned(), needs)))
        });
        let built_in = builtin.lines().filter_map(module_name);
        let before = BTreeMap::new();
        Self { loadable: loadable.collect(), built_in: built_in.collect(), before }
    }

    /// Adds what `modules.softdep` says, whose names are often aliases: ext4 asks the running kernel for
    /// `crypto-crc32c`, which several modules have. A kernel loads those by itself where there is a modprobe;
    /// an initramfs has none.
    pub fn add_soft_dependencies(&mut self, softdep: &str, alias: &str) {
        for line in softdep.lines() {
            let mut words = line.split_whitespace();
            let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { continue };
            let before =
                words.skip_while(|word| *word != "pre:").skip(1).take_while(|word| !word.ends_with(':'));
            self.before.entry(normalise(module)).or_default().extend(before.map(normalise));
        }
        let mut aliases: BTreeMap<String, Vec<String>> =
            self.before.values().flatten().map(|name| (name.clone(), Vec::new())).collect();
        for line in alias.lines() {
            let mut words = line.split_whitespace();
            let (Some("alias"), Some(name), Some(module)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if let Some(modules) = aliases.get_mut(&normalise(name)) {
                modules.push(normalise(module));
            }
        }
        for names in self.before.values_mut() {
            let found = names.iter().flat_map(|name| match self.loadable.contains_key(name) {
                true => vec![name.clone()],
                false => aliases[name].clone(),
            });
            *names = found.filter(|name| self.loadable.contains_key(name)).collect();
        }
    }

    /// How many modules can be loaded.
    pub fn len(&self) -> usize {
        self.loadable.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.loadable.is_empty()
    }

    /// Does none of them need another?
    pub(crate) fn is_independent(&self) -> bool {
        self.loadable.values().all(|(_, needs)| needs.is_empty())
    }

    /// The modules to load for `wanted`, in order; those in `loaded` are taken as there, and what is chosen
    /// is added to it. Also answers the optional ones that do not exist.
    ///
    /// # Errors
    ///
    /// The names of the required modules that do not exist.
    pub fn load_order(
        &self,
        wanted: &[WantedModule<'_>],
        loaded: &mut BTreeSet<String>,
    ) -> Result<(Vec<Module>, Vec<String>), Vec<String>> {
        let (mut order, mut missing): (Vec<Module>, Vec<String>) = (Vec::new(), Vec::new());
        // The required ones first: what both kinds need is then required.
        let (optional, required): (Vec<WantedModule<'_>>, Vec<_>) =
            wanted.iter().partition(|module| module.optional);
        let lacking: Vec<String> =
            required.iter().map(|module| normalise(module.name)).filter(|name| !self.has(name)).collect();
        if !lacking.is_empty() {
            return Err(lacking);
        }
        for module in required.into_iter().chain(optional) {
            let name = normalise(module.name);
            if self.built_in.contains(&name) {
                continue;
            }
            match self.loadable.contains_key(&name) {
                true => self.add((&name, SOFT_DEPTH_MAX), module.optional, loaded, &mut order),
                false => missing.push(name),
            }
        }
        Ok((order, missing))
    }

    /// Adds a loadable module behind all that comes before it, through at most so many soft dependencies.
    fn add(
        &self,
        (name, soft_depth): (&str, usize),
        optional: bool,
        loaded: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) {
        let Some((path, needs)) = self.loadable.get(name) else { return };
        // First of all: soft dependencies may go round in circles.
        let paths: Vec<&String> =
            needs.iter().rev().chain([path]).filter(|path| loaded.insert((*path).clone())).collect();
        for path in paths {
            let before = module_name(path).and_then(|name| self.before.get(&name)).into_iter().flatten();
            for name in before.take_while(|_| soft_depth > 0) {
                self.add((name, soft_depth - 1), true, loaded, order);
            }
            order.push(Module { path: path.clone(), optional });
        }
    }

    /// Is there a module of that normalised name?
    fn has(&self, name: &str) -> bool {
        self.built_in.contains(name) || self.loadable.contains_key(name)
    }
}

/// `kernel/fs/ext4/ext4.ko.xz` -> `ext4`.
fn module_name(path: &str) -> Option<String> {
    let name = path.trim().rsplit('/').next()?;
    let stem = &name[..name.find(".ko")?];
    (!stem.is_empty()).then(|| normalise(stem))
}

fn normalise(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEP: &str = "kernel/drivers/md/dm-mod.ko.xz:\n\
        kernel/drivers/md/dm-bufio.ko.xz: kernel/drivers/md/dm-mod.ko.xz\n\
        kernel/drivers/md/dm-snapshot.ko.xz: kernel/drivers/md/dm-bufio.ko.xz kernel/drivers/md/dm-mod.ko.xz\n\
        kernel/lib/crc32c-intel.ko.xz: kernel/drivers/md/dm-mod.ko.xz kernel/lib/only.ko.xz\n\
        kernel/lib/only.ko.xz:\n";

    fn names(order: &[Module]) -> Vec<(&str, bool)> {
        order.iter().map(|module| (module.file_name(), module.optional)).collect()
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let index = ModuleIndex::parse(DEP, "kernel/fs/ext4/ext4.ko\n");
        let wanted = [
            WantedModule::optional("crc32c-intel"),
            WantedModule::required("ext4"),
            WantedModule::required("dm_snapshot"),
            WantedModule::optional("virtio-rng"),
        ];
        let mut loaded = BTreeSet::new();
        let (order, missing) = index.load_order(&wanted, &mut loaded).unwrap();
        let expected = [
            ("dm-mod.ko", false),
            ("dm-bufio.ko", false),
            ("dm-snapshot.ko", false),
            ("only.ko", true),
            ("crc32c-intel.ko", true),
        ];
        assert_eq!(names(&order), expected);
        assert_eq!(missing, ["virtio_rng"]);
        // What an earlier list has loaded is not loaded again.
        assert!(index.load_order(&wanted, &mut loaded).unwrap().0.is_empty());
    }

    #[test]
    fn what_a_module_asks_the_kernel_for_comes_before_it() {
        let dep = "kernel/fs/ext4.ko: kernel/fs/jbd2.ko\nkernel/fs/jbd2.ko:\n\
            kernel/arch/crc32c-intel.ko:\nkernel/crypto/crc32c_generic.ko: kernel/crypto/hash.ko\n\
            kernel/crypto/hash.ko:\nkernel/other.ko:\n";
        let softdep = "# Soft dependencies\nsoftdep ext4 pre: crypto-crc32c nowhere post: other\n\
            softdep jbd2 pre: crypto-crc32c\nsoftdep crc32c_intel pre: ext4\nsoftdep other\n";
        let alias = "alias crypto-crc32c crc32c_intel\nalias pci:v*crc32c other\nalias crypto_crc32c crc32c_generic\n\
            alias crypto-crc32c gone\nalias\n";
        let mut index = ModuleIndex::parse(dep, "");
        index.add_soft_dependencies(softdep, alias);
        let (order, _) = index.load_order(&[WantedModule::required("ext4")], &mut BTreeSet::new()).unwrap();
        let expected = [
            ("crc32c-intel.ko", true),
            ("hash.ko", true),
            ("crc32c_generic.ko", true),
            ("jbd2.ko", false),
            ("ext4.ko", false),
        ];
        assert_eq!(names(&order), expected);
    }

    #[test]
    fn a_kernel_of_soft_dependencies_without_end_is_no_danger() {
        let dep: String = (0..100_000).map(|n| format!("m{n}.ko:\n")).collect();
        let softdep: String = (0..100_000).map(|n| format!("softdep m{n} pre: m{}\n", n + 1)).collect();
        let mut index = ModuleIndex::parse(&dep, "");
        index.add_soft_dependencies(&softdep, "");
        let (order, _) = index.load_order(&[WantedModule::required("m0")], &mut BTreeSet::new()).unwrap();
        assert_eq!((order.len(), order[0].file_name()), (SOFT_DEPTH_MAX + 1, "m16.ko"));
    }

    #[test]
    fn every_required_module_that_does_not_exist_is_named() {
        let index = ModuleIndex::parse(DEP, "");
        let wanted = ["ext4", "dm-mod", "virtio-blk"].map(WantedModule::required);
        let lacking = index.load_order(&wanted, &mut BTreeSet::new()).unwrap_err();
        assert_eq!(lacking, ["ext4", "virtio_blk"]);
    }

    proptest! {
        #[test]
        fn any_index_is_parsed(dep: String, builtin: String, softdep: String, alias: String, name: String) {
            let mut index = ModuleIndex::parse(&dep, &builtin);
            index.add_soft_dependencies(&softdep, &alias);
            let _ = index.load_order(&[WantedModule::required(&name)], &mut BTreeSet::new());
        }
    }
}
