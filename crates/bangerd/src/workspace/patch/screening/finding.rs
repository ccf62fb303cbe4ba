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

/// Who runs or reads such a file, and when.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Actor {
    Git,
    Shell,
    Editor,
    Desktop,
    Agent,
    Service,
    Tool,
    Reader,
}

#[cfg(test)]
impl Actor {
    /// For people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Git => "git, at its next command",
            Self::Shell => "a shell or program, when it starts in the directory or the directory is entered",
            Self::Editor => "an editor or IDE, when the folder is opened",
            Self::Desktop => "the desktop, when the folder is looked at",
            Self::Agent => "a coding agent, when it starts in the directory",
            Self::Service => "a service such as continuous integration, once it is pushed",
            Self::Tool => "a tool, when the user starts it: a build, a test, a package manager",
            Self::Reader => "nobody: it misleads who reads it",
        }
    }
}

macro_rules! rules {
    ($($rule:ident, $severity:ident, $actor:ident, $reason:literal;)*) => {
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

            /// Who acts on it.
            #[cfg(test)]
            pub(super) fn actor(self) -> Actor {
                match self { $(Self::$rule => Actor::$actor,)* }
            }

            pub fn reason(self) -> &'static str {
                match self { $(Self::$rule => $reason,)* }
            }
        }
    };
}

rules! {
    GitDirectory, Risky, Git, "belongs to a repository's own directory, where hooks and configuration run programs";
    NestedRepository, Risky, Git, "makes a directory look like a repository, whose configuration git obeys inside it";
    OtherRepository, Risky, Git, "is in another repository of the host's, which was not sent";
    GitHook, Risky, Git, "is a git hook, or in a directory of hooks: git runs it";
    HostConfigured, Risky, Git, "is run or obeyed by git on this host";
    NamedUnasked, Risky, Shell, "is named by a hook, an environment or an agent's configuration of this host, which may run it unasked";
    Ignored, Risky, Reader, "is ignored by git: `git status` would not show it on this host";
    HookManager, Risky, Git, "says what a hook manager runs at every commit or push";
    GitConfig, Risky, Git, "sets a git configuration that runs programs";
    HooksPathMention, Risky, Git, "names a git setting through which git runs programs";
    GitAttributes, Risky, Git, "makes git run a configured program on files, or write them otherwise than is shown";
    GitModules, Risky, Git, "says where git fetches submodules from and how it updates them";
    LfsConfig, Risky, Git, "says where git-lfs gets files from and sends them to, with what it signs in with";
    Gitlink, Risky, Git, "is a commit of another repository, whose content the patch does not show";
    SymlinkEscapes, Risky, Reader, "is a symlink that points out of the tree, or may";
    SymlinkIntoGit, Risky, Git, "is a symlink into a repository's own directory";
    MovedSymlink, Risky, Reader, "is a symlink that moves, so that it points elsewhere; the patch does not show where";
    UnseenContent, Risky, Reader, "is a file that programs obey, and the patch does not show its content";
    Collision, Risky, Reader, "is the same file as another where file names ignore case";
    HiddenName, Risky, Reader, "has a name with control characters, which can hide what it is";
    NewExecutableBit, Risky, Tool, "was there before, and can now be run as a program";
    ShellEnvironment, Risky, Shell, "is run or obeyed by the shell when the directory is entered";
    ShellInput, Risky, Shell, "is read by what sets up the shell when the directory is entered";
    StartupFile, Risky, Shell, "is run at login if the tree is a home directory";
    ProjectStartup, Risky, Shell, "is run when an editor, debugger or interpreter starts in the directory";
    EditorTask, Risky, Editor, "tells an editor what to run when the folder is opened";
    DevEnvironment, Risky, Editor, "says what is run when a development environment is opened";
    DesktopFile, Risky, Desktop, "is obeyed by the desktop when the folder is only looked at";
    AgentConfig, Risky, Agent, "configures a coding agent, and can make it run commands";
    CargoConfig, Risky, Editor, "can make every cargo command run another program";
    ContinuousIntegration, Risky, Service, "is run by continuous integration, with its secrets, once it is pushed";
    NewExecutable, Notice, Tool, "is new and can be run as a program";
    LifecycleScript, Notice, Tool, "has scripts that a package manager runs on installing";
    BuildScript, Notice, Tool, "is code that a build or a test run executes on its own";
    InterpreterStartup, Notice, Tool, "is run when an interpreter or debugger starts";
    ToolConfig, Notice, Tool, "configures a tool, and can make it load code or fetch from elsewhere";
    LockedElsewhere, Notice, Tool, "names a host to fetch from that it did not name before";
    AgentInstructions, Notice, Agent, "is read by coding agents as instructions";
    TextAsBinary, Notice, Reader, "is text that the patch carries as binary content, where nobody can read it";
    HidesChanges, Notice, Reader, "keeps git from showing what changes in some files";
    BidiText, Notice, Reader, "has text with characters that change the order in which it is shown";
}
