use std::time::Duration;

/// Measurements of one thing.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Vec<Duration>);

impl Numbers {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
        self.0.sort();
    }

    /// Zero when nothing was measured.
    pub(crate) fn median(&self) -> Duration {
        let middle = self.0.len() / 2;
        match (self.0.len() % 2, self.0.get(middle)) {
            (_, None) => Duration::ZERO,
            (0, Some(upper)) => (self.0[middle - 1] + *upper) / 2,
            (_, Some(median)) => *median,
        }
    }

    /// `name  min  median  max`, in milliseconds.
    pub(crate) fn line(&self, name: &str) -> String {
        let ms = |duration: Duration| format!("{:.1}", duration.as_secs_f64() * 1000.0);
        let (min, max) = (self.0.first().copied(), self.0.last().copied());
        let [min, median, max] = [min.unwrap_or_default(), self.median(), max.unwrap_or_default()].map(ms);
        format!("{name:44} {min:>9} {median:>9} {max:>9}")
    }
}

/// The heading of [`Numbers::line`]s.
pub(crate) fn heading(subject: &str) -> String {
    format!("{subject:44} {:>9} {:>9} {:>9}  ms", "min", "median", "max")
}

/// `ok` or what it should have been.
pub(crate) fn verdict(met: bool) -> &'static str {
    if met { "ok" } else { "MISSED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[u64]| {
            let mut numbers = Numbers::default();
            values.iter().for_each(|value| numbers.add(Duration::from_millis(*value)));
            numbers.median().as_millis()
        };
        assert_eq!([of(&[]), of(&[5]), of(&[9, 1]), of(&[9, 1, 4])], [0, 5, 5, 4]);
    }
}
