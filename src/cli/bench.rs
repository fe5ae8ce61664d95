//! `watchpost bench`: how fast the stages are on this machine, on bundled pictures.
//!
//! Wall-clock times of one thread. Figures of a busy machine say little: run it alone, pinned to one core, and compare
//! only what was measured in one run.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use super::photographs::FaceReader;
use super::{Failure, demo, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::enforce::Keeper;
use crate::daemon::pipeline::Pipeline;
use crate::demo::ENROLMENT_PHOTOGRAPH;
use crate::demo::scene::Scene;
use crate::demo::source::SceneSource;
use crate::frame::Frame;
use crate::source::{Captured, Photograph, Source};
use crate::template::Template;
use crate::vision::{AlignedFace, Detector, Embedder, Faces, Models, StageTimes};
use crate::watchlist::{Gallery, TopK};

#[derive(clap::Args)]
pub struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// Measured runs, after a tenth as many that do not count.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: u32,
    /// Long side of the detector's picture in pixels.
    #[arg(long, value_name = "PX", default_value_t = 640)]
    long_side: usize,
    /// Templates to search among.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    templates: u32,
    /// Manifest of the networks; the built-in ones where absent.
    #[arg(long, value_name = "FILE")]
    models: Option<std::path::PathBuf>,
    /// One JSON line instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// The whole chain on a moving scene, a frame at a time.
    Pipeline,
    /// The detector on a 640x480 frame.
    Detect,
    /// Alignment and embedder on one face.
    Embed,
    /// Exact search, one probe and ten at once.
    Search,
}

#[derive(Serialize)]
struct Report {
    what: What,
    runs: u32,
    /// What ran: engines and kernels.
    engines: Vec<String>,
    stages: Vec<Stage>,
    /// Of the whole chain, from the mean time a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames_per_second: Option<f64>,
    /// Peak resident memory of this process.
    peak_memory_kb: Option<u64>,
}

#[derive(Serialize)]
struct Stage {
    name: &'static str,
    median_ms: f64,
    p99_ms: f64,
}

/// Times of one stage.
#[derive(Default)]
struct Samples(Vec<Duration>);

impl Samples {
    fn stage(mut self, name: &'static str) -> Stage {
        self.0.sort_unstable();
        let at = |share: f64| {
            let index = ((self.0.len() as f64 * share).ceil() as usize).clamp(1, self.0.len().max(1)) - 1;
            self.0.get(index).map_or(0.0, |d| d.as_secs_f64() * 1e3)
        };
        Stage { name, median_ms: at(0.5), p99_ms: at(0.99) }
    }

    fn mean(&self) -> Duration {
        self.0.iter().sum::<Duration>() / u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1)
    }
}

/// Runs `body` a tenth of `runs` for nothing, then `runs` times against the clock.
fn measure(runs: u32, mut body: impl FnMut() -> Result<(), Failure>) -> Result<Samples, Failure> {
    let mut samples = Samples(Vec::with_capacity(runs as usize));
    for n in 0..runs + runs / 10 {
        let start = Instant::now();
        body()?;
        if n >= runs / 10 {
            samples.0.push(start.elapsed());
        }
    }
    Ok(samples)
}

pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let models = super::models(args.models.as_deref())?;
    let mut report = match args.what {
        What::Detect => detect(&args, &models)?,
        What::Embed => embed(&args, &models)?,
        What::Search => search(&args, &models)?,
        What::Pipeline => pipeline(&args, &models)?,
    };
    report.peak_memory_kb = peak_memory_kb();
    if args.json {
        output::json_line(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!("{} runs, {}", report.runs, report.engines.join(", ")))?;
    let rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|s| vec![s.name.to_owned(), format!("{:.3}", s.median_ms), format!("{:.3}", s.p99_ms)])
        .collect();
    output::table(&["stage", "median ms", "p99 ms"], &rows)?;
    if let Some(rate) = report.frames_per_second {
        output::line(format!("{rate:.1} frames a second"))?;
    }
    if let Some(kb) = report.peak_memory_kb {
        output::line(format!("{:.1} MB peak memory", kb as f64 / 1024.0))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, engines: Vec<String>, stages: Vec<Stage>) -> Report {
    Report { what: args.what, runs: args.runs, engines, stages, frames_per_second: None, peak_memory_kb: None }
}

