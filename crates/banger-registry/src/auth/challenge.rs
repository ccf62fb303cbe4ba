//! `WWW-Authenticate`: how a registry wants to be told who asks.

/// One way that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Get a token at the realm.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// Send user and password.
    Basic,
}

/// Reads one header. Schemes that are not known, and a bearer scheme without a realm, are left out.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut offers: Vec<Offer<'_>> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = take_token(rest);
        if word.is_empty() {
            break;
        }
        let after = after.trim_start_matches([' ', '\t']);
        match after.strip_prefix('=') {
            Some(value) => {
                let Some((value, after)) = take_value(value.trim_start_matches([' ', '\t'])) else { break };
                if let Some(offer) = offers.last_mut() {
                    offer.parameters.push((word, value));
                }
                rest = after;
            }
            None => {
                offers.push(Offer { scheme: word, parameters: Vec::new() });
                rest = after;
            }
        }
    }
    offers.iter().filter_map(Offer::understood).collect()
}

struct Offer<'a> {
    scheme: &'a str,
    parameters: Vec<(&'a str, String)>,
}

impl Offer<'_> {
    fn understood(&self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !self.scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameter = |name: &str| {
            let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        Some(Challenge::Bearer {
            realm: parameter("realm")?,
            service: parameter("service"),
            scope: parameter("scope"),
        })
    }
}

fn take_token(text: &str) -> (&str, &str) {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/:".contains(&byte);
    let end = text.bytes().position(|byte| !inside(byte)).unwrap_or(text.len());
    text.split_at(end)
}

/// A token or a quoted string, and what follows it.
fn take_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = take_token(text);
        // `=` may end what is called token68; it means nothing here.
        return Some((token.to_owned(), rest.trim_start_matches('=')));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn the_challenges_of_registries_are_read() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#
            ),
            [bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/alpine:pull")
            )]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(
            parse(r#"Negotiate, bearer  Realm = "a,\"b\\" , scope="x y" , Basic realm=r"#),
            [bearer("a,\"b\\", None, Some("x y")), Challenge::Basic]
        );
        assert_eq!(parse("Bearer realm=https://h/t"), [bearer("https://h/t", None, None)]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        for header in [
            "",
            ",,,",
            "Bearer",
            "Bearer service=x",
            "Bearer realm=\"open",
            "Bearer realm=\"\"",
            "=",
            "\"",
            "Digest realm=x",
        ] {
            assert_eq!(parse(header), [], "{header}");
        }
        assert_eq!(parse("realm=x, Basic"), [Challenge::Basic]);
    }

    proptest! {
        #[test]
        fn no_header_panics(header in "\\PC{0,80}|[Bbearsic=\",\\\\ ]{0,60}") {
            parse(&header);
        }

        #[test]
        fn quoted_values_survive(realm in "[ -~]{1,40}") {
            let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(parse(&format!("Bearer realm=\"{quoted}\"")), [bearer(&realm, None, None)]);
        }
    }
}
