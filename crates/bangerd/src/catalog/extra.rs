use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use banger_host::files::write_atomic;
use banger_registry::RegistryError;
use tokio::sync::Mutex;

use super::document::{Document, Mistake};
use super::{Entry, Source};
use crate::causes::on_one_line;
use crate::checksum::sha256;
use crate::download::{Environment, Web};

/// Longest catalog accepted, in bytes.
const MAX_LEN: u64 = 4 << 20;

/// How long an address may take to answer: people wait for what they asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long an answer is good for: one command asks several times.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// Where a catalog of the user's is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CatalogPlace {
    /// Absolute.
    File(PathBuf),
    Url(String),
}

impl fmt::Display for CatalogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            // What follows may be as good as a password.
            Self::Url(url) => f.write_str(url.split(['?', '#']).next().unwrap_or(url)),
        }
    }
}

/// Why a catalog cannot be used.
#[derive(Debug, thiserror::Error)]
enum CatalogError {
    #[error("catalog {place} could not be read")]
    Read { place: String, source: io::Error },
    #[error("catalog {place} is none: it has more than {} MiB", MAX_LEN >> 20)]
    TooLarge { place: String },
    #[error("catalog {0} is not a regular file")]
    NotFile(String),
    #[error("catalog {place}:{line}:{column}: {message}")]
    Wrong { place: String, line: usize, column: usize, message: String },
    #[error("catalog {place}: {message}")]
    WrongAtAll { place: String, message: String },
    #[error("catalog {place} could not be had")]
    Web { place: String, source: Box<RegistryError> },
    #[error("catalog {place} did not answer within {} s", ANSWER_LIMIT.as_secs())]
    Slow { place: String },
}

/// What is known of a catalog of the user's.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    /// Empty when there is only a problem.
    pub(super) document: Arc<Document>,
    /// For people, on one line.
    pub(super) problem: Option<String>,
}

/// What an address answered, to whom, and when.
struct Answer {
    asked: Instant,
    environment: Environment,
    loaded: Loaded,
}

/// A catalog of the user's.
pub(super) struct Extra {
    pub(super) place: CatalogPlace,
    /// For the last good copy of what an address answered.
    cache: PathBuf,
    web: Arc<dyn Web>,
    answer: Mutex<Option<Answer>>,
}

impl Extra {
    pub(super) fn new(place: CatalogPlace, cache: &Path, web: Arc<dyn Web>) -> Self {
        let cache = match &place {
            CatalogPlace::File(_) => cache.into(),
            CatalogPlace::Url(url) => cache.join(format!("{}.json", &sha256(url.as_bytes())[..32])),
        };
        Self { place, cache, web, answer: Mutex::default() }
    }

    pub(super) fn is_file(&self) -> bool {
        matches!(self.place, CatalogPlace::File(_))
    }

    /// What it has now; an address is not asked again for some seconds.
    pub(super) async fn load(&self, environment: &Environment) -> Loaded {
        let loaded = match &self.place {
            CatalogPlace::File(path) => match read_file(path).and_then(|text| self.parse(&text)) {
                Ok(document) => Loaded { document: Arc::new(document), problem: None },
                Err(error) => Loaded { document: Arc::default(), problem: Some(on_one_line(&error)) },
            },
            CatalogPlace::Url(url) => {
                let mut answer = self.answer.lock().await;
                // Whoever has set another proxy since then wants to see what comes of it.
                let good = |answer: &&Answer| {
                    answer.asked.elapsed() < GOOD_FOR && answer.environment == *environment
                };
                if let Some(answer) = answer.as_ref().filter(good) {
                    return answer.loaded.clone();
                }
                let loaded = self.ask(url, environment).await;
                let environment = environment.clone();
                *answer = Some(Answer { asked: Instant::now(), environment, loaded: loaded.clone() });
                loaded
            }
        };
        if let Some(problem) = &loaded.problem {
            tracing::warn!(problem, "a catalog");
        }
        loaded
    }

    async fn ask(&self, url: &str, environment: &Environment) -> Loaded {
        let place = || self.place.to_string();
        let text = self.web.text(url, MAX_LEN, environment);
        let answered = match tokio::time::timeout(ANSWER_LIMIT, text).await {
            Ok(Ok(text)) => self.parse(&text).map(|document| (document, text)),
            Ok(Err(source)) => Err(CatalogError::Web { place: place(), source: source.into() }),
            Err(_) => Err(CatalogError::Slow { place: place() }),
        };
        let error = match answered {
            Ok((document, text)) => {
                self.keep(&text);
                return Loaded { document: Arc::new(document), problem: None };
            }
            Err(error) => error,
        };
        let kept = read_file(&self.cache).and_then(|text| self.parse(&text));
        match kept {
            Ok(document) => {
                let problem = format!("{}; the copy of {} is used", on_one_line(&error), age(&self.cache));
                Loaded { document: Arc::new(document), problem: Some(problem) }
            }
            Err(_) => Loaded { document: Arc::default(), problem: Some(on_one_line(&error)) },
        }
    }

    /// Keeps the text for when the address cannot be reached. It is a cache: without it, there is no copy
    /// then.
    fn keep(&self, text: &str) {
        if let Err(error) = write_atomic(&self.cache, text.as_bytes(), 0o600) {
            tracing::warn!(path = %self.cache.display(), %error, "no copy of the catalog");
        }
    }

    fn parse(&self, text: &str) -> Result<Document, CatalogError> {
        let place = self.place.to_string();
        let mut document = Document::parse(text).map_err(|mistake| match mistake {
            Mistake { line: 0, message, .. } => CatalogError::WrongAtAll { place: place.clone(), message },
            Mistake { line, column, message } => {
                CatalogError::Wrong { place: place.clone(), line, column, message }
            }
        })?;
        for Entry { name, source, .. } in document.entries_mut() {
            if let Source::Bundle(bundle) = source {
                bundle.resolve(&self.place).map_err(|problem| CatalogError::WrongAtAll {
                    place: place.clone(),
                    message: format!("in {name:?}: {problem}"),
                })?;
            }
        }
        Ok(document)
    }
}

fn read_file(path: &Path) -> Result<String, CatalogError> {
    let place = || path.display().to_string();
    let failed = |source| CatalogError::Read { place: place(), source };
    // Opening a FIFO would wait for a writer.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(CatalogError::NotFile(place()));
    }
    let mut text = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut text)).map_err(failed)?;
    if text.len() as u64 > MAX_LEN {
        return Err(CatalogError::TooLarge { place: place() });
    }
    String::from_utf8(text)
        .map_err(|_| CatalogError::WrongAtAll { place: place(), message: "this is not UTF-8 text".into() })
}

/// How old a file is, in words.
fn age(path: &Path) -> String {
    // It is for show, in a warning.
    let modified = path.metadata().and_then(|meta| meta.modified()).ok();
    let age = modified.and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default();
    let hours = age.as_secs() / 3600;
    match hours {
        0 => "less than an hour ago".into(),
        1..48 => format!("{hours} hours ago"),
        _ => format!("{} days ago", hours / 24),
    }
}
