//! What the views of one track say together: sequences made from several photographs of a person,
//! as a camera would see them pass.
//!
//! Two of these promises need photographs of many people and are not part of continuous
//! integration:
//!
//! ```text
//! WATCHPOST_FACES=FOLDER [WATCHPOST_STRANGERS=FOLDER] cargo test --test evidence -- --ignored --nocapture
//! ```
//!
//! WATCHPOST_FACES has one folder a person with their photographs, of some hundred people or more;
//! WATCHPOST_STRANGERS, where given, photographs of other people, one each, tightly cut. Nobody in
//! them may have been used to measure the false-match curve where the result is to say anything
//! about it.

// What the two measurements found is their result, not noise.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;
use watchpost::clock::Now;
use watchpost::decision::DecisionConfig;
use watchpost::decision::candidate::{Compared, Decider, EVIDENCE_MARGIN, Finding, MAX_HITS};
use watchpost::decision::policy::ActiveList;
use watchpost::device::keeper;
use watchpost::evaluate::statistics::interval::clopper_pearson;
use watchpost::source::Photograph;
use watchpost::template::{Embedding, Template};
use watchpost::vision::photographs::FaceReader;
use watchpost::vision::{Models, Quality, TrackId};
use watchpost::watchlist::{Hit, StoredTemplate, TopK, Trust, verify};

#[path = "../src/watchlist/fixture.rs"]
mod fixture;

const PORTRAITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/portraits");

/// One view of a face, as the vision stage would hand it to the search.
struct View {
    probe: Embedding,
    template: Template,
    quality: Quality,
}

/// The face that a photograph is taken to show, where it is good enough; `pad` pixels of grey are
/// put around it first.
fn view_of(reader: &mut FaceReader, file: &Path, pad: u32) -> Option<View> {
    let mut bytes = std::fs::read(file).ok()?;
    if pad > 0 {
        let chip = image::load_from_memory(&bytes).ok()?.to_rgb8();
        let size = (chip.width() + 2 * pad, chip.height() + 2 * pad);
        let mut whole = image::RgbImage::from_pixel(size.0, size.1, image::Rgb([128; 3]));
        image::imageops::replace(&mut whole, &chip, pad.into(), pad.into());
        bytes.clear();
        whole.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).ok()?;
    }
    let photograph = Photograph::decode(&bytes).ok()?;
    let frame = photograph.frame();
    let seen = reader.subject(&frame).ok()??;
    seen.verdict.ok()?;
    let probe = reader.embed(&frame, &seen).ok()?;
    Some(View { template: probe.quantize(), probe, quality: seen.quality })
}

fn at(ms: u64) -> Now {
    Now {
        monotonic: Duration::from_millis(ms),
        wall: OffsetDateTime::UNIX_EPOCH + Duration::from_millis(ms),
    }
}

/// What the decider makes of one track: views in their order with what the search found for each.
fn track(
    config: &DecisionConfig,
    threshold: f32,
    views: &[(f32, Vec<Hit>)],
) -> Vec<Finding<usize>> {
    let mut decider = Decider::new(config.clone());
    let mut found = Vec::new();
    for (i, (quality, hits)) in views.iter().enumerate() {
        let compared = Compared { track: TrackId(1), view: i, quality: *quality, hits, threshold };
        decider.observe(at(150 * i as u64), Uuid::from_u128(i as u128), compared, &mut |f| {
            found.push(f)
        });
    }
    decider.end(TrackId(1), &mut |f| found.push(f));
    found
}

fn against(view: &View, list: &[&View]) -> Vec<Hit> {
    let score = |(entry, of): (usize, &&View)| Hit {
        entry,
        template: 0,
        score: view.template.cosine(&of.template),
    };
    let mut hits: Vec<Hit> = list.iter().enumerate().map(score).collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(MAX_HITS);
    hits
}

