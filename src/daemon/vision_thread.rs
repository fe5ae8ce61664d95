//! The vision thread: takes frames, runs the device's pipeline, hands candidates to delivery, and
//! follows orders between two frames. It waits for nothing but frames; after the start recorded
//! pictures wait until the orders that the broker keeps are heard.

use std::path::Path;
use std::time::Duration;

use log::{error, info, warn};

use super::Links;
use super::handover::Taken;
use crate::audit::record::{AuditEvent, ListRecord, WipedThing};
use crate::clock::Clock;
use crate::delivery::event::{Candidate, ControlAnswer, ReviewState};
use crate::delivery::{Inbound, InboundKind, Receipt, RevokedCandidates};
use crate::device::Device;
use crate::device::pipeline::PipelineError;
use crate::device::reviews::{Asked, ControlSite, ControlStep, Reviews, Telling};
use crate::hardware;
use crate::review::docket::NotCounted;
use crate::source::{Captured, Pace};

/// How long to wait for a frame before the list's standing is checked again.
const FRAME_TIMEOUT: Duration = Duration::from_millis(500);
/// How often the hardware's temperature is read.
const TEMPERATURE_EVERY: Duration = Duration::from_secs(5);
/// Failures of one kind are logged at most so often; their number is in the statistics.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Messages followed between two frames at most: many orders must not keep frames waiting.
const MAX_MESSAGES: usize = 16;
/// While orders are waited for and no frame is taken: time between two looks at what came.
const ORDERS_ROUND: Duration = Duration::from_millis(20);

/// What is told once it is stored.
enum Untold {
    Review(ReviewState),
    Control(ControlAnswer),
}

/// What the thread owns, and what it shares with the others.
pub struct VisionThread<'a> {
    device: Device,
    reviews: Reviews,
    clock: Clock,
    links: Links<'a>,
    /// When the temperature was last read, on the monotonic clock.
    temperature_read: Option<Duration>,
    /// How often the rate of detections is halved because of heat.
    halvings: u32,
    /// When a frame's failure was last logged, on the monotonic clock.
    complained: Option<Duration>,
    first_frame_logged: bool,
    /// Revocations whose undelivered candidates are still to be wiped.
    unwiped: Vec<RevokedCandidates>,
    /// Of messages that were followed or refused, to be acknowledged.
    followed: Vec<Receipt>,
    /// What has changed of reviews and controls, is recorded and not stored yet: nobody hears of it
    /// before.
    untold: Vec<Untold>,
    /// What the audit log said last of the list in force.
    recorded_list: Option<ListRecord>,
}

impl<'a> VisionThread<'a> {
    /// Publishes the list in force; nothing else happens before [`VisionThread::run`].
    pub fn new(device: Device, reviews: Reviews, clock: Clock, links: Links<'a>) -> Self {
        let mut thread = Self {
            device,
            reviews,
            clock,
            links,
            temperature_read: None,
            halvings: 0,
            complained: None,
            first_frame_logged: false,
            unwiped: Vec::new(),
            followed: Vec::new(),
            untold: Vec::new(),
            recorded_list: None,
        };
        thread.publish_list();
        thread
    }

    /// Runs until the hand-over is closed and empty.
    pub fn run(mut self) {
        let mut frame = Captured::default();
        let mut taken = false;
        loop {
            self.follow_messages();
            self.reviews.watch(self.device.watched(), self.clock.now());
            let held = self.links.auditor.blindness().or_else(|| self.reviews.blindness());
            self.device.hold(held);
            self.device.check_permission(self.clock.now());
            self.links.board.vision_lives();
            self.read_temperature();
            if !taken {
                match self.links.frames.take(&mut frame, FRAME_TIMEOUT) {
                    Taken::Closed => break,
                    Taken::Nothing => self.rest(),
                    Taken::Frame => taken = true,
                }
            }
            let waits = taken && self.lets_wait(&frame);
            if taken && !waits {
                self.process(&frame);
                frame.bytes.clear();
                taken = false;
            }
            self.report_progress(waits);
        }
        let Self { device, reviews, clock, links, .. } = &mut self;
        device.finish(clock.now(), &mut |candidate| publish(*links, clock, reviews, candidate));
        self.reviews.watch(self.device.watched(), self.clock.now());
        self.reviews.keep(self.clock.now());
        self.report_progress(false);
    }

    /// Waits a moment where a recorded picture would be looked at before anybody may be matched.
    fn lets_wait(&self, frame: &Captured) -> bool {
        frame.pace == Pace::Recorded
            && self.device.awaits_orders(self.clock.now())
            && self.links.stop.wait(ORDERS_ROUND).is_none()
    }

