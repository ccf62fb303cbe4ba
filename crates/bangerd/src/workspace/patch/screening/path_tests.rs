//! Names, one by one: which rule they fall under, and which look alike and do not.

use super::names::fold;
use super::path_table::table;
use super::{Rule, Severity, path_rules};

const FOUND: &[(&str, Rule)] = &[
    (".git/config", Rule::GitDirectory),
    ("sub/.GIT/hooks/x", Rule::GitDirectory),
    ("GIT~1/config", Rule::GitDirectory),
    (".git./config", Rule::GitDirectory),
    (".git /config", Rule::GitDirectory),
    (".git::$INDEX_ALLOCATION/config", Rule::GitDirectory),
    (".g\u{200d}it/config", Rule::GitDirectory),
    ("a\\.git\\config", Rule::GitDirectory),
    (".git", Rule::GitDirectory),
    (".hg/hgrc", Rule::GitDirectory),
    ("hooks/pre-commit", Rule::GitHook),
    ("sub/hooks/deep/post-merge", Rule::GitHook),
    ("hooks/Pre-Push.exe", Rule::GitHook),
    (".hooks/update", Rule::GitHook),
    (".githooks/lib.sh", Rule::GitHook),
    ("githooks/commit-msg", Rule::GitHook),
    (".husky/_/husky.sh", Rule::GitHook),
    (".hus\u{212a}y/pre-commit", Rule::GitHook),
    (".pre-commit-config.yaml", Rule::HookManager),
    ("lefthook.yml", Rule::HookManager),
    (".lefthook-local.yaml", Rule::HookManager),
    (".overcommit.yml", Rule::HookManager),
    (".gitmodules", Rule::GitModules),
    ("GITMOD~1", Rule::GitModules),
    (".envrc", Rule::ShellEnvironment),
    ("mise.toml", Rule::ShellEnvironment),
    (".mise.local.toml", Rule::ShellEnvironment),
    ("mise.local.toml", Rule::ShellEnvironment),
    (".mise/tasks/build", Rule::ShellEnvironment),
    (".config/mise/config.toml", Rule::ShellEnvironment),
    (".bashrc", Rule::StartupFile),
    (".config/systemd/user/x.service", Rule::StartupFile),
    (".vimrc", Rule::ProjectStartup),
    (".exrc", Rule::ProjectStartup),
    (".nvim.lua", Rule::ProjectStartup),
    (".dir-locals.el", Rule::ProjectStartup),
    (".dir-locals-2.el", Rule::ProjectStartup),
    (".gdbinit", Rule::ProjectStartup),
    (".Rprofile", Rule::ProjectStartup),
    (".vscode/tasks.json", Rule::EditorTask),
    ("sub/.VSCode/Settings.json", Rule::EditorTask),
    (".v\u{17f}code/launch.json", Rule::EditorTask),
    ("x.code-workspace", Rule::EditorTask),
    (".idea/runConfigurations/x.xml", Rule::EditorTask),
    (".idea/workspace.xml", Rule::EditorTask),
    (".idea/misc.xml", Rule::EditorTask),
    ("rust-analyzer.toml", Rule::EditorTask),
    (".bsp/sbt.json", Rule::ProjectStartup),
    (".env", Rule::ShellInput),
    ("flake.nix", Rule::ShellInput),
    ("devbox.json", Rule::ShellInput),
    (".venv/pyvenv.cfg", Rule::ProjectStartup),
    (".openhands/setup.sh", Rule::AgentConfig),
    (".github/hooks/x.json", Rule::AgentConfig),
    ("vercel.json", Rule::ContinuousIntegration),
    ("pnpm-workspace.yaml", Rule::ToolConfig),
    (".bazeliskrc", Rule::BuildScript),
    ("CLAUDE.md", Rule::AgentInstructions),
    (".idea/tools/External Tools.xml", Rule::EditorTask),
    (".run/x.run.xml", Rule::EditorTask),
    (".zed/tasks.json", Rule::EditorTask),
    (".vs/launch.vs.json", Rule::EditorTask),
    (".devcontainer/devcontainer.json", Rule::DevEnvironment),
    (".devcontainer.json", Rule::DevEnvironment),
    (".gitpod.yml", Rule::DevEnvironment),
    ("sub/Desktop.ini", Rule::DesktopFile),
    ("read me.lnk", Rule::DesktopFile),
    (".claude/settings.json", Rule::AgentConfig),
    (".mcp.json", Rule::AgentConfig),
    (".cursor/mcp.json", Rule::AgentConfig),
    (".gemini/settings.json", Rule::AgentConfig),
    (".codex/config.toml", Rule::AgentConfig),
    (".cargo/config.toml", Rule::CargoConfig),
    ("sub/.cargo/config", Rule::CargoConfig),
    (".github/workflows/ci.yml", Rule::ContinuousIntegration),
    (".GitHub/Workflows/ci.yml", Rule::ContinuousIntegration),
    (".github/actions/x/action.yml", Rule::ContinuousIntegration),
    (".gitlab-ci.yml", Rule::ContinuousIntegration),
    (".gitlab/ci/x.yml", Rule::ContinuousIntegration),
    (".circleci/config.yml", Rule::ContinuousIntegration),
    ("Jenkinsfile", Rule::ContinuousIntegration),
    ("ci/Jenkinsfile.release", Rule::ContinuousIntegration),
    ("azure-pipelines-nightly.yml", Rule::ContinuousIntegration),
    (".woodpecker.yml", Rule::ContinuousIntegration),
    (".woodpecker/x.yaml", Rule::ContinuousIntegration),
    (".buildkite/pipeline.yml", Rule::ContinuousIntegration),
    (".forgejo/workflows/x.yaml", Rule::ContinuousIntegration),
    (".builds/alpine.yml", Rule::ContinuousIntegration),
    (".ci/run", Rule::ContinuousIntegration),
    ("build.rs", Rule::BuildScript),
    ("tests/conftest.py", Rule::BuildScript),
    ("sitecustomize.py", Rule::InterpreterStartup),
    ("x.pth", Rule::InterpreterStartup),
    (".npmrc", Rule::ToolConfig),
    (".yarnrc.yml", Rule::ToolConfig),
    (".lfsconfig", Rule::LfsConfig),
    ("rust-toolchain.toml", Rule::ToolConfig),
    ("AGENTS.md", Rule::AgentInstructions),
];

