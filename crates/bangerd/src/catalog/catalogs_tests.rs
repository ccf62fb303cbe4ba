use std::path::PathBuf;
use std::sync::atomic::Ordering;

use banger_api::Event;

use super::*;
use crate::artifact::fake::reported;
use crate::download::Environment;
use crate::download::fake::FakeWeb;

const URL: &str = "https://h.example/catalog.json?token=secret";

struct Home {
    dir: tempfile::TempDir,
    web: Arc<FakeWeb>,
}

impl Home {
    fn new() -> Self {
        let home = Self { dir: tempfile::tempdir().unwrap(), web: Arc::default() };
        std::fs::create_dir(home.cache()).unwrap();
        home
    }

    fn file(&self, name: &str, text: &str) -> CatalogPlace {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        CatalogPlace::File(path)
    }

    fn catalog(&self, places: &[CatalogPlace]) -> Catalog {
        let web: Arc<dyn Web> = self.web.clone();
        Catalog::with(places, &self.cache(), &web)
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }
}

fn kernel(name: &str, suite: &str) -> String {
    let source = format!(r#"{{"kind": "debian", "suite": "{suite}", "recipe": "kernel"}}"#);
    format!(r#"{{"kernels": [{{"name": "{name}", "source": {source}}}]}}"#)
}

async fn find(catalog: &Catalog, name: &'static str) -> (Option<String>, Vec<String>) {
    let catalog = catalog.clone();
    let (found, events) =
        reported(move |reporter| async move { catalog.find(Kind::Kernel, name, &reporter).await }).await;
    let notices = events.into_iter().filter_map(|event| match event {
        Event::Notice { text } => Some(text),
        _ => None,
    });
    (found.map(|entry| entry.source.to_string()), notices.collect())
}

#[tokio::test]
async fn hints_name_the_nearest_or_all_and_what_is_wrong() {
    let catalog = Catalog::builtin();
    let here = || vec!["debian-6.1".to_owned(), "mine".to_owned()];
    assert_eq!(catalog.hint(Kind::Image, "debian-trixi", vec![]).await, "did you mean debian-trixie?");
    assert_eq!(catalog.hint(Kind::Kernel, "mien", here()).await, "did you mean mine?");
    let hint = catalog.hint(Kind::Kernel, "linux", here()).await;
    assert_eq!(hint, "these can be had: debian-6.1, mine, debian-6.12");
    for (name, expected) in [
        ("mien", "did you mean mine?"),
        ("debian-6.12", "it is in the catalog, but not on this host"),
        ("linux", "`banger kernel list` shows those on this host"),
    ] {
        assert_eq!(catalog.hint_here(Kind::Kernel, name, here()).await, expected);
    }
    let home = Home::new();
    let catalog = home.catalog(&[CatalogPlace::File("/nonexistent/c.json".into())]);
    let hint = catalog.hint(Kind::Kernel, "debian-6.2", vec![]).await;
    assert!(hint.starts_with("did you mean debian-6.1") && hint.contains("/nonexistent/c.json"), "{hint}");
}

#[tokio::test]
async fn the_first_one_that_has_a_name_wins_and_the_others_are_told() {
    let home = Home::new();
    home.web.put(URL, kernel("mine", "web"));
    let places = [
        CatalogPlace::Url(URL.into()),
        home.file("a.json", &kernel("mine", "first")),
        home.file("b.json", &kernel("mine", "second")),
        home.file("c.json", &kernel("debian-6.12", "other")),
    ];
    let catalog = home.catalog(&places);
    let (found, notices) = find(&catalog, "mine").await;
    assert_eq!(found.unwrap(), "debian first");
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("b.json has kernel mine as well; the "), "{notices:?}");
    let (found, notices) = find(&catalog, "debian-6.12").await;
    assert_eq!(found.unwrap(), "debian trixie");
    assert!(notices[0].ends_with("the built-in one is used"), "{notices:?}");
    // A name that is found is no reason to ask anybody else.
    assert_eq!(home.web.asked.load(Ordering::SeqCst), 0);
    let entries = catalog.entries(Kind::Kernel, &Reporter::unwatched()).await;
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["debian-6.12", "debian-6.1", "mine"]);
    let shadowed: Vec<_> =
        catalog.states(&Environment::default()).await.into_iter().flat_map(|state| state.shadowed).collect();
    assert_eq!(shadowed, ["kernel mine", "kernel debian-6.12", "kernel mine"]);
}

