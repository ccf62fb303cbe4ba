//! Errors in words: for whoever gets them over the wire, in a log, or on one line.

use std::error::Error;

/// What caused an error, outermost first, without the error itself.
pub fn causes(error: &dyn Error) -> Vec<String> {
    chain(error).split_off(1)
}

/// An error with all its causes on one line.
pub fn on_one_line(error: &dyn Error) -> String {
    chain(error).join(": ")
}

/// An error's text and those of its causes, outermost first.
pub fn chain(error: &dyn Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_causes_follow_the_error() {
        let error = Outer(std::io::Error::other("inner"));
        assert_eq!(
            (causes(&error), on_one_line(&error)),
            (vec!["inner".to_owned()], "outer: inner".to_owned())
        );
    }
}