fn detect(args: &Args, models: &Models) -> Result<Report, Failure> {
    let mut pixels = Vec::new();
    // In the middle of the scene several people are in the picture.
    Scene::new(1).frame(120, &mut pixels);
    let frame = Frame::new(Scene::layout(), &pixels)?;
    let mut detector = Detector::new(models, args.long_side)?;
    let mut faces = Faces::new();
    let samples = measure(args.runs, || {
        detector.detect(&frame, 0.6, &mut faces)?;
        Ok(())
    })?;
    Ok(report(args, vec![detector.engine().to_owned()], vec![samples.stage("detect")]))
}

fn embed(args: &Args, models: &Models) -> Result<Report, Failure> {
    let photograph = Photograph::decode(ENROLMENT_PHOTOGRAPH)?;
    let frame = photograph.frame();
    let (faces, _) = FaceReader::new(models)?.faces(&frame)?;
    let face = faces.first().ok_or("no face in the bundled photograph: the detector does not work")?;
    let mut embedder = Embedder::new(models)?;
    let alignment = *embedder.alignment();
    let mut aligned = AlignedFace::new(alignment.side);
    let align = measure(args.runs, || {
        aligned.warp(&frame, &face.face.landmarks, &alignment).map(drop).ok_or_else(|| "no landmarks".into())
    })?;
    let embed = measure(args.runs, || {
        embedder.embed(&aligned)?;
        Ok(())
    })?;
    let engine = embedder.engine().to_owned();
    Ok(report(args, vec![engine], vec![align.stage("align"), embed.stage("embed")]))
}

fn search(args: &Args, models: &Models) -> Result<Report, Failure> {
    let dimensions = models.manifest.embedder.dimensions;
    let gallery = Gallery::synthetic(args.templates as usize, dimensions, 1);
    let probe = |n: i32| {
        let values = (0..dimensions as i32).map(|i| ((i * 37 + n * 101) % 255 - 127) as i8).collect();
        Template::new(values).map_err(Failure::from)
    };
    let probes: Vec<Template> = (0..10).map(probe).collect::<Result<_, _>>()?;
    let mut tops = vec![TopK::new(4); 10];
    let one = measure(args.runs, || {
        tops[0].clear();
        gallery.search(&probes[0], &mut tops[0]);
        Ok(())
    })?;
    let ten = measure(args.runs, || {
        tops.iter_mut().for_each(TopK::clear);
        gallery.search_all(&probes, &mut tops);
        Ok(())
    })?;
    let engine = format!("{} templates x {dimensions}, {}", args.templates, gallery.kernel());
    Ok(report(args, vec![engine], vec![one.stage("one probe"), ten.stage("ten probes")]))
}

fn pipeline(args: &Args, models: &Models) -> Result<Report, Failure> {
    let work = tempfile::Builder::new().prefix("watchpost-bench-").tempdir()?;
    let mut config: Config = demo::configuration(work.path())?;
    config.vision.long_side = args.long_side;
    demo::author_list(&config, models)?;
    let clock = Clock::default();
    let mut pipeline = Pipeline::new(&config, models)?;
    let force = Keeper::new(&config.watchlist).load(&config, models, clock.now());
    if let Err(blindness) = &force {
        return Err(blindness.to_string().into());
    }
    pipeline.enforce(force);
    let mut source = SceneSource::new(Scene::new(1).with_frames(u64::MAX), clock);
    let mut captured = Captured::default();
    let mut times: [Samples; 4] = Default::default();
    let mut whole = Samples::default();
    for n in 0..args.runs + args.runs / 10 {
        // Drawing the scene is no part of the chain.
        source.next(&mut captured)?;
        let start = Instant::now();
        pipeline.process(&captured, clock.now(), &mut |_| {})?;
        let elapsed = start.elapsed();
        if n >= args.runs / 10 {
            let StageTimes { detect, track, align, embed, .. } = pipeline.times();
            // A stage counts where it had something to do: most frames of a scene embed nobody.
            for (samples, time) in times.iter_mut().zip([detect, track, align, embed]) {
                if !time.is_zero() {
                    samples.0.push(time);
                }
            }
            whole.0.push(elapsed);
        }
    }
    let engines = pipeline.engines().to_vec();
    let rate = 1.0 / whole.mean().as_secs_f64();
    let [detect, track, align, embed] = times;
    let stages = vec![
        detect.stage("detect"),
        track.stage("track"),
        align.stage("align"),
        embed.stage("embed"),
        whole.stage("frame"),
    ];
    Ok(Report { frames_per_second: Some(rate), ..report(args, engines, stages) })
}

/// `VmHWM` of this process.
fn peak_memory_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?.trim().parse().ok()
}
