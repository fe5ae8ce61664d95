//! `watchpost bench`: how fast the stages are on this machine, on bundled pictures.
//!
//! Processor time of one thread (of the inner stages of `pipeline` on the scene: time on the wall),
//! instructions where the kernel counts them, allocations. Figures of a busy machine say little:
//! run it alone, pinned to one core, and compare only what was measured in one run.

mod candidate;
mod formats;
mod meter;
mod photographs;

use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;

pub use self::meter::Allocator;
use self::meter::{Meter, RunCosts, peak_memory_kb};
use super::flags::{Networks, OutputFormat};
use super::photographs::FaceReader;
use super::{CliError, demo, output};
use crate::calibrate::counts::{Counts, MAX_DECOYS, Setup};
use crate::clock::Clock;
use crate::config::Config;
use crate::demo::ENROLMENT_PHOTOGRAPH;
use crate::demo::scene::Scene;
use crate::demo::source::SceneSource;
use crate::device::decoys::DecoyCounter;
use crate::device::keeper::Keeper;
use crate::device::pipeline::Pipeline;
use crate::frame::Frame;
use crate::locked::LockedBuffer;
use crate::source::{Captured, Photograph, Source};
use crate::template::Template;
use crate::vision::{AlignedFace, Detector, Embedder, Faces, Models, StageTimes};
use crate::watchlist::{Gallery, TopK};

#[derive(clap::Args)]
pub struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: Workload,
    /// Measured runs, after a tenth as many that do not count.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    runs: u32,
    /// Long side of the detector's picture in pixels.
    #[arg(long, value_name = "PX", default_value_t = 640)]
    long_side: usize,
    /// Templates to search among.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=4_000_000)
    )]
    templates: u32,
    /// For `pipeline`: JPEG files, every face of which is embedded and searched for, instead of the
    /// scene.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    photographs: Vec<std::path::PathBuf>,
    /// For `pipeline`: the same frames a second time in the same run, while passers-by are counted
    /// against so many decoys, too.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=MAX_DECOYS as i64)
    )]
    decoys: Option<u32>,
    #[command(flatten)]
    networks: Networks,
    #[command(flatten)]
    format: OutputFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Workload {
    /// The whole chain on a moving scene, a frame at a time.
    Pipeline,
    /// The detector on a 640x480 frame.
    Detect,
    /// Alignment and embedder on one face.
    Embed,
    /// Exact search, one probe and ten at once, beside one pass over the same memory.
    Search,
    /// From a captured frame to the detector's picture and an aligned face, by camera format.
    Formats,
    /// Seconds from entering the picture to the candidate, by the camera's frame rate.
    Candidate,
}

#[derive(Serialize)]
struct Measurement {
    what: Workload,
    runs: u32,
    /// What ran: engines and kernels.
    engines: Vec<String>,
    stages: Vec<Timing>,
    /// Of the whole chain, from the mean time a frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    frames_per_second: Option<f64>,
    /// Mean time of a frame while decoys are counted, over that without.
    #[serde(skip_serializing_if = "Option::is_none")]
    with_decoys: Option<f64>,
    /// Found in the photographs, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    faces_a_frame: Option<f64>,
    /// Why something was not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_counted: Option<String>,
    /// Peak resident memory of this process.
    peak_memory_kb: Option<u64>,
}

#[derive(Serialize)]
struct Timing {
    name: &'static str,
    median_ms: f64,
    p99_ms: f64,
    /// Median of a run, in user mode; absent where the kernel does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<u64>,
    /// Median of a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    allocations: Option<u64>,
}

