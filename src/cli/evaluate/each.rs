//! From the arguments of each evaluation to its result.

use std::io::Write;

use super::{
    CurveArgs, DetectionArgs, EvaluationRun, GateArgs, GroupsArgs, IdentificationArgs,
    VerificationArgs, writable, write,
};
use crate::cli::CliError;
use crate::evaluate::detection::DetectorFinder;
use crate::evaluate::extract::{Chain, Settings};
use crate::evaluate::unit::Unit;
use crate::evaluate::{
    TestedNetwork, contact, curve, detection, gate, groups, identification, networks, provenance,
    read_list, verification,
};

pub(super) fn verify(a: &VerificationArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    let list = read_list(&a.pairs)?;
    let mut bench = EvaluationRun::new(&a.common, Some(&a.faces))?;
    let (result, acquisition) = bench.chain(bench.settings, |c, run| {
        let settings = Settings { cover: a.cover, ..c.settings };
        let covering = a.cover.map(|_| Chain { models: c.models, settings });
        verification::run(c, covering.as_ref(), &a.common.root, &list, a.threshold, run)
    })?;
    bench.settings.cover = a.cover;
    bench.finish("verification", Some(&a.pairs), result.evaluated(), Some(acquisition), result, out)
}

pub(super) fn identify(a: &IdentificationArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    let plan = identification::DrawPlan {
        gallery: a.gallery as usize,
        probes_a_person: a.probes as usize,
        draws: a.draws,
        seed: a.seed,
    };
    let mut bench = EvaluationRun::new(&a.common, Some(&a.faces))?;
    let (result, acquisition) =
        bench.chain(bench.settings, |c, run| identification::run(c, &a.common.root, plan, run))?;
    bench.finish("identification", None, result.evaluated(), Some(acquisition), result, out)
}

pub(super) fn detect(a: &DetectionArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    let list = read_list(&a.ground_truth)?;
    let mut bench = EvaluationRun::new(&a.common, None)?;
    let result = bench.chain(bench.settings, |c, run| {
        let finder = || DetectorFinder::new(c.models, c.settings.long_side, a.overlap);
        detection::run(finder, &a.common.root, &list, run)
    })?;
    bench.finish("detection", Some(&a.ground_truth), result.evaluated(), None, result, out)
}

pub(super) fn compare_groups(a: &GroupsArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    if let Some(path) = &a.table {
        writable(path)?;
    }
    let list = read_list(&a.groups)?;
    let thresholds: Vec<f64> = a.threshold.iter().map(|t| f64::from(*t)).collect();
    let judged = a.judged.read()?;
    let question = groups::GroupsQuestion {
        thresholds: &thresholds,
        likely_from: Some(a.duplicates_from),
        judged: &judged,
    };
    let mut bench = EvaluationRun::new(&a.common, Some(&a.faces))?;
    let (mut result, acquisition) = bench
        .chain(bench.settings, |c, run| groups::run(c, &a.common.root, &list, question, run))?;
    if let Some(likely) = result.likely_duplicates.as_ref().filter(|_| a.contact_sheet) {
        result.sheet = contact::sheet(&a.common.root, &likely.clusters);
    }
    if let Some(path) = &a.table {
        let source = format!("watchpost evaluate groups on {}", a.common.root.display());
        let tables: Vec<String> = result.bounds.iter().map(|b| b.manifest_table(&source)).collect();
        write(path, &tables.join("\n"))?;
    }
    bench.finish("groups", Some(&a.groups), result.evaluated(), Some(acquisition), result, out)
}

pub(super) fn measure_gate(a: &GateArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    let mut bench = EvaluationRun::new(&a.common, None)?;
    let question = gate::GateQuestion {
        template_of: a.template_of.into(),
        views: a.views.into(),
        threshold: a.threshold,
        half: a.half,
        fit: a.fit.map(f64::from),
    };
    let settings = bench.settings;
    let result =
        bench.chain(settings, |c, run| gate::run(c.models, &a.common.root, question, run))?;
    bench.finish("gate", None, result.evaluated(), None, result, out)
}

pub(super) fn measure_curve(a: &CurveArgs, out: &mut dyn Write) -> Result<bool, CliError> {
    for path in a.table.iter().chain(&a.misses) {
        writable(path)?;
    }
    let judged = a.judged.read()?;
    let labels = a.groups.as_deref().map(read_list).transpose()?;
    let mut bench = EvaluationRun::new(&a.common, Some(&a.faces))?;
    let question = curve::CurveQuestion {
        least_pairs: a.least_pairs,
        judged: &judged,
        likely_from: a.duplicates_from,
        unit: Unit {
            template_of: a.template_of.into(),
            track_of: a.track_of.into(),
            track_at_least: a.track_at_least.unwrap_or(a.track_of).into(),
            ever: a.ever,
            first_look: a.first_look.into(),
        },
    };
    let (mut result, acquisition) =
        bench.chain(bench.settings, |c, run| curve::run(c, &a.common.root, question, run))?;
    if let (Some(labels), Some(root)) = (&labels, &a.groups_root) {
        let settings = Settings { pad: a.groups_pad, ..bench.settings };
        let question = groups::GroupsQuestion::default();
        bench.progress.reset();
        let (by_group, _) =
            bench.chain(settings, |c, run| groups::run(c, root, labels, question, run))?;
        result.safety_factor = by_group.safety_factor;
    }
    if let Some(path) = a.table.as_ref().filter(|_| result.evaluated()) {
        let (_, embedder): (TestedNetwork, TestedNetwork) = networks(&bench.models);
        write(path, &curve::manifest_table(&result, &embedder, &a.common.root))?;
    }
    if let Some(path) = a.misses.as_ref().filter(|_| result.evaluated()) {
        write(path, &result.fused.misses_table(&provenance::curve_on(&a.common.root)))?;
    }
    bench.finish("curve", a.groups.as_deref(), result.evaluated(), Some(acquisition), result, out)
}
