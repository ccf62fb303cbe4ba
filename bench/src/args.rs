use clap::{Parser, ValueEnum};

/// Times banger against bare QEMU and against others' tools, on this machine, in one run.
#[derive(Debug, PartialEq, Eq, Parser)]
#[command(name = "bench")]
pub(crate) struct Args {
    #[arg(value_enum, default_value_t = Subject::All)]
    pub(crate) subject: Subject,
    /// How often to measure (boot, throughput, workspace, pull)
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one)]
    pub(crate) rounds: usize,
    /// How many boots (boots)
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = at_least_one)]
    pub(crate) count: usize,
    /// How many files (responsiveness)
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = at_least_one)]
    pub(crate) files: usize,
    /// How long (soak)
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) minutes: u64,
    /// SIGKILL the daemon every few seconds meanwhile (soak)
    #[arg(long)]
    pub(crate) kill: bool,
    /// How many busy threads beside them (boots) [default: one per CPU]
    #[arg(long, value_name = "N", default_value_t = cpus(), hide_default_value = true)]
    pub(crate) load: usize,
    /// Image to boot [default: debian-trixie-minimal; debian-trixie, which has git, for responsiveness]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
}

impl Args {
    pub(crate) fn image(&self) -> &str {
        let default = match self.subject {
            // An export is the guest's git's work.
            Subject::Responsiveness => "debian-trixie",
            _ => "debian-trixie-minimal",
        };
        self.image.as_deref().unwrap_or(default)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// Bare QEMU to the agent's hello, a whole `run --rm -- true`, `exec -- true`, `version`, `vm list`;
    /// alternating
    Boot,
    /// Many cold boots in a row on a busy machine
    Boots,
    /// 100 MB through `exec -- cat`
    Throughput,
    /// A repository of 20,000 files through `vm workspace prepare`, and through tar and `exec`; alternating
    Workspace,
    /// An image of 20,000 files by `image pull`, and by skopeo, umoci and mke2fs; alternating, as root
    Pull,
    /// `vm list` beside a `vm workspace prepare` of 20,000 files, and beside an export of a change to each;
    /// fails when its p99 is 50 ms or more
    Responsiveness,
    /// 8 clients at once for some minutes, on 12 VMs; no request may hang, and store, disk and API agree at
    /// the end
    Soak,
    /// What the daemon takes when it has nothing to do
    Memory,
    /// boot, throughput and memory
    All,
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("nothing cannot be measured".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("not a number".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))
    }

    #[test]
    fn words_become_arguments() {
        let args = parse("boots --count 3 --load 2").unwrap();
        assert_eq!((args.subject, args.count, args.load), (Subject::Boots, 3, 2));
        let all = parse("").unwrap();
        assert_eq!((all.subject, all.image()), (Subject::All, "debian-trixie-minimal"));
        assert_eq!(parse("responsiveness").unwrap().image(), "debian-trixie");
        assert_eq!(parse("responsiveness --image own").unwrap().image(), "own");
        for bad in [
            "responsiveness --files 0",
            "boot --rounds",
            "boot --rounds x",
            "boot --rounds 0",
            "cold",
            "--help",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
