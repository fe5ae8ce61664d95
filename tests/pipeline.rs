//! What the pipeline promises whatever thread it runs in: it looks at nothing that it may not look
//! at, and hands out nothing but candidates. The bundled scene goes in, frame by frame.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use watchpost::cause::Cause;
use watchpost::clock::{Clock, Now, Stopwatch};
use watchpost::config::Config;
use watchpost::decision::policy::Blindness;
use watchpost::decision::promise;
use watchpost::delivery::Candidate;
use watchpost::delivery::event::Crop;
use watchpost::demo::ENROLMENT_PHOTOGRAPH;
use watchpost::demo::scene::{PERIOD, Scene};
use watchpost::demo::source::SceneSource;
use watchpost::device::keeper::Keeper;
use watchpost::device::pipeline::Pipeline;
use watchpost::locked::STACK_WIPED;
use watchpost::source::{
    self, Captured, Decoder, Pace, Payload, Photograph, Source, SourceConfig, SourceKind, Zone,
};
use watchpost::vision::photographs::FaceReader;
use watchpost::vision::{Detector, Models, SkipCounters, ViewCounts};
use watchpost::watchlist::StoredTemplate;
use watchpost::watchlist::model::Content;

#[path = "../src/watchlist/fixture.rs"]
mod fixture;
mod support;

use support::desk::PORTRAITS;
use support::memory::Mapping;
use support::traces::Traces;

/// A list with the man of the enrolment photograph, signed by two, and the configuration that names
/// it.
fn desk(
    folder: &Path,
    models: &Models,
    now: OffsetDateTime,
    change: impl FnOnce(&mut Content),
) -> Config {
    let mut config = Config::default();
    config.watchlist.list = folder.join("list.cose");
    config.watchlist.trust = folder.join("trust.toml");
    config.watchlist.state = folder.join("state.json");
    // What a device of this machine left in the usual place is another's.
    config.broker.outbox = None;
    config.watchlist.require_synchronised_clock = false;
    let trust = fixture::trust_text(2, &[("signer", 1), ("signer", 2)]);
    std::fs::write(&config.watchlist.trust, trust).unwrap();

    let photograph = Photograph::decode(ENROLMENT_PHOTOGRAPH).unwrap();
    let frame = photograph.frame();
    let enrolled = FaceReader::new(models).unwrap().single(&frame).unwrap();
    let (template, quality) = (enrolled.embedding.quantize(), enrolled.stored_quality());

    let made_by = &models.manifest.embedder;
    let mut list = fixture::list_for(&config.device.id, made_by.sha256.0, made_by.dimensions, now);
    list.authorisation.expected_faces_per_day = 1000;
    list.authorisation.false_alerts_per_day = 0.2;
    let photo = Sha256::digest(ENROLMENT_PHOTOGRAPH).into();
    let stored = StoredTemplate::of_one(template, quality, photo);
    list.entries.push(fixture::person(&list, "case-1", stored));
    list.promise = promise::of(models, &config.vision, &config.decision).bytes();
    change(&mut list);
    std::fs::write(&config.watchlist.list, fixture::signed_by_two(&list, now)).unwrap();
    config
}

struct Run {
    pipeline: Pipeline,
    source: SceneSource,
    captured: Captured,
    candidates: Vec<Candidate>,
}

impl Run {
    fn new(config: &Config, models: &Models, now: Now) -> Self {
        Self::timed_by(Clock::default(), config, models, now)
    }

    /// One whose work costs what `stopwatch` says.
    fn timed_by(
        stopwatch: impl Stopwatch + 'static,
        config: &Config,
        models: &Models,
        now: Now,
    ) -> Self {
        let mut pipeline = Pipeline::new(config, models, stopwatch).unwrap();
        let active = Keeper::new(config, models).load(now);
        assert!(active.is_ok(), "{:?}", active.err());
        pipeline.set_list(active);
        let source = SceneSource::new(Scene::new(1), Clock::default());
        Self { pipeline, source, captured: Captured::default(), candidates: Vec::new() }
    }

    /// Shows `frames` frames of the scene as if it were `wall`.
    fn show(&mut self, frames: u64, wall: OffsetDateTime) {
        for _ in 0..frames {
            self.source.next(&mut self.captured).expect("the scene is long enough");
            let now = Now { monotonic: self.captured.at.monotonic, wall };
            self.pipeline
                .process(&self.captured, now, &mut |c| self.candidates.push(c))
                .expect("a good frame");
        }
    }
}

