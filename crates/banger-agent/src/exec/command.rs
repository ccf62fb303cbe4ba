//! From what the host asked for to what is started: environment, directory, program.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use banger_guest_protocol::frame::{ExecSpec, Exit};

use super::defaults::ImageDefaults;
use super::obstacle::Obstacle;
use super::shell::Shell;
use crate::console;
use crate::passwd::{RootAccount, root_account};

/// Where programs are looked for unless the host says otherwise.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The tool that finds the versions of other tools that a repository asks for.
const MISE: &str = "mise";

/// A command's environment; the last value of a name wins.
pub type Environment = BTreeMap<OsString, OsString>;

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program}: command not found")]
    NotFound { program: String },
    #[error(
        "the image has none: there is neither root's own one of /etc/passwd, nor bash, sh, ash or busybox on PATH"
    )]
    NoShell,
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
    #[error("could not start {program}")]
    Unstartable { program: String, not_found: bool, source: Obstacle },
}

impl CommandError {
    /// What the client is told: a shell's exit code, and the reason.
    pub(super) fn exit(&self) -> Exit {
        let code = match self {
            Self::NotFound { .. } | Self::NoSuchFile { .. } | Self::NoShell => 127,
            // The file is there, so it is its interpreter that is not.
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => 127,
            Self::Unstartable { not_found: true, .. } => 127,
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
    pub(super) fn prepare(spec: &ExecSpec, image: &ImageDefaults) -> Result<Self, CommandError> {
        let account = root_account();
        let mut environment = environment(spec, &account, image)?;
        let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| DEFAULT_PATH.into());
        let shell = Shell::find(&account, &path);
        if let Some(variable) = shell.as_ref().and_then(Shell::variable) {
            environment.entry("SHELL".into()).or_insert_with(|| variable.into());
        }
        // A login shell would set PATH as the distribution has it, and forget the image's.
        let login = !image.environment.contains_key(OsStr::new("PATH"));
        let workdir = workdir(spec, &account, image)?;
        let mut argv = spec.argv.iter().map(|arg| OsString::from_vec(arg.as_bytes().to_vec()));
        if let Some(mise) = spec.mise.then(|| find_program(OsStr::new(MISE), &path, &workdir).ok()).flatten()
        {
            let mut command: Vec<OsString> = argv.collect();
            if command.is_empty() {
                command = shell.ok_or(CommandError::NoShell)?.words(login);
            }
            let args = ["exec", "--"].into_iter().map(OsString::from).chain(command).collect();
            return Ok(Self { program: mise, argv0: MISE.into(), args, environment, workdir });
        }
        let Some(argv0) = argv.next() else {
            let shell = shell.ok_or(CommandError::NoShell)?;
            let argv0 = shell.argv0(login);
            return Ok(Self { program: shell.program, argv0, args: Vec::new(), environment, workdir });
        };
        let program = find_program(&argv0, &path, &workdir)?;
        Ok(Self { program, argv0, args: argv.collect(), environment, workdir })
    }

    pub(super) fn start_error(&self, source: io::Error) -> CommandError {
        let program = self.program.display().to_string();
        let not_found = source.kind() == io::ErrorKind::NotFound;
        let refused = source.kind() == io::ErrorKind::PermissionDenied;
        let unknown = source.raw_os_error() == Some(libc::ENOEXEC);
        let obstacle = (not_found || refused || unknown).then(|| Obstacle::of(&self.program, &self.workdir));
        match obstacle.flatten() {
            // A place that forbids execution does so to all kinds of files.
            Some(Obstacle::NoProgram | Obstacle::Empty) | None if !unknown => {
                CommandError::Start { program, source }
            }
            Some(source) => CommandError::Unstartable { program, not_found, source },
            None => CommandError::Start { program, source },
        }
    }
}

/// The guest's own values, then the image's, then the client's; the later ones win.
fn environment(
    spec: &ExecSpec,
    account: &RootAccount,
    image: &ImageDefaults,
) -> Result<Environment, CommandError> {
    let mut environment: Environment = [
        ("HOME", account.home.as_os_str()),
        ("USER", OsStr::new("root")),
        ("LOGNAME", OsStr::new("root")),
        ("PATH", OsStr::new(DEFAULT_PATH)),
        ("LANG", OsStr::new("C.UTF-8")),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.to_owned()))
    .collect();
    if spec.tty.is_some() {
        environment.insert("TERM".into(), "xterm".into());
    }
    let from_image = image.environment.iter().filter(|(name, _)| !spec.ignore_image || *name == "PATH");
    environment.extend(from_image.map(|(name, value)| (name.clone(), value.clone())));
    for (name, value) in &spec.env {
        if name.as_bytes().is_empty() || name.as_bytes().contains(&b'=') {
            return Err(CommandError::EnvironmentName { name: name.as_os_str().to_owned() });
        }
        environment.insert(name.as_os_str().to_owned(), value.as_os_str().to_owned());
    }
    Ok(environment)
}

