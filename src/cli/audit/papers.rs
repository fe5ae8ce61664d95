//! Drafts of what has to be written before a camera compares faces, and be put up where it does: a
//! data-protection impact assessment (GDPR, Article 35; Directive 2016/680, Article 27) and the
//! notice at the place. Filled from the configuration and from what the log says of a period.
//!
//! * They are drafts: what neither the configuration nor the log can know is left open and says so
//!   ([`OPEN`]). Nobody's judgement is written for them.
//! * What they say of the program is what its documentation promises, as far as this configuration
//!   keeps it ([`KeptPromises`]); a promise that it weakens is named with the key that does.
//! * What the log cannot support is missing here as it is in the report.

use super::told::{lists, missing};
use crate::audit::report::words::{MISSING, duration, places, reviewed, shares, whole};
use crate::audit::report::{DeploymentReport, UseStanding};
use crate::config::{Config, promises};
use crate::evaluate::report::format::thousands;
use crate::evaluate::report::{Block, Document, ReportTable, Section};

/// In place of what somebody has to write.
const OPEN: &str = "TO BE WRITTEN: ____________________";

fn text(text: impl Into<String>) -> Block {
    Block::Text(text.into())
}

/// What somebody has to answer.
fn questions(caption: &str, asked: &[&str]) -> Block {
    let mut table = ReportTable::new(caption, &["Question", "Answer"]).with_words(&[1]);
    asked.iter().for_each(|question| table.row([(*question).to_owned(), OPEN.to_owned()]));
    Block::Table(table)
}

fn hours(seconds: u64) -> String {
    duration(seconds * 1000)
}

/// What the papers say as a fact, and what a configuration may have given up.
struct KeptPromises {
    /// Lists are taken only sealed to the device's key.
    sealed: bool,
    /// Templates and frames are never where swap could take them.
    locked: bool,
    /// Two people are asked to judge a candidate.
    reviewed: bool,
}

impl KeptPromises {
    fn by(config: &Config) -> Self {
        let key = promises::has_device_key(config);
        Self {
            sealed: key && !config.watchlist.accept_plain,
            locked: config.watchlist.require_locked_memory,
            // What reviewers say is sealed to that key: without one nobody is asked.
            reviewed: key,
        }
    }

    /// Where the templates of listed people are.
    fn templates(&self) -> String {
        let file = match self.sealed {
            true => "on the device, sealed to its key",
            false => concat!(
                "on the device; as a file that may be PLAIN, as ",
                setting!(watchlist.accept_plain),
                " or ",
                setting!(watchlist.device_key),
                " allows"
            ),
        };
        let memory = match self.locked {
            true => "in locked memory while they are compared",
            false => concat!(
                "in memory that MAY BE WRITTEN TO A DISK while they are compared, as ",
                setting!(watchlist.require_locked_memory),
                " is off"
            ),
        };
        format!("{file}; {memory}")
    }

    /// Who judges a candidate.
    fn judged(&self) -> &'static str {
        match self.reviewed {
            true => {
                "a candidate is judged by two people whom the trust file names, neither of whom \
                 sees the other's verdict"
            }
            false => concat!(
                "NOBODY is asked to judge a candidate before it is acted on, as ",
                setting!(watchlist.device_key),
                " names no key"
            ),
        }
    }

    /// What becomes of a face that is on no list.
    fn passers_by(&self) -> &'static str {
        match self.locked {
            true => "nothing of a face that did not match leaves the memory of the device",
            false => concat!(
                "nothing of a face that did not match is sent; the memory that it is in MAY BE \
                 WRITTEN TO A DISK of the device, as ",
                setting!(watchlist.require_locked_memory),
                " is off"
            ),
        }
    }
}

/// The draft of an impact assessment.
pub fn assessment(report: &DeploymentReport, config: &Config) -> Document {
    Document {
        title: format!("Draft: data-protection impact assessment of {}", report.origin),
        facts: vec![
            ("Device".into(), report.origin.clone()),
            ("Place".into(), places(report)),
            ("Figures of".into(), format!("{} to {}", whole(report.from_ms), whole(report.to_ms))),
            ("Controller".into(), OPEN.into()),
            ("Data-protection officer".into(), OPEN.into()),
            ("Written by, on".into(), OPEN.into()),
        ],
        headlines: Vec::new(),
        sections: vec![
            description(config),
            lists(report),
            necessity(report),
            risks(report, &KeptPromises::by(config)),
            measures(config),
            open_ends(report),
        ],
    }
}

