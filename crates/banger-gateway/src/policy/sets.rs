//! The sets of names that a policy may name by one word.
//!
//! Each holds the public names that the usual client of a service contacts to fetch, and no name that it does
//! not need. A wildcard stands only where the service itself makes up the names below it.

use super::name::Name;

/// A set: `@NAME` in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Without the `@`.
    pub name: &'static str,
    /// What can be done with it, for people.
    pub about: &'static str,
    /// Names, and `*.SUFFIX` for all below a name.
    pub names: &'static [&'static str],
}

impl Set {
    pub(super) fn by_name(name: &str) -> Option<&'static Self> {
        SETS.iter().find(|set| set.name == name)
    }

    /// Whether the set has the name, itself or by a wildcard.
    pub fn contains(&self, name: &Name) -> bool {
        self.names.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(suffix) => name.is_below(suffix),
            None => name.as_str() == *pattern,
        })
    }
}

/// All sets there are, in the order in which they are shown.
pub fn sets() -> &'static [Set] {
    SETS
}

const SETS: &[Set] = &[
    Set {
        name: "debian",
        about: "apt on Debian: the archive, its security updates, snapshots and old releases",
        names: &[
            "deb.debian.org",
            "security.debian.org",
            "ftp.debian.org",
            "cdn-fastly.deb.debian.org",
            "snapshot.debian.org",
            "archive.debian.org",
        ],
    },
    Set {
        name: "ubuntu",
        about: "apt on Ubuntu: the archive and its mirrors, ports, security updates, PPAs",
        names: &[
            "archive.ubuntu.com",
            "*.archive.ubuntu.com",
            "security.ubuntu.com",
            "ports.ubuntu.com",
            "esm.ubuntu.com",
            "old-releases.ubuntu.com",
            "changelogs.ubuntu.com",
            "ppa.launchpadcontent.net",
        ],
    },
    Set {
        name: "alpine",
        about: "apk on Alpine Linux",
        names: &[
            "dl-cdn.alpinelinux.org",
            "dl-2.alpinelinux.org",
            "dl-3.alpinelinux.org",
            "dl-4.alpinelinux.org",
            "dl-5.alpinelinux.org",
            "mirrors.alpinelinux.org",
        ],
    },
    Set {
        name: "pypi",
        about: "pip, uv and poetry: download of Python packages",
        names: &["pypi.org", "pypi.python.org", "files.pythonhosted.org"],
    },
    Set {
        name: "npm",
        about: "npm, pnpm and yarn: download of packages, and Node's headers to build native ones",
        names: &["registry.npmjs.org", "registry.yarnpkg.com", "repo.yarnpkg.com", "nodejs.org"],
    },
    Set {
        name: "crates",
        about: "cargo and rustup: the index, crates and toolchains",
        names: &["index.crates.io", "static.crates.io", "crates.io", "static.rust-lang.org"],
    },
    Set {
        name: "go",
        about: "go: modules through the proxy, checksums, toolchains (opens all of Google Cloud Storage)",
        names: &[
            "proxy.golang.org",
            "sum.golang.org",
            "go.dev",
            "golang.org",
            "dl.google.com",
            "storage.googleapis.com",
        ],
    },
    Set {
        name: "github",
        about: "git over https and ssh, the API, releases, LFS, raw files, packages and containers of GitHub",
        names: &[
            "github.com",
            "api.github.com",
            "codeload.github.com",
            "uploads.github.com",
            "gist.github.com",
            "ssh.github.com",
            "*.githubusercontent.com",
            "github-cloud.s3.amazonaws.com",
            "ghcr.io",
            "*.pkg.github.com",
        ],
    },
    Set {
        name: "gitlab",
        about: "git over https and ssh, the API, packages and containers of gitlab.com",
        names: &[
            "gitlab.com",
            "altssh.gitlab.com",
            "registry.gitlab.com",
            "cdn.registry.gitlab-static.net",
            "cdn.artifacts.gitlab-static.net",
        ],
    },
    Set {
        name: "dockerhub",
        about: "docker pull and push of images on Docker Hub",
        names: &[
            "registry-1.docker.io",
            "auth.docker.io",
            "index.docker.io",
            "docker.io",
            "hub.docker.com",
            "production.cloudflare.docker.com",
            "production.cloudfront.docker.com",
            "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
        ],
    },
    Set {
        name: "anthropic",
        about: "Anthropic's API and Claude Code, with login, updates and its own telemetry",
        names: &[
            "api.anthropic.com",
            "console.anthropic.com",
            "statsig.anthropic.com",
            "mcp-proxy.anthropic.com",
            "claude.ai",
            "downloads.claude.ai",
            "claude.com",
            "platform.claude.com",
        ],
    },
    Set {
        name: "openai",
        about: "OpenAI's API and Codex, with login",
        names: &["api.openai.com", "auth.openai.com", "chatgpt.com", "ab.chatgpt.com"],
    },
    Set {
        name: "google",
        about: "Gemini's API and Gemini CLI, with login, and Vertex AI at its global name",
        names: &[
            "generativelanguage.googleapis.com",
            "cloudcode-pa.googleapis.com",
            "aiplatform.googleapis.com",
            "oauth2.googleapis.com",
            "www.googleapis.com",
            "accounts.google.com",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_set_is_in_normal_form() {
        for set in sets() {
            assert!(set.name.bytes().all(|byte| byte.is_ascii_lowercase()), "{}", set.name);
            for pattern in set.names {
                let name = pattern.strip_prefix("*.").unwrap_or(pattern);
                assert_eq!(Name::from_user(name).unwrap().as_str(), name);
                assert!(name.contains('.'), "{name}");
            }
        }
    }

    #[test]
    fn a_set_has_its_names_and_what_is_below_its_wildcards() {
        let github = Set::by_name("github").unwrap();
        for (name, expected) in [
            ("github.com", true),
            ("raw.githubusercontent.com", true),
            ("githubusercontent.com", false),
            ("evil-githubusercontent.com", false),
            ("pages.github.com", false),
        ] {
            assert_eq!(github.contains(&Name::from_user(name).unwrap()), expected, "{name}");
        }
    }
}
