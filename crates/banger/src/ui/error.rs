use std::fmt::Write as _;
use std::io::Write as _;

use banger_api::ApiError;

use super::style::{DIM, ERROR, HELP, clean, paint};

/// Prints an error on stderr: what failed, why, and what to do about it.
pub(crate) fn print_error(error: &ApiError) {
    // Where stderr fails, the exit code has to tell it alone.
    let _ = write!(anstream::stderr().lock(), "{}", render(error));
}

fn render(error: &ApiError) -> String {
    let mut text = String::new();
    let mut said: Vec<&str> = vec![&error.message];
    put(&mut text, &paint(ERROR, "error:"), "       ", &error.message);
    for cause in &error.causes {
        // A wrapper that only repeats what it wraps tells nothing new.
        if !said.iter().any(|earlier| earlier.contains(cause.trim())) {
            put(&mut text, &paint(DIM, "  because:"), "           ", cause);
            said.push(cause);
        }
    }
    if let Some(hint) = &error.hint {
        put(&mut text, &paint(HELP, "  help:"), "        ", hint);
    }
    text
}

fn put(text: &mut String, label: &str, indent: &str, words: &str) {
    let mut lines = words.trim_end().lines();
    // Text in memory takes everything.
    let _ = writeln!(text, "{label} {}", clean(lines.next().unwrap_or_default()));
    for line in lines {
        // As above.
        let _ = writeln!(text, "{indent}{}", clean(line));
    }
}

#[cfg(test)]
mod tests {
    use banger_api::ErrorCode;

    use super::*;

    fn plain(error: &ApiError) -> String {
        anstream::adapter::strip_str(&render(error)).to_string()
    }

    #[test]
    fn an_error_has_three_parts() {
        let error = ApiError::new(ErrorCode::Failed, "could not start brave-otter")
            .because("qemu-system-x86_64 exited with status 1")
            .because("could not open /dev/kvm: permission denied")
            .with_hint("sudo adduser $USER kvm, then log in again");
        insta::assert_snapshot!(plain(&error), @r"
        error: could not start brave-otter
          because: qemu-system-x86_64 exited with status 1
          because: could not open /dev/kvm: permission denied
          help: sudo adduser $USER kvm, then log in again
        ");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = ApiError::new(ErrorCode::Failed, "could not open x: no such file")
            .because("no such file")
            .because("disk on fire")
            .because("disk on fire");
        insta::assert_snapshot!(plain(&error), @r"
        error: could not open x: no such file
          because: disk on fire
        ");
    }

    #[test]
    fn lines_stay_under_their_label_and_escapes_are_dropped() {
        let error = ApiError::new(ErrorCode::Usage, "bangerd's configuration is wrong")
            .because("config.toml:2:8\n  |\n2 | vcpu = \"x\"\n  |        ^^^ expected an integer\x1b[2J");
        insta::assert_snapshot!(plain(&error), @r#"
        error: bangerd's configuration is wrong
          because: config.toml:2:8
                     |
                   2 | vcpu = "x"
                     |        ^^^ expected an integer
        "#);
    }

    #[test]
    fn labels_are_coloured() {
        assert!(render(&ApiError::new(ErrorCode::Failed, "x")).starts_with("\x1b["));
    }
}
