//! What a message over the network makes the device do: revocations, suspensions, offered lists.
//!
//! * Each genuine order is answered in the published state of the list: followed, refused, or not
//!   for this device. One that comes again, and a refusal, at growing intervals ([`Replies`]):
//!   whoever replays fills neither the audit log nor what waits for the broker.
//! * Nothing that does not verify changes the list, the keys or the memory. What is no order and no
//!   list at all costs a counter and nothing else.
//! * A revocation wipes the searched templates, the evidence, the stored list (or the entry in it)
//!   and the candidates that were not delivered, in that order, before the next frame is looked at.
//!   The candidates are the caller's to wipe: [`Device::follow`] says which.
//!
//! An offer is one of three:
//!
//! * a list, sealed or as the device takes it;
//! * `{"sha256": ..., "size": ...}`, the digest of a list that lies in the device's inbox;
//! * a rotation of the pinned keys.
//!
//! A device fetches nothing by itself: it has no client for it, and an offer could otherwise make
//! it call anywhere (`decisions/001-offers-by-digest.md`).

use std::time::Duration;

use log::warn;
use serde::Serialize;

use super::Device;
use super::keeper::{self, NotObeyed};
use super::replies::Replies;
use super::trigger::Trigger;
use crate::audit::record::{Answer, Instruction};
use crate::cause::{Cause, CauseGroup};
use crate::clock::Now;
use crate::decision::policy::Blindness;
use crate::delivery::event::Change;
use crate::delivery::{Inbound, InboundKind, RevokedCandidates};
use crate::watchlist::memory::Obeyed;
use crate::watchlist::order::{self, Action, OrderError, OrderErrorKind, VerifiedOrder};
use crate::watchlist::rotation;

/// What became of the messages to the device, by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OrderCounters {
    /// Orders that were followed.
    pub followed: u64,
    /// Orders that changed nothing: in force before, or for other devices.
    pub without_effect: u64,
    /// Lists that came into force.
    pub installed: u64,
    /// Rotations of the pinned keys that were followed.
    pub rotated: u64,
    /// Not an order at all.
    pub malformed: u64,
    /// Signed by nobody who may, or altered.
    pub not_authentic: u64,
    /// Authentic orders that came too late or found no room.
    pub refused: u64,
    /// Offered lists that were refused.
    pub offers_refused: u64,
    /// Words to the audit log that no pinned witness has signed.
    pub statements_refused: u64,
    /// Genuine messages that came again too soon to be answered and recorded again.
    pub repeated: u64,
}

/// Answers that are given at once to offers that change nothing, and how often one more is: the
/// name of a list in the inbox can be written in any number of ways by anybody.
const OFFERS_ANSWERED: (u32, Duration) = (16, Duration::from_secs(60));

/// Orders and offers that were answered.
pub(super) struct OrderReplies {
    orders: Replies,
    offers: Replies,
}

impl Default for OrderReplies {
    fn default() -> Self {
        let (most, every) = OFFERS_ANSWERED;
        Self { orders: Replies::default(), offers: Replies::limited(most, every) }
    }
}

/// What the audit log calls it.
fn instruction(action: &Action) -> Instruction {
    match action {
        Action::Revoke { entry: None, .. } => Instruction::RevokeList,
        Action::Revoke { entry: Some(_), .. } => Instruction::RevokeEntry,
        Action::Suspend { .. } => Instruction::Suspend,
    }
}

impl Device {
    /// Follows one message, of which nothing is believed yet. Returns the undelivered candidates
    /// that must be wiped before the next frame, if any.
    #[must_use = "undelivered candidates of a revoked list must be wiped"]
    pub fn follow(&mut self, message: &Inbound, now: Now) -> Option<RevokedCandidates> {
        match message.kind {
            InboundKind::Revoke | InboundKind::Suspend => self.order(&message.payload, now),
            InboundKind::Offer => {
                self.offer(&message.payload, now);
                None
            }
            // The audit log's own.
            InboundKind::AuditRequest
            | InboundKind::AuditCosign
            | InboundKind::AuditFreshness
            | InboundKind::AuditKept => None,
            // Counted by [`super::reviews`].
            InboundKind::Verdict | InboundKind::Control => None,
            // Settled by the delivery thread.
            InboundKind::Receipt => None,
        }
    }

