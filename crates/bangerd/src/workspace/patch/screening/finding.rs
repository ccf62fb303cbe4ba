use banger_guest_protocol::ByteString;

/// Something in the patch that the user should know of before applying it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub rule: Rule,
    pub path: ByteString,
    /// What else belongs to it: where a symlink points, which file collides.
    pub detail: Option<ByteString>,
}

impl Finding {
    pub fn severity(&self) -> Severity {
        self.rule.severity()
    }

    /// Why it matters, for people, in a few words.
    pub fn reason(&self) -> &'static str {
        self.rule.reason()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It may act on the host without being asked: the user has to allow it.
    Risky,
    /// It acts once the user does something ordinary, such as a build: worth a look.
    Notice,
}

macro_rules! rules {
    ($($rule:ident, $severity:ident, $reason:literal;)*) => {
        /// What a finding is about. The order is the one in which findings are shown.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $reason] $rule,)* }

        impl Rule {
            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$rule,)*];

            /// What programs call it: `git-hook`.
            pub fn word(self) -> String {
                let mut word = String::new();
                for c in format!("{self:?}").chars() {
                    if c.is_ascii_uppercase() && !word.is_empty() {
                        word.push('-');
                    }
                    word.push(c.to_ascii_lowercase());
                }
                word
            }

            pub fn severity(self) -> Severity {
                match self { $(Self::$rule => Severity::$severity,)* }
            }

            pub fn reason(self) -> &'static str {
                match self { $(Self::$rule => $reason,)* }
            }
        }
    };
}

rules! {
    GitDirectory, Risky, "belongs to a repository's own directory, where hooks and configuration run programs";
    NestedRepository, Risky, "makes a directory look like a repository, whose configuration git obeys inside it";
    GitHook, Risky, "is a git hook, or in a directory of hooks: git runs it";
    HookManager, Risky, "says what a hook manager runs at every commit or push";
    GitConfig, Risky, "sets a git configuration that runs programs";
    HooksPathMention, Risky, "names a git setting through which git runs programs";
    GitAttributes, Risky, "makes git run a configured filter, diff or merge program";
    GitModules, Risky, "says where git fetches submodules from and how it updates them";
    Gitlink, Risky, "is a commit of another repository, whose content the patch does not show";
    SymlinkEscapes, Risky, "is a symlink that points out of the tree, or may";
    SymlinkIntoGit, Risky, "is a symlink into a repository's own directory";
    MovedSymlink, Risky, "is a symlink that moves, so that it points elsewhere; the patch does not show where";
    UnseenContent, Risky, "is a file that programs obey, and the patch does not show its content";
    Collision, Risky, "is the same file as another where file names ignore case";
    HiddenName, Risky, "has a name with control characters, which can hide what it is";
    NewExecutableBit, Risky, "was there before, and can now be run as a program";
    ShellEnvironment, Risky, "is run or obeyed by the shell when the directory is entered";
    StartupFile, Risky, "is run at login if the tree is a home directory";
    ProjectStartup, Risky, "is run when an editor, debugger or interpreter starts in the directory";
    EditorTask, Risky, "tells an editor what to run when the folder is opened";
    DevEnvironment, Risky, "says what is run when a development environment is opened";
    DesktopFile, Risky, "is obeyed by the desktop when the folder is only looked at";
    AgentConfig, Risky, "configures a coding agent, and can make it run commands";
    CargoConfig, Risky, "can make every cargo command run another program";
    ContinuousIntegration, Risky, "is run by continuous integration, with its secrets, once it is pushed";
    NewExecutable, Notice, "is new and can be run as a program";
    LifecycleScript, Notice, "has scripts that a package manager runs on installing";
    BuildScript, Notice, "is code that a build or a test run executes on its own";
    InterpreterStartup, Notice, "is run when an interpreter or debugger starts";
    ToolConfig, Notice, "configures a tool, and can make it load code or fetch from elsewhere";
    AgentInstructions, Notice, "is read by coding agents as instructions";
    BidiText, Notice, "has text with characters that change the order in which it is shown";
}
