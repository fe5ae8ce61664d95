//! What a device is and what it decides, for the daemon, the one-shot commands, the benchmark and
//! the tests alike.
//!
//! * [`pipeline`]: a captured picture in, candidates out.
//! * [`judge`]: whether a device would use a list; every command asks it, too.
//! * [`keeper`]: which list may come into force and which orders are followed.
//! * [`state_file`]: what is remembered over restarts, and whether the clock may be believed.
//! * [`logged`]: what the audit log says that a memory must have.
//! * [`keys`]: the pinned keys and their rotations.
//! * [`vault`]: where the list lies and how it is opened.
//! * [`calibration`]: counting against decoys beside matching ([`decoys`]), or instead of it
//!   ([`calibrator`]).
//! * [`screen`]: which messages are looked at at all.
//! * [`orders`]: revocations, suspensions and offers that came over the network.
//! * [`replies`]: which answers are given again where a message comes again.
//! * [`reviews`]: candidates that wait for two people, and their verdicts.
//!
//! [`Device`] joins them. It owns no thread, no socket and no clock: messages and times are passed
//! in, and what is to be published is taken out. The threads are in [`crate::daemon`].

pub(crate) mod calibration;
pub(crate) mod calibrator;
pub(crate) mod decoys;
pub mod judge;
pub mod keeper;
pub(crate) mod keys;
pub(crate) mod logged;
pub(crate) mod orders;
pub mod pipeline;
mod replies;
pub(crate) mod reviews;
pub(crate) mod screen;
pub(crate) mod state_file;
mod trigger;
pub mod vault;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::warn;
use time::OffsetDateTime;

use self::calibration::Calibration;
use self::decoys::DecoyCounter;
use self::keeper::{Keeper, LoadOccasion};
use self::orders::{OrderCounters, OrderReplies};
use self::pipeline::{Pipeline, PipelineCounters, PipelineError};
use self::screen::{OrderScreen, TurnedAway};
use self::trigger::Trigger;
use crate::audit::record::{Answer, Instruction, InstructionRecord, ListRecord, MAX_KEYS};
use crate::cause::Cause;
use crate::clock::{Clock, Now};
use crate::decision::policy::{ActiveList, Blindness};
use crate::decision::watchdog::WatchedList;
use crate::delivery::Candidate;
use crate::delivery::event::{Change, ListChange, ListInForce, ListState, MemoryAge};
use crate::source::Captured;
use crate::watchlist::Reference;
use crate::watchlist::Trust;
use crate::watchlist::keys::KeyId;
use crate::watchlist::order::OrderId;
use crate::watchlist::seal::DeviceKey;
use crate::watchlist::text::hex;

/// What the status says about a list in force.
#[derive(Debug, Clone, PartialEq)]
pub struct ListStatus {
    /// Which.
    pub list: ListInForce,
    /// When it was issued.
    pub issued: OffsetDateTime,
    /// The least score that makes a candidate.
    pub threshold: f32,
    /// Faces a day that the authorisation declares, and that the threshold is planned for.
    pub faces: [u32; 2],
}

impl ListStatus {
    /// Of the list `active`.
    pub fn of(active: &ActiveList) -> Self {
        let list = active.list();
        Self {
            list: ListInForce {
                id: list.id().to_string(),
                version: list.version(),
                expires: list.expires(),
                stage: list.stage(),
                promise: active.promise().map(|digest| hex(&digest)),
                site_until: active.site_until(),
            },
            issued: list.issued(),
            threshold: active.plan().threshold,
            faces: [active.declared_faces(), active.planned_faces()],
        }
    }
}

/// What there is to publish after a change of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListReport {
    /// For the device's status; absent where no list is in force.
    pub status: Option<ListStatus>,
    /// For the topic of the list.
    pub state: ListState,
    /// When the keys end that are believed.
    pub trust_ends: Option<OffsetDateTime>,
}

/// The list in force, and what it was announced to cost.
#[derive(Debug, Clone, Copy)]
pub struct Watched<'a> {
    /// Which.
    pub list: WatchedList<'a>,
    /// Announced rate of false alerts of a track.
    pub rate: f64,
    /// Tracks that were searched for since the start of the process.
    pub tracks: u64,
}

impl<'a> Watched<'a> {
    /// The list `active`, in force since `tracks` were searched for.
    pub fn of(active: &'a ActiveList, tracks: u64) -> Self {
        let list = active.list();
        let rate = active.plan().false_positive_rate;
        Self { list: WatchedList { id: list.id(), version: list.version() }, rate, tracks }
    }
}

