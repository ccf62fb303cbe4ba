use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use banger_api::workspace::{Export, ExportWorkspace, WantedBranch};
use banger_api::{ApiError, Client, ErrorCode};
use clap::Args;

use super::fetch::{FetchArgs, fetch};
use super::report;
use crate::cmd::operation::ProgressArgs;
use crate::cmd::{Outcome, block_on};
use crate::error::CommandError;
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Write the patch to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say whether the patch applies to the host's repository now, and write it only where -o says
    #[arg(long)]
    check: bool,
    /// Apply the patch to the working tree of the host's repository; its index stays as it is
    #[arg(long)]
    apply: bool,
    /// Make a branch of the host's repository of it; working tree, index and hooks have no part in it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["output", "check", "apply", "base_commit"])]
    branch: Option<String>,
    /// The message of the branch's commit
    #[arg(long, short, value_name = "TEXT", requires = "branch", value_parser = message)]
    message: Option<String>,
    /// Put the VM's own commits on the branch, one by one, and what it has not committed last
    #[arg(long, requires = "branch")]
    commits: bool,
    /// Make the branch anew if there is one of this name
    #[arg(long, requires = "branch")]
    force: bool,
    /// Give out, apply or commit changes that could run on the host by themselves
    #[arg(long)]
    allow_risky: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    /// Print what there is to know of the patch as JSON, and write the patch only where -o says
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

fn message(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a commit has a message".into()) } else { Ok(text.to_owned()) }
}

pub(crate) fn run(args: ExportArgs) -> Outcome {
    let branch = args.branch.clone().map(|name| WantedBranch {
        name,
        message: args.message.clone(),
        commits: args.commits,
        force: args.force,
    });
    let request = ExportWorkspace {
        check: args.check,
        apply: args.apply,
        branch,
        allow_risky: args.allow_risky,
        ..args.fetch.request()
    };
    let to_stdout = args.output.is_none() && !args.check && !args.apply && !args.json;
    block_on(async {
        let client = daemon::connect().await?;
        let export = fetch(&client, &args.vm, &request, args.progress.verbosity()).await?;
        if args.json {
            ui::json(&export)?;
        } else {
            report::tell(&export);
        }
        if args.branch.is_some() {
            return branch_outcome(&export);
        }
        let Some(patch) = &export.patch else {
            return Err(withheld("the patch is withheld: it has risky changes"));
        };
        if let Some(file) = &args.output {
            save(&client, patch, file).await?;
        } else if to_stdout {
            print(&client, patch, &export).await?;
        }
        outcome(&args, &export)
    })
}

fn withheld(what: &str) -> CommandError {
    let hint = "read what they are, then --allow-risky; `banger vm workspace diff` shows the patch";
    ApiError::new(ErrorCode::Refused, what).with_hint(hint).into()
}

/// What `--branch` ends with.
fn branch_outcome(export: &Export) -> Outcome {
    match &export.branch {
        Some(branch) => report::branch(branch),
        None if export.is_risky() => {
            return Err(withheld("the branch was not made: there are risky changes"));
        }
        // That there are no changes has been said.
        None => {}
    }
    Ok(0)
}

/// What `--check` and `--apply` end with.
fn outcome(args: &ExportArgs, export: &Export) -> Outcome {
    match &export.conflict {
        Some(why) => {
            let failed = if args.apply { "the patch was not applied" } else { "the patch does not apply" };
            Err(ApiError::new(ErrorCode::Refused, failed)
                .because(why.clone())
                .with_hint("export it with -o, and apply it with `git apply --3way` or by hand")
                .into())
        }
        // That there are no changes has been said.
        None if export.files.is_empty() => Ok(0),
        None if export.applied => {
            ui::note("the patch was applied to the working tree");
            Ok(0)
        }
        None if args.check => {
            ui::note("the patch applies");
            Ok(0)
        }
        None => Ok(0),
    }
}

/// Writes the patch to a file: whole, or not at all.
async fn save(client: &Client, patch: &str, file: &Path) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::io(format!("could not write the patch to {}", file.display()), error)
    };
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        return Err(ApiError::new(ErrorCode::Failed, format!("there is no directory {}", dir.display()))
            .with_hint("make it, or name another file with -o")
            .into());
    }
    if file.is_dir() {
        return Err(ApiError::new(ErrorCode::Failed, format!("{} is a directory", file.display()))
            .with_hint("name a file with -o")
            .into());
    }
    if !file.symlink_metadata().map_or(true, |found| found.is_file()) {
        // A device or a pipe cannot be replaced, and has nothing that could be lost.
        let mut out = std::fs::OpenOptions::new().write(true).open(file).map_err(failed)?;
        return copy(client, patch, &mut out, failed).await;
    }
    // As any new file: the umask decides.
    let permissions = std::fs::Permissions::from_mode(0o666);
    let mut temporary = tempfile::Builder::new()
        .prefix(".banger-patch-")
        .permissions(permissions)
        .tempfile_in(dir)
        .map_err(failed)?;
    copy(client, patch, temporary.as_file_mut(), failed).await?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}

async fn print(client: &Client, patch: &str, export: &Export) -> Result<(), CommandError> {
    let mut filter = anstream::adapter::StripBytes::new();
    if std::io::stdout().is_terminal() && !export.files.is_empty() {
        ui::say("");
    }
    let mut stream = client.patch(patch).await?;
    while let Some(piece) = stream.next().await? {
        ui::raw(&piece, &mut filter)?;
    }
    Ok(())
}

async fn copy(
    client: &Client,
    patch: &str,
    out: &mut std::fs::File,
    failed: impl Fn(std::io::Error) -> CommandError,
) -> Result<(), CommandError> {
    let mut stream = client.patch(patch).await?;
    while let Some(piece) = stream.next().await? {
        out.write_all(&piece).map_err(&failed)?;
    }
    Ok(())
}
