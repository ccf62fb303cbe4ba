use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<String, String> {
    text.parse::<Policy>().map(|policy| policy.to_string()).map_err(|error| error.to_string())
}

#[test]
fn every_form_of_an_entry_has_a_normal_form() {
    for (text, normal) in [
        ("internet", "internet"),
        ("NONE", "none"),
        (" all ", "all"),
        ("learn", "learn"),
        ("internet,internet", "internet"),
        ("internet,host:11434", "internet,host:11434"),
        ("host:11434,Internet", "internet,host:11434"),
        ("internet,registry.lan:5000", "internet,registry.lan:5000"),
        ("GitHub.com., *.Debian.ORG:443", "github.com,*.debian.org:443"),
        ("github.com,github.com", "github.com"),
        ("10.1.2.3,10.1.2.3/32:80,10.0.0.0/8:443", "10.1.2.3,10.1.2.3:80,10.0.0.0/8:443"),
        ("fd00::1,[fd00::1]:80,fd00::/8,[fd00::/8]:443", "fd00::1,[fd00::1]:80,fd00::/8,[fd00::/8]:443"),
        ("@npm,@GitHub", "@npm,@github"),
        ("bücher.example,*.bücher.example", "xn--bcher-kva.example,*.xn--bcher-kva.example"),
        ("0.0.0.0/0:443", "0.0.0.0/0:443"),
        ("internet,!evil.com,!*.evil.com,!10.0.0.0/8", "internet,!evil.com,!*.evil.com,!10.0.0.0/8"),
        ("none,!evil.com", "none,!evil.com"),
        ("registry:5000", "registry:5000"),
    ] {
        assert_eq!(parse(text).as_deref(), Ok(normal), "{text}");
        assert_eq!(parse(normal).as_deref(), Ok(normal), "{normal}");
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_write() {
    for (text, expected) in [
        ("", "it is empty"),
        ("github.com,", "it is empty"),
        ("a.com b.com", "separate entries by commas"),
        (
            "https://github.com/rust-lang/rust",
            "it is a URL, and a policy knows names and ports only; write `github.com`",
        ),
        ("http://registry.lan:5000/v2", "write `registry.lan:5000`"),
        ("ssh://git@github.com/x", "write `github.com`"),
        (
            "github.com/rust-lang",
            "it has a path, and a policy knows names and ports only; write `github.com`",
        ),
        ("github.com?x", "it has a path"),
        ("git@github.com:owner/repo", "before the `@`; write `github.com`"),
        ("*", "write `internet`"),
        ("*:443", "write `internet`"),
        ("a.*.com", "`*` may only stand first"),
        ("*a.com", "`*` may only stand first"),
        ("*.*.com", "`*` may only stand first"),
        (".debian.org", "write `*.debian.org`"),
        ("github.com:0", "from 1 to 65535"),
        ("github.com:70000", "from 1 to 65535"),
        ("github.com:", "from 1 to 65535"),
        ("github.com:https", "from 1 to 65535"),
        ("github.com:+443", "from 1 to 65535"),
        ("@nmp", "no such set; did you mean @npm? There are @debian @ubuntu"),
        ("@whatever", "no such set; there are @debian"),
        ("@npm:443", "a set takes no port; write `@npm`"),
        ("host", "needs a port, as in `host:11434`"),
        ("localhost:3000", "write `host:3000`"),
        ("localhost", "write `host:PORT`"),
        ("127.0.0.1:3000", "write `host:3000`"),
        ("[::1]:3000", "write `host:3000`"),
        ("::1", "write `host:PORT`"),
        ("host.vm:3000", "write `host:3000`"),
        ("169.254.169.254", "link-local address"),
        ("127.0.0.0/8", "never reached"),
        ("198.18.0.0/15", "never reached"),
        ("224.0.0.0/4", "never reached"),
        ("[::ffff:10.0.0.1]:80", "it has an IPv4 address inside"),
        ("64:ff9b::/96", "it has an IPv4 address inside"),
        ("10.0.0.1/8", "write `10.0.0.0/8`"),
        ("10.0.0.0/33", "no network"),
        ("10.0.0/8", "no network"),
        ("[10.0.0.1]:80", "no IPv6 address"),
        ("[fd00::1", "no IPv6 address"),
        ("[fd00::1]80", "no IPv6 address"),
        ("a:b:c", "no IPv6 address"),
        ("2130706433", "four decimal numbers"),
        ("0x7f.1:80", "four decimal numbers"),
        ("010.0.0.1", "four decimal numbers"),
        ("foo_bar!.com", "but not '!'"),
        ("a..b", "two dots"),
        ("all:443", "takes no port"),
        ("!internet", "a policy of its own"),
        ("all,internet", "`all` stands in the same policy"),
        ("none,github.com", "goes with no other entry"),
        ("github.com,none", "goes with no other entry"),
        ("none,all", "`none` stands in the same policy"),
        ("!evil.com", "write `internet` before it"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.starts_with("egress entry `"), "{text}: {error}");
    }
}

#[test]
fn an_error_names_the_entry_that_is_wrong() {
    let error = parse("github.com, https://gitlab.com ,a.com").unwrap_err();
    assert!(error.starts_with("egress entry `https://gitlab.com`: "), "{error}");
}

#[test]
fn serde_has_a_list_and_takes_one_text_too() {
    let policy: Policy = "internet,host:11434,!evil.com".parse().unwrap();
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(json, r#"["internet","host:11434","!evil.com"]"#);
    assert_eq!(serde_json::from_str::<Policy>(&json).unwrap(), policy);
    assert_eq!(serde_json::from_str::<Policy>(r#""internet,host:11434,!evil.com""#).unwrap(), policy);
    assert!(serde_json::from_str::<Policy>("[]").unwrap_err().to_string().contains("it is empty"));
    assert!(serde_json::from_str::<Policy>("3").unwrap_err().to_string().contains("an egress policy"));
    assert_eq!(Policy::default().to_string(), "internet");
}

fn entry() -> impl Strategy<Value = String> {
    let subject = prop_oneof![
        "[a-zA-Z][a-z0-9_-]{0,10}(\\.[a-z][a-z0-9-]{0,8}){1,3}\\.?",
        "\\*\\.[a-z]{1,8}\\.[a-z]{2,4}",
        "(1|8|10|172|192)(\\.[1-9][0-9]?){3}",
        "10\\.[0-9]{1,2}\\.0\\.0/16",
        "\\[fd00::[1-9a-f]{1,4}\\]",
        Just("host".to_owned()),
    ];
    let sets = prop::sample::select(sets()).prop_map(|set| format!("@{}", set.name));
    prop_oneof![
        4 => (subject.clone(), 1..=65535_u16).prop_map(|(subject, port)| format!("{subject}:{port}")),
        3 => subject.prop_filter("needs a port", |subject| subject != "host"),
        1 => sets,
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let base = prop::sample::select(&["internet", "all", "learn", ""][..]);
    let denied = prop::collection::vec(entry().prop_map(|entry| format!("!{entry}")), 0..3);
    (base, prop::collection::vec(entry(), 0..5), denied).prop_map(|(base, allowed, denied)| {
        let base = if base.is_empty() && allowed.is_empty() { "none" } else { base };
        let texts: Vec<_> = [base.to_owned()].into_iter().chain(allowed).chain(denied).collect();
        Policy::from_texts(texts.iter().filter(|text| !text.is_empty()))
            .expect("the strategy makes good entries")
    })
}

proptest! {
    #[test]
    fn a_policy_is_the_same_after_it_was_written_and_read(policy in policy()) {
        prop_assert_eq!(&policy.to_string().parse::<Policy>().unwrap(), &policy);
        prop_assert_eq!(&Policy::from_texts(policy.texts()).unwrap(), &policy);
        let json = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Policy>(&json).unwrap(), &policy);
    }

    #[test]
    fn any_text_is_a_policy_or_an_error(text in "[a-z0-9.:/@*!\\[\\], äß-]{0,40}") {
        if let Ok(policy) = text.parse::<Policy>() {
            prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        }
    }
}
