use std::str::FromStr;

const USAGE: &str = "usage: bench [SUBJECT] [--rounds N] [--count N] [--load N] [--image NAME]

  boot        bare QEMU to the agent's hello, a whole `run --rm -- true`, `exec -- true`, `version`, `vm list`; alternating
  boots       many cold boots in a row on a busy machine
  throughput  100 MB through `exec -- cat`
  workspace   a repository of 20,000 files through `vm workspace prepare`, and through tar and `exec`; alternating
  pull        an image of 20,000 files by `image pull`, and by skopeo, umoci and mke2fs; alternating, as root
  soak        8 clients at once for some minutes, on 12 VMs; no request may hang, and store, disk and API agree at the end
  memory      what the daemon takes when it has nothing to do
  (none)      boot, throughput and memory

  --rounds N   how often to measure (boot, throughput, workspace, pull) [5]
  --count N    how many boots (boots) [50]
  --minutes N  how long (soak) [5]
  --kill       SIGKILL the daemon every few seconds meanwhile (soak)
  --load N     how many busy threads beside them (boots) [one per CPU]
  --image NAME image to boot [debian-trixie-minimal]";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Boot,
    Boots,
    Throughput,
    Workspace,
    Pull,
    Soak,
    Memory,
    All,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) subject: Subject,
    pub(crate) rounds: usize,
    pub(crate) count: usize,
    pub(crate) load: usize,
    pub(crate) minutes: u64,
    pub(crate) kill: bool,
    pub(crate) image: String,
}

impl Args {
    /// # Errors
    ///
    /// The usage, after what is wrong with the arguments.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let load = std::thread::available_parallelism().map_or(2, usize::from);
        let image = "debian-trixie-minimal".to_owned();
        let mut args =
            Self { subject: Subject::All, rounds: 5, count: 50, load, minutes: 5, kill: false, image };
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "boot" => args.subject = Subject::Boot,
                "boots" => args.subject = Subject::Boots,
                "throughput" => args.subject = Subject::Throughput,
                "workspace" => args.subject = Subject::Workspace,
                "pull" => args.subject = Subject::Pull,
                "soak" => args.subject = Subject::Soak,
                "memory" => args.subject = Subject::Memory,
                "--rounds" => args.rounds = value(&word, words.next())?,
                "--count" => args.count = value(&word, words.next())?,
                "--minutes" => args.minutes = value(&word, words.next())?,
                "--kill" => args.kill = true,
                "--load" => args.load = value(&word, words.next())?,
                "--image" => args.image = value(&word, words.next())?,
                "--help" | "-h" => return Err(USAGE.into()),
                _ => return Err(format!("bench: {word:?} is not known\n{USAGE}")),
            }
        }
        if args.rounds == 0 || args.count == 0 {
            return Err(format!("bench: nothing cannot be measured\n{USAGE}"));
        }
        Ok(args)
    }
}

fn value<T: FromStr>(option: &str, word: Option<String>) -> Result<T, String> {
    let parsed = word.as_deref().and_then(|word| word.parse().ok());
    parsed
        .ok_or_else(|| format!("bench: {option} takes a value, not {:?}\n{USAGE}", word.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn words_become_arguments() {
        let args = parse("boots --count 3 --load 2").unwrap();
        assert_eq!((args.subject, args.count, args.load), (Subject::Boots, 3, 2));
        assert_eq!(parse("").unwrap().subject, Subject::All);
        for bad in ["boot --rounds", "boot --rounds x", "boot --rounds 0", "cold", "--help"] {
            assert!(parse(bad).unwrap_err().contains("usage"), "{bad}");
        }
    }
}
