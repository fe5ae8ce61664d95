//! The bytes of a record: `config/schemas/audit.cddl`.

use super::{
    Answer, AuditEvent, AuditRecord, AuditRecordError, CandidateRecord, ControlEnding,
    ControlRecord, EndOfUse, Instruction, InstructionRecord, ListRecord, MAX_COUNT_NAME,
    MAX_COUNTS, MAX_KEYS, MAX_PLACE, MAX_PROGRAM, MAX_RECORD, MAX_VERDICTS, ReviewRecord,
    ToldVerdict, VERSION, VerdictRecord, WeakSetting, WipedThing,
};
use crate::cause::Cause;
use crate::judgement::{Confidence, Opinion, Outcome};
use crate::promise::Stage;
use crate::watchlist::Aim;
use crate::watchlist::cbor::{CborReader, CborWriter};
use crate::watchlist::keys::KeyId;
use crate::watchlist::model::MAX_TEXT;

/// The latest time that a record may name: the end of the year 9999, in milliseconds.
const LATEST: u64 = 253_402_300_799_999;
/// Longest word of a closed set.
const MAX_WORD: usize = 64;
/// Longest opaque name.
const MAX_REFERENCE: usize = 64;

/// The numbers of the kinds.
mod kind {
    pub const STARTED: u64 = 1;
    pub const STOPPED: u64 = 2;
    pub const USE_BEGAN: u64 = 3;
    pub const USE_ENDED: u64 = 4;
    pub const LIST_IN_FORCE: u64 = 5;
    pub const INSTRUCTION: u64 = 6;
    pub const CANDIDATE: u64 = 7;
    pub const WEAKENED: u64 = 8;
    pub const CLOCK_JUMPED: u64 = 9;
    pub const WIPED: u64 = 10;
    pub const HEARTBEAT: u64 = 11;
    pub const MISSED: u64 = 12;
    pub const VERDICT: u64 = 13;
    pub const REVIEWED: u64 = 14;
    pub const PLACED: u64 = 15;
    pub const CONTROL_REGISTERED: u64 = 16;
    pub const CONTROL_ENDED: u64 = 17;
}

