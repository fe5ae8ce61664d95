//! The vision thread: takes frames, runs the pipeline, hands candidates to delivery, follows orders
//! between two frames. It waits for nothing but frames.

use std::path::Path;
use std::time::{Duration, Instant};

use log::{info, warn};

use super::board::Board;
use super::handover::{Handover, Taken};
use super::stop::Stop;
use crate::clock::Clock;
use crate::delivery::Delivery;
use crate::delivery::event::Candidate;
use crate::device::keeper::Keeper;
use crate::device::orders::Orders;
use crate::device::pipeline::Pipeline;
use crate::hardware;
use crate::source::Captured;

/// How long to wait for a frame before the list's standing is looked at again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the board's temperature is read.
const FEEL_EVERY: Duration = Duration::from_secs(5);
/// Failures of one kind are logged at most so often; their number is in the statistics.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

#[expect(
    clippy::too_many_arguments,
    reason = "what the thread owns, then what it shares; a struct would name them once more"
)]
/// Runs until the hand-over is closed and empty.
pub fn run(
    mut pipeline: Pipeline,
    mut keeper: Keeper,
    mut orders: Orders<'_>,
    clock: Clock,
    frames: &Handover<Captured>,
    board: &Board,
    delivery: &Delivery,
    stop: &Stop,
) {
    let mut frame = Captured::default();
    let mut complained: Option<Instant> = None;
    let (mut felt, mut heat) = (None::<Instant>, 0);
    let mut looked = false;
    let mut publish = |candidate: Candidate| {
        let (id, sequence) = (candidate.candidate, candidate.sequence);
        match delivery.publish_candidate(candidate, clock.now()) {
            Ok(event) => {
                info!("Candidate decided: candidate={id} sequence={sequence} event={event}.")
            }
            Err(error) => {
                warn!("A candidate could not be queued and is lost: candidate={id} error={error}.")
            }
        }
    };
    loop {
        orders.follow(delivery, &mut keeper, &mut pipeline, board, clock.now());
        if stop.take_reload() {
            orders.reload(delivery, &mut keeper, &mut pipeline, board, clock.now());
        }
        pipeline.hold(keeper.permits(clock.now()).err());
        board.vision_lives();
        if felt.is_none_or(|at| at.elapsed() >= FEEL_EVERY) {
            felt = Some(Instant::now());
            let board_heat = hardware::read(Path::new("/sys"));
            let (throttled, celsius) =
                (board_heat.throttled == Some(true), board_heat.processor().map(|c| c as f32));
            let now = pipeline.warmth(clock.now(), celsius, throttled);
            if now != heat {
                info!(
                    "The rate of detections follows the board's heat: halved={now} \
                     celsius={celsius:?} throttled={throttled}."
                );
                heat = now;
            }
        }
        match frames.take(&mut frame, PATIENCE) {
            Taken::Closed => break,
            Taken::Nothing => {}
            Taken::Frame => {
                let result = pipeline.process(&frame, clock.now(), &mut publish);
                if let Err(error) = result
                    && complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY)
                {
                    warn!(
                        "A frame could not be analysed: sequence={} error={error}.",
                        frame.sequence
                    );
                    complained = Some(Instant::now());
                }
                if !looked {
                    looked = true;
                    info!(
                        "The first frame was looked at: after_ms={}.",
                        clock.now().monotonic.as_millis()
                    );
                }
            }
        }
        board.processed(pipeline.counters(), pipeline.standing(clock.now()));
    }
    pipeline.finish(clock.now(), &mut publish);
    board.processed(pipeline.counters(), pipeline.standing(clock.now()));
}