fn workdir(spec: &ExecSpec, account: &RootAccount, image: &ImageDefaults) -> Result<PathBuf, CommandError> {
    let Some(wanted) = &spec.workdir else {
        // One that cannot be made was warned of when the guest was configured.
        let images = if spec.ignore_image { None } else { image.make_working_dir() };
        let usable = images.and_then(Result::ok).or(account.home.is_dir().then_some(&*account.home));
        return Ok(usable.unwrap_or(Path::new("/")).to_owned());
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
pub(super) fn is_executable(file: &Path) -> Option<bool> {
    // A directory of $PATH that cannot be entered holds nothing to run, as for every shell.
    let found = std::fs::metadata(file).ok()?;
    Some(found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use banger_guest_protocol::ByteString;
    use banger_guest_protocol::messages::CommandDefaults;
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
        let image = ImageDefaults::default();
        let build = |spec: &ExecSpec| environment(spec, &RootAccount::default(), &image);
        assert_eq!(build(&with("HOME")).unwrap()[OsStr::new("HOME")], "x");
        assert!(build(&with("A=B")).is_err());
        assert!(build(&with("")).is_err());
    }

    fn image(env: &[&str], dir: &Path) -> ImageDefaults {
        let env = env.iter().map(|entry| (*entry).into()).collect();
        let working_dir = Some(dir.as_os_str().to_owned().into());
        ImageDefaults::checked(&CommandDefaults { env, working_dir }).0
    }

    #[test]
    fn the_images_environment_lies_between_the_guests_own_and_the_clients() {
        let dir = tempfile::tempdir().unwrap();
        let image = image(&["PATH=/opt/bin", "HOME=/data", "GIT_DIR=/x", "A=image", "B=image"], dir.path());
        let mut spec = ExecSpec {
            argv: vec!["/bin/true".into()],
            env: vec![("A".into(), "client".into())],
            ..ExecSpec::default()
        };
        let get = |spec: &ExecSpec, name: &str| {
            let command = Command::prepare(spec, &image).unwrap();
            command.environment.get(OsStr::new(name)).cloned().unwrap_or_default().into_string().unwrap()
        };
        let of = |spec: &ExecSpec| ["PATH", "HOME", "GIT_DIR", "A", "B", "USER"].map(|name| get(spec, name));
        assert_eq!(of(&spec), ["/opt/bin", "/data", "/x", "client", "image", "root"]);
        assert_eq!(Command::prepare(&spec, &image).unwrap().workdir, dir.path());

        spec.ignore_image = true;
        let home = root_account().home.into_os_string().into_string().unwrap();
        assert_eq!(of(&spec), ["/opt/bin", &home, "", "client", "", "root"]);
        assert_ne!(Command::prepare(&spec, &image).unwrap().workdir, dir.path());

        spec = ExecSpec { workdir: Some("/".into()), ..ExecSpec::default() };
        assert_eq!(Command::prepare(&spec, &image).unwrap().workdir, Path::new("/"));
    }

    #[test]
    fn the_images_path_is_not_given_to_a_login_shell() {
        let argv0 = |image: &ImageDefaults| {
            Command::prepare(&ExecSpec::default(), image).unwrap().argv0.into_string().unwrap()
        };
        assert!(argv0(&ImageDefaults::default()).starts_with('-'));
        assert!(!argv0(&image(&["PATH=/bin"], Path::new("/"))).starts_with('-'));
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
        let prepare = |spec: &ExecSpec| Command::prepare(spec, &ImageDefaults::default());
        assert_eq!(prepare(&with(true, &["true"])).unwrap().args, [""; 0]);
        file(&dir.path().join("mise"), 0o755);
        assert_eq!(prepare(&with(false, &["true"])).unwrap().args, [""; 0]);
        let wrapped = prepare(&with(true, &["true", "x"])).unwrap();
        assert_eq!(wrapped.program, dir.path().join("mise"));
        assert_eq!(wrapped.args, ["exec", "--", "true", "x"]);
        let shell = prepare(&with(true, &[])).unwrap();
        assert_eq!(shell.args.last().unwrap(), "-l");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let spec = ExecSpec { workdir: Some(ByteString::from("/no/such/dir")), ..ExecSpec::default() };
        let exit = Command::prepare(&spec, &ImageDefaults::default()).unwrap_err().exit();
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
