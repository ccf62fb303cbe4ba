//! Challenges, tokens, and where credentials do not go.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use banger_registry::{CredentialHelper, HelperFuture, HelperOutput, Keychain, RegistryError};

use crate::bench::{Bench, app, settings, shown};
use crate::images::{Content, is_blob, noise};
use crate::server::{Reply, Request, Server};

/// `user:hunter2`
const BASIC: &str = "Basic dXNlcjpodW50ZXIy";

/// A keychain with one file, which has this entry for a registry.
fn keychain(dir: &tempfile::TempDir, server: &Server, entry: &str) -> Keychain {
    let file = dir.path().join("config.json");
    std::fs::write(&file, format!(r#"{{"auths":{{"{}":{entry}}}}}"#, server.address)).unwrap();
    Keychain::new(vec![file], None)
}

const PASSWORD: &str = r#"{"auth":"dXNlcjpodW50ZXIy"}"#;

fn image() -> Content {
    Content::image(&[noise(1, 5000)])
}

/// Lets in who sends this, and tells all others how.
fn guarded(content: Content, wanted: &'static str, challenge: String) -> impl Fn(&Request) -> Reply {
    move |request| match request.header("authorization") {
        Some(sent) if sent == wanted => content.reply(request),
        _ => {
            Reply::new(401, r#"{"errors":[{"message":"who are you"}]}"#).with("WWW-Authenticate", &challenge)
        }
    }
}

#[tokio::test]
async fn basic_credentials_are_sent_where_they_are_asked_for() {
    let server = Server::start(guarded(image(), BASIC, "Basic realm=\"x\"".to_owned())).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with(&settings(), keychain(&dir, &server, PASSWORD));
    bench.pull(&server).await.unwrap();
    let unasked = server.requests().iter().filter(|r| r.header("authorization").is_none()).count();
    assert_eq!(unasked, 2, "the knock and the first question");

    let error = Bench::new().pull(&server).await.unwrap_err();
    let text = shown(&error);
    assert!(matches!(error, RegistryError::Denied { .. }), "{text}");
    assert!(text.contains("HTTP status 401: who are you"), "{text}");
    assert!(text.contains(&format!("docker login {}", server.address)), "{text}");
}

#[tokio::test]
async fn wrong_credentials_are_refused_once_and_never_shown() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/" => Reply::new(200, ""),
        // It says what it was told.
        _ => Reply::new(401, request.header("authorization").unwrap_or("who?"))
            .with("WWW-Authenticate", "Basic"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with(&settings(), keychain(&dir, &server, PASSWORD));
    let error = bench.pull(&server).await.unwrap_err();
    let text = shown(&error);
    assert!(text.contains("config.json were sent"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("dXNlcjpodW50ZXIy"), "{text}");
    assert_eq!(server.asked_for("/manifests/").len(), 2);
}

/// A token server that counts what it gives, and a registry that takes only the latest.
async fn with_tokens(
    content: Content,
    host: &str,
    answer: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> (Server, Server) {
    let tokens = Server::start_on(host, answer).await;
    let challenge = format!(
        "Bearer realm=\"{}\",service=\"the registry\",scope=\"repository:team/app:pull\"",
        tokens.url("/token?x=y")
    );
    let registry = Server::start(guarded(content, "Bearer good", challenge)).await;
    (registry, tokens)
}

#[tokio::test]
async fn a_token_is_got_once_at_another_host_and_without_credentials_if_there_are_none() {
    let (registry, tokens) =
        with_tokens(image(), "127.0.0.2", |_| Reply::new(200, r#"{"token":"good","expires_in":300}"#)).await;
    let bench = Bench::new();
    bench.pull(&registry).await.unwrap();
    bench.pull(&registry).await.unwrap();
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].query, "x=y&service=the+registry&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn the_token_server_is_told_who_asks() {
    let (registry, tokens) =
        with_tokens(image(), "127.0.0.2", |request| match request.header("authorization") {
            Some(BASIC) => Reply::new(200, r#"{"access_token":"good"}"#),
            _ => Reply::new(401, r#"{"details":"incorrect username or password"}"#),
        })
        .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with(&settings(), keychain(&dir, &registry, PASSWORD));
    bench.pull(&registry).await.unwrap();
    assert!(tokens.requests()[0].query.ends_with("&account=user"));

    let wrong = keychain(&dir, &registry, r#"{"username":"user","password":"swordfish"}"#);
    let text = shown(&Bench::with(&settings(), wrong).pull(&registry).await.unwrap_err());
    assert!(text.contains("incorrect username or password") && text.contains("docker login"), "{text}");
    assert!(!text.contains("swordfish"), "{text}");
}

#[tokio::test]
async fn an_identity_token_is_changed_for_an_access_token() {
    let (registry, tokens) =
        with_tokens(image(), "127.0.0.1", |_| Reply::new(200, r#"{"access_token":"good"}"#)).await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with(&settings(), keychain(&dir, &registry, r#"{"identitytoken":"it+&="}"#));
    bench.pull(&registry).await.unwrap();
    let asked = &tokens.requests()[0];
    assert_eq!(asked.method, "POST");
    assert_eq!(
        asked.body,
        "grant_type=refresh_token&service=the+registry&scope=repository%3Ateam%2Fapp%3Apull&client_id=banger&refresh_token=it%2B%26%3D"
    );
    assert_eq!((asked.header("authorization"), asked.query.as_str()), (None, "x=y"));

    let elsewhere = Server::start(|_| Reply::new(200, "")).await;
    let location = elsewhere.url("/take");
    let (registry, _tokens) = with_tokens(image(), "127.0.0.1", move |_| Reply::to(&location)).await;
    let bench = Bench::with(&settings(), keychain(&dir, &registry, r#"{"identitytoken":"it"}"#));
    let error = bench.pull(&registry).await.unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{}", shown(&error));
    assert_eq!(elsewhere.requests().len(), 0);
}

#[tokio::test]
async fn a_token_that_runs_out_on_the_way_is_renewed() {
    let layer = noise(1, 2 << 20);
    let content = Content::image(std::slice::from_ref(&layer));
    let tokens = Server::start(|request| {
        Reply::new(200, format!(r#"{{"token":"t{}","expires_in":3600}}"#, request.earlier))
    })
    .await;
    let challenge = format!("Bearer realm=\"{}\"", tokens.url("/token"));
    let registry = Server::start(move |request| {
        let resumed = is_blob(request, &layer) && request.earlier > 0;
        let wanted = if resumed { "Bearer t1" } else { "Bearer t0" };
        let reply = content.reply(request);
        match request.header("authorization") {
            Some(sent) if sent == wanted && is_blob(request, &layer) && !resumed => reply.cut_after(1 << 20),
            Some(sent) if sent == wanted => reply,
            _ => Reply::new(401, "").with("WWW-Authenticate", &challenge),
        }
    })
    .await;
    let (_, progress) = Bench::new().pull(&registry).await.unwrap();
    assert_eq!(progress.done_bytes, 2 << 20);
    assert_eq!(tokens.requests().len(), 2);
    assert!(tokens.requests()[0].query.contains("scope=repository%3Ateam%2Fapp%3Apull"));
}

#[tokio::test]
async fn a_registry_that_is_never_satisfied_is_left() {
    let (registry, tokens) =
        with_tokens(image(), "127.0.0.1", |_| Reply::new(200, r#"{"token":"bad"}"#)).await;
    let error = Bench::new().pull(&registry).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{}", shown(&error));
    assert_eq!((registry.asked_for("/manifests/").len(), tokens.requests().len()), (2, 1));
}

#[tokio::test]
async fn token_servers_that_make_no_sense_are_told() {
    for (answer, said) in [
        ("", "not the JSON of a token server"),
        (r#"{"token":["hunter2"]}"#, "not the JSON of a token server"),
        ("{}", "no token in it"),
        (r#"{"token":"a\nb"}"#, "characters that cannot be sent"),
    ] {
        let (registry, _tokens) = with_tokens(image(), "127.0.0.1", move |_| Reply::new(200, answer)).await;
        let text = shown(&Bench::new().pull(&registry).await.unwrap_err());
        assert!(text.contains(said) && !text.contains("hunter2"), "{answer}: {text}");
    }
    for realm in ["http://tokens.example/", "file:///x", "token", "http://u:p@127.0.0.1/"] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let server = Server::start(guarded(image(), "never", challenge)).await;
        let text = shown(&Bench::new().pull(&server).await.unwrap_err());
        assert!(text.contains("token server"), "{realm}: {text}");
    }
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let layer = noise(1, 2 << 20);
    let content = Content::image(std::slice::from_ref(&layer));
    let (honest, blob) = (content.clone(), layer.clone());
    let storage = Server::start_on("127.0.0.2", move |request| match request.path.as_str() {
        "/asks-too" => {
            let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
            Reply::new(401, "").with("WWW-Authenticate", &realm)
        }
        _ if request.earlier == 0 => Reply::ranged(request, &blob).cut_after(1 << 20),
        _ => Reply::ranged(request, &blob),
    })
    .await;
    let location = Arc::new(Mutex::new(storage.url("/signed?x=1")));
    let now = Arc::clone(&location);
    let registry = Server::start(move |request| {
        if request.header("authorization") != Some(BASIC) && request.path != "/v2/" {
            return Reply::new(401, "").with("WWW-Authenticate", "Basic");
        }
        if is_blob(request, &layer) { Reply::to(&now.lock().unwrap()) } else { honest.reply(request) }
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::with(&settings(), keychain(&dir, &registry, PASSWORD));
    bench.pull(&registry).await.unwrap();
    let starts: Vec<usize> = storage.requests().iter().map(Request::first_byte).collect();
    assert_eq!(starts, [0, 1 << 20]);

    *location.lock().unwrap() = storage.url("/asks-too");
    let bench = Bench::with(&settings(), keychain(&dir, &registry, PASSWORD));
    let error = bench.pull(&registry).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{}", shown(&error));
    assert_eq!(storage.asked_for("/token").len(), 0, "a stranger named a token server");
    for request in storage.requests() {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("referer"), None);
    }
}

/// Sleeps, fails or answers, as told by the registry's name.
struct Helper(&'static str);

impl CredentialHelper for Helper {
    fn get(&self, _program: String, _key: String) -> HelperFuture {
        let stdout = self.0.as_bytes().to_vec();
        let success = self.0.starts_with('{');
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok(HelperOutput { success, stdout })
        })
    }
}

#[tokio::test]
async fn a_broken_helper_is_a_warning_if_the_registry_is_open_and_the_reason_if_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    std::fs::write(&file, r#"{"credsStore":"fake"}"#).unwrap();
    let with =
        |says| Bench::with(&settings(), Keychain::new(vec![file.clone()], Some(Arc::new(Helper(says)))));
    let (open, _tokens) = with_tokens(image(), "127.0.0.1", |_| Reply::new(200, r#"{"token":"good"}"#)).await;
    let image = with("the keychain is locked").resolve(&app(&open)).await.unwrap();
    assert_eq!(image.warnings.len(), 1);
    assert!(image.warnings[0].to_string().contains("the keychain is locked"));

    let closed = Server::start(guarded(self::image(), BASIC, "Basic".to_owned())).await;
    let text = shown(&with("the keychain is locked").resolve(&app(&closed)).await.unwrap_err());
    assert!(text.contains("could not be used") && text.contains("the keychain is locked"), "{text}");
    with(r#"{"Username":"user","Secret":"hunter2"}"#).resolve(&app(&closed)).await.unwrap();
}
