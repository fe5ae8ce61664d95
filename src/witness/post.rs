//! The fleet's witness as one who reads and writes at a broker: topics in and out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

use super::bridge::{ForeignErrand, ForeignReply};
use super::fleet::{DeviceSaying, FleetWitness, WitnessOutput, WitnessReport, WitnessSaying};
use crate::audit::witness::WitnessMemory;
use crate::delivery::correspondent::{Correspondent, Letter};

/// A witness that several threads use, each for one judgement at a time.
pub type SharedWitness<M> = Arc<Mutex<FleetWitness<M>>>;

/// No judgement spans a panic: what is remembered is on the disk.
pub fn lock<M>(witness: &Mutex<FleetWitness<M>>) -> MutexGuard<'_, FleetWitness<M>> {
    witness.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What comes to the witness on other ways than the broker's.
#[derive(Debug)]
pub enum Elsewhere {
    /// What follows from a submission over HTTP.
    Output(WitnessOutput),
    /// What a witness of others said.
    Reply(Box<ForeignErrand>, ForeignReply),
}

/// See the module's documentation.
pub struct WitnessPost<'a, M> {
    witness: SharedWitness<M>,
    root: String,
    name: String,
    over: Arc<AtomicBool>,
    elsewhere: Receiver<Elsewhere>,
    /// To whoever submits to witnesses of others.
    errands: Sender<ForeignErrand>,
    report: &'a mut dyn FnMut(&WitnessReport, OffsetDateTime),
}

impl<'a, M: WitnessMemory> WitnessPost<'a, M> {
    /// `witness` at the broker's topics below `root`, until `over`. `report` takes each report,
    /// `errands` what is to be submitted to witnesses of others.
    pub fn new(
        witness: SharedWitness<M>,
        root: &str,
        over: Arc<AtomicBool>,
        elsewhere: Receiver<Elsewhere>,
        errands: Sender<ForeignErrand>,
        report: &'a mut dyn FnMut(&WitnessReport, OffsetDateTime),
    ) -> Self {
        let name = lock(&witness).witness().name().to_owned();
        Self { witness, root: root.to_owned(), name, over, elsewhere, errands, report }
    }

    fn send(&mut self, output: WitnessOutput, now: OffsetDateTime, out: &mut Vec<Letter>) {
        for (device, saying, note) in output.said {
            let below = match saying {
                WitnessSaying::Request => "request",
                WitnessSaying::Cosign => "cosign",
                WitnessSaying::Freshness => "freshness",
            };
            let topic = format!("{}/v1/{device}/audit/{below}", self.root);
            out.push(Letter { topic, payload: note.into_bytes() });
        }
        for errand in output.errands {
            // Where nobody takes it, the witness is ending.
            let _ = self.errands.send(errand);
        }
        for report in output.reports {
            (self.report)(&report, now);
            if let WitnessReport::Finding { device, .. } = &report {
                let device = device.as_deref().unwrap_or("unknown");
                let topic = format!("{}/v1/{device}/audit/finding", self.root);
                let payload = report.to_json(&self.name, now).to_string().into_bytes();
                out.push(Letter { topic, payload });
            }
        }
    }
}

impl<M: WitnessMemory> Correspondent for WitnessPost<'_, M> {
    fn filters(&self) -> Vec<String> {
        let below = ["checkpoint", "challenge", "consistency"];
        below.map(|below| format!("{}/v1/+/audit/{below}", self.root)).into()
    }

    fn received(&mut self, topic: &str, payload: &[u8], out: &mut Vec<Letter>) {
        let below = topic.strip_prefix(&self.root).and_then(|t| t.strip_prefix("/v1/"));
        let Some((device, below)) = below.and_then(|t| t.split_once('/')) else { return };
        let saying = match below {
            "audit/checkpoint" => DeviceSaying::Checkpoint,
            "audit/challenge" => DeviceSaying::Challenge,
            "audit/consistency" => DeviceSaying::Consistency,
            _ => return,
        };
        let now = OffsetDateTime::now_utc();
        let output = lock(&self.witness).heard(device, saying, payload, now);
        self.send(output, now, out);
    }

    fn tick(&mut self, out: &mut Vec<Letter>) {
        let now = OffsetDateTime::now_utc();
        let due = lock(&self.witness).tick(now);
        self.send(due, now, out);
        while let Ok(elsewhere) = self.elsewhere.try_recv() {
            let output = match elsewhere {
                Elsewhere::Output(output) => output,
                Elsewhere::Reply(errand, reply) => {
                    lock(&self.witness).replied(&errand, &reply, now)
                }
            };
            self.send(output, now, out);
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}
