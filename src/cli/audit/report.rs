//! `watchpost audit report`: what a device did in a period, as a deployment record for those who
//! publish one, from its log alone.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::told::{lists, missing};
use super::verify::hold;
use super::{LogReader, VerifierKeys, papers};
use crate::audit::record::{AuditRecord, milliseconds, stamp_ms};
use crate::audit::report::words::{
    INTERVALS, MISSING, a_day, controls, duration, face_counts, false_alerts, idle, long_totals,
    places, reviewed, shares, uncounted, whole,
};
use crate::audit::report::{DeploymentReport, ReportMaker, UseStanding};
use crate::cli::flags::{ConfigFile, OutputFormat};
use crate::cli::{CliError, output};
use crate::evaluate::report::format::thousands;
use crate::evaluate::report::{Block, Document, Headline, ReportTable, Section, html, text};
use crate::files::replace;

/// Stretches of time without use that the page lists; all are in the JSON.
const SHOWN: usize = 200;

#[derive(clap::Args)]
pub struct ReportArgs {
    /// First moment: a day (`2026-11-01`, from midnight UTC) or a time in RFC 3339; the first
    /// record where absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<u64>,
    /// The moment after the last one, likewise; the last record where absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    to: Option<u64>,
    /// Also write a self-contained HTML page, for a screen, a phone or paper.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the figures, one line each.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Also write the draft of a data-protection impact assessment as an HTML page, filled from
    /// this report and from the device's configuration.
    #[arg(long, value_name = "FILE")]
    assessment: Option<PathBuf>,
    /// Also write the draft of the notice at the place, likewise.
    #[arg(long, value_name = "FILE")]
    notice: Option<PathBuf>,
    /// Public key of the device: that the log is the one whose checkpoint it signed. Without it the
    /// report says that nobody has verified the log.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    pub log: super::LogFolder,
    #[command(flatten)]
    pub config: ConfigFile,
    #[command(flatten)]
    format: OutputFormat,
}

fn moment(text: &str) -> Result<u64, String> {
    let parse = |text: &str| OffsetDateTime::parse(text, &Rfc3339);
    parse(&format!("{text}T00:00:00Z"))
        .or_else(|_| parse(text))
        .map(milliseconds)
        .map_err(|_| "write a day such as 2026-11-01, or 2026-11-01T06:00:00Z".into())
}

/// How far the log itself was verified.
enum Trusted {
    /// By nobody.
    No,
    /// So many records are under a checkpoint of the device's; so many are newer.
    Signed { signed: u64, newer: u64 },
}

