//! The names that something on the host acts on.
//!
//! Patterns are separated by spaces. They match in any directory, against a folded path, so they are in lower
//! case. `*` stands for anything within a component, a `**` at the end for everything below. What acts on
//! them, and whether it does so unasked, is said by their [`Rule`]; docs/risks.md shows all of it.

use super::Rule;

/// What git obeys, and what shells and interpreters read when they start.
pub(super) const OF_GIT_AND_SHELLS: &[(Rule, &str)] = &[
    (Rule::GitDirectory, ".hg/** .jj/** .sl/** .svn/** .bzr/** _darcs/** .pijul/** cvs/**"),
    (
        Rule::GitHook,
        ".githooks/** githooks/** .git-hooks/** git-hooks/** .husky/** git_hooks/** .git_hooks/** \
         .autohook/**",
    ),
    (
        Rule::HookManager,
        ".pre-commit-config.y*ml prek.toml lefthook*.y*ml lefthook*.toml lefthook*.json .lefthook* \
         .lefthook/** .overcommit.yml .git-hooks.y*ml .huskyrc* husky.config.* .cargo-husky/** \
         .rusty-hook.toml .simple-git-hooks.* simple-git-hooks.* .lintstagedrc* lint-staged.config.* \
         .commitlintrc* commitlint.config.* captainhook.json grumphp.y*ml .hooks.y*ml hk.pkl hk.toml \
         ghooks.json .vite-hooks/** .captainhook* .pre-commit-hooks.y*ml .husky.y*ml prek.y*ml",
    ),
    (Rule::GitModules, ".gitmodules gitmod~* gi7eba~*"),
    (Rule::LfsConfig, ".lfsconfig"),
    (
        Rule::ShellEnvironment,
        ".envrc .envrc.* .direnv/** .autoenv* mise*.toml .mise*.toml .mise/** mise/** .rtx*.toml .rtx/** \
         .kctxrc .shadowenv.d/** .flox/** .direnvrc .config/direnv/** .hermit/** bin/hermit.hcl \
         bin/activate-hermit .smartcd/** .smartcd .dirrc",
    ),
    (
        Rule::ShellInput,
        ".env .env.local .env.development .env.dev .env.production .env.test .env.staging .env.zsh .env.sh .flaskenv default.nix .nix/** .prototools .proto/** pkgx.y*ml .pkgx.y*ml aqua.y*ml .aqua/** flake.nix flake.lock shell.nix devbox.json \
         devbox.lock devenv.nix devenv.y*ml devenv.local.nix devenv.lock .tool-versions .asdfrc .in .out \
         .devshell.toml devshell.toml pixi.toml .ondir* .zsh-autoenv*",
    ),
    (
        Rule::StartupFile,
        ".bashrc .bash_profile .bash_login .bash_logout .bash_aliases .profile .zshrc .zshenv .zprofile \
         .zlogin .zlogout .kshrc .cshrc .tcshrc .login .xinitrc .xprofile .xsession* .tmux.conf .screenrc \
         .pam_environment .ssh/** .config/autostart/** .config/environment.d/** .config/fish/** \
         .config/git/** .config/systemd/user/** library/launchagents/** .bash_completion .inputrc .curlrc \
         .wgetrc .netrc .hgrc .emacs .emacs.d/** .gnupg/** .docker/config.json .kube/config .aws/** \
         .local/bin/** .local/share/applications/** .config/nvim/** .config/autostart-scripts/** \
         .config/plasma-workspace/** .config/hypr/** .config/sway/** .config/i3/** .pythonrc .pythonrc.py \
         .sqliterc .psqlrc .my.cnf .crontab .bashrc.d/** .lessfilter .lesskey .mailcap .wezterm.lua .p10k.zsh \
         .zimrc .xonshrc .config/nushell/** .config/starship.toml .subversion/config",
    ),
    (
        Rule::ProjectStartup,
        ".vimrc _vimrc .exrc _exrc .gvimrc .nvimrc .nvim.lua .lvimrc .local.vimrc .dir-locals*.el \
         .ycm_extra_conf.py .gdbinit .lldbinit .rprofile .renviron .rdata .vim/** .nvim/** .nvimrc.lua \
         .vimspector.json .projections.json .local.vim .emacs-project .gdbearlyinit .lldbinit-* .r2rc \
         .radare2rc pyvenv.cfg .bsp/** .ensime* .kakrc .kak/** .nanorc .vimrc.local .local-vimrc .exrc.lua .vim.local session.vim .session.vim \
         .tern-project hie.yaml .hie-bios startup.jl .julia/** .ipython/** ipython_config.py .watchmanconfig \
         .venv/** venv/**",
    ),
];

