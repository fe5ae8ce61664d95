//! Tells genuine messages from others before they are queued: the delivery thread asks for each
//! message that comes.
//!
//! * An order is genuine where a key that the device believes has signed it. Whether it is followed
//!   is for [`super::keeper`], which also knows what the device remembers.
//! * A verdict is genuine where a pinned reviewer signed its envelope for this device. What is in
//!   it is for [`super::reviews`].
//! * The registration of a control is genuine where a pinned receiver has signed it for this
//!   device. Whether it is taken is for [`super::reviews`].
//! * A receipt is genuine where a pinned receiver has signed it for this device. What it retires is
//!   for delivery.
//! * An offer is genuine where it has the shape of one: whether a sealed list is signed cannot be
//!   told before it is opened.
//! * What a witness says is genuine where a witness that the device pins has signed it. Which log
//!   and which question it is about is for the audit log to look at.
//! * The device's own checkpoint, which the broker kept, goes on as it is: the log verifies it.
//! * Cheap for what is not genuine: no signature is checked of a key that is not pinned, and no
//!   file is read again that has not changed.
//! * Where the pinned keys cannot be read, those that could be read last still stop.
//! * What is turned away is counted, and logged at growing intervals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use log::warn;

use super::keys::{FileStamp, TrustedKeys};
use crate::audit::dialogue::{FreshnessAnswer, Statement as _, WitnessRequest, open_cosigned};
use crate::audit::receipt::{self, ReceivedEvent};
use crate::audit::witnessed::PinnedWitnesses;
use crate::backoff::Recurring;
use crate::clock::Clock;
use crate::delivery::event::EventId;
use crate::delivery::{InboundKind, ReceiptedEvent, Screen, Screened};
use crate::review::control;
use crate::review::verdict::{self, VerdictError, VerdictErrorKind};
use crate::watchlist::order::{self, OrderError, OrderErrorKind};
use crate::watchlist::{Trust, is_signed_container, seal};

/// What was turned away, shared with the device's counts.
#[derive(Debug, Default)]
pub struct TurnedAway {
    /// No order and no offer at all.
    pub malformed: AtomicU64,
    /// By nobody who may give it, or altered.
    pub not_authentic: AtomicU64,
    /// Offers without the shape of one.
    pub offers: AtomicU64,
    /// Words to the audit log that no pinned witness has signed.
    pub statements: AtomicU64,
}

/// The screen of one device.
pub struct OrderScreen {
    keys: TrustedKeys,
    /// Its id.
    device: String,
    /// The keys that could be read last, and the files as they were then.
    known: Option<(Trust, [FileStamp; 2])>,
    turned_away: Arc<TurnedAway>,
    clock: Clock,
    said: Recurring,
}

impl OrderScreen {
    /// A screen of `device` that believes `keys`, and counts in `turned_away`.
    pub fn new(
        keys: TrustedKeys,
        device: &str,
        turned_away: Arc<TurnedAway>,
        clock: Clock,
    ) -> Self {
        let said = Recurring::new(Duration::from_secs(10), Duration::from_secs(3600));
        Self { keys, device: device.to_owned(), known: None, turned_away, clock, said }
    }

    fn trust(&mut self) -> Option<&Trust> {
        let now = self.keys.stamps();
        if self.known.as_ref().is_none_or(|(_, then)| *then != now) {
            // Where rotations cannot be followed the pinned keys may still stop.
            let read = self.keys.current().ok().or_else(|| self.keys.pinned().ok());
            match read {
                Some(trust) => self.known = Some((trust, now)),
                None => {
                    if let Some((_, then)) = &mut self.known {
                        *then = now;
                    }
                }
            }
        }
        self.known.as_ref().map(|(trust, _)| trust)
    }

    fn order(&mut self, message: &[u8]) -> Result<(), (Screened, String)> {
        let refusal = |error: &OrderError| match error.kind() {
            OrderErrorKind::Malformed => Screened::Malformed,
            OrderErrorKind::NotAuthentic | OrderErrorKind::Over => Screened::NotAuthentic,
        };
        // Its shape first: it costs nothing.
        order::check_shape(message).map_err(|e| (refusal(&e), e.to_string()))?;
        let Some(trust) = self.trust() else {
            return Err((Screened::NotAuthentic, "no pinned key can be read".to_owned()));
        };
        match order::authenticate(message, trust) {
            Ok(_) => Ok(()),
            Err(error) => Err((refusal(&error), error.to_string())),
        }
    }

