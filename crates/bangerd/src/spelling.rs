//! "Did you mean": the known word that a mistyped one was meant to be.

/// The nearest of `known`, when it is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the word may be wrong; in short words, one letter.
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_understood_and_other_words_are_not() {
        let known = ["vcpu", "memory_mib", "disk_size"];
        assert_eq!(nearest("vpcu", known), Some("vcpu"));
        assert_eq!(nearest("memory_mb", known), Some("memory_mib"));
        assert_eq!(nearest("disksize", known), Some("disk_size"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }
}