fn description(config: &Config) -> Section {
    let kept = KeptPromises::by(config);
    let mut table = ReportTable::new("What is kept, where, and for how long", &["What", "How"])
        .with_words(&[1]);
    let mut row = |what: &str, how: String| table.row([what.to_owned(), how]);
    row(
        "Faces that match nobody",
        format!("compared in the device's memory and wiped; counted; {}", kept.passers_by()),
    );
    row("Templates of people on the list", kept.templates());
    let pictures = match (config.event.crop, config.event.head) {
        (false, _) => "without a picture",
        (true, false) => "with a picture of the matched face alone",
        (true, true) => "with pictures of the matched face and of the whole head",
    };
    let receivers = if kept.reviewed { "reviewers" } else { "whoever subscribes to them" };
    row("Candidates (somebody may be on the list)", format!("sent to {receivers}, {pictures}"));
    row("A candidate expires after", hours(config.broker.event_expiry_s.into()));
    if kept.reviewed {
        row("Two people judge it within", hours(config.review.deadline_s.into()));
    }
    row(
        "Candidates that nobody has received yet",
        match config.broker.outbox_folder() {
            Some(_) => "on the device's disk until they are received or expire".into(),
            None => "in the device's memory until they are received or expire".into(),
        },
    );
    row(
        "The record of what the device did",
        "kept whole: times, lists, orders, counts; commitments to candidates, and nothing of anybody \
         who did not match"
            .into(),
    );
    let asked = questions(
        "To be described by whoever is responsible",
        &[
            "Who receives candidates, and in which country",
            "How long recipients keep candidates and case files",
            "Who else works with the data (processors), under which contract",
            "How many people pass, who they are, and whether children are among them",
        ],
    );
    let about = format!(
        "A camera looks at passers-by. On the device itself each face that is good enough is \
         compared with a list of people that at least two persons have signed. Where one is \
         similar enough, a candidate is sent, which is no identification: {}.",
        kept.judged()
    );
    Section {
        heading: "1. The processing, and what it is for".into(),
        blocks: vec![text(about), Block::Table(table), asked],
    }
}

fn necessity(report: &DeploymentReport) -> Section {
    let mut table = ReportTable::new(
        "From the log, with two-sided 95 % intervals",
        &["Figure", "Value", "Interval"],
    );
    let mut row = |what: &str, value: String, interval: String| {
        table.row([what.to_owned(), value, interval]);
    };
    let none = String::new;
    row("In use", duration(report.ms_of(|s| s == UseStanding::InUse)), none());
    let faces = report.counts.map_or_else(|| MISSING.into(), |c| thousands(c.faces));
    row("Faces seen", faces, none());
    row("Candidates", thousands(report.candidates), none());
    let decided = |of| reviewed(report, of).unwrap_or_else(|| MISSING.into());
    row("Confirmed by two people", decided(|r| r.confirmed), none());
    row("Refuted by two people", decided(|r| r.refuted), none());
    shares(report).into_iter().for_each(|row| table.row(row));
    let asked = questions(
        "To be judged by whoever is responsible",
        &[
            "The law that allows it here (legal basis), and the decision that orders it",
            "Why a milder means does not do",
            "Why this place, these hours and this many entries",
            "What was gained, held against the faces seen and the false alerts above",
        ],
    );
    Section {
        heading: "2. Whether it is necessary, and in proportion".into(),
        blocks: vec![Block::Table(table), asked],
    }
}

