//! Random histories of a device, two witnesses of it and a broker that keeps, loses, delays and
//! repeats what it likes.

use proptest::prelude::*;

use super::*;
use crate::audit::dialogue::ConsistencyAnswer;
use crate::audit::tree::{MemoryNodes, RightEdge, consistency};

/// A device's log, without a disk.
struct Log {
    edge: RightEdge,
    nodes: MemoryNodes,
}

impl Log {
    fn new() -> Self {
        Self { edge: RightEdge::default(), nodes: MemoryNodes::default() }
    }

    fn grow(&mut self, record: &[u8]) {
        let nodes = &mut self.nodes.0;
        self.edge.push(TreeHash::leaf(record), |node| nodes.push(node)).unwrap();
    }

    fn checkpoint(&self) -> String {
        Checkpoint::new(ORIGIN, self.edge.size(), self.edge.root()).sign(&key(1)).unwrap()
    }

    fn answer(&self, nonce: Nonce, old: u64) -> String {
        let size = self.edge.size();
        let old = old.min(size);
        let path = consistency(&self.nodes, old, size).unwrap();
        let submission = Submission { old, path, note: self.checkpoint() };
        let answer = ConsistencyAnswer { origin: ORIGIN.into(), nonce, submission };
        answer.sign(ORIGIN, &key(1)).unwrap()
    }

    fn challenge(&self) -> String {
        let (size, root) = (self.edge.size(), self.edge.root());
        let challenge = Challenge { origin: ORIGIN.into(), nonce: Nonce([9; 32]), size, root };
        challenge.sign(ORIGIN, &key(1)).unwrap()
    }

    fn has(&self, checkpoint: &Checkpoint) -> bool {
        let Checkpoint { size, root, .. } = checkpoint;
        *size <= self.edge.size()
            && crate::audit::tree::root_of(&self.nodes, *size).unwrap() == *root
    }
}

/// What is on the way.
#[derive(Clone)]
enum InFlight {
    /// To one witness.
    Said(usize, DeviceSaying, String),
    /// To the device.
    Asked(String),
}

/// What one witness has done.
#[derive(Default)]
struct Tally {
    asked: usize,
    cosigned: usize,
    /// What the device said of its own accord, or somebody who played that again.
    heard: usize,
    offences: usize,
}

struct History {
    fleets: [FleetWitness<Memory>; 2],
    tallies: [Tally; 2],
    log: Log,
    records: u8,
    in_flight: Vec<InFlight>,
    said: Vec<(DeviceSaying, String)>,
    seconds: i64,
    /// How often an open question may have been repeated, by the time that passed.
    repeats: f64,
}

impl History {
    fn new() -> Self {
        Self {
            fleets: [2, 7].map(|n| fleet_of(key(n), Memory::default())),
            tallies: Default::default(),
            log: Log::new(),
            records: 0,
            in_flight: Vec::new(),
            said: Vec::new(),
            seconds: 0,
            repeats: 0.0,
        }
    }

    fn grow(&mut self) {
        self.records += 1;
        self.log.grow(&[self.records]);
    }

    /// The device publishes, or somebody does so again.
    fn say(&mut self, saying: DeviceSaying, note: String) {
        for to in 0..2 {
            self.in_flight.push(InFlight::Said(to, saying, note.clone()));
        }
        self.said.push((saying, note));
    }

    fn had(&self, fleet: usize) -> Option<Checkpoint> {
        self.fleets[fleet].witness.last(ORIGIN).unwrap().map(|last| last.checkpoint)
    }

    fn deliver(&mut self, at_: usize) {
        match self.in_flight.swap_remove(at_) {
            InFlight::Asked(request) => {
                let pinned = [2, 7].map(|n| key(n).public());
                let (request, _) = WitnessRequest::open_by(request.as_bytes(), &pinned).unwrap();
                let answer = self.log.answer(request.nonce, request.old);
                self.say(DeviceSaying::Consistency, answer);
            }
            InFlight::Said(to, saying, note) => {
                let own = match saying {
                    DeviceSaying::Checkpoint | DeviceSaying::Challenge => true,
                    DeviceSaying::Consistency => {
                        let note = SignedNote::parse(&note).unwrap();
                        ConsistencyAnswer::parse(&note).unwrap().nonce == Nonce::NONE
                    }
                };
                self.tallies[to].heard += usize::from(own);
                let now = at(self.seconds);
                let output = self.fleets[to].heard("gate-1", saying, note.as_bytes(), now);
                self.take(to, output);
            }
        }
    }

