//! A tree of the size and shape of a small distribution, the same every time.

use super::fixture::{Layer, Meta};

/// A sequence of numbers without order.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// About as many entries, a sixteenth of them directories.
pub(crate) fn layer(entries: usize) -> Layer {
    let mut numbers = Numbers(4);
    let mut layer = Layer::new();
    layer.dir(".", &Meta::mode(0o755).mtime("1690000000"));
    let mut directories = vec![String::new()];
    let mut files: Vec<String> = Vec::new();
    let mut content = Vec::new();
    for index in 0..entries {
        let parent = &directories[numbers.below(directories.len() as u64) as usize];
        let path = format!("{parent}entry-{index}");
        let mtime =
            format!("{}.{:09}", 1_500_000_000 + numbers.below(200_000_000), numbers.below(1_000_000_000));
        match numbers.below(32) {
            0 | 1 if parent.matches('/').count() < 8 => {
                layer.dir(&path, &Meta::mode(0o755).mtime(&mtime));
                directories.push(path + "/");
            }
            2 | 3 => {
                layer.symlink(&path, format!("../entry-{}", numbers.below(entries as u64)));
            }
            4 if !files.is_empty() => {
                layer.link(&path, &files[numbers.below(files.len() as u64) as usize]);
            }
            _ => {
                let mode = [0o644, 0o755, 0o4755, 0o600][numbers.below(4) as usize];
                let magnitude = numbers.below(14);
                let len = numbers.below(1 << magnitude);
                content.clear();
                content.extend((0..len).map(|at| (at * index as u64 % 251) as u8));
                let meta = Meta::mode(mode).owner(numbers.below(3) * 1000, numbers.below(100)).mtime(&mtime);
                layer.file(&path, &meta, &content);
                files.push(path);
            }
        }
    }
    layer
}
