//! How much each flow may have on its way from the guest, so that all together never take more than a fixed
//! amount of memory.

use std::cell::Cell;
use std::rc::Rc;

/// What every flow may send, in bytes: enough for a request.
pub(crate) const WINDOW_MIN: usize = 8 * 1024;
/// What makes a fast flow out of a round trip of a few milliseconds.
const WINDOW_MAX: usize = 512 * 1024;
/// What all flows together may have beyond [`WINDOW_MIN`].
const EXTRA_MAX: usize = 5 * 1024 * 1024;

/// What is shared out.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    flows: Cell<usize>,
    extra: Cell<usize>,
}

/// A flow's part of it; returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Window {
    budget: Rc<Budget>,
    /// What the guest may still send, and what it has sent that waits.
    size: usize,
}

impl Window {
    pub(crate) fn new(budget: &Rc<Budget>) -> Self {
        budget.flows.set(budget.flows.get() + 1);
        Self { budget: budget.clone(), size: WINDOW_MIN }
    }

    /// Lets the guest send so many bytes more although none have gone on; none when there are none to give.
    pub(crate) fn extend(&mut self) -> Option<usize> {
        let extra = self.budget.extra.get() + WINDOW_MIN;
        (extra <= EXTRA_MAX).then(|| {
            self.budget.extra.set(extra);
            self.size += WINDOW_MIN;
            WINDOW_MIN
        })
    }

    /// So many bytes have gone on to the server: how many more the guest may send. A flow that uses what it
    /// has gets more, as long as there is some; with many flows each has less.
    pub(crate) fn consumed(&mut self, count: usize) -> usize {
        let Budget { flows, extra } = &*self.budget;
        let target = (EXTRA_MAX / flows.get().max(1)).clamp(WINDOW_MIN, WINDOW_MAX);
        let before = self.size - WINDOW_MIN;
        let others = extra.get() - before;
        let target = target.min(WINDOW_MIN + EXTRA_MAX.saturating_sub(others));
        let kept = self.size - count;
        let grown = (self.size + count).min(target).max(kept).max(WINDOW_MIN);
        extra.set(others + grown - WINDOW_MIN);
        self.size = grown;
        grown - kept
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let Budget { flows, extra } = &*self.budget;
        flows.set(flows.get() - 1);
        extra.set(extra.get() - (self.size - WINDOW_MIN));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flow_alone_grows_as_it_is_used() {
        let budget = Rc::default();
        let mut window = Window::new(&budget);
        let mut may_send = WINDOW_MIN;
        for _ in 0..20 {
            let used = may_send;
            may_send = window.consumed(used);
        }
        assert_eq!(may_send, WINDOW_MAX);
    }

    proptest! {
        #[test]
        fn all_together_stay_within_the_budget(uses in proptest::collection::vec((0..40_usize, 1..600_000_usize), 1..400)) {
            let budget = Rc::default();
            let mut flows: Vec<(Window, usize)> = Vec::new();
            for (at, count) in uses {
                if at >= flows.len() {
                    flows.push((Window::new(&budget), WINDOW_MIN));
                    continue;
                }
                let (window, may_send) = &mut flows[at];
                let used = count.min(*may_send);
                *may_send = *may_send - used + window.consumed(used);
                prop_assert!(*may_send >= 1 && *may_send <= WINDOW_MAX);
                let all: usize = flows.iter().map(|(_, may_send)| may_send).sum();
                prop_assert!(all <= flows.len() * WINDOW_MIN + EXTRA_MAX);
            }
            drop(flows);
            prop_assert_eq!((budget.flows.get(), budget.extra.get()), (0, 0));
        }
    }
}