/// What editors, desktops and coding agents obey.
pub(super) const OF_EDITORS_AND_AGENTS: &[(Rule, &str)] = &[
    (
        Rule::EditorTask,
        ".vscode/tasks.json .vscode/settings.json .vscode/launch.json .vscode/mcp.json \
         .vscode/c_cpp_properties.json .vscode/cmake-kits.json *.code-workspace *.iws .run/*.run.xml \
         .fleet/** .zed/** .helix/** .nova/** .theia/** *.sublime-project *.sublime-workspace \
         .externaltoolbuilders/** .vs/** *.suo .idea/** .vscode/cmake-variants.* rust-analyzer.toml \
         .rust-analyzer.toml .clangd .ccls .luarc.json* .neoconf.json .nlsp-settings/** .nlsp.json \
         coc-settings.json .sourcekit-lsp/** .lsp.json .lsp/** .elixir_ls/** .metals/** .lite_project.lua \
         .lite/** .atom/** .cproject .project .settings/** .komodotools/** *.komodoproject *.geany \
         nbproject/** *.csproj.user *.vcxproj.user launch.vs.json tasks.vs.json launchsettings.json \
         .kdev4/** *.iml *.ipr *.launch .classpath .factorypath .bloop/** .trunk/** cppproperties.json \
         .solargraph.yml sorbet/config .phpactor.* .github/lsp.json .kateproject* .qtcreator/** *.pro.user*",
    ),
    (
        Rule::DevEnvironment,
        ".devcontainer/** .devcontainer.json .devfile.y*ml devfile.y*ml .gitpod.y*ml .gitpod/** .ona/** \
         .codesandbox/** .stackblitzrc .replit .idx/** dev.nix devcontainer-feature.json devspace.y*ml \
         .coder/** coder.y*ml .daytona/** .okteto/** okteto.y*ml .stackblitz/** .bolt/** .jetify/** \
         .hocus/** devpod.y*ml .devpod/** .lando.y*ml .ddev/**",
    ),
    (
        Rule::DesktopFile,
        "desktop.ini autorun.inf *.lnk *.scf *.library-ms *.searchconnector-ms .directory *.desktop *.url \
         *.webloc *.fileloc *.inetloc",
    ),
    (
        Rule::AgentConfig,
        ".claude/** .claude.json .claude-plugin/** .mcp.json mcp.json .cursor/** .gemini/** .codex/** \
         .agents/** .windsurf/** .kiro/** .continue/** .cline/** .roo/** .roomodes .opencode/** \
         opencode.json* .amazonq/** .qwen/** .factory/** .junie/** .trae/** .augment/** .goose/** \
         .crush/** .crush.json crush.json .github/hooks/** .openhands/** .openhands_instructions \
         .copilot/** .kilocode/** .kilocodemodes .cody/** .sourcegraph/** .tabnine/** .codeium/** .pi/** \
         .amp/** .zencoder/** .openclaw/** .antigravity/** .antigravitycli/** .aider* .rovodev/** \
         .warp/** .devin/** .jules/** .plandex/** .mcp/** .mcp.*.json mcp_config.json mcp_servers.json \
         .mcp-servers.json .aiassistant/** .ai/** .void/** .pearai/** .codebuddy/** .grok/** .iflow/** \
         .forge.y*ml .letta/** .swe-agent/** .agent/** .agents.json .llm/** .firebender/** \
         firebender.json .openai/** .vibe/** .conductor/** conductor.json .crystal/** \
         gemini-extension.json .serena/** .taskmaster/** .mentat/** .sweep/** sweep.y*ml .cubic/** \
         .fast-agent/** fastagent.config.yaml cagent.y*ml .kimi-cli/** oh-my-opencode.json* .github/copilot/** \
         .superset/** .emdash.json .config/wt.toml .worktreeinclude cubic.y*ml .coderabbit.y*ml .qodo/** .pr_agent.toml",
    ),
    (Rule::CargoConfig, ".cargo/config.toml .cargo/config"),
    (
        Rule::AgentInstructions,
        "agents*.md claude*.md gemini.md .cursorrules .windsurfrules .clinerules .clinerules/** \
         copilot-instructions.md .github/instructions/** .github/prompts/** .github/agents/** agent.md \
         qwen.md crush.md warp.md opencode.md codex.md iflow.md replit.md devin.md .goosehints \
         .augment-guidelines grok.md kimi.md jules.md amp.md conventions.md .ruler/** .rulesync* .specify/** .rules .github/chatmodes/** .github/skills/** skill.md",
    ),
];