/// A row of the table.
fn stage(name: &'static str, mut samples: RunCosts) -> Timing {
    Timing {
        name,
        median_ms: samples.quantile_ms(0.5),
        p99_ms: samples.quantile_ms(0.99),
        instructions: samples.instructions(),
        allocations: samples.allocations(),
    }
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if args.what != Workload::Pipeline && !args.photographs.is_empty() {
        return Err("--photographs goes with `bench pipeline`".into());
    }
    if args.decoys.is_some() && (args.what != Workload::Pipeline || !args.photographs.is_empty()) {
        return Err("--decoys goes with `bench pipeline` on its scene".into());
    }
    let models = args.networks.open()?;
    let meter = Meter::new();
    let mut report = match args.what {
        Workload::Detect => detect(&args, &models, &meter)?,
        Workload::Embed => embed(&args, &models, &meter)?,
        Workload::Search => search(&args, &models, &meter)?,
        Workload::Formats => {
            formats::run(&args, &models, &meter)?;
            return Ok(ExitCode::SUCCESS);
        }
        Workload::Pipeline if args.photographs.is_empty() => pipeline(&args, &models, &meter)?,
        Workload::Pipeline => photographs::run(&args, &models, &meter)?,
        Workload::Candidate => return time_to_candidate(&args, &models),
    };
    report.not_counted = meter.refusal();
    report.peak_memory_kb = peak_memory_kb();
    if args.format.json {
        output::json_line(&report)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format!("{} runs, {}", report.runs, report.engines.join(", ")))?;
    let rows: Vec<Vec<String>> = report
        .stages
        .iter()
        .map(|s| {
            let count = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
            let millions =
                s.instructions.map_or_else(|| "-".to_owned(), |n| format!("{:.3}", n as f64 / 1e6));
            let ms = [s.median_ms, s.p99_ms].map(|ms| format!("{ms:.3}"));
            let [median, p99] = ms;
            vec![s.name.to_owned(), median, p99, millions, count(s.allocations)]
        })
        .collect();
    output::table(&["stage", "median ms", "p99 ms", "million instructions", "allocations"], &rows)?;
    if let Some(reason) = &report.not_counted {
        output::line(reason)?;
    }
    if let Some(ratio) = report.with_decoys {
        output::line(format!("a frame with decoys takes {ratio:.3} times as long"))?;
    }
    if let Some(faces) = report.faces_a_frame {
        output::line(format!("{faces:.1} faces a frame"))?;
    }
    if let Some(rate) = report.frames_per_second {
        output::line(format!("{rate:.1} frames a second"))?;
    }
    if let Some(kb) = report.peak_memory_kb {
        output::line(format!("{:.1} MB peak memory", kb as f64 / 1024.0))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn time_to_candidate(args: &Args, models: &Models) -> Result<ExitCode, CliError> {
    let arrivals = candidate::arrivals(models, args.long_side)?;
    if args.format.json {
        output::json_line(&arrivals)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["frames a second", "found", "views", "seconds to the candidate", "at most"];
    let rows: Vec<Vec<String>> = arrivals.iter().map(|a| a.row().to_vec()).collect();
    output::table(&head, &rows)?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &Args, engines: Vec<String>, stages: Vec<Timing>) -> Measurement {
    Measurement {
        what: args.what,
        runs: args.runs,
        engines,
        stages,
        frames_per_second: None,
        with_decoys: None,
        faces_a_frame: None,
        not_counted: None,
        peak_memory_kb: None,
    }
}

fn detect(args: &Args, models: &Models, meter: &Meter) -> Result<Measurement, CliError> {
    let mut pixels = LockedBuffer::new();
    // In the middle of the scene several people are in the picture.
    Scene::new(1).frame(120, &mut pixels);
    let frame = Frame::new(Scene::layout(), &pixels)?;
    let mut detector = Detector::new(models, args.long_side)?;
    let mut faces = Faces::new();
    let samples = meter.measure(args.runs, || {
        detector.detect(&frame, 0.6, &mut faces)?;
        Ok::<_, CliError>(())
    })?;
    Ok(report(args, vec![detector.engine().to_owned()], vec![stage("detect", samples)]))
}

fn embed(args: &Args, models: &Models, meter: &Meter) -> Result<Measurement, CliError> {
    let photograph = Photograph::decode(ENROLMENT_PHOTOGRAPH)?;
    let frame = photograph.frame();
    let (faces, _) = FaceReader::new(models)?.faces(&frame)?;
    let face =
        faces.first().ok_or("no face in the bundled photograph: the detector does not work")?;
    let mut embedder = Embedder::new(models)?;
    let alignment = *embedder.alignment();
    let mut aligned = AlignedFace::new(alignment.side);
    let align = meter.measure(args.runs, || {
        aligned
            .warp(&frame, &face.face.landmarks, &alignment)
            .map(drop)
            .ok_or_else(|| CliError::from("no landmarks"))
    })?;
    let embed = meter.measure(args.runs, || {
        embedder.embed(&aligned)?;
        Ok::<_, CliError>(())
    })?;
    let engine = embedder.engine().to_owned();
    Ok(report(args, vec![engine], vec![stage("align", align), stage("embed", embed)]))
}

fn search(args: &Args, models: &Models, meter: &Meter) -> Result<Measurement, CliError> {
    let dimensions = models.manifest.embedder.dimensions;
    let gallery = Gallery::synthetic(args.templates as usize, dimensions, 1);
    let probe = |n: i32| {
        let values =
            (0..dimensions as i32).map(|i| ((i * 37 + n * 101) % 255 - 127) as i8).collect();
        Template::new(values).map_err(CliError::from)
    };
    let probes: Vec<Template> = (0..10).map(probe).collect::<Result<_, _>>()?;
    let mut tops = vec![TopK::new(4); 10];
    let one = meter.measure(args.runs, || {
        tops[0].clear();
        gallery.search(&probes[0], &mut tops[0]);
        Ok::<_, CliError>(())
    })?;
    let ten = meter.measure(args.runs, || {
        tops.iter_mut().for_each(TopK::clear);
        gallery.search_all(&probes, &mut tops);
        Ok::<_, CliError>(())
    })?;
    let read = meter.measure(args.runs, || {
        std::hint::black_box(gallery.read_once());
        Ok::<_, CliError>(())
    })?;
    let engine = format!("{} templates x {dimensions}, {}", args.templates, gallery.kernel());
    let stages = vec![
        stage("one probe", one),
        stage("ten probes", ten),
        stage("reading the memory once", read),
    ];
    Ok(report(args, vec![engine], stages))
}

/// So many decoys of random numbers, with nothing counted yet.
fn made_up_decoys(number: u32, models: &Models) -> Result<DecoyCounter, CliError> {
    let dimensions = models.manifest.embedder.dimensions;
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut component = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8 as i8
    };
    let decoys: Vec<Template> = (0..number)
        .map(|_| Template::new((0..dimensions).map(|_| component()).collect()))
        .collect::<Result<_, _>>()?;
    let setup = Setup {
        device: "bench".parse()?,
        camera: "main".parse()?,
        position: None,
        decoys: [0; 32],
        promise: [0; 32],
        days: u16::MAX,
        least_faces: 1,
    };
    let counts = Counts::new(setup, decoys.len(), [0; 16]);
    Ok(DecoyCounter::new(&decoys, counts)?)
}

fn pipeline(args: &Args, models: &Models, meter: &Meter) -> Result<Measurement, CliError> {
    let work = tempfile::Builder::new().prefix("watchpost-bench-").tempdir()?;
    let mut config: Config = demo::configuration(work.path())?;
    config.vision.long_side = args.long_side;
    // What a frame costs is asked, not how many frames can be left out.
    config.vision.schedule.adaptive = false;
    demo::author_list(&config, models)?;
    let clock = Clock::default();
    let with_list = || -> Result<Pipeline, CliError> {
        let mut pipeline = Pipeline::new(&config, models, clock)?;
        let active = Keeper::new(&config, models).load(clock.now());
        if let Err(blindness) = &active {
            return Err(blindness.to_string().into());
        }
        pipeline.set_list(active);
        Ok(pipeline)
    };
    let mut pipeline = with_list()?;
    let mut counting = None;
    if let Some(number) = args.decoys {
        let mut pipeline = with_list()?;
        pipeline.count_decoys(Some(made_up_decoys(number, models)?));
        counting = Some(pipeline);
    }
    let mut source = SceneSource::new(Scene::new(1).with_frames(u64::MAX), clock);
    let mut captured = Captured::default();
    let mut times: [RunCosts; 4] = Default::default();
    let mut whole = RunCosts::with_capacity(args.runs as usize);
    let mut beside = RunCosts::with_capacity(args.runs as usize);
    for n in 0..args.runs + args.runs / 10 {
        // Drawing the scene is no part of the chain.
        source.next(&mut captured)?;
        let counts = n >= args.runs / 10;
        let now = clock.now();
        meter
            .time(counts.then_some(&mut whole), || pipeline.process(&captured, now, &mut |_| {}))?;
        if let Some(counting) = &mut counting {
            let costs = counts.then_some(&mut beside);
            meter.time(costs, || counting.process(&captured, now, &mut |_| {}))?;
        }
        if counts {
            let StageTimes { detect, track, align, embed, .. } = pipeline.times();
            // A stage counts where it had something to do: most frames of a scene embed nobody.
            for (samples, time) in times.iter_mut().zip([detect, track, align, embed]) {
                if !time.is_zero() {
                    samples.times.push(time);
                }
            }
        }
    }
    let engines = pipeline.engines().to_vec();
    let rate = 1.0 / whole.mean().as_secs_f64();
    let [detect, track, align, embed] = times;
    let mut stages = vec![
        stage("detect", detect),
        stage("track", track),
        stage("align", align),
        stage("embed", embed),
        stage("frame", whole),
    ];
    if counting.is_some() {
        let ratio = beside.mean().as_secs_f64() * rate;
        stages.push(stage("frame with decoys", beside));
        return Ok(Measurement {
            with_decoys: Some(ratio),
            frames_per_second: Some(rate),
            ..report(args, engines, stages)
        });
    }
    Ok(Measurement { frames_per_second: Some(rate), ..report(args, engines, stages) })
}
