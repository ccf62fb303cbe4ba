//! For tests: a web in memory.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use banger_registry::{FileRequest, Progress, RegistryError};
use futures_util::future::BoxFuture;

use super::{Environment, OnProgress, Web};

/// Has what was put there, and nothing else.
#[derive(Default)]
pub(crate) struct FakeWeb {
    pages: Mutex<HashMap<String, Vec<u8>>>,
    /// How often it was asked.
    pub(crate) asked: AtomicUsize,
}

impl FakeWeb {
    pub(crate) fn put(&self, url: &str, bytes: impl Into<Vec<u8>>) {
        self.pages.lock().unwrap().insert(url.into(), bytes.into());
    }

    pub(crate) fn remove(&self, url: &str) {
        self.pages.lock().unwrap().remove(url);
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, RegistryError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let page = self.pages.lock().unwrap().get(url).cloned();
        let shown = url.split('?').next().unwrap_or(url);
        page.ok_or_else(|| RegistryError::Url { url: shown.into(), problem: "no network" })
    }
}

impl Web for FakeWeb {
    fn text<'a>(
        &'a self,
        url: &'a str,
        _limit_bytes: u64,
        _environment: &'a Environment,
    ) -> BoxFuture<'a, Result<String, RegistryError>> {
        Box::pin(async move { Ok(String::from_utf8(self.get(url)?).unwrap()) })
    }

    /// Leaves the checking to whoever tries what comes of a wrong file.
    fn file<'a>(
        &'a self,
        request: &'a FileRequest,
        staged: &'a Path,
        _environment: &'a Environment,
        on_progress: OnProgress<'a>,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move {
            let bytes = self.get(&request.url)?;
            let len = bytes.len() as u64;
            on_progress(Progress { total_bytes: len, done_bytes: len, reused_bytes: 0 });
            std::fs::write(staged, bytes).unwrap();
            Ok(())
        })
    }
}
