//! Errors for logs and for those who read one line.

/// An error's text and those of its sources, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}

/// The same on one line.
pub(crate) fn on_one_line(error: &dyn std::error::Error) -> String {
    chain(error).join(": ")
}
