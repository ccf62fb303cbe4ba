//! Which port of the host a port of the guest is forwarded from, where nobody has said it (pure).

/// Where a port that cannot be had is found instead, once and again.
const STEP: u16 = 10_000;

/// The port itself, then 10000 above it, 20000 above it, and so on: 80 is found at 10080 where it needs a
/// privilege, and 8080 at 18080 where somebody has it.
pub(super) fn candidates(guest: u16) -> impl Iterator<Item = u16> {
    std::iter::successors(Some(guest), |port| port.checked_add(STEP))
}

/// The order in which ports choose: those that can most likely have what they want come first, so that none
/// of them finds it taken by another's second choice.
pub(super) fn in_order(ports: &[u16]) -> Vec<u16> {
    let (privileged, others): (Vec<u16>, Vec<u16>) = ports.iter().partition(|port| **port < 1024);
    others.into_iter().chain(privileged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_choices_are_10000_further_on() {
        assert_eq!(candidates(80).take(3).collect::<Vec<_>>(), [80, 10080, 20080]);
        assert_eq!(candidates(50_000).collect::<Vec<_>>(), [50_000, 60_000]);
        assert_eq!(candidates(60_000).collect::<Vec<_>>(), [60_000]);
        assert_eq!(in_order(&[22, 80, 8080, 10080]), [8080, 10080, 22, 80]);
    }
}
