use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    text.parse::<Reference>().unwrap_or_else(|error| panic!("{text}: {error}")).to_string()
}

fn refusal(text: &str) -> String {
    match text.parse::<Reference>() {
        Ok(reference) => panic!("{text} was taken for {reference}"),
        Err(error) => error.to_string(),
    }
}

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn what_is_left_out_is_what_docker_would_add() {
    for (typed, meant) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("user/x", "docker.io/user/x:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/user/x", "docker.io/user/x:latest"),
        ("registry-1.docker.io/library/x", "docker.io/library/x:latest"),
        ("host.tld/x", "host.tld/x:latest"),
        ("HOST.tld/x", "host.tld/x:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("LocalHost/x", "localhost/x:latest"),
        ("localhost:5000/a/b/c:V1", "localhost:5000/a/b/c:V1"),
        ("host:5000/x", "host:5000/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        ("[::1]/x:1", "[::1]/x:1"),
        ("127.0.0.1:5000/a__b/c-d--e.f:_t", "127.0.0.1:5000/a__b/c-d--e.f:_t"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("docker.io", "docker.io/library/docker.io:latest"),
    ] {
        assert_eq!(canonical(typed), meant);
    }
}

#[test]
fn a_digest_wins_over_a_tag() {
    let pinned: Reference = format!("debian:bookworm@sha256:{HEX}").parse().unwrap();
    assert_eq!(pinned.to_string(), format!("docker.io/library/debian:bookworm@sha256:{HEX}"));
    assert_eq!(pinned.selector(), format!("sha256:{HEX}"));
    let untagged: Reference = format!("debian@sha256:{HEX}").parse().unwrap();
    assert_eq!(untagged.tag(), None);
    assert_eq!(untagged.familiar(), format!("debian@sha256:{HEX}"));
    assert_eq!("debian".parse::<Reference>().unwrap().selector(), "latest");
}

#[test]
fn the_familiar_form_leaves_out_what_nobody_types() {
    for (typed, familiar) in [
        ("alpine", "alpine:latest"),
        ("docker.io/library/debian:bookworm", "debian:bookworm"),
        ("docker.io/user/x:1", "user/x:1"),
        ("ghcr.io/team/app:1", "ghcr.io/team/app:1"),
        ("docker.io/library/a/b", "library/a/b:latest"),
        ("docker.io/a.b/c", "docker.io/a.b/c:latest"),
    ] {
        assert_eq!(typed.parse::<Reference>().unwrap().familiar(), familiar);
    }
}

#[test]
fn docker_hub_is_asked_at_its_own_address() {
    assert_eq!("alpine".parse::<Reference>().unwrap().api_host(), "registry-1.docker.io");
    assert_eq!("localhost:5000/x".parse::<Reference>().unwrap().api_host(), "localhost:5000");
}

#[test]
fn what_is_wrong_is_said_and_shown() {
    let long_tag = format!("x:{}", "t".repeat(129));
    let long_name = format!("host.tld/{}", "a".repeat(255));
    let sha512 = format!("x@sha512:{}", "0".repeat(128));
    for (typed, said) in [
        ("", "the image reference is empty"),
        (" \t", "the image reference is empty"),
        ("docker://alpine", "as in `alpine`"),
        ("https://ghcr.io/team/app", "as in `ghcr.io/team/app`"),
        ("https://hub.docker.com/_/debian/", "as in `debian`"),
        ("https://hub.docker.com/r/user/x", "as in `user/x`"),
        ("Alpine", "`Alpine` has upper-case letters, and repository names have none; write `alpine`"),
        ("user/App:1", "write `user/app`"),
        ("User/app:1", "write `user/app`"),
        ("host.tld/App", "write `app`"),
        ("host.tld/", "`` is no repository name"),
        ("/x", "is no repository name"),
        ("a//b", "`a//b` is no repository name"),
        ("a___b", "`a___b` is no repository name"),
        ("a..b", "`a..b` is no repository name"),
        ("-a", "`-a` is no repository name"),
        ("a b", "`a b` is no repository name"),
        ("../x", "`..` names no registry"),
        ("x/../y", "`x/../y` is no repository name"),
        ("a\u{1b}[2J", "`a\\u{1b}[2J` is no repository name"),
        ("x:", "`` is no tag"),
        ("x:-t", "`-t` is no tag"),
        ("x:a:b", "`a:b` is no tag"),
        ("x:tä", "`tä` is no tag"),
        (&long_tag, "is no tag"),
        (&long_name, "is longer than 255 characters"),
        ("host:0/x", "`host:0` names no registry"),
        ("host:99999/x", "`host:99999` names no registry"),
        ("host:+80/x", "`host:+80` names no registry"),
        ("host:/x", "`host:` names no registry"),
        ("-a.b/x", "`-a.b` names no registry"),
        ("[::1/x", "`[::1` names no registry"),
        ("[::g]:5/x", "names no registry"),
        ("[::1]5/x", "names no registry"),
        ("user:secret@host.tld/x", "a digest that cannot be used"),
        ("x@", "a digest that cannot be used"),
        (&sha512, "a digest that cannot be used"),
        ("@sha256:0", "a digest that cannot be used"),
    ] {
        let text = refusal(typed);
        assert!(text.contains(said), "{typed}: {text}");
    }
    assert!(refusal(&format!("@sha256:{HEX}")).contains("`` is no repository name"));
    assert!(refusal(&"A".repeat(100_000)).len() < 1000);
}

fn component() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}"
}

fn reference() -> impl Strategy<Value = String> {
    let registry = prop_oneof![
        Just(String::new()),
        "(docker\\.io|localhost|[a-z0-9]{1,4}(\\.[a-z0-9]{1,4}){1,2})(:[1-9][0-9]{0,3})?/",
        "\\[::[1-9]\\](:[1-9][0-9]{0,3})?/",
    ];
    let path = proptest::collection::vec(component(), 1..4);
    let tag = "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,9})?";
    let digest = "(@sha256:[0-9a-f]{64})?";
    (registry, path, tag, digest).prop_map(|(registry, mut path, tag, digest)| {
        // With a dot it would be a registry.
        if registry.is_empty() {
            path[0] = path[0].replace('.', "-");
        }
        registry + &path.join("/") + &tag + &digest
    })
}

proptest! {
    #[test]
    fn both_forms_mean_the_same_image(text in reference()) {
        let reference: Reference = text.parse().unwrap();
        prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference.clone());
        prop_assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
    }

    #[test]
    fn hostile_text_never_panics_and_what_is_taken_is_canonical(
        text in "\\PC{0,60}|[a-zA-Z0-9./:@_\\[\\]-]{0,60}"
    ) {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }
}
