//! From what the host asked for to what is started: environment, directory, program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_guest_protocol::frame::{ExecSpec, Exit};

use crate::console;
use crate::passwd::{RootAccount, root_account};

/// Where programs are looked for unless the host says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The tool that finds the versions of other tools that a repository asks for.
const MISE: &str = "mise";

const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// A command's environment; the last value of a name wins.
pub type Environment = BTreeMap<OsString, OsString>;

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program}: command not found")]
    NotFound { program: String },
    #[error("{program}: no such file")]
    NoSuchFile { program: String },
    #[error("{program}: is not executable")]
    NotExecutable { program: String },
    #[error("could not enter the directory {path}")]
    Workdir { path: String, source: io::Error },
    #[error("{name:?} is not a name of an environment variable")]
    EnvironmentName { name: OsString },
    #[error("could not start {program}")]
    Start { program: String, source: io::Error },
}

impl CommandError {
    /// What the client is told: a shell's exit code, and the reason.
    pub(super) fn exit(&self) -> Exit {
        let code = match self {
            Self::NotFound { .. } | Self::NoSuchFile { .. } => 127,
            // The file is there, so it is its interpreter that is not.
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            _ => 126,
        };
        Exit { code, error: Some(console::one_line(self)) }
    }
}

/// A command, ready to start.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) program: PathBuf,
    pub(super) argv0: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) environment: Environment,
    pub(super) workdir: PathBuf,
}

impl Command {
    pub(super) fn prepare(spec: &ExecSpec) -> Result<Self, CommandError> {
        let account = root_account();
        let shell = login_shell(&account);
        let environment = environment(spec, &account, &shell)?;
        let workdir = workdir(spec, &account)?;
        let mut argv = spec.argv.iter().map(|arg| OsString::from_vec(arg.as_bytes().to_vec()));
        let path = environment.get(OsStr::new("PATH")).map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
        if let Some(mise) = spec.mise.then(|| find_program(OsStr::new(MISE), path, &workdir).ok()).flatten() {
            let command: Vec<OsString> = argv.collect();
            let login_shell = || vec![shell.clone().into_os_string(), "-l".into()];
            let command = if command.is_empty() { login_shell() } else { command };
            let args = ["exec", "--"].into_iter().map(OsString::from).chain(command).collect();
            return Ok(Self { program: mise, argv0: MISE.into(), args, environment, workdir });
        }
        let Some(argv0) = argv.next() else {
            let mut argv0 = OsString::from("-");
            argv0.push(shell.file_name().unwrap_or(shell.as_os_str()));
            return Ok(Self { program: shell, argv0, args: Vec::new(), environment, workdir });
        };
        let program = find_program(&argv0, path, &workdir)?;
        Ok(Self { program, argv0, args: argv.collect(), environment, workdir })
    }

    pub(super) fn start_error(&self, source: io::Error) -> CommandError {
        CommandError::Start { program: self.program.display().to_string(), source }
    }
}

fn login_shell(account: &RootAccount) -> PathBuf {
    let fallbacks = SHELLS.iter().map(PathBuf::from);
    let candidates: Vec<PathBuf> = account.shell.iter().cloned().chain(fallbacks).collect();
    let usable = candidates.iter().find(|shell| is_executable(shell) == Some(true));
    // With no shell at all the start fails, and says which one was tried last.
    usable.or(candidates.last()).cloned().unwrap_or_default()
}

fn environment(spec: &ExecSpec, account: &RootAccount, shell: &Path) -> Result<Environment, CommandError> {
    let mut environment: Environment = [
        ("HOME", account.home.as_os_str()),
        ("USER", OsStr::new("root")),
        ("LOGNAME", OsStr::new("root")),
        ("SHELL", shell.as_os_str()),
        ("PATH", OsStr::new(DEFAULT_PATH)),
        ("LANG", OsStr::new("C.UTF-8")),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.to_owned()))
    .collect();
    if spec.tty.is_some() {
        environment.insert("TERM".into(), "xterm".into());
    }
    for (name, value) in &spec.env {
        if name.as_bytes().is_empty() || name.as_bytes().contains(&b'=') {
            return Err(CommandError::EnvironmentName { name: name.as_os_str().to_owned() });
        }
        environment.insert(name.as_os_str().to_owned(), value.as_os_str().to_owned());
    }
    Ok(environment)
}