pub fn run(log: &LogReader, args: &ReportArgs) -> Result<ExitCode, CliError> {
    let trusted = match &args.key {
        None => Trusted::No,
        Some(key) => {
            let held = hold(log, &VerifierKeys::of_log(key))?;
            Trusted::Signed { signed: held.checkpoint.size, newer: held.unsigned }
        }
    };
    let mut times: Option<(u64, u64)> = None;
    let found = log.scan(|_, bytes| {
        if let Ok(record) = AuditRecord::from_bytes(bytes) {
            let (first, last) = times.unwrap_or((record.at_ms, record.at_ms));
            times = Some((first, last.max(record.at_ms)));
        }
    })?;
    let (first, last) = times.ok_or("the log has no record, and there is nothing to report")?;
    let (from, to) = (args.from.unwrap_or(first), args.to.unwrap_or(last + 1));
    if from >= to {
        return Err("the period has no end after its beginning; look at --from and --to".into());
    }
    let mut maker = ReportMaker::new(&found.origin, from, to);
    log.scan(|_, bytes| maker.record(AuditRecord::from_bytes(bytes).ok().as_ref()))?;
    let report = maker.finish();
    let page = document(&report, &trusted);
    let write = |path: &Path, text: String| replace(path, text.as_bytes());
    args.html.as_ref().map(|path| write(path, html::render(&page))).transpose()?;
    if args.assessment.is_some() || args.notice.is_some() {
        let config = args.config.load()?;
        for (path, paper) in [
            (&args.assessment, papers::assessment as fn(&_, &_) -> _),
            (&args.notice, papers::notice),
        ] {
            let written =
                path.as_ref().map(|path| write(path, html::render(&paper(&report, &config))));
            written.transpose()?;
        }
    }
    args.csv.as_ref().map(|path| write(path, csv(&report))).transpose()?;
    if args.format.json {
        let mut value = serde_json::to_value(&report)?;
        value["verified"] = match trusted {
            Trusted::No => json!(null),
            Trusted::Signed { signed, newer } => json!({ "signed": signed, "newer": newer }),
        };
        output::json_line(&value)?;
    } else {
        output::line(text::render(&page).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn document(report: &DeploymentReport, trusted: &Trusted) -> Document {
    let facts = vec![
        ("Device".into(), report.origin.clone()),
        ("Place".into(), places(report)),
        ("Period".into(), format!("{} to {}", whole(report.from_ms), whole(report.to_ms))),
        ("In use".into(), duration(report.ms_of(|s| s == UseStanding::InUse))),
        ("Log".into(), log_line(report, trusted)),
    ];
    Document {
        title: format!("Use of face search by {}", report.origin),
        facts,
        headlines: headlines(report),
        sections: vec![lists(report), counts(report), alerts(report), times(report), more(report)],
    }
}

fn log_line(report: &DeploymentReport, trusted: &Trusted) -> String {
    let verified = match trusted {
        Trusted::No => "NOT VERIFIED: give the device's public key".into(),
        Trusted::Signed { signed, newer } => format!(
            "verified: {} records are signed by the device, {} are newer",
            thousands(*signed),
            thousands(*newer)
        ),
    };
    let mut line = format!("{} records in the period; {verified}", thousands(report.records));
    if report.records_missing > 0 {
        line += &format!("; {} records could not be written", thousands(report.records_missing));
    }
    if report.records_unreadable > 0 {
        line += &format!("; {} records cannot be read", thousands(report.records_unreadable));
    }
    line
}

fn headlines(report: &DeploymentReport) -> Vec<Headline> {
    let headline = |label: &str, value: Option<String>, detail: &str| Headline {
        label: label.into(),
        value: value.unwrap_or_else(|| MISSING.into()),
        detail: detail.into(),
    };
    let faces = report.counts.map(|c| thousands(c.faces));
    let by = match report.reviews {
        Some(_) => "by two people",
        None => "the log has no records of reviews",
    };
    vec![
        headline("Faces seen", faces, "as far as the tracker could tell"),
        headline("Candidates", Some(thousands(report.candidates)), "each is one passer-by"),
        headline("Confirmed", reviewed(report, |r| r.confirmed), by),
        headline("Refuted", reviewed(report, |r| r.refuted), by),
        headline(
            "In use",
            Some(duration(report.ms_of(|s| s == UseStanding::InUse))),
            &format!("of {}", duration(report.to_ms - report.from_ms)),
        ),
    ]
}

fn counts(report: &DeploymentReport) -> Section {
    let mut table = ReportTable::new("Counts of the heartbeats", &["What", "How many"]);
    if let Some(c) = report.counts {
        for (what, count) in face_counts(c) {
            table.row([what.to_owned(), thousands(count)]);
        }
    }
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(uncounted(report).map(Block::Text));
    Section { heading: "Faces".into(), blocks }
}

fn alerts(report: &DeploymentReport) -> Section {
    let mut table = ReportTable::new(INTERVALS, &["Figure", "Value", "Interval"]);
    shares(report).into_iter().for_each(|row| table.row(row));
    table.row(a_day(report));
    let mut blocks = vec![Block::Table(table), Block::Text(false_alerts(report))];
    blocks.extend(controls(report).map(Block::Text));
    Section { heading: "Announced and observed".into(), blocks }
}

fn times(report: &DeploymentReport) -> Section {
    let mut totals = ReportTable::new("The whole period", &["What the device did", "For"]);
    for (standing, ms) in long_totals(report) {
        totals.row([standing.words().to_owned(), duration(ms)]);
    }
    let all = report.spans.iter().filter(|s| s.standing != UseStanding::InUse).count();
    let idle = idle(report);
    let mut each = ReportTable::new("When nobody was compared, and why", &["Why", "From", "To"]);
    for span in idle.clone().take(SHOWN) {
        let why = format!("{} ({})", span.standing.words(), span.standing.code());
        each.row([why, whole(span.from_ms), whole(span.to_ms)]);
    }
    let mut blocks = vec![Block::Table(totals), Block::Table(each)];
    let long = idle.count();
    let (short, more) = (all - long, long.saturating_sub(SHOWN));
    if more > 0 {
        blocks.push(Block::Text(format!("And {more} more, which --json has.")));
    }
    if short > 0 {
        let text = format!("And {short} shorter than a second, which --json has.");
        blocks.push(Block::Text(text));
    }
    Section { heading: "Times".into(), blocks }
}

fn more(report: &DeploymentReport) -> Section {
    let mut orders =
        ReportTable::new("Orders and offers", &["What", "Answer", "How many"]).with_words(&[1]);
    for order in &report.instructions {
        orders.row([order.what.to_owned(), order.answer.clone(), thousands(order.count)]);
    }
    let mut rest = ReportTable::new("Besides", &["What", "Value"]).with_words(&[1]);
    let weakened = match report.weakened.is_empty() {
        true => "none".into(),
        false => report.weakened.join(", "),
    };
    rest.row(["Settings weaker than their defaults".into(), weakened]);
    rest.row(["Lists and entries destroyed on order".into(), thousands(report.wiped)]);
    rest.row(["Jumps of the clock".into(), thousands(report.clock_jumps)]);
    rest.row(["Updates of candidates".into(), thousands(report.updates)]);
    let blocks = vec![Block::Table(orders), Block::Table(rest), missing(report)];
    Section { heading: "Besides".into(), blocks }
}

/// A field of a CSV file (RFC 4180).
fn field(text: &str) -> String {
    // A spreadsheet would take these for formulas.
    let text =
        if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

fn csv(report: &DeploymentReport) -> String {
    let mut lines = vec!["figure,value,lower,upper,note".to_owned()];
    let mut add = |figure: &str, value: String, ends: [String; 2], note: &str| {
        let [lower, upper] = ends;
        lines.push([figure, &value, &lower, &upper, note].map(field).join(","));
    };
    let none = || [String::new(), String::new()];
    add("device", report.origin.clone(), none(), "");
    add("from", stamp_ms(report.from_ms), none(), "");
    add("to", stamp_ms(report.to_ms), none(), "");
    for place in &report.places {
        add("place", place.clone(), none(), "as the camera's place is called");
    }
    add("records", report.records.to_string(), none(), "");
    add("candidates", report.candidates.to_string(), none(), "each once");
    add("updates", report.updates.to_string(), none(), "");
    if let Some(c) = report.counts {
        add("faces", c.faces.to_string(), none(), "");
        add("sightings", c.sightings.to_string(), none(), "");
        add("views_too_poor", c.too_poor.to_string(), none(), "");
        add("views_compared", c.compared.to_string(), none(), "");
        add("silent_candidates", c.silent.to_string(), none(), "");
    }
    if let Some(r) = report.reviews {
        for (name, count) in [
            ("confirmed", r.confirmed),
            ("refuted", r.refuted),
            ("undecided", r.undecided),
            ("expired", r.expired),
            ("withdrawn", r.withdrawn),
        ] {
            add(name, count.to_string(), none(), "by two people");
        }
    }
    if let Some(c) = report.controls {
        for (name, count) in [
            ("controls_registered", c.registered),
            ("controls_judged", c.judged),
            ("controls_time_over", c.time_over),
            ("controls_withdrawn", c.withdrawn),
        ] {
            add(name, count.to_string(), none(), "no candidates, and in no figure of them");
        }
    }
    for (name, estimate, note) in [
        ("alerts_a_face", report.alerts_a_face, "95 % interval; false or not"),
        ("alerts_a_day", report.alerts_a_day, "95 % interval; false or not"),
        ("false_alerts_a_face", report.false_alerts_a_face, "95 % interval; refuted by two"),
        ("false_alerts_an_alert", report.false_alerts_an_alert, "95 % interval; refuted by two"),
    ] {
        if let Some(e) = estimate {
            let ends = [e.lower, e.upper].map(|end| end.to_string());
            add(name, e.value.to_string(), ends, note);
        }
    }
    if let Some(announced) = report.announced_a_day {
        add("announced_a_day", announced.to_string(), none(), "false alerts");
    }
    for used in &report.lists {
        let list = &used.list;
        let note = format!(
            "{} version {}, {} entries, threshold {:.6}, {:.6} false alerts a day announced, {}, \
             {}, {}",
            list.id,
            list.version,
            list.entries,
            f64::from(list.threshold) / 1e6,
            list.false_alerts as f64 / 1e6,
            list.aim,
            list.authority,
            list.decision
        );
        add("list_in_use_seconds", (used.in_use_ms / 1000).to_string(), none(), &note);
    }
    for (standing, ms) in report.totals() {
        let note = standing.words();
        add(&format!("seconds_{}", standing.code()), (ms / 1000).to_string(), none(), note);
    }
    for figure in &report.missing {
        add(figure.figure, MISSING.into(), none(), &figure.why);
    }
    lines.join("\r\n") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_or_a_time_is_a_moment_and_nothing_else() {
        assert_eq!(moment("1970-01-02"), Ok(86_400_000));
        assert_eq!(moment("1970-01-01T00:00:01+00:00"), Ok(1000));
        for other in ["", "yesterday", "1970-13-01", "1970-01-01 00:00"] {
            assert!(moment(other).unwrap_err().contains("2026-11-01"), "{other}");
        }
    }

    #[test]
    fn what_others_wrote_is_no_formula_and_no_second_field_in_a_spreadsheet() {
        for (text, wanted) in [
            ("a", "a"),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("=1+1", "'=1+1"),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(field(text), wanted);
        }
    }
}