/// For each of `frames` frames of the scene, 100 ms apart, whether the pipeline looked at it.
fn choice(run: &mut Run, frames: u64, wall: OffsetDateTime) -> Vec<bool> {
    (0..frames)
        .map(|n| {
            run.source.next(&mut run.captured).expect("the scene is long enough");
            run.captured.at = Now { monotonic: Duration::from_millis(100 * n), wall };
            run.captured.pace = Pace::Live;
            let before = run.pipeline.counters().skipped;
            run.pipeline.process(&run.captured, run.captured.at, &mut |_| {}).expect("good");
            run.pipeline.counters().skipped == before
        })
        .collect()
}

fn at(wall: OffsetDateTime) -> Now {
    Now { monotonic: Duration::ZERO, wall }
}

#[test]
fn no_face_in_a_zone_reaches_the_detector() {
    let mut scene = Captured { payload: Payload::Raw(Scene::layout()), ..Captured::default() };
    let mut detector = Detector::new(&Models::builtin().unwrap(), 640).unwrap();
    let mut faces = |zones: &[Zone], mirror: bool, captured: &Captured| {
        let config = SourceConfig { zones: zones.to_vec(), mirror, ..SourceConfig::default() };
        let mut decoder = Decoder::of(&config);
        let mut found = Vec::new();
        detector
            .detect_unbounded(&decoder.decode(captured).unwrap(), 0.5, 0.3, &mut found)
            .unwrap();
        found.iter().map(|face| face.rect).collect::<Vec<_>>()
    };
    let mut tried = 0;
    for (time, mirror) in (0..PERIOD).step_by(15).zip([false, true].into_iter().cycle()) {
        Scene::new(1).frame(time, &mut scene.bytes);
        let all = faces(&[], mirror, &scene);
        for face in &all {
            let (w, h) = (Scene::layout().width() as f32, Scene::layout().height() as f32);
            let [left, top, right, bottom] = [
                (face.x / w).clamp(0.0, 1.0),
                (face.y / h).clamp(0.0, 1.0),
                ((face.x + face.width) / w).clamp(0.0, 1.0),
                ((face.y + face.height) / h).clamp(0.0, 1.0),
            ];
            let zone = format!(
                "[[{left:?}, {top:?}], [{right:?}, {top:?}], [{right:?}, {bottom:?}], [{left:?}, \
                 {bottom:?}]]"
            );
            let zone: Zone = serde_json::from_str(&zone).unwrap();
            for seen in faces(&[zone], mirror, &scene) {
                assert!(seen.iou(face) < 0.3, "{seen:?} was found where {face:?} is blanked");
            }
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried} faces in the scene");
}

#[test]
fn while_the_clock_or_anything_else_forbids_it_no_face_is_looked_for() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let config = desk(folder.path(), &models, now, |_| {});
    let mut run = Run::new(&config, &models, at(now));
    run.pipeline.hold(Some(Blindness::new(Cause::WentBack, "the clock went back")));
    run.show(PERIOD / 2, now);
    let counters = run.pipeline.counters();
    assert_eq!(
        (counters.blind, counters.vision.faces, counters.decision.compared),
        (PERIOD / 2, 0, 0)
    );
    assert_eq!(run.pipeline.standing(at(now)).unwrap_err().cause.code(), "went-back");

    // Lifted, the same scene gives its one candidate.
    run.pipeline.hold(None);
    run.show(PERIOD / 2, now);
    assert!(run.pipeline.counters().vision.faces > 0);
    assert_eq!(run.pipeline.counters().blind, PERIOD / 2);
}

#[test]
fn a_list_that_ends_while_it_runs_ends_matching_with_the_next_frame() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let config = desk(folder.path(), &models, now, |_| {});
    let mut run = Run::new(&config, &models, at(now));
    run.show(30, now);
    let before = run.pipeline.counters();
    assert_eq!((before.frames, before.blind), (30, 0));
    run.show(PERIOD - 30, now + Duration::from_secs(601));
    let after = run.pipeline.counters();
    assert_eq!((after.blind, after.vision.faces), (PERIOD - 30, before.vision.faces));
    assert!(run.candidates.is_empty());
    assert_eq!(
        run.pipeline.standing(at(now + Duration::from_secs(601))).unwrap_err().cause.code(),
        "expired"
    );
}