pub fn write(record: &AuditRecord) -> Result<Vec<u8>, AuditRecordError> {
    fits(&record.event)?;
    let mut w = CborWriter::with_capacity(256);
    w.map(4).key(0).uint(VERSION).key(1).uint(record.at_ms.min(LATEST)).key(2);
    let number = |w: &mut CborWriter, kind: u64, items: usize| {
        w.uint(kind).key(3).array(items);
    };
    match &record.event {
        AuditEvent::Started { program } => {
            number(&mut w, kind::STARTED, 1);
            w.text(program);
        }
        AuditEvent::Stopped => number(&mut w, kind::STOPPED, 0),
        AuditEvent::UseBegan => number(&mut w, kind::USE_BEGAN, 0),
        AuditEvent::UseEnded { why } => {
            number(&mut w, kind::USE_ENDED, 1);
            w.text(match why {
                EndOfUse::Stopped => STOPPED,
                EndOfUse::Waiting => WAITING,
                EndOfUse::Blind(cause) => cause.code(),
            });
        }
        AuditEvent::ListInForce(list) => {
            number(&mut w, kind::LIST_IN_FORCE, 13);
            write_list(&mut w, list);
        }
        AuditEvent::Instruction(i) => {
            number(&mut w, kind::INSTRUCTION, 4);
            w.uint(i.what.number()).text(match i.answer {
                Answer::Followed => FOLLOWED,
                Answer::Repeated => REPEATED,
                Answer::NotConcerned => NOT_CONCERNED,
                Answer::TooLate => TOO_LATE,
                Answer::Refused(cause) => cause.code(),
            });
            w.bytes(i.order.as_ref().map_or(&[][..], |id| &id[..]));
            write_keys(&mut w, &i.keys);
        }
        AuditEvent::Candidate(c) => {
            number(&mut w, kind::CANDIDATE, 3);
            w.bytes(&c.event).uint(c.sequence.into()).bytes(&c.commitment);
        }
        AuditEvent::Weakened { settings } => {
            number(&mut w, kind::WEAKENED, settings.len());
            settings.iter().for_each(|setting| {
                w.uint(setting.number());
            });
        }
        AuditEvent::ClockJumped { expected_ms } => {
            number(&mut w, kind::CLOCK_JUMPED, 1);
            w.uint((*expected_ms).min(LATEST));
        }
        AuditEvent::Wiped { what } => {
            number(&mut w, kind::WIPED, 1);
            w.uint(what.number());
        }
        AuditEvent::Heartbeat { counts } => {
            number(&mut w, kind::HEARTBEAT, counts.len());
            counts.iter().for_each(|(name, count)| {
                w.array(2).text(name).uint(*count);
            });
        }
        AuditEvent::Missed { records } => {
            number(&mut w, kind::MISSED, 1);
            w.uint(*records);
        }
        AuditEvent::Verdict(v) => {
            number(&mut w, kind::VERDICT, 3);
            w.bytes(&v.candidate).bytes(&v.reviewer.to_bytes()).bytes(&v.commitment);
        }
        AuditEvent::Reviewed(review) => {
            number(&mut w, kind::REVIEWED, 3);
            w.bytes(&review.candidate).uint(review.outcome.number()).array(review.verdicts.len());
            for v in &review.verdicts {
                w.array(3).bytes(&v.reviewer.to_bytes()).uint(v.opinion.number());
                w.uint(v.confidence.number());
            }
        }
        AuditEvent::Placed { place } => {
            number(&mut w, kind::PLACED, 1);
            w.text(place);
        }
        AuditEvent::ControlRegistered(c) => {
            number(&mut w, kind::CONTROL_REGISTERED, 4);
            w.bytes(&c.control).bytes(&c.desk.to_bytes()).bytes(&c.payload);
            w.bytes(&c.registration);
        }
        AuditEvent::ControlEnded { control, how } => {
            number(&mut w, kind::CONTROL_ENDED, 2);
            w.bytes(control).uint(how.number());
        }
    }
    let bytes = w.finish();
    if bytes.len() > MAX_RECORD {
        return Err(AuditRecordError::TooLarge("all of it"));
    }
    Ok(bytes)
}

const STOPPED: &str = "stopped";
const WAITING: &str = "waiting";
const FOLLOWED: &str = "followed";
const REPEATED: &str = "repeated";
const NOT_CONCERNED: &str = "not-concerned";
const TOO_LATE: &str = "too-late";

/// Whether each part is within the schema's bounds.
fn fits(event: &AuditEvent) -> Result<(), AuditRecordError> {
    let bound =
        |fits: bool, what| if fits { Ok(()) } else { Err(AuditRecordError::TooLarge(what)) };
    match event {
        AuditEvent::Started { program } => bound(program.len() <= MAX_PROGRAM, "the version"),
        AuditEvent::Placed { place } => bound(place.len() <= MAX_PLACE, "the place"),
        AuditEvent::ListInForce(list) => {
            bound(list.signers.len() <= MAX_KEYS, "the signers")?;
            bound(list.authority.len() <= MAX_TEXT, "the authority")?;
            bound(list.decision.len() <= MAX_TEXT, "the decision")
        }
        AuditEvent::Instruction(i) => bound(i.keys.len() <= MAX_KEYS, "the keys"),
        AuditEvent::Heartbeat { counts } => {
            bound(counts.len() <= MAX_COUNTS, "the counts")?;
            bound(counts.keys().all(|name| name.len() <= MAX_COUNT_NAME), "the name of a count")
        }
        AuditEvent::Reviewed(r) => bound(r.verdicts.len() <= MAX_VERDICTS, "the verdicts"),
        AuditEvent::Candidate(c) if !(1..=2).contains(&c.sequence) => {
            Err(AuditRecordError::Unknown("sequence"))
        }
        _ => Ok(()),
    }
}

fn write_keys(w: &mut CborWriter, keys: &[KeyId]) {
    w.array(keys.len());
    keys.iter().for_each(|key| {
        w.bytes(&key.to_bytes());
    });
}