    /// Follows what waits: a list that the clock kept from being read, messages, a wish to read the
    /// list again.
    fn follow_messages(&mut self) {
        // What comes now is not acknowledged, and comes again; an orderly stop is not to wait.
        if self.links.stop.reason().is_some() {
            return;
        }
        self.device.retry(self.clock.now());
        self.publish_list();
        let delivery = self.links.delivery;
        // Asked before the messages are taken, so that it is about no more than these.
        let all_heard = delivery.has_heard_orders();
        let mut taken = 0;
        for message in std::iter::from_fn(|| delivery.inbound()).take(MAX_MESSAGES) {
            taken += 1;
            match message.kind {
                InboundKind::Verdict => self.judge(&message.payload),
                InboundKind::Control => self.register(&message.payload),
                _ => self.obey(&message),
            }
            self.followed.extend(message.receipts);
        }
        self.tend_reviews();
        if delivery.lost_an_order() {
            error!("Genuine orders came faster than they can be followed; nobody is matched.");
            self.device.lose_an_order(self.clock.now());
        }
        if all_heard && taken < MAX_MESSAGES {
            self.device.orders_heard();
        }
        self.wipe_undelivered();
        if self.unwiped.is_empty() && self.device.is_stored() && self.reviews.is_stored() {
            delivery.acknowledge(std::mem::take(&mut self.followed));
        }
        self.links.board.set_order_counters(self.device.order_counters());
        self.links.board.set_review_counters(self.reviews.counters());
        if self.links.stop.take_reload() {
            self.device.reload(self.clock.now());
            self.links.auditor.record_weakened(delivery, self.clock.now());
            self.record_instructions(None);
            self.publish_list();
        }
    }

    /// Follows an order or an offer.
    fn obey(&mut self, message: &Inbound) {
        let revoked = self.device.follow(message, self.clock.now());
        self.record_instructions(revoked.as_ref());
        if let Some(revoked) = &revoked {
            self.reviews.withdraw(&revoked.list, revoked.through, revoked.entry.as_deref());
        }
        self.unwiped.extend(revoked);
        self.publish_list();
    }

    /// Counts a verdict.
    fn judge(&mut self, message: &[u8]) {
        let asked = Asked { message, at: self.clock.now().monotonic };
        match self.device.trust() {
            Ok(trust) => {
                let now = self.device.believed_time(self.clock.now());
                self.reviews.follow(asked, &trust, self.device.key(), now);
            }
            Err(blindness) => {
                warn!("A verdict does not count, as no keys are believed: {blindness}.");
                self.reviews.turn_away(asked, NotCounted::NoKeys);
            }
        }
    }

    /// Takes a control, of which a desk says that it will be shown.
    fn register(&mut self, message: &[u8]) {
        let trust = match self.device.trust() {
            Ok(trust) => trust,
            Err(blindness) => {
                // The desk sends it again.
                warn!("A control is not registered, as no keys are believed: {blindness}.");
                return;
            }
        };
        let now = self.device.believed_time(self.clock.now());
        let asked = Asked { message, at: self.clock.now().monotonic };
        let Self { device, reviews, links, .. } = self;
        let site = ControlSite {
            now,
            logged: links.auditor.takes_records(),
            in_force: &|c| device.searches_for(&c.list, c.version, &c.entry),
        };
        reviews.register(asked, &trust, &site);
    }

    /// Records, stores and publishes what verdicts and deadlines have led to, in this order.
    fn tend_reviews(&mut self) {
        let Links { auditor, delivery, .. } = self.links;
        let now = self.clock.now();
        let believed = self.device.believed_time(now);
        self.reviews.tick(believed);
        let Self { device, reviews, .. } = self;
        reviews.tick_controls(believed, || device.trust().ok());
        let steps = self.reviews.take_steps();
        let (answers, registered) = self.record_controls();
        let decided = registered || steps.iter().any(|step| !step.records.is_empty());
        for step in &steps {
            for record in &step.records {
                auditor.record(record.clone(), delivery, now);
            }
        }
        if decided {
            auditor.sign(delivery);
        }
        self.reviews.store(now);
        // Whoever hears that a verdict counts, or that a control is known, says it no more: it has
        // to survive a restart first. What changes nothing is said again when it is asked again.
        let stored = self.reviews.is_stored();
        for step in steps {
            match step.telling {
                Telling::News => self.untold.push(Untold::Review(step.state)),
                Telling::Reply if stored => unsaid(delivery.reply_to_reviewer(step.state, now)),
                Telling::Reply => {}
            }
        }
        for step in answers {
            match step.telling {
                Telling::News => self.untold.push(Untold::Control(step.answer)),
                Telling::Reply if stored => unsaid(delivery.reply_to_desk(step.answer, now)),
                Telling::Reply => {}
            }
        }
        if stored {
            for untold in self.untold.drain(..) {
                unsaid(match untold {
                    Untold::Review(state) => delivery.publish_review_state(state, now),
                    Untold::Control(answer) => delivery.publish_control_answer(answer, now),
                });
            }
        }
    }

    /// Records which controls a desk has registered: what to answer, and whether there were any.
    /// One that does not get into the log is not taken.
    fn record_controls(&mut self) -> (Vec<ControlStep>, bool) {
        let Links { auditor, delivery, .. } = self.links;
        let now = self.clock.now();
        let (mut answers, mut registered) = (Vec::new(), false);
        for mut step in self.reviews.take_control_steps() {
            for record in &step.records {
                auditor.record(record.clone(), delivery, now);
            }
            if step.registers() && !auditor.takes_records() {
                step = self.reviews.unlogged(step);
            }
            registered |= step.registers();
            answers.push(step);
        }
        (answers, registered)
    }

