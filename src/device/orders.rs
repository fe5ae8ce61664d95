//! What the device was told over the network, followed between two frames: revocations,
//! suspensions, offered lists.
//!
//! Promises: nothing that does not verify changes the list, the keys or the memory; what is no
//! order and no list at all costs a counter and nothing else. A revocation wipes the searched
//! templates, the evidence, the stored list (or the entry in it) and the candidates that were not
//! delivered, in that order, before the next frame is looked at.
//!
//! An offer is a list, sealed or as the device takes it; or `{"sha256": ..., "size": ...}`, the
//! digest of one that lies in the device's inbox; or a rotation of the pinned keys. A device
//! fetches nothing by itself: it has no client for it, and whoever offers could otherwise make it
//! call anywhere (`decisions/001-offers-by-digest.md`).

use log::{error, info, warn};

use super::keeper::{Keeper, NotObeyed};
use super::pipeline::Pipeline;
use crate::cause::{Cause, Group};
use crate::clock::Now;
use crate::config::Config;
use crate::daemon::board::{Board, InForce, OrderCounters};
use crate::decision::policy::Blindness;
use crate::delivery::event::{Change, ListChange, ListState};
use crate::delivery::{Delivery, Inbound, InboundKind, RevokedCandidates};
use crate::vision::Models;
use crate::watchlist::memory::Obeyed;
use crate::watchlist::order::{Action, OrderErrorKind, VerifiedOrder};
use crate::watchlist::rotation;
use crate::watchlist::text::hex;

/// Messages a round at most: frames are not to be kept waiting by a flood.
const A_ROUND: usize = 16;

/// Follows orders.
pub struct Orders<'a> {
    config: &'a Config,
    models: &'a Models,
    counters: OrderCounters,
    last_change: Option<ListChange>,
}

impl<'a> Orders<'a> {
    /// Nothing has come yet.
    pub fn new(config: &'a Config, models: &'a Models) -> Self {
        Self { config, models, counters: OrderCounters::default(), last_change: None }
    }

    /// Follows what waits: a list that the clock kept from being read at the start, then messages.
    pub fn follow(
        &mut self,
        delivery: &Delivery,
        keeper: &mut Keeper,
        pipeline: &mut Pipeline,
        board: &Board,
        now: Now,
    ) {
        if pipeline.force().is_err() && keeper.may_load_now(now) {
            let force = keeper.load(self.config, self.models, now);
            match &force {
                Ok(force) => info!(
                    "The clock is right now, and the watch list came into force: list={} \
                     version={} threshold={}.",
                    force.list().id(),
                    force.list().version(),
                    force.plan().threshold
                ),
                Err(blindness) => {
                    warn!("Nobody is matched: reason={} {}.", blindness.cause, blindness.reason)
                }
            }
            pipeline.enforce(force);
            board.list_is(in_force(pipeline));
            delivery.set_list_state(self.state(pipeline));
        }
        for message in std::iter::from_fn(|| delivery.inbound()).take(A_ROUND) {
            let changed = match message.kind {
                InboundKind::Revoke | InboundKind::Suspend => {
                    self.order(&message, delivery, keeper, pipeline, now)
                }
                InboundKind::Offer => self.offer(&message, keeper, pipeline, now),
            };
            if changed {
                board.list_is(in_force(pipeline));
                delivery.set_list_state(self.state(pipeline));
            }
            board.ordered(self.counters);
        }
    }

    /// Puts in force what the files hold now, or nothing where they hold no valid list: what a
    /// restart would do.
    pub fn reload(
        &mut self,
        delivery: &Delivery,
        keeper: &mut Keeper,
        pipeline: &mut Pipeline,
        board: &Board,
        now: Now,
    ) {
        let force = keeper.load(self.config, self.models, now);
        match &force {
            Ok(force) => {
                let (id, version) = (force.list().id(), force.list().version());
                info!(
                    "The watch list was read again: list={id} version={version} threshold={}.",
                    force.plan().threshold
                );
                self.changed(Change::Reloaded, format!("{id} version {version}"), now);
            }
            Err(blindness) => {
                error!(
                    "The watch list was read again and nobody is matched: reason={} {}.",
                    blindness.cause, blindness.reason
                );
                self.changed(Change::ReloadRefused, blindness.cause, now);
            }
        }
        pipeline.enforce(force);
        board.list_is(in_force(pipeline));
        delivery.set_list_state(self.state(pipeline));
    }

    /// What is published about the list.
    pub fn state(&self, pipeline: &Pipeline) -> ListState {
        let mut state = ListState { last_change: self.last_change.clone(), ..ListState::default() };
        match pipeline.force() {
            Ok(force) => {
                state.list = in_force(pipeline).map(|i| i.list);
                state.digest = Some(hex(force.list().digest()));
                state.entries = force.gallery().live_entries() as u64;
            }
            Err(blindness) => state.reason = Some(blindness.to_string()),
        }
        state
    }

    fn changed(&mut self, what: Change, detail: impl ToString, now: Now) -> bool {
        self.last_change = Some(ListChange { what, detail: detail.to_string(), at: now.wall });
        true
    }

