use proptest::prelude::*;

use super::*;

fn source(text: &str, registry: &str, repository: &str) -> Option<Source> {
    DockerConfig::parse(text.as_bytes()).unwrap().source(registry, repository).unwrap()
}

fn password(user: &str, password: &str) -> Option<Source> {
    Some(Source::Here(Credential::Password { user: user.to_owned(), password: Secret::new(password) }))
}

fn helper(name: &str, key: &str) -> Option<Source> {
    Some(Source::Helper { name: name.to_owned(), key: key.to_owned() })
}

#[test]
fn every_way_to_name_a_registry_is_understood() {
    // user:pass:word
    let auth = r#"{"auth":"dXNlcjpwYXNzOndvcmQ="}"#;
    for (key, registry) in [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("GHCR.io/v1/", "ghcr.io"),
        ("http://localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ] {
        let text = format!(r#"{{"auths":{{"{key}":{auth}}}}}"#);
        assert_eq!(source(&text, registry, "a/b"), password("user", "pass:word"), "{key}");
        assert_eq!(source(&text, "other.example", "a/b"), None, "{key}");
    }
}

#[test]
fn the_longest_repository_wins_and_ends_at_a_slash() {
    let text = r#"{"auths":{"q.io":{"password":"all"},"q.io/team":{"password":"team"},"q.io/team/app":{"password":"app"}}}"#;
    assert_eq!(source(text, "q.io", "team/app"), password("", "app"));
    assert_eq!(source(text, "q.io", "team/application"), password("", "team"));
    assert_eq!(source(text, "q.io", "teams/app"), password("", "all"));
}

#[test]
fn helpers_stores_and_tokens_are_found() {
    let text = r#"{"auths":{"a.io":{},"b.io":{"identitytoken":"it"},"d.io":{"registrytoken":"rt"}},
        "credsStore":"desktop","credHelpers":{"c.io":"gcloud","docker.io":"pass"},"HttpHeaders":{"x":"y"}}"#;
    assert_eq!(source(text, "a.io", "x"), helper("desktop", "a.io"));
    assert_eq!(source(text, "e.io", "x"), helper("desktop", "e.io"));
    assert_eq!(source(text, "c.io", "x"), helper("gcloud", "c.io"));
    assert_eq!(source(text, "docker.io", "x"), helper("pass", "https://index.docker.io/v1/"));
    assert_eq!(source(text, "b.io", "x"), Some(Source::Here(Credential::IdentityToken(Secret::new("it")))));
    assert_eq!(source(text, "d.io", "x"), Some(Source::Here(Credential::RegistryToken(Secret::new("rt")))));
}

#[test]
fn padding_may_lack_and_docker_pads_with_nul() {
    // "u:p\0\0"
    assert_eq!(source(r#"{"auths":{"a.io":{"auth":"dTpwAAA"}}}"#, "a.io", "x"), password("u", "p"));
    assert_eq!(source("{}", "a.io", "x"), None);
    assert_eq!(source(r#"{"auths":null,"credHelpers":null,"credsStore":null}"#, "a.io", "x"), None);
}

#[test]
fn a_bad_file_is_told_without_what_is_in_it() {
    for text in [
        "",
        "[",
        r#"{"auths":"hunter2"}"#,
        r#"{"auths":{"a.io":"hunter2"}}"#,
        r#"{"credsStore":["hunter2"]}"#,
    ] {
        let problem = DockerConfig::parse(text.as_bytes()).map(|_| ()).unwrap_err();
        let said = format!("{problem} {problem:?}");
        assert!(said.contains("line") && !said.contains("hunter2"), "{text}: {said}");
    }
    for auth in ["hunter2!", "aHVudGVyMg==", "/////w=="] {
        let text = format!(r#"{{"auths":{{"a.io":{{"auth":"{auth}"}}}}}}"#);
        let problem = DockerConfig::parse(text.as_bytes()).unwrap().source("a.io", "x").unwrap_err();
        assert_eq!(problem, ConfigProblem::Auth("a.io".to_owned()));
    }
}

proptest! {
    #[test]
    fn no_file_panics(bytes: Vec<u8>, key in "[a-z./:]{0,20}", auth in "[A-Za-z0-9+/=]{0,20}") {
        let _ = DockerConfig::parse(&bytes);
        let text = format!(r#"{{"auths":{{"{key}":{{"auth":"{auth}"}}}}}}"#);
        let _ = DockerConfig::parse(text.as_bytes()).unwrap().source("a.io", "x/y");
    }
}