fn risks(report: &DeploymentReport, kept: &KeptPromises) -> Section {
    let head = ["Risk", "What the program does about it", "What is left, and what is done"];
    let mut table = ReportTable::new("Risks to the people who pass, and to those listed", &head)
        .with_words(&[1, 2]);
    let mut row = |risk: &str, done: &str| {
        table.row([risk.to_owned(), done.to_owned(), OPEN.to_owned()]);
    };
    row(
        "Somebody is taken for somebody else",
        &format!(
            "the threshold follows from a budget of false alerts, on the worst group measured; {}",
            kept.judged()
        ),
    );
    row(
        "Some groups of people are mistaken more often than others",
        "the worst group's bound is what is announced; groups that were not measured are not \
         covered: children, the old, portraits of many years ago",
    );
    row(
        "Somebody searches without leave, or for longer than allowed",
        "a list needs two signatures, a legal basis, an end, devices and hours; the log shows which \
         list was in force",
    );
    row(
        "The list grows, or serves another purpose later",
        "each version is signed anew and is in the log, with its size and its aim",
    );
    row("Data of passers-by leak", kept.passers_by());
    row(
        "The list leaks",
        &format!("it is {}; whoever has root on the device can read it", kept.templates()),
    );
    row(
        "People stay away from the place, or from a gathering there",
        "one person can stop matching for a time and an area; it is in the log that it was stopped",
    );
    row(
        "The record of all this is altered",
        "what witnesses have cosigned cannot be rewritten unnoticed; whoever has root can omit what \
         none has seen yet",
    );
    let unseen = if report.records_missing > 0 {
        format!("The log says that {} records are missing.", thousands(report.records_missing))
    } else {
        "The log names no record as missing.".to_owned()
    };
    Section { heading: "3. Risks".into(), blocks: vec![Block::Table(table), text(unseen)] }
}

fn measures(config: &Config) -> Section {
    let mut table =
        ReportTable::new("Promises of this configuration", &["Promise", "State"]).with_words(&[1]);
    for (name, state) in promises::promises(config) {
        let kept = if state.kept {
            "kept".to_owned()
        } else {
            format!("WEAKENED by {}", state.weakened_by.join(", "))
        };
        table.row([name, kept]);
    }
    let asked = questions(
        "Measures around the program",
        &[
            "Who may sign lists, who may stop, who judges; how they are chosen and trained",
            "Who keeps the keys, and what happens when one is lost",
            "Who reads the log and the witnesses' findings, how often",
            "How passers-by are told, and where they can object",
        ],
    );
    Section { heading: "4. Measures".into(), blocks: vec![Block::Table(table), asked] }
}

fn open_ends(report: &DeploymentReport) -> Section {
    let asked = questions(
        "Opinions and decision",
        &[
            "Opinion of the data-protection officer",
            "Opinions of those concerned, or why they were not asked",
            "Whether the supervisory authority has to be consulted first",
            "Decision, name, date",
            "When this is looked at again",
        ],
    );
    let heading = "5. What is open".into();
    Section { heading, blocks: vec![missing(report), asked] }
}