fn write_list(w: &mut CborWriter, list: &ListRecord) {
    w.text(&list.id).uint(list.version).bytes(&list.digest).uint(list.entries);
    w.int(list.threshold).uint(list.false_alerts);
    w.text(&list.authority).text(&list.decision).text(list.aim.as_str());
    w.text(list.stage.as_str());
    write_keys(w, &list.signers);
    w.bytes(&list.models[0]).bytes(&list.models[1]);
}

pub fn read(bytes: &[u8]) -> Result<AuditRecord, AuditRecordError> {
    if bytes.len() > MAX_RECORD {
        return Err(AuditRecordError::TooLarge("all of it"));
    }
    let mut r = CborReader::new(bytes);
    r.map(4)?;
    r.key(0)?;
    let version = r.uint(u64::MAX)?;
    if version != VERSION {
        return Err(AuditRecordError::Version(version));
    }
    r.key(1)?;
    let at_ms = r.uint(LATEST)?;
    r.key(2)?;
    let kind = r.uint(u64::MAX)?;
    r.key(3)?;
    let event = read_event(&mut r, kind)?;
    r.end()?;
    Ok(AuditRecord { at_ms, event })
}

fn read_event(r: &mut CborReader<'_>, kind: u64) -> Result<AuditEvent, AuditRecordError> {
    Ok(match kind {
        kind::STARTED => {
            r.items(1)?;
            AuditEvent::Started { program: r.text(MAX_PROGRAM)?.to_owned() }
        }
        kind::STOPPED => {
            r.items(0)?;
            AuditEvent::Stopped
        }
        kind::USE_BEGAN => {
            r.items(0)?;
            AuditEvent::UseBegan
        }
        kind::USE_ENDED => {
            r.items(1)?;
            AuditEvent::UseEnded {
                why: match r.text(MAX_WORD)? {
                    STOPPED => EndOfUse::Stopped,
                    WAITING => EndOfUse::Waiting,
                    code => EndOfUse::Blind(cause(code)?),
                },
            }
        }
        kind::LIST_IN_FORCE => {
            r.items(13)?;
            AuditEvent::ListInForce(Box::new(read_list(r)?))
        }
        kind::INSTRUCTION => {
            r.items(4)?;
            AuditEvent::Instruction(read_instruction(r)?)
        }
        kind::CANDIDATE => {
            r.items(3)?;
            AuditEvent::Candidate(CandidateRecord {
                event: r.fixed()?,
                sequence: match r.uint(2)? {
                    0 => return Err(AuditRecordError::Unknown("sequence")),
                    n => n as u8,
                },
                commitment: r.fixed()?,
            })
        }
        kind::WEAKENED => {
            let mut settings = Vec::new();
            for _ in 0..r.array(WeakSetting::ALL.len())? {
                settings.push(WeakSetting::of(r.uint(u64::MAX)?)?);
            }
            if !settings.is_sorted_by(|a, b| a < b) {
                return Err(AuditRecordError::Unknown("order of settings"));
            }
            AuditEvent::Weakened { settings }
        }
        kind::CLOCK_JUMPED => {
            r.items(1)?;
            AuditEvent::ClockJumped { expected_ms: r.uint(LATEST)? }
        }
        kind::WIPED => {
            r.items(1)?;
            AuditEvent::Wiped { what: WipedThing::of(r.uint(u64::MAX)?)? }
        }
        kind::HEARTBEAT => read_heartbeat(r)?,
        kind::MISSED => {
            r.items(1)?;
            AuditEvent::Missed { records: r.uint(u64::MAX)? }
        }
        kind::VERDICT => {
            r.items(3)?;
            AuditEvent::Verdict(VerdictRecord {
                candidate: r.fixed()?,
                reviewer: KeyId::from_bytes(r.fixed()?),
                commitment: r.fixed()?,
            })
        }
        kind::REVIEWED => {
            r.items(3)?;
            AuditEvent::Reviewed(ReviewRecord {
                candidate: r.fixed()?,
                outcome: Outcome::of(r.uint(u64::MAX)?)
                    .ok_or(AuditRecordError::Unknown("outcome"))?,
                verdicts: read_verdicts(r)?,
            })
        }
        kind::PLACED => {
            r.items(1)?;
            AuditEvent::Placed { place: r.text(MAX_PLACE)?.to_owned() }
        }
        kind::CONTROL_REGISTERED => {
            r.items(4)?;
            AuditEvent::ControlRegistered(ControlRecord {
                control: r.fixed()?,
                desk: KeyId::from_bytes(r.fixed()?),
                payload: r.fixed()?,
                registration: r.fixed()?,
            })
        }
        kind::CONTROL_ENDED => {
            r.items(2)?;
            AuditEvent::ControlEnded {
                control: r.fixed()?,
                how: ControlEnding::of(r.uint(u64::MAX)?)?,
            }
        }
        _ => return Err(AuditRecordError::Unknown("kind")),
    })
}