    fn order(&mut self, message: &[u8], now: Now) -> Option<RevokedCandidates> {
        // Only genuine ones: what is not costs a counter and no place.
        let is_due = |replies: &mut OrderReplies| replies.orders.is_due(message, "", now.monotonic);
        let (order, obeyed) = match self.keeper.obey(message, now) {
            Ok(obeyed) => obeyed,
            Err(error) => {
                let counter = match &error {
                    NotObeyed::Trust(_) => &mut self.counters.refused,
                    NotObeyed::Order(error) => match error.kind() {
                        OrderErrorKind::Malformed => &mut self.counters.malformed,
                        OrderErrorKind::NotAuthentic => &mut self.counters.not_authentic,
                        OrderErrorKind::Over => &mut self.counters.refused,
                    },
                };
                *counter += 1;
                if let (NotObeyed::Order(OrderError::Over { .. }), Ok(order)) =
                    (&error, order::inspect(message))
                {
                    if !is_due(&mut self.replies) {
                        self.counters.repeated += 1;
                        return None;
                    }
                    warn!("An order is not followed: {error}.");
                    let (id, keys) = (order.id(), [order.signer()]);
                    self.note(instruction(order.action()), Answer::TooLate, Some(id), &keys);
                    self.record(Change::OrderRefused, order.id(), now);
                } else {
                    warn!("An order is not followed: {error}.");
                }
                return None;
            }
        };
        let due = is_due(&mut self.replies);
        self.counters.repeated += u64::from(!due);
        if obeyed == Obeyed::NotForUs {
            self.counters.without_effect += 1;
            if !due {
                return None;
            }
            let (id, keys) = (order.id(), [order.signer()]);
            self.note(instruction(order.action()), Answer::NotConcerned, Some(id), &keys);
            self.record(Change::NotConcerned, order.id(), now);
            return None;
        }
        // One that was in force before is gone through again: a file may have been put back by
        // hand.
        let repeated = obeyed == Obeyed::Before;
        if repeated && !due {
            self.counters.without_effect += 1;
            return None;
        }
        let withdrawn = match order.action() {
            Action::Revoke { .. } => self.revoke(&order),
            Action::Suspend { .. } => {
                self.check_permission(now);
                None
            }
        };
        let what = match order.action() {
            Action::Revoke { entry: None, .. } => Change::ListRevoked,
            Action::Revoke { entry: Some(_), .. } => Change::EntryRevoked,
            Action::Suspend { .. } => Change::Suspended,
        };
        if repeated {
            self.counters.without_effect += 1;
        } else {
            self.counters.followed += 1;
            let (id, signer) = (order.id(), order.signer());
            warn!("An order is followed: what={what} order={id} signer={signer}.");
        }
        // Without a memory each repetition is followed as the first one.
        if !due {
            return withdrawn;
        }
        let answer = if repeated { Answer::Repeated } else { Answer::Followed };
        self.note(instruction(order.action()), answer, Some(order.id()), &[order.signer()]);
        // Also of a repetition: its sender waits for the answer.
        self.record(what, order.id(), now);
        withdrawn
    }

    fn revoke(&mut self, order: &VerifiedOrder) -> Option<RevokedCandidates> {
        let Action::Revoke { list, through, entry } = order.action() else { return None };
        let concerned = self
            .pipeline
            .active_list()
            .is_ok_and(|f| f.list().id() == list && f.list().version() <= *through);
        match entry {
            Some(entry) if concerned => {
                self.pipeline.revoke(entry);
            }
            None if concerned => {
                let blindness = keeper::revoked(list, Some(&order.id().to_string()));
                self.change_list(Trigger::Revocation, Err(blindness));
            }
            _ => {}
        }
        self.keeper.remove_revoked();
        // What was missing before is now withdrawn.
        if self.pipeline.active_list().is_err_and(|blindness| blindness.cause == Cause::NoList)
            && let Some(withdrawn) = self.keeper.withdrawn()
        {
            self.change_list(Trigger::Revocation, Err(withdrawn));
        }
        Some(RevokedCandidates {
            list: list.to_string(),
            through: *through,
            entry: entry.as_ref().map(ToString::to_string),
        })
    }

    fn offer(&mut self, offer: &[u8], now: Now) {
        let is_rotation = rotation::is_rotation(offer);
        let outcome = match is_rotation {
            true => self.rotate(offer, now),
            false => self.install(offer, now),
        };
        if let Err(blindness) = outcome {
            self.counters.offers_refused += 1;
            // What anybody may send is counted; what is published stays.
            if blindness.cause.group() == CauseGroup::Bytes {
                warn!("An offer is refused: reason={} {}.", blindness.cause, blindness.reason);
            } else if self.is_answered(offer, blindness.cause.code(), now) {
                warn!("An offer is refused: reason={} {}.", blindness.cause, blindness.reason);
                let asked =
                    if is_rotation { Instruction::RotateKeys } else { Instruction::Install };
                self.note(asked, Answer::Refused(blindness.cause), None, &[]);
                self.record(Change::Refused, blindness.cause, now);
            }
        }
    }

    /// Whether an offer is answered and recorded now, rather than counted alone.
    fn is_answered(&mut self, offer: &[u8], answer: &str, now: Now) -> bool {
        let due = self.replies.offers.is_due(offer, answer, now.monotonic);
        self.counters.repeated += u64::from(!due);
        due
    }

    fn install(&mut self, offer: &[u8], now: Now) -> Result<(), Blindness> {
        let named = match offer {
            [b'{', ..] => Some(self.keeper.vault().named(offer)?),
            _ => None,
        };
        let active = self.keeper.install(named.as_deref().map_or(offer, |list| list), now)?;
        self.counters.installed += 1;
        let digest = active.list().digest();
        let in_force = self.pipeline.active_list().is_ok_and(|f| f.list().digest() == digest);
        if !self.is_answered(offer, "", now) && in_force {
            return Ok(());
        }
        let detail = format!("{} version {}", active.list().id(), active.list().version());
        self.note(Instruction::Install, Answer::Followed, None, active.list().signers());
        // What is in force already goes on; the evidence gathered so far is kept.
        if !in_force {
            self.change_list(Trigger::Offer, Ok(active));
        }
        self.record(Change::Installed, detail, now);
        Ok(())
    }

    /// Takes new keys into use, and looks with them at the list in force: one that they have not
    /// signed ends.
    fn rotate(&mut self, rotation: &[u8], now: Now) -> Result<(), Blindness> {
        let serial = self.keeper.rotate(rotation, now)?;
        self.counters.rotated += 1;
        warn!("The keys that are believed have changed: serial={serial}.");
        let list = self.keeper.load(now);
        self.change_list(Trigger::Rotation, list);
        let signers = rotation::inspect(rotation).map(|(_, keys)| keys).unwrap_or_default();
        self.note(Instruction::RotateKeys, Answer::Followed, None, &signers);
        self.record(Change::KeysRotated, format_args!("serial {serial}"), now);
        Ok(())
    }
}
