//! JPEG frames through decoding, detection, alignment and embedding of every face, and search: the
//! chain that is built in Python from OpenCV, onnxruntime and NumPy, for comparison with it
//! (`benches/peers/pipeline.py`).
//!
//! Every face is embedded, without tracking, quality gate or the second look at tilted heads: a
//! daemon embeds far fewer.

use super::meter::{Meter, RunCosts};
use super::{Args, Measurement, report, stage};
use crate::cli::CliError;
use crate::source::{Captured, Decoder, Payload};
use crate::template::Template;
use crate::vision::{AlignedFace, Detector, Embedder, Faces, Models};
use crate::watchlist::{Gallery, TopK};

const MIN_SCORE: f32 = 0.6;
const STAGES: [&str; 5] = ["decode", "detect", "align", "embed", "search"];

pub fn run(args: &Args, models: &Models, meter: &Meter) -> Result<Measurement, CliError> {
    let pictures = args
        .photographs
        .iter()
        .map(|path| {
            let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(Captured {
                payload: Payload::Jpeg { width: 0, height: 0 },
                bytes: bytes.into(),
                ..Captured::default()
            })
        })
        .collect::<Result<Vec<_>, CliError>>()?;
    let (mut decoder, mut faces) = (Decoder::default(), Faces::new());
    let (mut detector, mut embedder) =
        (Detector::new(models, args.long_side)?, Embedder::new(models)?);
    let alignment = *embedder.alignment();
    let mut aligned = AlignedFace::new(alignment.side);
    let gallery =
        Gallery::synthetic(args.templates as usize, models.manifest.embedder.dimensions, 1);
    let mut tops = vec![TopK::new(4); crate::vision::MAX_FACES];
    let mut probes: Vec<Template> = Vec::with_capacity(tops.len());

    let mut samples: [RunCosts; 5] =
        std::array::from_fn(|_| RunCosts::with_capacity(args.runs as usize));
    let mut whole = RunCosts::with_capacity(args.runs as usize);
    let (mut aligning, mut embedding) =
        (RunCosts::with_capacity(tops.len()), RunCosts::with_capacity(tops.len()));
    let mut found = 0;
    for n in 0..args.runs + args.runs / 10 {
        let counts = n >= args.runs / 10;
        let picture = &pictures[n as usize % pictures.len()];
        let [decode, detect, align, embed, search] =
            samples.each_mut().map(|s| counts.then_some(s));
        let total = meter.time(counts.then_some(&mut whole), || {
            let frame = meter.time(decode, || decoder.decode(picture))?;
            meter.time(detect, || detector.detect(&frame, MIN_SCORE, &mut faces))?;
            probes.clear();
            aligning.clear();
            embedding.clear();
            for face in &faces {
                let placed = meter.time(Some(&mut aligning), || {
                    Ok::<_, CliError>(aligned.warp(&frame, &face.landmarks, &alignment).is_some())
                })?;
                if placed {
                    let probe = meter.time(Some(&mut embedding), || embedder.embed(&aligned))?;
                    probes.push(probe.quantize());
                }
            }
            meter.time(search, || {
                tops.iter_mut().for_each(TopK::clear);
                gallery.search_all(&probes, &mut tops);
                Ok::<_, CliError>(())
            })?;
            if let Some(align) = align {
                align.add_sum(&aligning);
            }
            if let Some(embed) = embed {
                embed.add_sum(&embedding);
            }
            Ok::<_, CliError>(())
        });
        total?;
        if counts {
            found += faces.len();
        }
    }
    let rate = 1.0 / whole.mean().as_secs_f64();
    let engines = vec![
        detector.engine().to_owned(),
        embedder.engine().to_owned(),
        format!("pixels {}", crate::kernels::pixels::in_use().set()),
        format!("{} templates, {}", args.templates, gallery.kernel()),
    ];
    let mut stages: Vec<_> =
        STAGES.into_iter().zip(samples).map(|(name, s)| stage(name, s)).collect();
    stages.push(stage("frame", whole));
    let faces_a_frame = Some(found as f64 / f64::from(args.runs));
    Ok(Measurement {
        frames_per_second: Some(rate),
        faces_a_frame,
        ..report(args, engines, stages)
    })
}
