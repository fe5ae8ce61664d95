//! Whether all that the broker keeps for this device has come and was dealt with. Sans-IO.
//!
//! A broker says nowhere that retained messages and those of a kept session are all sent. It does
//! take packets in their order: what it still had to send it sends before it answers a later
//! question. The question is the subscription to offers once more, without what is retained there.
//!
//! Promises:
//! * "All heard" is said once every message of this connection was acknowledged, and the answer to
//!   a question that came after that brought no further message before it.
//! * Never where the broker does not let this device hear orders.
//! * One question at a time.

/// How far that is on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HearingStage {
    Unsubscribed,
    /// Subscribed, no answer yet.
    Subscribing,
    /// To ask, once everything that came was dealt with.
    Listening,
    /// Asked, no answer yet; nothing has come since where `quiet`.
    Asked {
        quiet: bool,
    },
    /// All was heard.
    Heard,
    /// The broker refuses.
    Deaf,
}

/// What is known of one connection.
#[derive(Debug)]
pub struct Hearing {
    stage: HearingStage,
}

impl Default for Hearing {
    fn default() -> Self {
        Self { stage: HearingStage::Unsubscribed }
    }
}

impl Hearing {
    /// Whether to subscribe; then it counts as done.
    pub fn subscribes(&mut self) -> bool {
        let due = self.stage == HearingStage::Unsubscribed;
        if due {
            self.stage = HearingStage::Subscribing;
        }
        due
    }

    /// A message came.
    pub fn message(&mut self) {
        if let HearingStage::Asked { quiet } = &mut self.stage {
            *quiet = false;
        }
    }

    /// Whether to ask now; then it counts as done. `dealt_with`: no message waits for its
    /// acknowledgement.
    pub fn asks(&mut self, dealt_with: bool) -> bool {
        let due = dealt_with && self.stage == HearingStage::Listening;
        if due {
            self.stage = HearingStage::Asked { quiet: true };
        }
        due
    }

    /// The broker answered the oldest subscription or question; `granted` where it lets this device
    /// hear all orders.
    pub fn answered(&mut self, granted: bool) {
        self.stage = match self.stage {
            HearingStage::Subscribing if granted => HearingStage::Listening,
            HearingStage::Subscribing => HearingStage::Deaf,
            HearingStage::Asked { quiet: true } => HearingStage::Heard,
            HearingStage::Asked { quiet: false } => HearingStage::Listening,
            other => other,
        };
    }

    /// Whether nothing more is waited for: all was heard, or the broker refuses.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, HearingStage::Heard | HearingStage::Deaf)
    }

    /// Whether all was heard.
    pub fn is_complete(&self) -> bool {
        self.stage == HearingStage::Heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed() -> Hearing {
        let mut hearing = Hearing::default();
        assert!(hearing.subscribes() && !hearing.subscribes());
        assert!(!hearing.asks(true), "no answer yet");
        hearing.answered(true);
        hearing
    }

    #[test]
    fn all_is_heard_when_an_answer_brings_nothing_more() {
        let mut hearing = subscribed();
        hearing.message();
        assert!(!hearing.asks(false), "what came is not dealt with");
        assert!(hearing.asks(true) && !hearing.asks(true));
        // More than the receive maximum was kept.
        hearing.message();
        hearing.answered(true);
        assert!(!hearing.is_complete() && !hearing.is_over());
        assert!(hearing.asks(true));
        hearing.answered(true);
        assert!(hearing.is_complete() && hearing.is_over() && !hearing.asks(true));
    }

    #[test]
    fn where_orders_are_refused_nothing_counts_as_heard() {
        let mut hearing = Hearing::default();
        assert!(hearing.subscribes());
        hearing.answered(false);
        assert!(!hearing.asks(true) && !hearing.is_complete() && hearing.is_over());
    }
}
