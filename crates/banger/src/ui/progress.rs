use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};

use banger_api::Event;
use banger_api::operation::{ProgressUnit, Stage};
use banger_api::vm::{NetworkMode, VmSpec};
use indicatif::{ProgressBar, ProgressStyle};

use super::style::{BAD, DIM, GOOD, clean, paint};
use super::time::elapsed;
use super::{bytes, memory};

/// A stage that was over faster than this gets no line on a terminal: nobody waited for it.
const WORTH_A_LINE: Duration = Duration::from_millis(100);

/// How much of an operation's events to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Verbosity {
    /// Nothing but the outcome.
    Quiet,
    /// Only what is worth a line by itself.
    Notices,
    #[default]
    Normal,
    /// What tools print, too.
    Verbose,
}

/// Shows the events of an operation on stderr: a live line per stage on a terminal, plain lines elsewhere.
pub(crate) struct Progress {
    view: View,
    verbosity: Verbosity,
    stage: Option<Running>,
}

struct Running {
    name: &'static str,
    detail: String,
    since: Instant,
    /// The newest count, and the newest line of a tool.
    count: String,
    output: String,
}

enum View {
    Plain(Box<dyn Write>),
    Live { bar: Option<ProgressBar>, keep_lines: bool },
}

impl Progress {
    /// Shows progress on stderr.
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        Self::with_lines(verbosity, true)
    }

    /// Shows progress only while it lasts, and only on a terminal; notices always.
    pub(crate) fn transient() -> Self {
        let verbosity = if live() { Verbosity::Normal } else { Verbosity::Notices };
        Self::with_lines(verbosity, false)
    }

    fn with_lines(verbosity: Verbosity, keep_lines: bool) -> Self {
        let view = if live() {
            View::Live { bar: None, keep_lines }
        } else {
            View::Plain(Box::new(anstream::stderr()))
        };
        Self { view, verbosity, stage: None }
    }

    pub(crate) fn show(&mut self, event: &Event) {
        match self.verbosity {
            Verbosity::Quiet => return,
            Verbosity::Notices if !matches!(event, Event::Notice { .. }) => return,
            _ => {}
        }
        match event {
            Event::Planned { spec } => self.say(&spec_line(spec)),
            Event::Notice { text } => self.say(&format!("{} {}", paint(DIM, "note:"), clean(text))),
            Event::Stage { stage, detail } => self.begin(*stage, detail),
            Event::Progress { done, total, unit, files } => {
                let mut count = counted(*done, *total, *unit);
                if let Some(files) = files {
                    count = format!("{} of {} files, {count}", files.done, files.total);
                }
                self.update(|stage| stage.count = count);
            }
            Event::Output { line } => self.output(line),
            Event::Succeeded { .. } => self.end(true),
            Event::Failed { .. } => self.end(false),
            Event::Accepted { .. } => {}
        }
    }

    fn output(&mut self, line: &str) {
        let line = clean(line);
        if self.verbosity == Verbosity::Verbose {
            self.say(&paint(DIM, format_args!("  {line}")));
        } else {
            self.update(|stage| stage.output = line);
        }
    }

    fn begin(&mut self, stage: Stage, detail: &str) {
        self.end(true);
        let (name, detail) = (stage_name(stage), clean(detail));
        match &mut self.view {
            View::Plain(_) => {
                let line = if detail.is_empty() { name.into() } else { format!("{name}: {detail}") };
                self.say(&line);
            }
            View::Live { bar, .. } => {
                let style = ProgressStyle::with_template("{spinner:.cyan} {prefix} {took}  {msg:.dim}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner())
                    .with_key("took", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
                        // The bar gets its text in memory, which takes everything.
                        let _ = write!(out, "{:>7}", elapsed(state.elapsed()));
                    })
                    .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ");
                let new = ProgressBar::new_spinner().with_style(style).with_prefix(format!("{name:9}"));
                new.set_message(fitting(&detail));
                new.enable_steady_tick(Duration::from_millis(100));
                *bar = Some(new);
            }
        }
        let (count, output) = (String::new(), String::new());
        self.stage = Some(Running { name, detail, since: Instant::now(), count, output });
    }

    fn update(&mut self, change: impl FnOnce(&mut Running)) {
        let Some(stage) = &mut self.stage else { return };
        change(stage);
        if let View::Live { bar: Some(bar), .. } = &self.view {
            let parts = [&stage.detail, &stage.count, &stage.output];
            let parts: Vec<&str> =
                parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            bar.set_message(fitting(&parts.join(" · ")));
        }
    }

    fn end(&mut self, well: bool) {
        let Some(stage) = self.stage.take() else { return };
        let View::Live { bar, keep_lines } = &mut self.view else { return };
        if let Some(bar) = bar.take() {
            bar.finish_and_clear();
        }
        let took = stage.since.elapsed();
        if *keep_lines && (!well || took >= WORTH_A_LINE) {
            let mark = if well { paint(GOOD, "✓") } else { paint(BAD, "✗") };
            let (name, took, detail) = (stage.name, elapsed(took), paint(DIM, stage.detail));
            self.say(format!("{mark} {name:9} {took:>7}  {detail}").trim_end());
        }
    }

    /// Writes a line of its own, above the live one. That nobody can read it is no reason to stop what it is
    /// about: the result and the exit code tell how that went.
    fn say(&mut self, text: &str) {
        match &mut self.view {
            View::Plain(out) => drop(writeln!(out, "{text}")),
            View::Live { bar: Some(bar), .. } => {
                bar.suspend(|| drop(writeln!(anstream::stderr().lock(), "{text}")));
            }
            View::Live { .. } => drop(writeln!(anstream::stderr().lock(), "{text}")),
        }
    }
}