#[test]
fn one_walk_gives_one_candidate_and_with_crops_forbidden_it_carries_none() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let mut config = desk(folder.path(), &models, now, |_| {});
    config.event.crop = false;
    let mut run = Run::new(&config, &models, at(now));
    run.show(PERIOD, now);
    run.pipeline.finish(at(now), &mut |c| run.candidates.push(c));
    let first: Vec<&Candidate> = run.candidates.iter().filter(|c| c.sequence == 1).collect();
    assert_eq!(first.len(), 1);
    assert!(
        run.candidates
            .iter()
            .all(|c| c.entry == "case-1" && c.crop.is_none() && c.score >= c.threshold)
    );
    assert!(run.candidates.len() <= 2, "at most one update");
    // Three other people walked by: they were counted and compared, and that is all.
    let counters = run.pipeline.counters();
    assert!(
        counters.vision.tracks >= 4 && counters.decision.compared > counters.decision.supporting
    );
}

/// A picture of a candidate.
fn decoded(crop: Option<&Crop>) -> image::RgbImage {
    let base64 = &crop.expect("a picture").base64;
    let file = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    image::load_from_memory(&file).unwrap().into_rgb8()
}

#[test]
fn a_candidate_carries_its_second_view_and_the_head_only_where_it_is_asked_for() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let mut config = desk(folder.path(), &models, now, |_| {});
    let shown = |config: &Config| {
        let mut run = Run::new(config, &models, at(now));
        run.show(PERIOD, now);
        run.candidates.swap_remove(0)
    };
    let c = shown(&config);
    assert_eq!(c.head, None, "the face alone, unless somebody asks for more");
    let second = c.second_view.expect("four views");
    assert!(second.score <= c.score && second.rect != c.evidence.rect);
    let (best, other) = (decoded(c.crop.as_ref()), decoded(second.crop.as_ref()));
    assert_eq!((best.dimensions(), other.dimensions()), ((112, 112), (112, 112)));
    assert_ne!(best, other, "another view");

    config.event.head = true;
    let head = decoded(shown(&config).head.as_ref());
    assert_eq!(head.dimensions(), (224, 224));
    let is_grey = |x, y| head.get_pixel(x, y).0.iter().all(|v| v.abs_diff(128) <= 4);
    for (x, y) in [(2, 2), (221, 2), (2, 221), (221, 221)] {
        assert!(is_grey(x, y), "{x}, {y}: outside of the head");
    }
    let shown = (0..224 * 224).filter(|i| !is_grey(i % 224, i / 224)).count();
    assert!(shown > 224 * 224 / 3, "{shown} pixels of the head");
}

#[test]
fn a_budget_that_cannot_be_kept_leaves_the_device_blind_with_the_arithmetic() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let config = desk(folder.path(), &models, now, |list| {
        list.authorisation.expected_faces_per_day = 1_000_000;
        list.authorisation.false_alerts_per_day = 0.001;
    });
    let blindness = Keeper::new(&config, &models).load(at(now)).unwrap_err();
    assert_eq!(blindness.cause.code(), "over-budget");
    assert!(blindness.reason.contains("1000000 faces a day x 1 entries"), "{blindness}");
}

#[test]
fn with_recorded_costs_the_same_frames_are_looked_at_again_on_any_machine() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let config = desk(folder.path(), &models, now, |_| {});
    // Each reading of the stopwatch is 30 ms later, and 90 ms on every seventh: a slow board with
    // other work to do.
    let mut readings = Vec::new();
    for n in 0..10_000u64 {
        let step = if n % 7 == 0 { 90 } else { 30 };
        readings.push(readings.last().copied().unwrap_or_default() + Duration::from_millis(step));
    }
    let replay = |readings: Vec<Duration>| {
        let mut readings = readings.into_iter();
        let stopwatch = move || readings.next().expect("enough readings");
        choice(&mut Run::timed_by(stopwatch, &config, &models, at(now)), 60, now)
    };
    let first = replay(readings.clone());
    assert!(first.contains(&false), "so dear that frames are left out");
    assert_eq!(replay(readings.clone()), first);
    // The costs decide: at no cost, other frames are looked at.
    assert_ne!(replay(vec![Duration::ZERO; 10_000]), first);
}

#[test]
fn of_recorded_pictures_none_is_skipped_however_dear_they_are_and_whatever_is_configured() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    // The configuration names a camera, as that of the demonstration does.
    let config = desk(folder.path(), &models, now, |_| {});
    let mut seconds = 0;
    let stopwatch = move || {
        seconds += 1;
        Duration::from_secs(seconds)
    };
    let mut run = Run::timed_by(stopwatch, &config, &models, at(now));
    run.show(20, now);
    assert_eq!(run.pipeline.counters().skipped, SkipCounters::default());
}