#[test]
fn several_photographs_of_one_person_are_one_candidate_and_those_of_other_people_none() {
    let models = Models::builtin().expect("the built-in models");
    let mut reader = FaceReader::new(&models).expect("the built-in networks");
    let mut view = |name: &str| {
        view_of(&mut reader, &Path::new(PORTRAITS).join(name), 0).expect("a good portrait")
    };
    let [enrolled, twin] = ["obama-2012.jpg", "obama-2010.jpg"].map(&mut view);
    let others = ["biden-2010.jpg", "collins.jpg", "hopper.jpg"].map(&mut view);
    let curve = keeper::curve(&models).expect("a measured curve");
    let threshold = curve.strictest().threshold;
    let config = DecisionConfig::default();
    let seen = |views: &[&View], list: &[&View]| {
        let views: Vec<_> = views.iter().map(|v| (v.quality.overall, against(v, list))).collect();
        track(&config, threshold, &views)
    };

    let found = seen(&[&twin, &twin, &enrolled, &twin], &[&enrolled]);
    assert_eq!(
        found.iter().map(|f| f.sequence).collect::<Vec<_>>(),
        [1, 2],
        "a candidate and one better view"
    );
    assert!(
        found[0].combined < found[1].score,
        "the better view is told, the rate is that of all views together"
    );
    // Strangers alone, and a listed person of whom one view got among those of a stranger.
    let [a, b, c] = &others;
    assert!(seen(&[a, b, c, a, b, c], &[&enrolled]).is_empty());
    assert!(seen(&[a, a, &twin, a, a], &[&enrolled]).is_empty());
    // One person under two references: neither can be told from the other.
    let found = seen(&[&twin, &twin], &[&enrolled, a, &enrolled]);
    assert_eq!((found.len(), found[0].entry, &found[0].alternatives[..]), (1, 0, &[2][..]));
}

/// The people of a folder with the views of each, and how many photographs were not good enough.
fn people(folder: &Path, reader: &mut FaceReader) -> (BTreeMap<PathBuf, Vec<View>>, usize) {
    let sorted = |folder: &Path| {
        let mut all: Vec<PathBuf> =
            std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path()).collect();
        all.sort();
        all
    };
    let mut poor = 0;
    let mut people = BTreeMap::new();
    for person in sorted(folder).into_iter().filter(|p| p.is_dir()) {
        let views: Vec<View> = sorted(&person)
            .iter()
            .filter_map(|file| {
                view_of(reader, file, 0).or_else(|| {
                    poor += 1;
                    None
                })
            })
            .collect();
        people.insert(person, views);
    }
    people.retain(|_, views| !views.is_empty());
    (people, poor)
}

fn faces() -> PathBuf {
    std::env::var_os("WATCHPOST_FACES")
        .expect("WATCHPOST_FACES names a folder with one folder a person")
        .into()
}

/// Numbers that look random and are the same each time.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for i in (1..items.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        items.swap(i, (state % (i as u64 + 1)) as usize);
    }
}