const HARMLESS: &[&str] = &[
    "src/main.rs",
    ".gitignore",
    ".gitkeep",
    "git/config",
    "x.git/file",
    "src/hooks/useState.ts",
    "src/hooks/update.ts",
    "pre-commit",
    "hooksx/pre-commit",
    "docs/pre-commit-config.yaml",
    "husky/pre-commit",
    ".vscode/extensions.json",
    "vscode/tasks.json",
    ".vscode/sub/tasks.json",
    ".github/CODEOWNERS",
    ".github/ISSUE_TEMPLATE/bug.md",
    "github/workflows/ci.yml",
    "workflows/ci.yml",
    ".gitlab/issue_templates/x.md",
    "ci/run",
    "envrc",
    "my.envrc",
    "premise.toml",
    "cargo/config.toml",
    ".cargo/audit.toml",
    "claude/settings.json",
    "Makefile",
    "pyproject.toml",
    "package.json",
    "builder.rs",
    "vimrc",
];

#[test]
fn names_fall_under_their_rule() {
    for (path, rule) in FOUND {
        assert_eq!(path_rules::matching(&fold(path.as_bytes()), false), [*rule], "{path}");
    }
}

#[test]
fn names_that_look_alike_do_not() {
    for path in HARMLESS {
        assert_eq!(path_rules::matching(&fold(path.as_bytes()), false), [], "{path}");
    }
}

#[test]
fn a_symlink_in_the_place_of_a_directory_is_taken_for_what_it_brings() {
    for (path, rule) in [
        (".vscode", Rule::EditorTask),
        ("sub/.idea", Rule::EditorTask),
        ("hooks", Rule::GitHook),
        (".husky", Rule::GitHook),
        (".git", Rule::GitDirectory),
        (".claude", Rule::AgentConfig),
        (".github/workflows", Rule::ContinuousIntegration),
        (".cargo", Rule::CargoConfig),
        (".envrc", Rule::ShellEnvironment),
    ] {
        assert!(path_rules::matching(path.as_bytes(), true).contains(&rule), "{path}");
    }
    for path in ["link", "vscode", "sub/workflows", "idea"] {
        assert_eq!(path_rules::matching(path.as_bytes(), true), [], "{path}");
    }
}

#[test]
fn every_rule_of_the_table_has_an_example() {
    let decided_by_more_than_a_name = [
        Rule::NestedRepository,
        Rule::HostConfigured,
        Rule::Ignored,
        Rule::LockedElsewhere,
        Rule::GitConfig,
        Rule::HooksPathMention,
        Rule::GitAttributes,
        Rule::Gitlink,
        Rule::SymlinkEscapes,
        Rule::SymlinkIntoGit,
        Rule::MovedSymlink,
        Rule::UnseenContent,
        Rule::Collision,
        Rule::HiddenName,
        Rule::NewExecutableBit,
        Rule::NewExecutable,
        Rule::LifecycleScript,
        Rule::BidiText,
        Rule::TextAsBinary,
        Rule::HidesChanges,
        Rule::OtherRepository,
        Rule::NamedUnasked,
    ];
    for rule in Rule::ALL {
        let is_shown = FOUND.iter().any(|(_, shown)| shown == rule);
        assert!(is_shown != decided_by_more_than_a_name.contains(rule), "{rule:?}");
    }
}

/// docs/risks.md is made of the table: `BANGER_UPDATE_DOCS=1 cargo test` writes it.
#[test]
fn the_docs_show_the_whole_table() {
    let mut text = String::from(RISKS);
    for rule in Rule::ALL {
        let severity =
            if rule.severity() == Severity::Risky { "refused unless `--allow-risky`" } else { "a notice" };
        let (word, actor) = (rule.word(), rule.actor().words());
        text +=
            &format!("\n## `{word}`: {severity}\n\nA file that {}. Acts on it: {actor}.\n", rule.reason());
        let names: Vec<String> =
            table().filter(|(of, _)| of == rule).map(|(_, pattern)| format!("`{pattern}`")).collect();
        if !names.is_empty() {
            text += &format!("\nNames: {}\n", names.join(", "));
        }
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/risks.md");
    if std::env::var_os("BANGER_UPDATE_DOCS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert!(std::fs::read_to_string(file).unwrap() == text, "docs/risks.md is older than the table");
}

const RISKS: &str = "\
# What an export looks for

`banger vm workspace export` reads the guest's changes and says what in them could run on the host, or make a program there run
something. What may do so without being asked is *risky*: the patch or branch is refused unless `--allow-risky` is given. What
needs an ordinary step of the user's, a build or a test, is a *notice*. docs/review.md says what is not looked for.

Names match in any directory and in any case. `*` stands for anything within a name, `**` for everything below a directory.
This file is made of the table in the code by a test.
";