fn read_verdicts(r: &mut CborReader<'_>) -> Result<Vec<ToldVerdict>, AuditRecordError> {
    let mut verdicts = Vec::new();
    for _ in 0..r.array(MAX_VERDICTS)? {
        r.items(3)?;
        verdicts.push(ToldVerdict {
            reviewer: KeyId::from_bytes(r.fixed()?),
            opinion: Opinion::of(r.uint(u64::MAX)?).ok_or(AuditRecordError::Unknown("opinion"))?,
            confidence: Confidence::of(r.uint(u64::MAX)?)
                .ok_or(AuditRecordError::Unknown("confidence"))?,
        });
    }
    Ok(verdicts)
}

fn read_heartbeat(r: &mut CborReader<'_>) -> Result<AuditEvent, AuditRecordError> {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..r.array(MAX_COUNTS)? {
        r.items(2)?;
        let name = r.text(MAX_COUNT_NAME)?;
        if counts.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
            return Err(AuditRecordError::Unknown("order of counts"));
        }
        counts.insert(name.to_owned(), r.uint(u64::MAX)?);
    }
    Ok(AuditEvent::Heartbeat { counts })
}

fn read_instruction(r: &mut CborReader<'_>) -> Result<InstructionRecord, AuditRecordError> {
    Ok(InstructionRecord {
        what: Instruction::of(r.uint(u64::MAX)?)?,
        answer: match r.text(MAX_WORD)? {
            FOLLOWED => Answer::Followed,
            REPEATED => Answer::Repeated,
            NOT_CONCERNED => Answer::NotConcerned,
            TOO_LATE => Answer::TooLate,
            code => Answer::Refused(cause(code)?),
        },
        order: match r.bytes(16)? {
            [] => None,
            id => Some(id.try_into().map_err(|_| AuditRecordError::Unknown("order id"))?),
        },
        keys: read_keys(r)?,
    })
}

fn read_list(r: &mut CborReader<'_>) -> Result<ListRecord, AuditRecordError> {
    Ok(ListRecord {
        id: r
            .text(MAX_REFERENCE)?
            .parse()
            .map_err(|_| AuditRecordError::Unknown("id of a list"))?,
        version: r.uint(u64::MAX)?,
        digest: r.fixed()?,
        entries: r.uint(u64::MAX)?,
        threshold: r.int()?,
        false_alerts: r.uint(u64::MAX)?,
        authority: r.text(MAX_TEXT)?.to_owned(),
        decision: r.text(MAX_TEXT)?.to_owned(),
        aim: r.text(MAX_WORD)?.parse::<Aim>().map_err(|_| AuditRecordError::Unknown("aim"))?,
        stage: match r.text(MAX_WORD)? {
            word if word == Stage::InForce.as_str() => Stage::InForce,
            word if word == Stage::Silent.as_str() => Stage::Silent,
            _ => return Err(AuditRecordError::Unknown("stage")),
        },
        signers: read_keys(r)?,
        models: [r.fixed()?, r.fixed()?],
    })
}

fn read_keys(r: &mut CborReader<'_>) -> Result<Vec<KeyId>, AuditRecordError> {
    (0..r.array(MAX_KEYS)?).map(|_| Ok(KeyId::from_bytes(r.fixed()?))).collect()
}

fn cause(code: &str) -> Result<Cause, AuditRecordError> {
    let known = Cause::ALL.iter().copied().find(|cause| cause.code() == code);
    known.ok_or(AuditRecordError::Unknown("cause"))
}