    fn statement(&mut self, kind: InboundKind, message: &[u8]) -> Result<(), (Screened, String)> {
        let Some(trust) = self.trust() else {
            return Err((Screened::NotAuthentic, "no pinned key can be read".to_owned()));
        };
        let witnesses = PinnedWitnesses::of(trust);
        let keys = witnesses.keys();
        let opened = match kind {
            InboundKind::AuditCosign => open_cosigned(message, keys).map(drop),
            InboundKind::AuditFreshness => FreshnessAnswer::open_by(message, keys).map(drop),
            _ => WitnessRequest::open_by(message, keys).map(drop),
        };
        opened.map_err(|error| (Screened::NotAuthentic, error.to_string()))
    }

    fn verdict(&mut self, message: &[u8]) -> Result<(), (Screened, String)> {
        let refusal = |error: VerdictError| {
            let screened = match error.kind() {
                VerdictErrorKind::Malformed => Screened::Malformed,
                VerdictErrorKind::NotAuthentic | VerdictErrorKind::Refused => {
                    Screened::NotAuthentic
                }
            };
            (screened, error.to_string())
        };
        verdict::check_shape(message).map_err(refusal)?;
        let device = self.device.clone();
        let Some(trust) = self.trust() else {
            return Err((Screened::NotAuthentic, "no pinned key can be read".to_owned()));
        };
        verdict::authenticate(message, trust, &device).map(drop).map_err(refusal)
    }

    fn receipted(&mut self, message: &[u8]) -> Result<Vec<ReceiptedEvent>, (Screened, String)> {
        let device = self.device.clone();
        let Some(trust) = self.trust() else {
            return Err((Screened::NotAuthentic, "no pinned key can be read".to_owned()));
        };
        let events = receipt::open(message, trust, &device).map_err(|error| {
            let malformed = error.is_malformed();
            let kind = if malformed { Screened::Malformed } else { Screened::NotAuthentic };
            (kind, error.to_string())
        })?;
        let event = |event: ReceivedEvent| ReceiptedEvent {
            id: EventId::from_u128(u128::from_be_bytes(event.id)),
            digest: event.digest,
        };
        Ok(events.into_iter().map(event).collect())
    }

    fn control(&mut self, message: &[u8]) -> Result<(), (Screened, String)> {
        let device = self.device.clone();
        let Some(trust) = self.trust() else {
            return Err((Screened::NotAuthentic, "no pinned key can be read".to_owned()));
        };
        control::open(message, trust, &device).map(drop).map_err(|error| {
            let malformed = error.is_malformed();
            let kind = if malformed { Screened::Malformed } else { Screened::NotAuthentic };
            (kind, error.to_string())
        })
    }

    fn offer(message: &[u8]) -> bool {
        message.starts_with(b"{") || seal::is_sealed(message) || is_signed_container(message)
    }
}

impl Screen for OrderScreen {
    fn screen(&mut self, kind: InboundKind, payload: &[u8]) -> Screened {
        let looked_at = match kind {
            InboundKind::Revoke | InboundKind::Suspend => self.order(payload),
            InboundKind::Verdict => self.verdict(payload),
            InboundKind::Receipt => self.receipted(payload).map(drop),
            InboundKind::Control => self.control(payload),
            InboundKind::Offer if Self::offer(payload) => Ok(()),
            InboundKind::Offer => Err((Screened::Malformed, "this is no list and no key".into())),
            InboundKind::AuditRequest | InboundKind::AuditCosign | InboundKind::AuditFreshness => {
                self.statement(kind, payload)
            }
            // The log knows by which key.
            InboundKind::AuditKept => Ok(()),
        };
        match looked_at {
            Ok(()) => Screened::Genuine,
            Err((screened, why)) => {
                self.turn_away(kind, screened, &why);
                screened
            }
        }
    }

    fn receipt(&mut self, payload: &[u8]) -> Vec<ReceiptedEvent> {
        match self.receipted(payload) {
            Ok(events) => events,
            Err((screened, why)) => {
                self.turn_away(InboundKind::Receipt, screened, &why);
                Vec::new()
            }
        }
    }
}

