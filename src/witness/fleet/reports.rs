//! What a witness reports, and how seldom it says the same again.

use time::{Duration, OffsetDateTime};

use super::{FleetWitness, WatchedLog, WitnessOutput, WitnessReport};
use crate::audit::witness::{WitnessFinding, WitnessMemory};

/// How often the same finding is reported again.
const REPORT_AGAIN: Duration = Duration::HOUR;
/// Most unknown logs that are told apart.
const MOST_UNKNOWN: usize = 256;

impl<M: WitnessMemory> FleetWitness<M> {
    pub(super) fn report(
        &mut self,
        origin: &str,
        finding: WitnessFinding,
        evidence: Vec<String>,
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) {
        let named = self.device_of(origin);
        // What came over HTTP was verified, too; its device may have said nothing here yet.
        let log = self.logs.entry(origin.to_owned()).or_insert_with(|| WatchedLog {
            device: named.unwrap_or_default(),
            ..WatchedLog::default()
        });
        let text = finding.to_string();
        if log
            .reported
            .as_ref()
            .is_some_and(|(t, at)| *t == text && (now - *at).abs() < REPORT_AGAIN)
        {
            return;
        }
        log.reported = Some((text, now));
        let device = Some(log.device.clone()).filter(|device| !device.is_empty());
        out.reports.push(WitnessReport::Finding { device, finding, evidence });
    }

    /// What the witness itself cannot do is reported until it can, at growing intervals.
    pub(super) fn report_own(
        &mut self,
        device: Option<&str>,
        finding: WitnessFinding,
        now: OffsetDateTime,
        out: &mut WitnessOutput,
    ) {
        let since = (now - OffsetDateTime::UNIX_EPOCH).unsigned_abs();
        if self.own.happened(since).is_some() {
            let (device, evidence) = (device.map(str::to_owned), Vec::new());
            out.reports.push(WitnessReport::Finding { device, finding, evidence });
        }
    }

    /// What cannot be said of a watched log is reported once for each device and kind: anybody may
    /// publish it.
    pub(super) fn report_unknown(
        &mut self,
        device: &str,
        finding: WitnessFinding,
        payload: &[u8],
        out: &mut WitnessOutput,
    ) {
        let key = match &finding {
            WitnessFinding::UnknownOrigin(origin) => format!("{device}\n{origin}"),
            other => format!("{device}\n{}", other.name()),
        };
        if self.unknown.len() >= MOST_UNKNOWN || !self.unknown.insert(key) {
            return;
        }
        let evidence = vec![String::from_utf8_lossy(payload).chars().take(4096).collect()];
        let device = Some(device.to_owned());
        out.reports.push(WitnessReport::Finding { device, finding, evidence });
    }
}