/// One device: what it matches with, and what messages to it have done.
pub struct Device {
    pipeline: Pipeline,
    keeper: Keeper,
    counters: OrderCounters,
    turned_away: Arc<TurnedAway>,
    /// Genuine orders were lost; see [`Device::lose_an_order`].
    lost_order: bool,
    /// Until when, on the monotonic clock, orders that a broker keeps are waited for; `None` where
    /// they were heard, or are not waited for.
    orders_awaited: Option<Duration>,
    last_change: Option<ListChange>,
    /// Why nobody may be matched, as the audit log or the reviews say; see [`Device::hold`].
    held: Option<Blindness>,
    /// Messages that were followed or refused, for the audit log.
    instructions: Vec<InstructionRecord>,
    /// Orders and offers that were answered.
    replies: OrderReplies,
    /// Beside matching, where there is one.
    calibration: Option<Calibration>,
    /// The list changed, or a message about it came, and nobody has taken the report yet.
    unreported: bool,
}

impl Device {
    /// A device on which no list is in force yet.
    pub fn new(mut pipeline: Pipeline, keeper: Keeper) -> Self {
        pipeline.resume_traffic(keeper.faces());
        Self {
            pipeline,
            keeper,
            counters: OrderCounters::default(),
            turned_away: Arc::default(),
            lost_order: false,
            orders_awaited: None,
            last_change: None,
            held: None,
            instructions: Vec::new(),
            replies: OrderReplies::default(),
            calibration: None,
            unreported: false,
        }
    }

    /// Counts against decoys beside matching.
    pub fn calibrate(&mut self, calibration: Calibration, counter: DecoyCounter) {
        self.calibration = Some(calibration);
        self.pipeline.count_decoys(Some(counter));
        self.unreported = true;
    }

    /// Saves what was counted where it is due; the record, when the signed days are over.
    fn tend_calibration(&mut self, now: Now) {
        let (Some(calibration), Some(counter)) = (&mut self.calibration, self.pipeline.decoys())
        else {
            return;
        };
        let list = || {
            let list = self.pipeline.active_list().ok()?.list();
            Some((list.id().clone(), list.version()))
        };
        self.unreported |= calibration.tick(counter, list, now);
        if !calibration.counts_at(now) {
            calibration.save(counter);
            self.calibration = None;
            self.pipeline.count_decoys(None);
            self.unreported = true;
        }
    }

    /// Reads the list for the first time.
    pub fn start(&mut self, now: Now) {
        let list = self.keeper.load(now);
        self.change_list(Trigger::Start, list);
    }

    /// Reads a list that the clock, its own time, or a disk that failed kept from being read, if it
    /// can be read at `now`, and destroys what was revoked and could not be destroyed before.
    pub fn retry(&mut self, now: Now) {
        self.keeper.remove_again(now);
        if self.pipeline.active_list().is_ok() {
            return;
        }
        let trigger = match self.keeper.may_load_now(now) {
            None => return,
            Some(LoadOccasion::TimeCame) => Trigger::TimeCame,
            Some(LoadOccasion::ClockSet) => Trigger::ClockSet,
            Some(LoadOccasion::MemoryRead) => {
                // Nobody was matched without a memory, so that nothing was counted meanwhile.
                self.pipeline.resume_traffic(self.keeper.faces());
                Trigger::MemoryRead
            }
        };
        let list = self.keeper.load(now);
        self.change_list(trigger, list);
    }

    /// Puts in force what the files hold now, or nothing where they hold no valid list: what a
    /// restart would do.
    pub fn reload(&mut self, now: Now) {
        let list = self.keeper.load(now);
        match &list {
            Ok(active) => {
                let (id, version) = (active.list().id(), active.list().version());
                let signers = active.list().signers();
                self.note(Instruction::Reload, Answer::Followed, None, signers);
                self.record(Change::Reloaded, format_args!("{id} version {version}"), now);
            }
            Err(blindness) => {
                self.note(Instruction::Reload, Answer::Refused(blindness.cause), None, &[]);
                self.record(Change::ReloadRefused, blindness.cause, now);
            }
        }
        self.change_list(Trigger::Reload, list);
    }

    /// Asks clock and suspensions whether matching is allowed at `now`. To be called before each
    /// frame.
    pub fn check_permission(&mut self, now: Now) {
        let lost = || {
            Blindness::new(
                Cause::TooManyOrders,
                "genuine orders came faster than they can be followed, and some are lost",
            )
        };
        self.tend_calibration(now);
        let held = if self.lost_order { Some(lost()) } else { self.keeper.permits(now).err() };
        // Where there is no list anyway, the reason for that is the better one.
        let awaited = || {
            (self.awaits_orders(now) && self.pipeline.active_list().is_ok()).then(|| {
                Blindness::new(
                    Cause::OrdersAwaited,
                    "the orders that the broker keeps for this device have not been heard since \
                     the start",
                )
            })
        };
        let held = held.or_else(awaited);
        self.pipeline.hold(held.or_else(|| self.held.clone()));
    }