impl OrderScreen {
    fn turn_away(&mut self, kind: InboundKind, screened: Screened, why: &str) {
        let counter = match (kind, screened) {
            (InboundKind::Offer, _) => &self.turned_away.offers,
            _ if kind.is_for_log() => &self.turned_away.statements,
            (_, Screened::NotAuthentic) => &self.turned_away.not_authentic,
            (_, Screened::Malformed | Screened::Genuine) => &self.turned_away.malformed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(messages) = self.said.happened(self.clock.now().monotonic) {
            warn!("What was sent to the device is not followed: messages={messages} last={why}.");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use time::OffsetDateTime;

    use super::*;
    use crate::files::replace;
    use crate::watchlist::WatchlistConfig;
    use crate::watchlist::keys::SecretKey;
    use crate::watchlist::order::{Action, EVERY_VERSION, OrderId, sign};
    use crate::watchlist::trust::{Role, render};

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn pin(path: &Path, revoker: u8) {
        let now = OffsetDateTime::UNIX_EPOCH;
        let keys = [
            (key(1).public(), "somebody", &[Role::Signer][..]),
            (key(2).public(), "somebody", &[Role::Signer][..]),
            (key(revoker).public(), "somebody", &[Role::Revoker, Role::Suspender][..]),
        ];
        let text = render(1, 2, now, now + time::Duration::DAY, &keys);
        replace(path, text.as_bytes()).expect("writes");
    }

    fn order(by: u8) -> Vec<u8> {
        let list = "north".parse().expect("a reference");
        let action = Action::Revoke { list, through: EVERY_VERSION, entry: None };
        sign(OrderId([7; 16]), &action, &key(by), OffsetDateTime::UNIX_EPOCH).expect("an order")
    }

    #[test]
    fn a_control_is_genuine_by_a_pinned_desk_for_this_device_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let trust = folder.path().join("trust.toml");
        let config = WatchlistConfig { trust, ..WatchlistConfig::default() };
        let now = OffsetDateTime::UNIX_EPOCH;
        let keys = [
            (key(1).public(), "somebody", &[Role::Signer][..]),
            (key(2).public(), "somebody", &[Role::Signer][..]),
            (key(3).public(), "a desk", &[Role::Receiver][..]),
        ];
        let text = render(1, 2, now, now + time::Duration::DAY, &keys);
        replace(&config.trust, text.as_bytes()).expect("writes");
        let turned_away = Arc::<TurnedAway>::default();
        let keys = TrustedKeys::new(&config);
        let mut screen = OrderScreen::new(keys, "gate-1", turned_away.clone(), Clock::default());
        let name = |text: &str| text.parse().expect("a name");
        let scores = seal::DeviceKey::generate().expect("a key");
        let control = |device: &str, by| {
            let control = control::Control {
                device: name(device),
                id: verdict::CandidateId([7; 16]),
                payload: [8; 32],
                list: name("north"),
                version: 1,
                entry: name("e-1"),
                until: now + time::Duration::HOUR,
                scores_to: scores.recipient().clone(),
            };
            control::register(&control, &key(by)).expect("a registration")
        };
        let mut look = |message: &[u8]| screen.screen(InboundKind::Control, message);
        assert_eq!(look(&control("gate-1", 3)), Screened::Genuine);
        assert_eq!(look(&control("gate-2", 3)), Screened::NotAuthentic, "another device's");
        assert_eq!(
            look(&control("gate-1", 1)),
            Screened::NotAuthentic,
            "a signer receives nothing"
        );
        assert_eq!(look(b"junk"), Screened::Malformed);
        assert_eq!(turned_away.not_authentic.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn only_what_a_pinned_key_has_signed_is_genuine_by_the_keys_of_the_moment() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = WatchlistConfig {
            trust: folder.path().join("trust.toml"),
            rotations: Some(folder.path().join("rotations")),
            ..WatchlistConfig::default()
        };
        pin(&config.trust, 3);
        let turned_away = Arc::<TurnedAway>::default();
        let mut screen = OrderScreen::new(
            TrustedKeys::new(&config),
            "gate-1",
            turned_away.clone(),
            Clock::default(),
        );
        let mut revoke = |message: &[u8]| screen.screen(InboundKind::Revoke, message);
        assert_eq!(revoke(&order(3)), Screened::Genuine);
        assert_eq!(revoke(&order(1)), Screened::NotAuthentic, "a signer may not revoke");
        assert_eq!(revoke(b"junk"), Screened::Malformed);
        let mut altered = order(3);
        *altered.last_mut().expect("bytes") ^= 1;
        assert_eq!(revoke(&altered), Screened::NotAuthentic);

        pin(&config.trust, 4);
        assert_eq!(
            [revoke(&order(3)), revoke(&order(4))],
            [Screened::NotAuthentic, Screened::Genuine]
        );
        std::fs::remove_file(&config.trust).expect("removes");
        assert_eq!(revoke(&order(4)), Screened::Genuine, "those that were read last still stop");
        assert_eq!(screen.screen(InboundKind::Offer, b"x"), Screened::Malformed);
        assert_eq!(screen.screen(InboundKind::Offer, b"{\"sha256\":1}"), Screened::Genuine);
        let counts = [&turned_away.malformed, &turned_away.not_authentic, &turned_away.offers];
        assert_eq!(counts.map(|c| c.load(Ordering::Relaxed)), [1, 3, 1]);
    }
}
