//! The largest packet that the broker takes: as it says, or as it turned out.
//!
//! * A broker need not say its limit, and may end the link over what is larger. The largest that
//!   was sent on that link is then too large, whichever it was that the broker refused: what is a
//!   quarter smaller is tried next, and so on.
//! * Never below what the broker has taken.
//! * What turned out is forgotten after a day: somebody may have raised the limit.

use std::time::Duration;

/// How long a limit holds that the broker did not say.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What is known of the broker's limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketLimit {
    /// As the broker says.
    said: usize,
    /// As it turned out, and when.
    found: Option<(usize, Duration)>,
    /// The largest that was sent on this link.
    sent: usize,
    /// The largest status that the broker has acknowledged.
    taken: usize,
}

impl Default for PacketLimit {
    fn default() -> Self {
        Self { said: usize::MAX, found: None, sent: 0, taken: 0 }
    }
}

impl PacketLimit {
    /// A new link, on which the broker says `said`.
    pub(super) fn connected(&mut self, said: Option<u32>, now: Duration) {
        self.said = said.map_or(usize::MAX, |bytes| bytes as usize);
        self.found = self.found.filter(|(_, at)| now.saturating_sub(*at) < FORGOTTEN_AFTER);
    }

    /// The link ended.
    pub(super) fn disconnected(&mut self) {
        self.sent = 0;
    }

    /// Bytes that a packet may have; `usize::MAX` where no limit is known.
    pub(super) fn bytes(&self) -> usize {
        self.said.min(self.found.map_or(usize::MAX, |(found, _)| found))
    }

    /// A packet of `bytes` goes out.
    pub(super) fn sends(&mut self, bytes: usize) {
        self.sent = self.sent.max(bytes);
    }

    /// The broker has acknowledged a packet of `bytes`.
    pub(super) fn took(&mut self, bytes: usize) {
        self.taken = self.taken.max(bytes);
    }

    /// The broker ended this link over a packet that it calls too large. The limit from now on;
    /// `None` where nothing was sent.
    pub(super) fn refused(&mut self, now: Duration) -> Option<usize> {
        let largest = self.sent.checked_sub(1)?;
        let limit = (self.sent - self.sent / 4).max(self.taken).min(largest);
        self.found = Some((limit, now));
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(100);

    #[test]
    fn what_turned_out_is_forgotten_after_a_day_and_what_the_broker_says_is_not() {
        let mut limit = PacketLimit::default();
        limit.connected(None, START);
        assert_eq!((limit.bytes(), limit.refused(START)), (usize::MAX, None));
        limit.sends(8000);
        limit.took(2000);
        assert_eq!(limit.refused(START), Some(6000));
        limit.disconnected();
        limit.connected(Some(100_000), START);
        assert_eq!(limit.bytes(), 6000);
        limit.connected(Some(100_000), START + FORGOTTEN_AFTER);
        assert_eq!(limit.bytes(), 100_000);
    }

    proptest! {
        #[test]
        fn every_limit_is_found_and_what_the_broker_takes_is_sent_in_the_end(
            real in 1usize..100_000,
            sizes in proptest::collection::vec(1usize..120_000, 1..8),
        ) {
            let mut limit = PacketLimit::default();
            let mut links = 0;
            loop {
                limit.connected(None, START);
                let sent: Vec<_> =
                    sizes.iter().copied().filter(|size| *size <= limit.bytes()).collect();
                sent.iter().for_each(|size| limit.sends(*size));
                if sent.iter().all(|size| *size <= real) {
                    break;
                }
                prop_assert!(limit.refused(START).is_some());
                limit.disconnected();
                links += 1;
            }
            prop_assert!(links <= 24, "{links}");
            prop_assert!(limit.bytes() >= real - real / 4 - 1, "{} of {real}", limit.bytes());
        }
    }
}
