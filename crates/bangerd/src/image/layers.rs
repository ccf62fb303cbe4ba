//! Packed layers, from a registry or an archive, on their way to one filesystem.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use banger_host::layer::{BlobPart, LayerBlob, Progress, unpack_layer};
use banger_host::tar_source::FileContent;
use banger_registry::{Digest, ExposedPort, Protocol};

use crate::artifact::{ArtifactError, Work};
use crate::store::words::RunConfig;

/// How many layers are unpacked at once: each takes a core.
const UNPACKED_AT_ONCE: usize = 2;

/// A layer before it is unpacked.
#[derive(Clone, Debug)]
pub(super) struct PackedLayer {
    pub(super) path: PathBuf,
    /// The part of the file that it is, and what that is called.
    pub(super) part: Option<(String, FileContent)>,
    /// Of the packed bytes, where that is still to be checked.
    pub(super) digest: Option<Digest>,
    pub(super) size_bytes: u64,
    /// Of the tar inside.
    pub(super) diff_id: Digest,
}

impl PackedLayer {
    fn unpack(&self, spool: &Path, progress: Progress<'_>) -> Result<PathBuf, ArtifactError> {
        let part = self.part.as_ref().map(|(name, content)| BlobPart { name, content });
        let digest = self.digest.map(|digest| digest.to_string());
        let diff_id = self.diff_id.to_string();
        let (path, digest, diff_id) = (&self.path, digest.as_deref(), Some(&diff_id[..]));
        Ok(unpack_layer(&LayerBlob { path, part, digest, diff_id }, spool, progress)?.path)
    }
}

/// Unpacks the layers' blobs, each of them once, several at a time; answers their tars in the order of the
/// layers.
pub(super) fn unpack(
    layers: &[PackedLayer],
    into: &Path,
    work: &Work<'_>,
) -> Result<Vec<PathBuf>, ArtifactError> {
    let mut seen = HashSet::new();
    let distinct: Vec<&PackedLayer> = layers.iter().filter(|layer| seen.insert(layer.diff_id)).collect();
    let total_bytes = distinct.iter().map(|layer| layer.size_bytes).fold(0, u64::saturating_add);
    let (next, done_bytes, stop) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let worker = || {
        let mut tars = Vec::new();
        while let Some(layer) = distinct.get(next.fetch_add(1, Ordering::Relaxed)) {
            let spool = into.join(layer.diff_id.hex());
            let mut before = 0;
            let unpacked = layer.unpack(&spool, &mut |done, _| {
                let all = done_bytes.fetch_add(done - before, Ordering::Relaxed) + done - before;
                before = done;
                if stop.load(Ordering::Relaxed) {
                    ControlFlow::Break(())
                } else {
                    work.progress(all, total_bytes)
                }
            });
            tars.push((layer.diff_id, unpacked.inspect_err(|_| stop.store(true, Ordering::Relaxed))?));
        }
        Ok(tars)
    };
    let ended: Vec<Result<Vec<_>, ArtifactError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..UNPACKED_AT_ONCE).map(|_| scope.spawn(worker)).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join();
        workers.into_iter().map(|worker| join(worker).unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut tars = HashMap::new();
    // The one that failed says more than the one that was called off for it.
    let (cancelled, others): (Vec<_>, Vec<_>) =
        ended.into_iter().partition(|end| matches!(end, Err(ArtifactError::Cancelled)));
    for end in others.into_iter().chain(cancelled) {
        tars.extend(end?);
    }
    Ok(layers.iter().filter_map(|layer| tars.get(&layer.diff_id).cloned()).collect())
}

/// How an image's maker wants programs to be run in it.
pub(super) fn config(config: banger_registry::ImageConfig) -> RunConfig {
    let said = |text: String| (!text.is_empty()).then_some(text);
    RunConfig {
        env: config.env,
        working_dir: said(config.working_dir),
        user: said(config.user),
        entrypoint: config.entrypoint,
        cmd: config.cmd,
        exposed_ports: config.exposed_ports.into_iter().map(port).collect(),
    }
}

fn port(port: ExposedPort) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    format!("{}/{protocol}", port.port)
}