#[test]
#[ignore = "needs photographs of many people in WATCHPOST_FACES"]
fn the_evidence_of_a_track_matches_strangers_no_more_often_than_one_comparison_does() {
    let models = Models::builtin().expect("the built-in models");
    let (people, poor) =
        people(&faces(), &mut FaceReader::new(&models).expect("the built-in networks"));
    let firsts: Vec<&View> = people.values().map(|views| &views[0]).collect();
    let walkers: Vec<(usize, &Vec<View>)> =
        people.values().enumerate().filter(|(_, v)| v.len() >= 5).collect();
    println!(
        "{} people, {} of them with five views or more; {poor} photographs were too poor",
        people.len(),
        walkers.len()
    );
    println!(
        "rates of tracks as multiples of the single comparison's; each photograph is seen `burst` \
         times in a row"
    );
    println!(
        "burst threshold  single false  any view  N of M  evidence    single true  N of M  evidence"
    );
    let config = DecisionConfig::default();
    let n_of_m = |threshold: f32, scores: &[(f32, f32)]| {
        let supports: Vec<bool> = scores.iter().map(|s| s.1 >= threshold).collect();
        supports
            .windows(config.considered_views.min(supports.len()))
            .any(|w| w.iter().filter(|s| **s).count() >= config.agreeing_views)
    };
    let evidence = |threshold: f32, scores: &[(f32, f32)]| {
        let views: Vec<_> = scores
            .iter()
            .map(|(q, score)| (*q, vec![Hit { entry: 0, template: 0, score: *score }]))
            .collect();
        !track(&config, threshold, &views).is_empty()
    };
    for burst in [1, 2, 3, 4] {
        for threshold in [0.30, 0.35, 0.40, 0.45] {
            let (mut single, mut any, mut nm, mut ev) = (0.0, 0, 0, 0);
            let (mut genuine, mut tracks, mut nm_true, mut ev_true) = (0.0, 0, 0, 0);
            for (index, views) in &walkers {
                for seed in 1..=4 {
                    let mut order: Vec<&View> = views.iter().collect();
                    shuffle(&mut order, seed);
                    let (enrolled, seen) = order.split_first().expect("five or more");
                    let seen: Vec<&View> =
                        seen.iter().flat_map(|v| std::iter::repeat_n(*v, burst)).take(12).collect();
                    let scores = |of: &View| -> Vec<(f32, f32)> {
                        seen.iter()
                            .map(|v| (v.quality.overall, v.template.cosine(&of.template)))
                            .collect()
                    };
                    let share = |s: &[(f32, f32)]| {
                        s.iter().filter(|s| s.1 >= threshold).count() as f64 / s.len() as f64
                    };
                    for (_, stranger) in firsts.iter().enumerate().filter(|(i, _)| i != index) {
                        let s = scores(stranger);
                        if share(&s) > 0.0 {
                            single += share(&s);
                            any += 1;
                            nm += usize::from(n_of_m(threshold, &s));
                            ev += usize::from(evidence(threshold, &s));
                        }
                    }
                    let s = scores(enrolled);
                    (genuine, tracks) = (genuine + share(&s), tracks + 1);
                    nm_true += usize::from(n_of_m(threshold, &s));
                    ev_true += usize::from(evidence(threshold, &s));
                }
            }
            let times = |count: usize| count as f64 / single;
            let of = |count: usize| count as f64 / f64::from(tracks);
            println!(
                "{burst:5} {threshold:9.2} {single:13.1} {:9.2} {:7.2} {:9.2} {:14.3} {:7.3} \
                 {:9.3}",
                times(any),
                times(nm),
                times(ev),
                genuine / f64::from(tracks),
                of(nm_true),
                of(ev_true)
            );
            // Where enough happened to say anything.
            if single >= 20.0 {
                assert!(times(ev) <= 1.0, "the evidence of a track must not raise the rate");
            }
            assert!(
                of(ev_true) >= genuine / f64::from(tracks) - 0.01,
                "several views find more than one"
            );
        }
    }
    println!(
        "a candidate's combined similarity exceeds the threshold by {EVIDENCE_MARGIN} or more"
    );
}

/// A list of `people`, signed by two and in force, with the budget of `alerts` in `faces` a day.
fn list(models: &Models, people: &[&View], faces: u32, alerts: f64) -> Result<ActiveList, String> {
    let now = OffsetDateTime::now_utc();
    let (embedder, dimensions) =
        (models.manifest.embedder.sha256.0, models.manifest.embedder.dimensions);
    let mut list = fixture::list_for("gate-1", embedder, dimensions, now);
    list.authorisation.expected_faces_per_day = faces;
    list.authorisation.false_alerts_per_day = alerts;
    for (i, view) in people.iter().enumerate() {
        let photo = Sha256::digest(i.to_be_bytes()).into();
        let quality = (view.quality.overall * 1000.0).round() / 1000.0;
        let stored = StoredTemplate::of_one(view.probe.quantize(), quality, photo);
        list.entries.push(fixture::person(&list, &format!("case-{i}"), stored));
    }
    let trust = Trust::parse(&fixture::trust_text(2, &[("signer", 1), ("signer", 2)]));
    let (trust, signed) = (trust.expect("a trust file"), fixture::signed_by_two(&list, now));
    let list = verify(&signed, &trust, now, "gate-1", &embedder).expect("valid");
    let curve = keeper::curve(models).map_err(|b| b.to_string())?;
    ActiveList::enact(list, &curve, &DecisionConfig::default(), None).map_err(|b| b.to_string())
}

