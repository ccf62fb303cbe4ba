//! The program `bangerd`: reads its arguments, calls the library, tells what went wrong.

mod cli;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::RawFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use banger_api::config::{ConfigView, Origin};
use banger_api::doctor::{Report, Verdict};
use banger_api::environment::is_kept_by_daemon;
use banger_api::ssh::SshConfigView;
use banger_api::vm::Acceleration;
use banger_api::{ApiError, Build, ErrorCode};
use banger_host::clean_start::start_clean;
use banger_host::sandbox::inspect;
use banger_host::{kvm, log_keeper};
use bangerd::config::{Config, ConfigError, HostSize, vm_defaults};
use bangerd::paths::Paths;
use bangerd::repair::RepairError;
use bangerd::server::PresenceError;
use bangerd::ssh::user_config::UserConfig;
use bangerd::ssh::{Ssh, SshError};
use bangerd::store::StoreError;
use bangerd::{doctor, logging, server, ssh};
use clap::Parser as _;
use serde::Serialize;
use tokio::runtime::{Builder, Runtime};

use cli::{Cli, Command, SshConfigAction};

/// Requests are short, and blocking work has threads of its own.
const WORKER_THREADS: usize = 2;

/// As in [`doctor`].
const PROBE_LIMIT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve => serve(),
        Command::Doctor { repair: true, .. } => repair(),
        Command::Doctor { json, .. } => diagnose(json),
        Command::Config { json } => show_config(json),
        Command::SshConfig { action } => ssh_config(action),
        Command::Openapi => print_json(&server::openapi()),
        Command::Version => print(&format!("bangerd {}\n", Build::current())),
        Command::ProbeKvm => print_json(&kvm::run_probe_here()),
        Command::VmmLog { dir, logs } => keep_logs(&dir, logs),
        Command::ProbeSandbox => print_json(&inspect::run_probe_here()),
        Command::VmmLaunch { sandbox, program, args } => Err(launch(&sandbox, &program, &args)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr gone there is nobody to tell.
            let _ = tell(&error);
            ExitCode::from(error.code.exit_code())
        }
    }
}

fn serve() -> Result<(), ApiError> {
    let taken_over = start_clean(is_kept_by_daemon).map_err(|error| {
        ApiError::new(ErrorCode::HostNotReady, "could not leave the starter's surroundings")
            .because(error.to_string())
    })?;
    banger_host::system::return_large_blocks();
    let paths = paths()?;
    let config = config(&paths)?;
    let unready = |error: &dyn std::error::Error| {
        ApiError::from_error(ErrorCode::HostNotReady, error).with_hint("`banger doctor` says how to mend it")
    };
    paths.create().map_err(|error| unready(&error))?;
    logging::init(&paths.log(), config.log_level.value).map_err(|error| unready(&error))?;
    let mut runtime = Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKER_THREADS).enable_all().build().map_err(no_runtime)?;
    let served = runtime.block_on(server::run(paths, config, taken_over));
    served.map_err(|error| {
        let (code, hint) = match &error {
            server::ServeError::Presence(PresenceError::Running { .. }) => (ErrorCode::Refused, None),
            server::ServeError::Presence(PresenceError::Directory(_)) => (
                ErrorCode::HostNotReady,
                Some("set XDG_RUNTIME_DIR to a directory of your own with mode 0700".to_owned()),
            ),
            server::ServeError::Store(error) => (ErrorCode::HostNotReady, error.hint()),
            _ => (ErrorCode::HostNotReady, Some("`banger doctor` looks at what bangerd needs".to_owned())),
        };
        ApiError { hint, ..ApiError::from_error(code, &error) }
    })
}

fn diagnose(json: bool) -> Result<(), ApiError> {
    let paths = paths()?;
    let report = small_runtime()?.block_on(doctor::run(&paths));
    if json {
        print_json(&report)?
    } else {
        print(&report_lines(&report))?
    }
    match report.checks.iter().filter(|check| check.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        // In JSON the report says it all.
        _ if json => Ok(()),
        count => Err(ApiError::new(ErrorCode::HostNotReady, format!("{count} of the checks failed"))),
    }
}

fn repair() -> Result<(), ApiError> {
    let paths = paths()?;
    let repaired = small_runtime()?.block_on(bangerd::repair::repair(&paths));
    let repaired = repaired.map_err(|error| {
        let api_error = |code| ApiError::from_error(code, &error);
        match error {
            RepairError::Running { .. } => api_error(ErrorCode::Refused).with_hint("banger daemon stop"),
            RepairError::Store(StoreError::Newer { .. }) => api_error(ErrorCode::Refused)
                .with_hint("install the newer banger again; its state store is fine"),
            RepairError::Store(ref error) => ApiError { hint: error.hint(), ..api_error(ErrorCode::Failed) },
            _ => api_error(ErrorCode::Failed),
        }
    })?;
    print_json(&repaired)
}

fn show_config(json: bool) -> Result<(), ApiError> {
    let paths = paths()?;
    let config = config(&paths)?;
    let host = HostSize::of_this_host();
    let view = config.view(&paths, host, acceleration(&config, host)?);
    if json { print_json(&view) } else { print(&view_lines(&view)) }
}