    fn order(
        &mut self,
        message: &Inbound,
        delivery: &Delivery,
        keeper: &mut Keeper,
        pipeline: &mut Pipeline,
        now: Now,
    ) -> bool {
        let (order, obeyed) = match keeper.obey(&message.payload, self.config, now) {
            Ok(obeyed) => obeyed,
            Err(error) => {
                let counter = match &error {
                    NotObeyed::Trust(_) => &mut self.counters.refused,
                    NotObeyed::Order(error) => match error.kind() {
                        OrderErrorKind::Malformed => &mut self.counters.malformed,
                        OrderErrorKind::NotAuthentic => &mut self.counters.not_authentic,
                        OrderErrorKind::Over | OrderErrorKind::TooMany => {
                            &mut self.counters.refused
                        }
                    },
                };
                *counter += 1;
                warn!("An order is not followed: {error}.");
                return false;
            }
        };
        if obeyed == Obeyed::NotForUs {
            self.counters.without_effect += 1;
            return false;
        }
        // One that was in force before is gone through again: a file may have been put back by
        // hand.
        let repeated = obeyed == Obeyed::Before;
        *(if repeated {
            &mut self.counters.without_effect
        } else {
            &mut self.counters.followed
        }) += 1;
        match order.action() {
            Action::Revoke { .. } => self.revoke(&order, delivery, keeper, pipeline),
            Action::Suspend { .. } => pipeline.hold(keeper.permits(now).err()),
        }
        if repeated {
            return false;
        }
        let what = match order.action() {
            Action::Revoke { entry: None, .. } => Change::ListRevoked,
            Action::Revoke { entry: Some(_), .. } => Change::EntryRevoked,
            Action::Suspend { .. } => Change::Suspended,
        };
        warn!("An order is followed: what={what} order={} signer={}.", order.id(), order.signer());
        self.changed(what, order.id(), now)
    }

    fn revoke(
        &self,
        order: &VerifiedOrder,
        delivery: &Delivery,
        keeper: &Keeper,
        pipeline: &mut Pipeline,
    ) {
        let Action::Revoke { list, through, entry } = order.action() else { return };
        let concerned =
            pipeline.force().is_ok_and(|f| f.list().id() == list && f.list().version() <= *through);
        match entry {
            Some(entry) if concerned => {
                pipeline.revoke(entry);
            }
            None if concerned => {
                pipeline.enforce(Err(Blindness::new(
                    Cause::Revoked,
                    format_args!(
                        "the watch list {list} was revoked (order {}); nobody may be matched with \
                         it",
                        order.id()
                    ),
                )));
            }
            _ => {}
        }
        let vault = keeper.vault();
        if entry.is_some() {
            keeper.remove_revoked();
        }
        if entry.is_none()
            && vault
                .stored_identity()
                .is_some_and(|(id, version)| id == *list && version <= *through)
            && let Err(error) = vault.destroy()
        {
            error!(
                "The revoked list is no longer used, but its file could not be destroyed; remove \
                 it: {error}."
            );
        }
        let revoked = RevokedCandidates {
            list: list.to_string(),
            through: *through,
            entry: entry.as_ref().map(ToString::to_string),
        };
        if !delivery.revoke(revoked) {
            error!(
                "Undelivered candidates of the revoked list {list} may still be delivered: too \
                 many revocations at once."
            );
        }
    }

    fn offer(
        &mut self,
        message: &Inbound,
        keeper: &mut Keeper,
        pipeline: &mut Pipeline,
        now: Now,
    ) -> bool {
        let outcome = match &message.payload[..] {
            rotated if rotation::is_rotation(rotated) => {
                self.rotate(rotated, keeper, pipeline, now)
            }
            offered => self.install(offered, keeper, pipeline, now),
        };
        match outcome {
            Ok(changed) => changed,
            Err(blindness) => {
                self.counters.offers_refused += 1;
                warn!("An offer is refused: reason={} {}.", blindness.cause, blindness.reason);
                // What anybody may send is counted; what is published stays.
                blindness.cause.group() != Group::Bytes
                    && self.changed(Change::Refused, blindness.cause, now)
            }
        }
    }

    fn install(
        &mut self,
        offered: &[u8],
        keeper: &mut Keeper,
        pipeline: &mut Pipeline,
        now: Now,
    ) -> Result<bool, Blindness> {
        let named = match offered {
            [b'{', ..] => Some(keeper.vault().named(offered)?),
            _ => None,
        };
        let force = keeper.install(
            named.as_deref().map_or(offered, |list| list),
            self.config,
            self.models,
            now,
        )?;
        self.counters.installed += 1;
        let detail = format!("{} version {}", force.list().id(), force.list().version());
        // What is in force already goes on; the evidence gathered so far is kept.
        if !pipeline.force().is_ok_and(|f| f.list().digest() == force.list().digest()) {
            info!("A watch list came into force: {detail} threshold={}.", force.plan().threshold);
            pipeline.enforce(Ok(force));
        }
        Ok(self.changed(Change::Installed, detail, now))
    }

    /// Takes new keys into use, and looks with them at the list in force: one that they have not
    /// signed ends.
    fn rotate(
        &mut self,
        rotation: &[u8],
        keeper: &mut Keeper,
        pipeline: &mut Pipeline,
        now: Now,
    ) -> Result<bool, Blindness> {
        let serial = keeper.rotate(rotation, self.config, now)?;
        self.counters.rotated += 1;
        warn!("The keys that are believed have changed: serial={serial}.");
        pipeline.enforce(keeper.load(self.config, self.models, now));
        Ok(self.changed(Change::KeysRotated, format_args!("serial {serial}"), now))
    }
}

/// What the status says about the list in force.
pub fn in_force(pipeline: &Pipeline) -> Option<InForce> {
    pipeline.force().ok().map(InForce::of)
}