    /// The one place where a change of the list is published: in the status, and on its own topic.
    fn publish_list(&mut self) {
        if let Some(report) = self.device.take_list_report() {
            let list = self.device.list_record();
            if list != self.recorded_list
                && let Some(list) = list.clone()
            {
                let event = AuditEvent::ListInForce(Box::new(list));
                let Links { auditor, delivery, .. } = self.links;
                auditor.record(event, delivery, self.clock.now());
                auditor.sign(delivery);
            }
            self.recorded_list = list;
            self.reviews.set_keys(self.device.trust().ok().as_ref(), self.device.key());
            let problem = self.reviews.lost().or_else(|| self.reviews.unpaired());
            self.links.board.set_review_problem(problem.map(str::to_owned));
            self.links.board.set_list(report.status, report.trust_ends);
            self.links.delivery.set_list_state(report.state);
        }
    }

    /// Records what became of messages, and what an order destroyed.
    fn record_instructions(&mut self, wiped: Option<&RevokedCandidates>) {
        let Links { auditor, delivery, .. } = self.links;
        let now = self.clock.now();
        let instructions = self.device.take_instructions();
        let answered = !instructions.is_empty();
        for instruction in instructions {
            auditor.record(AuditEvent::Instruction(instruction), delivery, now);
        }
        // Of a repetition that is not answered nothing is recorded.
        if let Some(revoked) = wiped.filter(|_| answered) {
            let what = if revoked.entry.is_some() { WipedThing::Entry } else { WipedThing::List };
            auditor.record(AuditEvent::Wiped { what }, delivery, now);
        }
    }

    /// Asks for undelivered candidates of what was revoked to be wiped. Where too many revocations
    /// wait already, the rest is asked for again.
    fn wipe_undelivered(&mut self) {
        let delivery = self.links.delivery;
        self.unwiped.retain(|revoked| !delivery.revoke(revoked.clone()));
    }

    fn read_temperature(&mut self) {
        let now = self.clock.now();
        let due = |at: Duration| now.monotonic.saturating_sub(at) >= TEMPERATURE_EVERY;
        if !self.temperature_read.is_none_or(due) {
            return;
        }
        self.temperature_read = Some(now.monotonic);
        let thermal = hardware::read(Path::new("/sys"));
        let throttled = thermal.throttled == Some(true);
        let celsius = thermal.processor().map(|c| c as f32);
        let halvings = self.device.set_temperature(now, celsius, throttled);
        if halvings != self.halvings {
            info!(
                "The rate of detections follows the board's heat: halved={halvings} \
                 celsius={celsius:?} throttled={throttled}."
            );
            self.halvings = halvings;
        }
    }

    fn process(&mut self, frame: &Captured) {
        let Self { device, reviews, clock, links, .. } = self;
        let publish = &mut |candidate| publish(*links, clock, reviews, candidate);
        let result = device.process(frame, clock.now(), publish);
        if let Err(error) = result {
            self.complain(frame.sequence, &error);
        }
        if !self.first_frame_logged {
            self.first_frame_logged = true;
            let after = self.clock.now().monotonic.as_millis();
            info!("The first frame was looked at: after_ms={after}.");
        }
    }

    /// No frame comes; what was seen is not kept for the next.
    fn rest(&mut self) {
        let Self { device, reviews, clock, links, .. } = self;
        device.rest(clock.now(), &mut |candidate| publish(*links, clock, reviews, candidate));
    }

    fn complain(&mut self, sequence: u64, error: &PipelineError) {
        let now = self.clock.now().monotonic;
        if self.complained.is_none_or(|at| now.saturating_sub(at) >= COMPLAIN_EVERY) {
            warn!("A frame could not be analysed: sequence={sequence} error={error}.");
            self.complained = Some(now);
        }
    }

    /// Reports what was done; `waits` where a recorded picture waits for orders.
    fn report_progress(&self, waits: bool) {
        let now = self.clock.now();
        let (counters, standing) = self.device.progress(now);
        self.links.board.set_orders(waits, self.device.orders_unheard(now));
        self.links.board.set_left_on_disk(self.device.left_on_disk());
        self.links.board.processed(counters, standing, now.monotonic);
    }
}

fn unsaid<T, E: std::fmt::Display>(said: Result<T, E>) {
    if let Err(error) = said {
        warn!("The state of a review is not published: {error}.");
    }
}

fn publish(links: Links<'_>, clock: &Clock, reviews: &mut Reviews, candidate: Candidate) {
    let (id, sequence) = (candidate.candidate, candidate.sequence);
    match links.auditor.publish(candidate, reviews, links.delivery, clock.now()) {
        Ok(event) => {
            info!("Candidate decided: candidate={id} sequence={sequence} event={event}.")
        }
        Err(error) => {
            warn!("A candidate is not published and is lost: candidate={id} error={error}.")
        }
    }
}