#[test]
#[ignore = "needs photographs of many people in WATCHPOST_FACES"]
fn false_alerts_on_strangers_stay_within_what_was_announced() {
    let models = Models::builtin().expect("the built-in models");
    let mut reader = FaceReader::new(&models).expect("the built-in networks");
    let (people, _) = people(&faces(), &mut reader);
    let mut all: Vec<&Vec<View>> = people.values().collect();
    shuffle(&mut all, 7);
    let chips: Vec<Vec<View>> =
        std::env::var_os("WATCHPOST_STRANGERS").map_or_else(Vec::new, |folder| {
            let files = std::fs::read_dir(folder).expect("a folder").flatten().map(|e| e.path());
            let chips: Vec<_> =
                files.filter_map(|file| Some(vec![view_of(&mut reader, &file, 100)?])).collect();
            assert!(
                !chips.is_empty(),
                "no face in WATCHPOST_STRANGERS: it names the folder that the photographs are in"
            );
            chips
        });
    let (listed, strangers) = all.split_at(all.len() / 2);
    println!(
        "{} people to list, {} strangers of the same set, {} of another",
        listed.len(),
        strangers.len(),
        chips.len()
    );
    println!(
        "strangers    templates  threshold  tracks  announced rate  announced alerts   alerts (95 \
         % interval)"
    );
    let config = DecisionConfig::default();
    // Each budget gives another threshold; lists of other people give other strangers' look-alikes.
    for (name, passers) in [("same set", strangers.to_vec()), ("another", chips.iter().collect())] {
        if passers.is_empty() {
            continue;
        }
        for (templates, alerts) in [(10, 40.0), (30, 150.0), (100, 300.0), (300, 600.0)] {
            let (mut announced, mut count, mut tracks, mut threshold, mut rate) =
                (0.0, 0usize, 0usize, 0.0, 0.0);
            for part in listed.chunks_exact(templates).take(10) {
                let people: Vec<&View> = part.iter().map(|views| &views[0]).collect();
                let active =
                    list(&models, &people, 1000, alerts).expect("a budget that can be kept");
                (threshold, rate) = (active.plan().threshold, active.plan().false_positive_rate);
                for views in &passers {
                    // Each photograph is held for two frames, as a camera that sees a face twice
                    // within a moment.
                    let seen = views.iter().flat_map(|v| std::iter::repeat_n(v, 2)).take(12);
                    let mut top = TopK::new(MAX_HITS);
                    let views: Vec<_> = seen
                        .map(|v| {
                            top.clear();
                            active.gallery().search(&v.template, &mut top);
                            (v.quality.overall, top.hits().to_vec())
                        })
                        .collect();
                    count += usize::from(!track(&config, threshold, &views).is_empty());
                    tracks += 1;
                    announced += rate;
                }
            }
            let (low, high) = clopper_pearson(count as f64, tracks as f64);
            let (low, high) = (low * tracks as f64, high * tracks as f64);
            println!(
                "{name:12} {templates:9} {threshold:10.2} {tracks:7} {rate:15.2e} \
                 {announced:17.1} {count:8} ({low:.1} to {high:.1})"
            );
            assert!(low <= announced, "more false alerts than announced");
        }
    }
}