/// What builds, tools and services obey.
pub(super) const OF_TOOLS: &[(Rule, &str)] = &[
    (
        Rule::ContinuousIntegration,
        ".github/workflows/** .github/actions/** .gitlab-ci*.y*ml *.gitlab-ci.y*ml .gitlab-ci/** \
         .gitlab/ci/** .circleci/** jenkinsfile* azure-pipelines*.y*ml .azure-pipelines/** \
         .azuredevops/** .travis.y*ml .drone.* .woodpecker* .woodpecker/** .buildkite/** \
         bitbucket-pipelines.y*ml .forgejo/workflows/** .forgejo/actions/** .gitea/workflows/** \
         .gitea/actions/** .cirrus.* appveyor.y*ml .appveyor.y*ml .build.y*ml .builds/** .ci/** \
         .semaphore/** .teamcity/** .tekton/** .harness/** .zuul.* .zuul.d/** zuul.d/** zuul.y*ml \
         buildspec.y*ml cloudbuild.y*ml codemagic.y*ml .github/dependabot.y*ml .github/renovate* \
         renovate.json* .renovaterc* screwdriver.y*ml .screwdriver/** wercker.y*ml shippable.y*ml \
         .shippable.y*ml bitrise.y*ml .bitrise/** netlify.toml vercel.json render.y*ml fly.toml \
         heroku.y*ml amplify.y*ml .platform.app.y*ml .platform/** railway.json railway.toml nixpacks.toml \
         codeship-*.y*ml codefresh.y*ml .codefresh/** .concourse/** dagger.json .dagger/** earthfile \
         action.y*ml .readthedocs.y*ml buddy.y*ml .buddy/** .vsts-ci.y*ml .prow.y*ml \
         .onedev-buildspec.y*ml .jenkins/** .evergreen.y*ml evergreen.y*ml .taskcluster.y*ml .packit.y*ml \
         .copr/** .obs/** .releaserc* release.config.* .goreleaser.y*ml goreleaser.y*ml .werft/** \
         .expeditor/** .pipelines/** .kokoro/** .travis/** .cloudbuild/** .bazelci/** .garnix.y*ml \
         garnix.y*ml .cds/** .gocd.y*ml *.gocd.y*ml .scrutinizer.y*ml .codeclimate.y*ml .mergify.y*ml \
         serverless.y*ml .do/** firebase.json atlantis.y*ml pulumi*.y*ml .gitlab/agents/** .github/settings.y*ml \
         procfile .github/copilot-setup-steps.y*ml .bors.toml bors.toml wrangler.toml wrangler.json*",
    ),
    (
        Rule::BuildScript,
        "build.rs setup.py conftest.py binding.gyp directory.build.* gradle-wrapper.jar \
         gradle-wrapper.properties .mvn/** .yarn/releases/** .yarn/plugins/** tools/bazel gradlew \
         gradlew.bat mvnw mvnw.cmd .yarn/sdks/** hatch_build.py noxfile.py gemfile *.gemspec guardfile \
         dangerfile vagrantfile mix.exs podfile fastlane/** wscript sconstruct sconscript init.gradle* \
         buildsrc/** .bazeliskrc tools/bazel.* project/plugins.sbt project/build.properties .sbtopts \
         rakefile justfile .justfile taskfile.y*ml cmakepresets.json cmakeuserpresets.json build.zig \
         project.clj rebar.config package.swift composer.json build.sc build.mill .mill-jvm-opts",
    ),
    (
        Rule::InterpreterStartup,
        "sitecustomize.py usercustomize.py *.pth *-gdb.py *-gdb.gdb .pdbrc .irbrc .pryrc .byebugrc \
         .iex.exs .ghci .ocamlinit .octaverc .pythonstartup .psysh.php .user.ini php.ini .proverc \
         .perlcriticrc .luacheckrc .utop_init.ml *-lldb.py",
    ),
    (
        Rule::ToolConfig,
        ".npmrc .yarnrc* .pnpmfile.*js bunfig.toml rust-toolchain rust-toolchain.toml .bazelrc \
         ansible.cfg .rspec .pylintrc pylintrc eslint.config.* prettier.config.* stylelint.config.* \
         pnpm-workspace.y*ml .pnpmrc nx.json turbo.json lerna.json .terraformrc terraform.rc .tflint.hcl \
         .golangci.y*ml .mypy.ini mypy.ini setup.cfg tox.ini .flake8 .formatter.exs .credo.exs \
         .scalafix.conf .jvmopts .jvm.options gradle.properties cabal.project* stack.y*ml jest.config.* \
         vitest.config.* vite.config.* webpack.config.* babel.config.* .babelrc* rollup.config.* \
         next.config.* postcss.config.* .postcssrc* tailwind.config.* playwright.config.* \
         cypress.config.* svelte.config.* nuxt.config.* astro.config.* metro.config.* karma.conf.* \
         gulpfile.* gruntfile.* .mocharc.* tsup.config.* esbuild.config.* drizzle.config.* \
         prisma.config.* tsconfig.json jsconfig.json biome.json* deno.json* .oxlintrc.json .eslintrc* \
         .prettierrc* .stylelintrc* .swiftlint.yml .php-cs-fixer*.php phpstan*.neon* rector.php \
         psalm.xml* phpunit.xml* .erb-lint.yml .standard.yml .reek.yml pip.conf .pypirc uv.toml .condarc \
         poetry.toml pdm.toml .pdm.toml .pdm-python .gemrc .bundle/config .cabal/config nuget.config* \
         paket.dependencies dotnet-tools.json omnisharp.json global.json .ansible-lint .sops.y*ml \
         skaffold.y*ml tiltfile tilt_config.json helmfile.y*ml pyrightconfig.json .swcrc \
         compile_commands.json compile_flags.txt .python-version .nvmrc .node-version .ruby-version \
         .java-version .go-version .terraform-version .sdkmanrc .bazelversion .flutter-version .fvmrc \
         .fvm/** .rubocop*.yml nodemon.json .air.toml modd.conf bacon.toml .tmuxinator.y*ml .tmuxp.y*ml \
         .markdownlint*.*js .secretlintrc.* .dependency-cruiser.* .ncurc.* .puppeteerrc.* ava.config.* \
         wallaby.* conf.py terragrunt.hcl cdk.json .buckconfig pants.toml .arcconfig .gclient",
    ),
];

/// All of it.
pub(super) fn table() -> impl Iterator<Item = (Rule, &'static str)> {
    let groups = [OF_GIT_AND_SHELLS, OF_EDITORS_AND_AGENTS, OF_TOOLS].into_iter().flatten();
    groups.flat_map(|(rule, patterns)| patterns.split(' ').map(|pattern| (*rule, pattern)))
}