#[tokio::test]
async fn a_broken_catalog_keeps_nobody_from_the_others() {
    let home = Home::new();
    let fifo = home.dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let places = [
        home.file("broken.json", "{\n  \"kernel\": []}"),
        CatalogPlace::File("/nonexistent/c.json".into()),
        home.file("large.json", &" ".repeat((4 << 20) + 1)),
        CatalogPlace::File(fifo),
        CatalogPlace::Url("https://h.example/none".into()),
        home.file("good.json", &kernel("mine", "sid")),
    ];
    let catalog = home.catalog(&places);
    let (found, notices) = find(&catalog, "mine").await;
    assert_eq!(found.unwrap(), "debian sid");
    for expected in
        ["broken.json:2:10: unknown field", "No such file", "more than 4 MiB", "not a regular file"]
    {
        assert!(notices.iter().any(|notice| notice.contains(expected)), "{expected}: {notices:?}");
    }
    let (found, notices) = find(&catalog, "other").await;
    assert_eq!(found, None);
    assert!(notices.iter().any(|notice| notice.contains("no network")), "{notices:?}");
    assert_eq!(find(&catalog, "debian-6.1").await.0.unwrap(), "debian bookworm");
}

#[tokio::test]
async fn an_address_is_asked_once_and_its_last_good_copy_is_used() {
    let home = Home::new();
    let places = [CatalogPlace::Url(URL.into())];
    home.web.put(URL, kernel("mine", "sid"));
    let catalog = home.catalog(&places);
    assert_eq!(find(&catalog, "mine").await, (Some("debian sid".into()), vec![]));
    assert_eq!(find(&catalog, "nothing").await, (None, vec![]));
    assert_eq!(home.web.asked.load(Ordering::SeqCst), 1);

    for broken in [true, false] {
        match broken {
            true => home.web.put(URL, "<html>"),
            false => home.web.remove(URL),
        }
        // As after a restart.
        let (found, notices) = find(&home.catalog(&places), "mine").await;
        assert_eq!(found.unwrap(), "debian sid");
        assert!(notices[0].ends_with("the copy of less than an hour ago is used"), "{notices:?}");
        assert!(!notices[0].contains("secret"), "{notices:?}");
    }
    std::fs::remove_dir_all(home.cache()).unwrap();
    assert_eq!(find(&home.catalog(&places), "mine").await.0, None);
}

#[tokio::test]
async fn bundles_are_found_from_where_their_catalog_is() {
    let home = Home::new();
    let entry = |path: &str| {
        let source = format!(r#"{{"kind": "bundle", "path": "{path}", "sha256": "{}"}}"#, "0".repeat(64));
        format!(r#"{{"kernels": [{{"name": "mine", "source": {source}}}]}}"#)
    };
    let places = [home.file("c.json", &entry("k.tar.zst"))];
    let expected = format!("bundle {}/k.tar.zst", home.dir.path().display());
    assert_eq!(find(&home.catalog(&places), "mine").await.0.unwrap(), expected);
    home.web.put(URL, entry("k.tar.zst"));
    let places = [CatalogPlace::Url(URL.into())];
    assert_eq!(find(&home.catalog(&places), "mine").await.0.unwrap(), "bundle https://h.example/k.tar.zst");
    home.web.put(URL, entry("/etc/passwd"));
    let (found, notices) = find(&home.catalog(&places), "mine").await;
    // The copy of before is still good.
    assert!(found.is_some() && notices[0].contains("downwards"), "{notices:?}");
}