fn ssh_config(action: SshConfigAction) -> Result<(), ApiError> {
    let paths = paths()?;
    let unready = |error: &dyn std::error::Error| ApiError::from_error(ErrorCode::HostNotReady, error);
    let refused =
        |error: SshError| ApiError { hint: error.hint(), ..ApiError::from_error(ErrorCode::Failed, &error) };
    paths.create().map_err(|error| unready(&error))?;
    let program = std::env::current_exe().map_err(|error| unready(&error))?;
    let home = bangerd::paths::home().map_err(|error| unready(&error))?;
    let ssh = Ssh::new(&paths);
    let text = ssh.prepare(&ssh::banger_beside(&program), &ssh::environment()).map_err(refused)?;
    let user_config = UserConfig::new(&home, &ssh.config_file()).map_err(refused)?;
    let changed = match action {
        SshConfigAction::Show => Ok(false),
        SshConfigAction::Install => user_config.install(),
        SshConfigAction::Uninstall => user_config.uninstall(),
    };
    print_json(&SshConfigView {
        changed: changed.map_err(refused)?,
        installed: user_config.is_installed().map_err(refused)?,
        user_file: user_config.path().display().to_string(),
        line: user_config.line(),
        file: ssh.config_file().display().to_string(),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

/// What VMs run on; found out only where a value in force depends on it.
fn acceleration(config: &Config, host: HostSize) -> Result<Acceleration, ApiError> {
    let vcpu = |acceleration| vm_defaults(config, host, acceleration).vcpu;
    if vcpu(Acceleration::Kvm) == vcpu(Acceleration::Tcg) {
        return Ok(Acceleration::Tcg);
    }
    let program = std::env::current_exe().unwrap_or_else(|_| "bangerd".into());
    let probe = small_runtime()?.block_on(kvm::probe_in_child(&program, &["probe-kvm"], PROBE_LIMIT));
    Ok(if probe.is_usable() { Acceleration::Kvm } else { Acceleration::Tcg })
}

/// Returns only when the VMM could not be started.
fn launch(sandbox: &str, program: &Path, args: &[OsString]) -> ApiError {
    match serde_json::from_str(sandbox) {
        Ok(sandbox) => {
            let error = banger_host::sandbox::launch(&sandbox, program, args);
            ApiError::from_error(ErrorCode::HostNotReady, &error)
        }
        Err(error) => {
            ApiError::new(ErrorCode::Usage, "the sandbox cannot be understood").because(error.to_string())
        }
    }
}

fn keep_logs(dir: &Path, logs: Vec<(RawFd, String)>) -> Result<(), ApiError> {
    let logs = logs.into_iter().map(|(pipe, name)| (pipe, dir.join(name))).collect();
    log_keeper::keep(dir, logs).map_err(|error| ApiError::from_error(ErrorCode::HostNotReady, &error))
}

fn paths() -> Result<Paths, ApiError> {
    Paths::from_env().map_err(|error| ApiError::from_error(ErrorCode::HostNotReady, &error))
}

fn config(paths: &Paths) -> Result<Config, ApiError> {
    Config::load(&paths.config_file).map_err(|error| {
        let code = match error {
            ConfigError::Read { .. } => ErrorCode::HostNotReady,
            ConfigError::TooLarge { .. } | ConfigError::Invalid { .. } => ErrorCode::Usage,
        };
        ApiError { hint: error.hint(), ..ApiError::from_error(code, &error) }
    })
}

fn small_runtime() -> Result<Runtime, ApiError> {
    Builder::new_current_thread().enable_all().build().map_err(no_runtime)
}

fn no_runtime(error: io::Error) -> ApiError {
    ApiError::new(ErrorCode::HostNotReady, "could not set up asynchronous I/O").because(error.to_string())
}

fn report_lines(report: &Report) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut lines = String::new();
    for check in &report.checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        lines.push_str(&format!("{verdict:4}  {:width$}  {}\n", check.name, check.seen));
        if let Some(fix) = &check.fix {
            lines.push_str(&format!("      {:width$}  fix: {fix}\n", ""));
        }
    }
    lines
}

fn view_lines(view: &ConfigView) -> String {
    let file = if view.exists { "" } else { " (does not exist)" };
    let mut lines = format!("# {}{file}\n", view.path);
    for value in &view.values {
        let origin = match value.origin {
            Origin::Config => String::new(),
            Origin::Auto | Origin::Builtin => format!("  # {}", value.origin),
        };
        lines.push_str(&format!("{} = {}{origin}\n", value.key, value.value));
    }
    lines
}

fn print_json(value: &impl Serialize) -> Result<(), ApiError> {
    let json = serde_json::to_string_pretty(value).map_err(|error| {
        ApiError::new(ErrorCode::Failed, "this cannot be written as JSON").because(error.to_string())
    })?;
    print(&format!("{json}\n"))
}

fn print(text: &str) -> Result<(), ApiError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(ApiError::new(ErrorCode::Failed, "could not write to stdout").because(error.to_string()))
        }
        // Whoever reads has read enough.
        _ => Ok(()),
    }
}

/// For people on a terminal; for programs (`banger` reads it) as one line of JSON.
fn tell(error: &ApiError) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    if !stderr.is_terminal() {
        let json = serde_json::to_string(error)?;
        return writeln!(stderr, "{json}");
    }
    writeln!(stderr, "error: {}", error.message)?;
    for cause in &error.causes {
        writeln!(stderr, "  because: {cause}")?;
    }
    if let Some(hint) = &error.hint {
        writeln!(stderr, "  help: {hint}")?;
    }
    Ok(())
}
