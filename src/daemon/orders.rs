//! What the device was told over the network, followed between two frames: revocations, suspensions, offered lists.
//!
//! Promises: nothing that does not verify changes anything but a counter; a revocation wipes the searched templates, the evidence,
//! the stored file (where it is the whole list) and the candidates that were not delivered, in that order, before the next frame is
//! looked at. The stored file of a list of which one entry was revoked stays as its signers signed it; the entry is wiped from
//! memory at once and after every restart, until a version without it replaces the file.

use std::path::Path;

use log::{error, info, warn};
use serde::Serialize;

use super::board::{Board, InForce};
use super::enforce::{Keeper, NotObeyed};
use super::pipeline::Pipeline;
use crate::clock::Now;
use crate::config::Config;
use crate::decision::policy::Blindness;
use crate::delivery::event::{ListChange, ListState};
use crate::delivery::mqtt::Revoked;
use crate::delivery::{Delivery, Inbound, InboundKind};
use crate::vision::Models;
use crate::watchlist::order::{Action, OrderError, VerifiedOrder};
use crate::watchlist::store::{Obeyed, destroy, read_list};
use crate::watchlist::{Reference, author};

/// Refusals of offers that no threshold of signers stands behind.
const STRANGERS: [&str; 5] = ["too-large", "unreadable", "too-few-signers", "altered", "no-trust"];
/// Messages a round at most: frames are not to be kept waiting by a flood.
const A_ROUND: usize = 16;

/// What became of the messages, by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OrderCounters {
    /// Orders that were followed.
    pub followed: u64,
    /// Orders that changed nothing: in force before, or for other devices.
    pub without_effect: u64,
    /// Lists that came into force.
    pub installed: u64,
    /// Not an order at all.
    pub malformed: u64,
    /// Signed by nobody who may, or altered.
    pub not_authentic: u64,
    /// Authentic orders that came too late or found no room.
    pub refused: u64,
    /// Offered lists that were refused.
    pub offers_refused: u64,
}

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
                    "The clock is right now, and the watch list came into force: list={} version={} threshold={}.",
                    force.list().id(),
                    force.list().version(),
                    force.plan().threshold
                ),
                Err(blindness) => warn!("Nobody is matched: reason={} {}.", blindness.code, blindness.reason),
            }
            pipeline.enforce(force);
            board.list_is(in_force(pipeline));
            delivery.set_list_state(self.state(pipeline));
        }
        for message in std::iter::from_fn(|| delivery.inbound()).take(A_ROUND) {
            let changed = match message.kind {
                InboundKind::Revoke | InboundKind::Suspend => self.order(&message, delivery, keeper, pipeline, now),
                InboundKind::Offer => self.offer(&message, keeper, pipeline, now),
            };
            if changed {
                board.list_is(in_force(pipeline));
                delivery.set_list_state(self.state(pipeline));
            }
            board.ordered(self.counters);
        }
    }

    /// What is published about the list.
    pub fn state(&self, pipeline: &Pipeline) -> ListState {
        let mut state = ListState { last_change: self.last_change.clone(), ..ListState::default() };
        match pipeline.force() {
            Ok(force) => {
                state.list = in_force(pipeline).map(|i| i.list);
                state.digest = Some(force.list().digest().iter().map(|b| format!("{b:02x}")).collect());
                state.entries = force.gallery().live_entries() as u64;
            }
            Err(blindness) => state.reason = Some(blindness.to_string()),
        }
        state
    }

    fn changed(&mut self, what: &str, detail: impl ToString, now: Now) -> bool {
        self.last_change = Some(ListChange { what: what.into(), detail: detail.to_string(), at: now.wall });
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
                    NotObeyed::Order(e) if e.code() == "malformed" => &mut self.counters.malformed,
                    NotObeyed::Order(OrderError::NotPinned { .. } | OrderError::Altered(_)) => {
                        &mut self.counters.not_authentic
                    }
                    _ => &mut self.counters.refused,
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
        // One that was in force before is gone through again: a file may have been put back by hand.
        let repeated = obeyed == Obeyed::Before;
        *(if repeated { &mut self.counters.without_effect } else { &mut self.counters.followed }) += 1;
        match order.action() {
            Action::Revoke { .. } => self.revoke(&order, delivery, pipeline),
            Action::Suspend { .. } => pipeline.hold(keeper.permits(now).err()),
        }
        if repeated {
            return false;
        }
        let what = match order.action() {
            Action::Revoke { entry: None, .. } => "list-revoked",
            Action::Revoke { entry: Some(_), .. } => "entry-revoked",
            Action::Suspend { .. } => "suspended",
        };
        warn!("An order is followed: what={what} order={} signer={}.", order.id(), order.signer());
        self.changed(what, order.id(), now)
    }

    fn revoke(&self, order: &VerifiedOrder, delivery: &Delivery, pipeline: &mut Pipeline) {
        let Action::Revoke { list, through, entry } = order.action() else { return };
        let concerned = pipeline.force().is_ok_and(|f| f.list().id() == list && f.list().version() <= *through);
        match entry {
            Some(entry) if concerned => {
                pipeline.revoke(entry);
            }
            None if concerned => {
                pipeline.enforce(Err(Blindness::new(
                    "revoked",
                    format_args!(
                        "the watch list {list} was revoked (order {}); nobody may be matched with it",
                        order.id()
                    ),
                )));
            }
            _ => {}
        }
        let file = &self.config.watchlist.list;
        if entry.is_none()
            && stored(file).is_some_and(|(id, version)| id == *list && version <= *through)
            && let Err(error) = destroy(file)
        {
            error!("The revoked list is no longer used, but its file could not be destroyed; remove it: {error}.");
        }
        let revoked =
            Revoked { list: list.to_string(), through: *through, entry: entry.as_ref().map(ToString::to_string) };
        if !delivery.revoke(revoked) {
            error!(
                "Undelivered candidates of the revoked list {list} may still be delivered: too many revocations at once."
            );
        }
    }

    fn offer(&mut self, message: &Inbound, keeper: &mut Keeper, pipeline: &mut Pipeline, now: Now) -> bool {
        match keeper.install(&message.payload, self.config, self.models, now) {
            Ok(force) => {
                self.counters.installed += 1;
                let detail = format!("{} version {}", force.list().id(), force.list().version());
                let same = pipeline.force().is_ok_and(|f| f.list().digest() == force.list().digest());
                if same {
                    return false;
                }
                info!("A watch list came into force: {detail} threshold={}.", force.plan().threshold);
                pipeline.enforce(Ok(force));
                self.changed("installed", detail, now)
            }
            Err(blindness) => {
                self.counters.offers_refused += 1;
                warn!("An offered watch list is refused: reason={} {}.", blindness.code, blindness.reason);
                // A stranger's bytes are worth a counter and nothing else.
                !STRANGERS.contains(&blindness.code) && self.changed("refused", blindness.code, now)
            }
        }
    }
}

/// Id and version of the list in the file, whoever signed it; it may be in force or not.
fn stored(file: &Path) -> Option<(Reference, u64)> {
    let summary = author::show(&read_list(file).ok()?, None).ok()?;
    Some((summary.id, summary.version))
}

/// What the status says about the list in force.
pub fn in_force(pipeline: &Pipeline) -> Option<InForce> {
    pipeline.force().ok().map(InForce::of)
}