    fn take(&mut self, from: usize, output: WitnessOutput) {
        for (_, saying, note) in output.said {
            if saying == WitnessSaying::Request {
                self.tallies[from].asked += 1;
                self.in_flight.push(InFlight::Asked(note));
            }
        }
        for report in output.reports {
            match report {
                WitnessReport::Cosigned { .. } => self.tallies[from].cosigned += 1,
                WitnessReport::Finding { finding, .. } => {
                    self.tallies[from].offences += usize::from(finding.is_offence());
                }
                WitnessReport::NotBridged { .. } => {}
            }
        }
    }

    /// So many seconds pass by the clock, which may be put back.
    fn pass(&mut self, seconds: i64) {
        self.seconds += seconds;
        self.repeats += match seconds {
            0.. => seconds as f64 / 10.0,
            _ => 1.0,
        };
        for fleet in 0..2 {
            let output = self.fleets[fleet].tick(at(self.seconds));
            self.take(fleet, output);
        }
    }

    fn step(&mut self, what: u8, which: usize) {
        match what {
            0 | 1 => {
                self.grow();
                self.say(DeviceSaying::Checkpoint, self.log.checkpoint());
            }
            2 => {
                let kept = self.had(which % 2).map_or(0, |had| had.size);
                let note = self.log.answer(Nonce::NONE, kept);
                self.say(DeviceSaying::Consistency, note);
            }
            3 => self.say(DeviceSaying::Challenge, self.log.challenge()),
            4 if !self.said.is_empty() => {
                let (saying, note) = self.said[which % self.said.len()].clone();
                self.say(saying, note);
            }
            5 if !self.in_flight.is_empty() => {
                self.in_flight.swap_remove(which % self.in_flight.len());
            }
            // The clock is put back, too.
            6 => self.pass(which as i64 % 25),
            7 => {
                let old = self.had(which % 2).map_or(0, |had| had.size);
                let answer = self.log.answer(Nonce::NONE, old);
                let answer = ConsistencyAnswer::parse(&SignedNote::parse(&answer).unwrap());
                let submission = answer.unwrap().submission.to_string();
                let mut output = WitnessOutput::default();
                let _ = self.fleets[which % 2].submit(&submission, at(self.seconds), &mut output);
                self.take(which % 2, output);
            }
            _ if !self.in_flight.is_empty() => self.deliver(which % self.in_flight.len()),
            _ => {}
        }
    }

    /// All that is on the way arrives, and all that follows from it; whether that ends.
    fn settle(&mut self) -> bool {
        for _ in 0..2000 {
            match self.in_flight.len() {
                0 => return true,
                _ => self.deliver(0),
            }
        }
        false
    }
}

fn steps() -> impl Strategy<Value = Vec<(u8, usize)>> {
    prop::collection::vec((0..14u8, any::<usize>()), 0..50)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_asked_is_bounded_by_what_is_said_and_by_time_and_every_offence_is_named(
        before in steps(), rewritten: bool, after in steps(),
    ) {
        let mut history = History::new();
        before.iter().for_each(|(what, which)| history.step(*what, *which));
        if rewritten {
            // From the first record on.
            (history.records, history.log) = (100, Log::new());
            history.grow();
        }
        after.iter().for_each(|(what, which)| history.step(*what, *which));
        prop_assert!(history.settle(), "they speak without end");
        // It publishes once more, and what was lost on the way is asked for again.
        let had = (0..2).filter_map(|fleet| history.had(fleet));
        let most = had.map(|had| had.size).max().unwrap_or(0);
        while history.log.edge.size() <= most {
            history.grow();
        }
        history.say(DeviceSaying::Checkpoint, history.log.checkpoint());
        prop_assert!(history.settle(), "they speak without end");
        history.pass(11);
        prop_assert!(history.settle(), "they speak without end");

        for (fleet, tally) in history.tallies.iter().enumerate() {
            let again = history.repeats as usize;
            prop_assert!(tally.asked <= tally.heard + tally.cosigned + again);
            let had = history.had(fleet);
            prop_assert!(rewritten || tally.offences == 0, "a whole log is accused");
            let whole = had.as_ref().is_none_or(|had| history.log.has(had));
            prop_assert!(whole || tally.offences > 0, "it is not named");
            let newest = had.is_some_and(|had| had.size == history.log.edge.size());
            prop_assert!(rewritten || newest, "a whole log is not cosigned");
        }
    }
}