/// The draft of the notice at the place.
pub fn notice(report: &DeploymentReport, config: &Config) -> Document {
    let kept = KeptPromises::by(config);
    let mut about = ReportTable::new("", &["What", "Answer"]).with_words(&[1]);
    let mut row = |what: &str, answer: String| about.row([what.to_owned(), answer]);
    row("Who is responsible", OPEN.into());
    row("Whom to ask about your data", OPEN.into());
    for used in &report.lists {
        let list = &used.list;
        row(
            "What is searched for, and who ordered it",
            format!("{}, by {}, {}", list.aim, list.authority, list.decision),
        );
    }
    if report.lists.is_empty() {
        row("What is searched for, and who ordered it", OPEN.into());
    }
    row("The law that allows it", OPEN.into());
    row(
        "What happens to your face",
        format!(
            "A computer in the camera compares it with the people searched for. If you are not \
             similar to one of them, nothing of it leaves the camera{}.",
            match kept.locked {
                true => ", and nothing of it is stored",
                false => {
                    ". While it is compared, the computer may write it to its own disk when memory \
                     runs short"
                }
            }
        ),
    );
    row(
        "And if I am similar",
        format!(
            "{} is sent to people who look at it. {} It expires after {}.",
            if config.event.crop { "A picture of your face" } else { "A report without a picture" },
            match kept.reviewed {
                true => {
                    "Nobody acts on the computer's word alone: two people judge, each without \
                     seeing what the other says."
                }
                false => "It is not an identification.",
            },
            hours(config.broker.event_expiry_s.into())
        ),
    );
    row("Who receives it, and how long they keep it", OPEN.into());
    row(
        "What is not done",
        "No age, sex, origin or mood is guessed. Nobody who is not searched for is recognised again \
         later or elsewhere."
            .into(),
    );
    row(
        "Your rights",
        "You can ask what is held about you, and have it corrected or erased as the law says."
            .into(),
    );
    row("Where you can complain", OPEN.into());
    row("Where the figures of this camera are published", OPEN.into());
    let place = match &report.places[..] {
        [] => OPEN.to_owned(),
        _ => places(report),
    };
    Document {
        title: "Draft: a camera here searches for people by their faces".into(),
        facts: vec![("Place".into(), place), ("Camera".into(), report.origin.clone())],
        headlines: Vec::new(),
        sections: vec![Section {
            heading: "What you should know".into(),
            blocks: vec![Block::Table(about)],
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::{AuditEvent, AuditRecord, ListRecord};
    use crate::audit::report::ReportMaker;
    use crate::evaluate::report::text;
    use crate::promise::Stage;
    use crate::watchlist::Aim;

    /// A day on which a list was in force and one face in a hundred gave a candidate.
    fn report() -> DeploymentReport {
        let list = ListRecord {
            id: "north".parse().unwrap(),
            version: 3,
            digest: [1; 32],
            entries: 12,
            threshold: 500_000,
            false_alerts: 100_000,
            authority: "District Court".into(),
            decision: "2026/117".into(),
            aim: Aim::MissingOrVictim,
            stage: Stage::InForce,
            signers: Vec::new(),
            models: [[0; 32]; 2],
        };
        let mut maker = ReportMaker::new("site/gate-1", 0, 86_400_000);
        for (at_ms, event) in [
            (0, AuditEvent::Started { program: "0.1.0".into() }),
            (0, AuditEvent::Placed { place: "north gate".into() }),
            (0, AuditEvent::ListInForce(Box::new(list))),
            (0, AuditEvent::UseBegan),
            (86_000_000, AuditEvent::Stopped),
        ] {
            maker.record(Some(&AuditRecord { at_ms, event }));
        }
        maker.finish()
    }

    fn papers(config: &Config) -> [String; 2] {
        [assessment, notice].map(|paper| text::render(&paper(&report(), config)))
    }

    #[test]
    fn both_drafts_have_what_is_known_and_leave_open_what_only_people_can_say() {
        let mut config = Config::default();
        config.watchlist.accept_plain = true;
        config.broker.event_expiry_s = 7200;
        let [assessment, notice] = papers(&config);
        for known in ["north gate", "District Court, 2026/117", "missing-or-victim", "2\u{a0}h"] {
            assert!(assessment.contains(known), "{known}");
        }
        assert!(assessment.contains("WEAKENED by watchlist.accept_plain"));
        assert!(assessment.contains("no heartbeat is in the period"), "what the log cannot say");
        for known in ["north gate", "District Court", "A picture of your face", "2\u{a0}h"] {
            assert!(notice.contains(known), "{known}");
        }
        for paper in [assessment, notice] {
            assert!(paper.starts_with("Draft: ") && paper.matches(OPEN).count() >= 5, "{paper}");
        }
        config.event.crop = false;
        let [_, notice] = papers(&config);
        assert!(notice.contains("without a picture"));
    }

    #[test]
    fn no_draft_promises_what_the_configuration_has_given_up() {
        let mut config = Config::default();
        config.watchlist.device_key = Some("/etc/watchpost/device.key".into());
        let has = |text: &str, all: &[&str], none: &[&str]| {
            // Tables are broken into lines.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            all.iter().for_each(|words| assert!(text.contains(words), "no {words}: {text}"));
            none.iter().for_each(|words| assert!(!text.contains(words), "{words}: {text}"));
        };
        let [assessment, notice] = papers(&config);
        let kept = ["sealed to its key", "in locked memory", "judged by two people"];
        let weak = ["PLAIN", "MAY BE WRITTEN", "NOBODY"];
        has(&assessment, &kept, &weak);
        has(&notice, &["two people judge", "nothing of it is stored"], &[]);

        config.watchlist.accept_plain = true;
        let [assessment, _] = papers(&config);
        has(&assessment, &["PLAIN", kept[1], kept[2]], &[kept[0]]);
        config.watchlist.accept_plain = false;

        config.watchlist.require_locked_memory = false;
        let [assessment, notice] = papers(&config);
        has(&assessment, &[kept[0], "MAY BE WRITTEN TO A DISK", kept[2]], &[kept[1]]);
        has(&notice, &["its own disk"], &["nothing of it is stored"]);
        config.watchlist.require_locked_memory = true;

        config.watchlist.device_key = None;
        let [assessment, notice] = papers(&config);
        has(&assessment, &["NOBODY is asked", kept[1]], &[kept[0], kept[2], "Two people judge"]);
        has(&notice, &[], &["two people judge"]);
    }
}