    /// Matches nobody until [`Device::orders_heard`], at most until `until` on the monotonic clock:
    /// what was revoked or suspended while the device was off lies at the broker. Later the orders
    /// hold that the device itself remembers.
    pub fn await_orders(&mut self, until: Duration) {
        self.orders_awaited = Some(until);
    }

    /// The orders that the broker kept for this device were all followed.
    pub fn orders_heard(&mut self) {
        self.orders_awaited = None;
    }

    /// Whether nobody is matched at `now` because orders are waited for.
    pub fn awaits_orders(&self, now: Now) -> bool {
        self.orders_awaited.is_some_and(|until| now.monotonic < until)
    }

    /// Whether the orders that the broker keeps were waited for in vain.
    pub fn orders_unheard(&self, now: Now) -> bool {
        self.orders_awaited.is_some_and(|until| now.monotonic >= until)
    }

    /// What was revoked and is still on the disk, if anything.
    pub fn left_on_disk(&self) -> Option<&str> {
        self.keeper.left_on_disk()
    }

    /// A genuine order was lost before it could be followed: nobody is matched until a restart, at
    /// which the broker's retained orders come again.
    pub fn lose_an_order(&mut self, now: Now) {
        self.lost_order = true;
        self.check_permission(now);
    }

    /// No record, no match, and no candidate that nobody can judge: nobody is matched while there
    /// is a `reason`. It takes effect with the next [`Device::check_permission`].
    pub fn hold(&mut self, reason: Option<Blindness>) {
        self.held = reason;
    }

    /// What the audit log has to say of messages since the last call.
    pub fn take_instructions(&mut self) -> Vec<InstructionRecord> {
        std::mem::take(&mut self.instructions)
    }

    /// Notes for the audit log what became of a message.
    fn note(&mut self, what: Instruction, answer: Answer, order: Option<OrderId>, keys: &[KeyId]) {
        let (order, keys) = (order.map(|id| id.0), keys.iter().copied().take(MAX_KEYS).collect());
        self.instructions.push(InstructionRecord { what, answer, order, keys });
    }

    /// What the audit log says of the list in force; absent where there is none.
    pub fn list_record(&self) -> Option<ListRecord> {
        let active = self.pipeline.active_list().ok()?;
        let (list, plan) = (active.list(), active.plan());
        let authorisation = list.authorisation();
        Some(ListRecord {
            id: list.id().clone(),
            version: list.version(),
            digest: *list.digest(),
            entries: active.gallery().live_entries() as u64,
            threshold: (plan.threshold * 1e6).round() as i32,
            false_alerts: (plan.false_alerts_a_day * 1e6).round() as u64,
            authority: authorisation.authority.clone(),
            decision: authorisation.decision.clone(),
            aim: authorisation.aim,
            stage: list.stage(),
            signers: list.signers().iter().copied().take(MAX_KEYS).collect(),
            models: self.pipeline.model_digests(),
        })
    }