fn workdir(spec: &ExecSpec, account: &RootAccount) -> Result<PathBuf, CommandError> {
    let Some(wanted) = &spec.workdir else {
        return Ok(if account.home.is_dir() { account.home.clone() } else { PathBuf::from("/") });
    };
    let path = PathBuf::from(wanted.as_os_str());
    let entered = std::fs::metadata(&path)
        .and_then(|found| if found.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
    match entered {
        Ok(()) => Ok(path),
        Err(source) => Err(CommandError::Workdir { path: path.display().to_string(), source }),
    }
}

/// Finds a program as a shell does: as a path when it has a slash, else in the directories of `path`.
///
/// # Errors
///
/// When nothing is found, or only files that are not executable.
pub(crate) fn find_program(name: &OsStr, path: &OsStr, workdir: &Path) -> Result<PathBuf, CommandError> {
    let program = name.to_string_lossy().into_owned();
    if name.as_bytes().contains(&b'/') {
        let file = workdir.join(name);
        return match is_executable(&file) {
            Some(true) => Ok(file),
            Some(false) => Err(CommandError::NotExecutable { program }),
            None => Err(CommandError::NoSuchFile { program }),
        };
    }
    let mut unusable = false;
    if !name.is_empty() {
        for dir in path.as_bytes().split(|byte| *byte == b':') {
            // An empty entry is the working directory, by old custom.
            let file = workdir.join(OsStr::from_bytes(dir)).join(name);
            match is_executable(&file) {
                Some(true) => return Ok(file),
                Some(false) => unusable = true,
                None => {}
            }
        }
    }
    Err(if unusable { CommandError::NotExecutable { program } } else { CommandError::NotFound { program } })
}

/// Is it a file one can execute? None: it is not there.
fn is_executable(file: &Path) -> Option<bool> {
    let found = std::fs::metadata(file).ok()?;
    Some(found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use banger_guest_protocol::ByteString;
    use proptest::prelude::*;

    use super::*;

    fn file(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_looked_up_like_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        file(&root.join("a/tool"), 0o644);
        file(&root.join("b/tool"), 0o755);
        file(&root.join("a/data"), 0o644);
        let path = OsString::from(format!("{0}/none:{0}/a:{0}/b", root.display()));
        let find = |name: &str| find_program(OsStr::new(name), &path, root);
        assert_eq!(find("tool").unwrap(), root.join("b/tool"));
        assert_eq!(find("b/tool").unwrap(), root.join("b/tool"));
        assert_eq!(find("data").unwrap_err().exit().code, 126);
        assert_eq!(find("a/data").unwrap_err().exit().code, 126);
        assert_eq!(find("a").unwrap_err().exit().code, 127);
        assert_eq!(find("./nothing").unwrap_err().exit().code, 127);
        assert_eq!(find("").unwrap_err().exit().code, 127);
    }

    #[test]
    fn the_hosts_values_win_and_bad_names_are_refused() {
        let with = |name: &str| ExecSpec { env: vec![(name.into(), "x".into())], ..ExecSpec::default() };
        let build = |spec: &ExecSpec| environment(spec, &RootAccount::default(), Path::new("/bin/sh"));
        assert_eq!(build(&with("HOME")).unwrap()[OsStr::new("HOME")], "x");
        assert!(build(&with("A=B")).is_err());
        assert!(build(&with("")).is_err());
    }

    #[test]
    fn mise_wraps_a_command_where_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let with = |mise: bool, argv: &[&str]| ExecSpec {
            argv: argv.iter().map(|word| (*word).into()).collect(),
            env: vec![("PATH".into(), format!("{}:/bin:/usr/bin", dir.path().display()).into())],
            workdir: Some("/".into()),
            mise,
            ..ExecSpec::default()
        };
        assert_eq!(Command::prepare(&with(true, &["true"])).unwrap().args, [""; 0]);
        file(&dir.path().join("mise"), 0o755);
        assert_eq!(Command::prepare(&with(false, &["true"])).unwrap().args, [""; 0]);
        let wrapped = Command::prepare(&with(true, &["true", "x"])).unwrap();
        assert_eq!(wrapped.program, dir.path().join("mise"));
        assert_eq!(wrapped.args, ["exec", "--", "true", "x"]);
        let shell = Command::prepare(&with(true, &[])).unwrap();
        assert_eq!(shell.args.last().unwrap(), "-l");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let spec = ExecSpec { workdir: Some(ByteString::from("/no/such/dir")), ..ExecSpec::default() };
        let exit = Command::prepare(&spec).unwrap_err().exit();
        assert_eq!(exit.code, 126);
        assert!(exit.error.unwrap().contains("/no/such/dir"));
    }

    proptest! {
        #[test]
        fn lookup_survives_any_bytes(name: Vec<u8>, path: Vec<u8>) {
            let _found = find_program(OsStr::from_bytes(&name), OsStr::from_bytes(&path), Path::new("/"));
        }
    }
}