/// Shows a bundled portrait `times` times, 200 ms apart from `from_ms` on.
fn show_portrait(run: &mut Run, name: &str, times: u64, from_ms: u64, wall: OffsetDateTime) {
    let file = format!("{}/src/demo/portraits/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(file).unwrap();
    for n in 0..times {
        let at = Now { monotonic: Duration::from_millis(from_ms + 200 * n), wall };
        let captured = Captured { bytes: bytes.as_slice().into(), at, ..Captured::default() };
        let Run { pipeline, candidates, .. } = run;
        pipeline.process(&captured, at, &mut |c| candidates.push(c)).expect("a good frame");
    }
}

#[test]
fn somebody_who_takes_the_place_of_another_within_a_track_is_a_track_of_their_own() {
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let config = desk(folder.path(), &models, now, |_| {});
    // Both faces are of one size and at one place, so that the tracker cannot tell them apart. The
    // listed man goes, a stranger stands where he stood.
    let mut run = Run::new(&config, &models, at(now));
    show_portrait(&mut run, "obama-2010.jpg", 3, 0, now);
    show_portrait(&mut run, "biden-2010.jpg", 8, 600, now);
    run.pipeline.finish(at(now), &mut |_| {});
    assert_eq!(run.pipeline.counters().vision.tracks, 2);
    assert!(run.candidates.iter().all(|c| c.evidence.views <= 3), "none of the stranger's");
    // The stranger comes first and stays until no more views of a track are compared; then the
    // listed man stands there.
    let mut run = Run::new(&config, &models, at(now));
    show_portrait(&mut run, "biden-2010.jpg", 60, 0, now);
    assert!(run.candidates.is_empty());
    show_portrait(&mut run, "obama-2010.jpg", 20, 12_000, now);
    run.pipeline.finish(at(now), &mut |_| {});
    assert_eq!(run.pipeline.counters().vision.tracks, 2);
    let found = &run.candidates[0];
    assert!(found.entry == "case-1" && found.evidence.views < 8, "{found:?}");
}

/// A bundled portrait.
fn portrait(name: &str) -> image::RgbImage {
    let file = format!("{}/src/demo/portraits/{name}.jpg", env!("CARGO_MANIFEST_DIR"));
    image::open(file).unwrap().to_rgb8()
}

/// The candidates of a picture that the source of `config` shows for so many frames, and what was
/// counted.
fn shown_by_its_source(
    config: &mut Config,
    (picture, frames): (&image::RgbImage, u32),
    now: OffsetDateTime,
) -> (Vec<Candidate>, ViewCounts) {
    let models = Models::builtin().unwrap();
    let file = config.watchlist.list.with_file_name("picture.png");
    picture.save(&file).unwrap();
    config.source.kind = SourceKind::Images;
    config.source.images.path = file;
    (config.source.images.fps, config.source.images.hold) = (0.0, frames);
    let Run { mut pipeline, mut captured, mut candidates, .. } = Run::new(config, &models, at(now));
    let mut source = source::open(&config.source, Clock::default()).unwrap();
    while source.next(&mut captured).is_ok() {
        let at = Now { monotonic: captured.at.monotonic, wall: now };
        pipeline.process(&captured, at, &mut |c| candidates.push(c)).expect("a good frame");
    }
    pipeline.finish(at(now), &mut |c| candidates.push(c));
    (candidates, pipeline.counters().vision.views())
}

#[test]
fn a_camera_that_hangs_turned_or_mirrored_finds_the_same_person_at_the_same_place() {
    use image::imageops::{flip_horizontal, rotate90, rotate180, rotate270};
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let mut config = desk(folder.path(), &models, now, |_| {});
    let upright = portrait("obama-2012");
    // What the camera gives that has to be turned like this, and then mirrored, to be upright.
    let captured = |degrees: i64, mirror: bool| {
        let picture = if mirror { flip_horizontal(&upright) } else { upright.clone() };
        match degrees {
            0 => picture,
            90 => rotate270(&picture),
            180 => rotate180(&picture),
            _ => rotate90(&picture),
        }
    };
    // All but what tells one run from another.
    let told = |candidates: &[Candidate]| {
        let told = candidates.iter().map(|c| {
            let crop = c.crop.as_ref().map(|crop| crop.base64.clone());
            (c.entry.clone(), c.sequence, c.score, c.evidence.clone(), crop)
        });
        format!("{:?}", told.collect::<Vec<_>>())
    };
    let mut want = String::new();
    for (degrees, mirror) in [0, 90, 180, 270].into_iter().flat_map(|d| [(d, false), (d, true)]) {
        (config.source.rotate, config.source.mirror) = (degrees, mirror);
        let picture = captured(degrees, mirror);
        let (candidates, counts) = shown_by_its_source(&mut config, (&picture, 25), now);
        assert_eq!((candidates[0].entry.as_str(), counts.lying_tracks), ("case-1", 0));
        if want.is_empty() {
            want = told(&candidates);
        }
        assert_eq!(told(&candidates), want, "{degrees} {mirror}");
    }
}

#[test]
fn of_a_camera_that_hangs_turned_it_is_counted_which_setting_would_help() {
    use image::imageops::{rotate90, rotate180, rotate270};
    let (folder, models, now) =
        (tempfile::tempdir().unwrap(), Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let mut config = desk(folder.path(), &models, now, |_| {});
    // Of the picture as it is captured, whatever the setting is now.
    for rotate in [0, 180] {
        config.source.rotate = rotate;
        let (mut right, mut all) = (0, [0; 4]);
        for name in ["biden-2010", "collins", "hopper", "obama-2010", "obama-2012"] {
            let upright = portrait(name);
            let hanging =
                [upright.clone(), rotate270(&upright), rotate180(&upright), rotate90(&upright)];
            for (turn, picture) in hanging.iter().enumerate() {
                if 90 * turn as i64 == rotate {
                    continue;
                }
                let (candidates, counts) = shown_by_its_source(&mut config, (picture, 2), now);
                assert!(candidates.is_empty(), "{name} {turn}");
                right += counts.upright_if_rotated[turn];
                all.iter_mut().zip(counts.upright_if_rotated).for_each(|(a, b)| *a += b);
            }
        }
        let all: u64 = all.iter().sum();
        assert!(all >= 5 && right == all, "{right} of {all} at {rotate}");
    }
}

/// Bytes of the stack that are looked at.
const LOOKED_AT: usize = 4 * STACK_WIPED;
/// What is there before a frame is looked at.
const PAINT: u8 = 0xA5;

/// Paints the stack below the caller.
#[inline(never)]
fn paint() {
    std::hint::black_box(&mut [PAINT; LOOKED_AT]);
}

/// The stack below a thread that has just looked at `pictures` of somebody.
fn stack_after(pictures: usize, run: &mut Run, wall: OffsetDateTime) -> Vec<u8> {
    let (looked, read) = (Barrier::new(2), Barrier::new(2));
    let top = AtomicUsize::new(0);
    let mut look = || {
        // Aligned as numbers are.
        let here = 0u128;
        top.store(std::ptr::from_ref(&here).addr(), Ordering::SeqCst);
        paint();
        for number in 1..=pictures {
            run.captured.at = Now { monotonic: Duration::from_millis(200 * number as u64), wall };
            let now = run.captured.at;
            run.pipeline.process(&run.captured, now, &mut |_| {}).expect("a good frame");
        }
        looked.wait();
        read.wait();
    };
    std::thread::scope(|s| {
        let thread = std::thread::Builder::new().stack_size(4 * LOOKED_AT);
        thread.spawn_scoped(s, &mut look).expect("a thread");
        looked.wait();
        let mut bytes = vec![0; LOOKED_AT];
        let from = top.load(Ordering::SeqCst) - LOOKED_AT;
        let memory = File::open("/proc/self/mem").expect("a process may read itself");
        memory.read_exact_at(&mut bytes, from as u64).expect("the stack is mapped");
        read.wait();
        bytes
    })
}

#[test]
fn what_looking_at_a_face_leaves_on_the_stack_is_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let (models, wall) = (Models::builtin().unwrap(), OffsetDateTime::now_utc());
    let config = desk(folder.path(), &models, wall, |_| {});
    let jpeg = std::fs::read(format!("{PORTRAITS}/collins.jpg")).unwrap();
    let traces = Traces::of(&jpeg);
    let mut run = Run::new(&config, &models, at(wall));
    run.captured.bytes = jpeg.into();
    run.captured.payload = Payload::Jpeg { width: 0, height: 0 };
    for pictures in [1, 2, 3] {
        let before = run.pipeline.counters().decision.compared;
        let stack = stack_after(pictures, &mut run, wall);
        assert!(run.pipeline.counters().decision.compared > before);
        let untouched = stack.iter().take_while(|byte| **byte == PAINT).count();
        let deepest = LOOKED_AT - untouched;
        let found = traces.found(&[Mapping { flags: String::new(), bytes: stack }]);
        assert!(found.is_empty(), "after {pictures}: {found:?}");
        // The frames of `process` and of its caller lie above what is wiped.
        assert!((STACK_WIPED..STACK_WIPED + 4096).contains(&deepest), "{deepest} bytes were used");
    }
}