    /// What false alerts are held against; `None` without a list.
    pub fn watched(&self) -> Option<Watched<'_>> {
        let active = self.pipeline.active_list().ok()?;
        Some(Watched::of(active, self.pipeline.searched_tracks()))
    }

    /// Whether the list in force is this one, in this version, and has this entry.
    pub fn searches_for(&self, list: &Reference, version: u64, entry: &Reference) -> bool {
        self.pipeline.active_list().is_ok_and(|active| {
            let in_force = active.list();
            in_force.id() == list
                && in_force.version() == version
                && in_force.entries().iter().any(|known| known.reference == *entry)
        })
    }

    /// The wall time at `now`, where the clock is believed.
    pub fn believed_time(&mut self, now: Now) -> Option<OffsetDateTime> {
        self.keeper.believes_clock(now).then_some(now.wall)
    }

    /// Whether every order that is followed would survive a restart: only then it is acknowledged.
    pub fn is_stored(&self) -> bool {
        self.keeper.is_stored()
    }

    /// The keys that are believed.
    ///
    /// # Errors
    /// Why none are believed.
    pub fn trust(&self) -> Result<Trust, Blindness> {
        self.keeper.trust()
    }

    /// The key to which what is for this device alone is sealed; `None` where it has none.
    pub fn key(&self) -> Option<&DeviceKey> {
        self.keeper.vault().key()
    }

    /// The screen for messages to this device.
    pub fn screen(&self, clock: Clock) -> OrderScreen {
        let (keys, turned_away) = (self.keeper.keys().clone(), self.turned_away.clone());
        OrderScreen::new(keys, self.keeper.device(), turned_away, clock)
    }

    /// The one place where the list in force changes.
    fn change_list(&mut self, trigger: Trigger, list: Result<ActiveList, Blindness>) {
        trigger.log(list.as_ref());
        self.pipeline.set_list(list);
        self.unreported = true;
    }

    /// Notes what a message about the list did, to be published with the list.
    fn record(&mut self, what: Change, detail: impl ToString, now: Now) {
        self.last_change = Some(ListChange { what, detail: detail.to_string(), at: now.wall });
        self.unreported = true;
    }

    /// What there is to publish about the list, if it has changed since the last call.
    pub fn take_list_report(&mut self) -> Option<ListReport> {
        std::mem::take(&mut self.unreported).then(|| ListReport {
            status: self.list_status(),
            state: self.list_state(),
            trust_ends: self.keeper.trust().ok().map(|trust| trust.valid_until()),
        })
    }

    /// What the status says about the list in force.
    pub fn list_status(&self) -> Option<ListStatus> {
        self.pipeline.active_list().ok().map(ListStatus::of)
    }

    fn list_state(&self) -> ListState {
        let age = self.keeper.memory_age();
        let mut state = ListState {
            last_change: self.last_change.clone(),
            memory: age.map(|(since, changes)| MemoryAge { since, changes }),
            calibrating: self.calibration.as_ref().map(Calibration::status),
            ..ListState::default()
        };
        match self.pipeline.active_list() {
            Ok(active) => {
                state.list = Some(ListStatus::of(active).list);
                state.digest = Some(hex(active.list().digest()));
                state.entries = active.gallery().live_entries() as u64;
            }
            Err(blindness) => state.reason = Some(blindness.to_string()),
        }
        state
    }

    /// What became of the messages to the device.
    pub fn order_counters(&self) -> OrderCounters {
        let TurnedAway { malformed, not_authentic, offers, statements } = &*self.turned_away;
        let mut counters = self.counters;
        counters.malformed += malformed.load(Ordering::Relaxed);
        counters.not_authentic += not_authentic.load(Ordering::Relaxed);
        counters.offers_refused += offers.load(Ordering::Relaxed);
        counters.statements_refused += statements.load(Ordering::Relaxed);
        counters
    }

    /// As [`Pipeline::process`].
    ///
    /// # Errors
    /// As there.
    pub fn process(
        &mut self,
        captured: &Captured,
        now: Now,
        out: &mut dyn FnMut(Candidate),
    ) -> Result<(), PipelineError> {
        let result = self.pipeline.process(captured, now, out);
        if let Some(counts) = self.pipeline.traffic_to_keep() {
            self.keeper.keep_faces(counts);
        }
        if self.pipeline.take_replanned() {
            if let Ok(active) = self.pipeline.active_list() {
                warn!(
                    "The threshold follows the faces that pass: declared={} planned={} \
                     threshold={:.2}.",
                    active.declared_faces(),
                    active.planned_faces(),
                    active.plan().threshold
                );
            }
            self.unreported = true;
        }
        result
    }

    /// As [`Pipeline::rest`].
    pub fn rest(&mut self, now: Now, out: &mut dyn FnMut(Candidate)) {
        self.pipeline.rest(now, out);
    }

    /// As [`Pipeline::finish`]; the time is remembered for the next start.
    pub fn finish(&mut self, now: Now, out: &mut dyn FnMut(Candidate)) {
        self.pipeline.finish(now, out);
        if let Some(counts) = self.pipeline.traffic_at_the_end(now) {
            self.keeper.keep_faces(counts);
        }
        if let (Some(calibration), Some(counter)) = (&self.calibration, self.pipeline.decoys()) {
            calibration.save(counter);
        }
        self.keeper.remember_time(now);
    }

    /// As [`Pipeline::set_temperature`].
    pub fn set_temperature(&mut self, now: Now, celsius: Option<f32>, throttled: bool) -> u32 {
        self.pipeline.set_temperature(now, celsius, throttled)
    }

    /// The pipeline's counts, and whether faces are compared at `now`.
    pub fn progress(&self, now: Now) -> (PipelineCounters, Result<(), Blindness>) {
        (self.pipeline.counters(), self.pipeline.standing(now))
    }
}
