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
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> Duration {
        let middle = self.0.len() / 2;
        match (self.0.len() % 2, self.0.get(middle)) {
            (_, None) => Duration::ZERO,
            (0, Some(upper)) => (self.0[middle - 1] + *upper) / 2,
            (_, Some(median)) => *median,
        }
    }

    /// So many of a hundred took no longer, roughly; zero when nothing was measured.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last.min(self.0.len() * percent / 100)).copied().unwrap_or_default()
    }

    /// `name  n  p50  p90  p99  max`, in milliseconds.
    pub(crate) fn spread_line(&self, name: &str) -> String {
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| ms(self.percentile(percent)));
        format!("{name:44} {:>6} {p50:>9} {p90:>9} {p99:>9} {max:>9}", self.0.len())
    }

    /// `name  min  median  max`, in milliseconds.
    pub(crate) fn line(&self, name: &str) -> String {
        let (min, max) = (self.0.first().copied(), self.0.last().copied());
        let [min, median, max] = [min.unwrap_or_default(), self.median(), max.unwrap_or_default()].map(ms);
        format!("{name:44} {min:>9} {median:>9} {max:>9}")
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}

/// The heading of [`Numbers::spread_line`]s.
pub(crate) fn spread_heading(subject: &str) -> String {
    format!("{subject:44} {:>6} {:>9} {:>9} {:>9} {:>9}  ms", "n", "p50", "p90", "p99", "max")
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

    fn numbers(values: impl IntoIterator<Item = u64>) -> Numbers {
        let mut numbers = Numbers::default();
        values.into_iter().for_each(|value| numbers.add(Duration::from_millis(value)));
        numbers
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[u64]| numbers(values.iter().copied()).median().as_millis();
        assert_eq!([of(&[]), of(&[5]), of(&[9, 1]), of(&[9, 1, 4])], [0, 5, 5, 4]);
    }

    #[test]
    fn a_percentile_leaves_the_rest_above_it() {
        let of = |count, percent| numbers((1..=count).rev()).percentile(percent).as_millis();
        assert_eq!([of(0, 99), of(1, 99), of(10, 50), of(10, 99)], [0, 1, 6, 10]);
        assert_eq!([of(1000, 50), of(1000, 99), of(1000, 100)], [501, 991, 1000]);
    }
}