impl Drop for Progress {
    /// Leaves no half-drawn line on the terminal, however the operation was left.
    fn drop(&mut self) {
        if let View::Live { bar: Some(bar), .. } = &self.view {
            bar.finish_and_clear();
        }
    }
}

fn live() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// As much of `text` as fits behind a stage's name and time, with room for the `^C` that a terminal echoes: a
/// line that wraps cannot be redrawn in place.
fn fitting(text: &str) -> String {
    const TAKEN: usize = 28;
    let columns = crate::session::window_size().map_or(80, |size| usize::from(size.cols));
    text.chars().take(columns.saturating_sub(TAKEN)).collect()
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Image => "image",
        Stage::Kernel => "kernel",
        Stage::Disks => "disks",
        Stage::Boot => "boot",
        Stage::Configure => "configure",
        Stage::Shutdown => "shutdown",
        Stage::Cleanup => "cleanup",
        Stage::Workspace => "workspace",
        Stage::Copy => "copy",
    }
}

fn spec_line(spec: &VmSpec) -> String {
    let network = if spec.network == NetworkMode::None { ", no network" } else { "" };
    format!(
        "spec: {} vcpu, {} MiB, {} disk, {}, {}{network}",
        spec.vcpu,
        spec.memory_mib,
        memory(spec.disk_mib),
        spec.image,
        spec.vmm
    )
}

fn counted(done: u64, total: Option<u64>, unit: ProgressUnit) -> String {
    let (show, unit): (fn(u64) -> String, _) = match unit {
        ProgressUnit::Bytes => (bytes, ""),
        ProgressUnit::Files => (|count| count.to_string(), " files"),
        ProgressUnit::Packages => (|count| count.to_string(), " packages"),
    };
    match total {
        Some(total) => format!("{}/{}{unit}", show(done), show(total)),
        None => format!("{}{unit}", show(done)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use banger_api::vm::{InitChoice, VmmKind};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn events() -> Vec<Event> {
        let spec = VmSpec {
            name: "brave-otter".into(),
            image: "debian-trixie".into(),
            kernel: "debian-6.12".into(),
            vcpu: 4,
            memory_mib: 8192,
            disk_mib: 8192,
            vmm: VmmKind::Qemu,
            network: NetworkMode::User,
            egress: vec!["internet".into()],
            init: InitChoice::Auto,
            publish: Vec::new(),
            auto_forward: false,
        };
        vec![
            Event::Accepted { operation: "1".into() },
            Event::Planned { spec },
            Event::Notice { text: "no usable KVM: this VM is emulated, and slow".into() },
            Event::Stage { stage: Stage::Image, detail: "debian-trixie".into() },
            Event::Progress { done: 12, total: Some(210), unit: ProgressUnit::Packages, files: None },
            Event::Output { line: "Setting up \x1b[31mlibc6\x07 ...".into() },
            Event::Stage { stage: Stage::Boot, detail: String::new() },
            Event::Succeeded { result: serde_json::Value::Null },
        ]
    }

    fn shown(verbosity: Verbosity) -> String {
        let kept = Kept::default();
        let view =
            View::Plain(Box::new(anstream::StripStream::new(Box::new(kept.clone()) as Box<dyn Write>)));
        let mut progress = Progress { view, verbosity, stage: None };
        events().iter().for_each(|event| progress.show(event));
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn plain_progress_has_a_line_a_stage() {
        insta::assert_snapshot!(shown(Verbosity::Normal), @r"
        spec: 4 vcpu, 8192 MiB, 8 GiB disk, debian-trixie, qemu
        note: no usable KVM: this VM is emulated, and slow
        image: debian-trixie
        boot
        ");
    }

    #[test]
    fn verbose_progress_shows_what_tools_print_without_their_escapes() {
        assert!(shown(Verbosity::Verbose).contains("\n  Setting up libc6 ...\n"));
    }

    #[test]
    fn quiet_progress_shows_nothing() {
        assert_eq!(shown(Verbosity::Quiet), "");
    }

    #[test]
    fn counts_name_their_unit() {
        let total = Some(1 << 20);
        assert_eq!(counted(512, total, ProgressUnit::Bytes), "512 B/1.0 MiB");
        assert_eq!(counted(12, None, ProgressUnit::Packages), "12 packages");
    }
}
