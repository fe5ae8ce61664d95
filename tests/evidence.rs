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
use watchpost::decision::budget::Budget;
use watchpost::decision::candidate::{Decider, Finding, KeptOfView, MAX_HITS, Searched, Seen};
use watchpost::decision::curve::{Entries, FUSION_SHIFT};
use watchpost::decision::policy::ActiveList;
use watchpost::decision::promise;
use watchpost::device::judge;
use watchpost::evaluate::statistics::interval::clopper_pearson;
use watchpost::source::Photograph;
use watchpost::template::{Embedding, Template};
use watchpost::vision::photographs::FaceReader;
use watchpost::vision::{Models, Quality, TrackId, VisionConfig};
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

/// Of a view nothing is kept here.
struct NothingKept;

impl KeptOfView for NothingKept {
    fn become_second(&mut self) {}
}

/// What the decider makes of one track: views in their order, and what the search finds for a
/// template.
fn track(
    config: &DecisionConfig,
    threshold: f32,
    views: &[&View],
    search: impl Fn(&Template) -> Vec<Hit>,
) -> Vec<Finding<NothingKept>> {
    let mut decider = Box::new(Decider::new(config.clone()));
    let mut found = Vec::new();
    let (now, track) = (|i: usize| at(150 * i as u64), TrackId(1));
    for (i, view) in views.iter().enumerate() {
        let seen = Seen { track, embedding: &view.probe, quality: view.quality.overall };
        let probe = decider.observe(now(i), seen, &mut |f| found.push(f));
        let Some(probe) = probe else { continue };
        let hits = search(&probe);
        let alone = search(&view.template);
        let own = |entry| alone.iter().find(|h| h.entry == entry).map_or(-1.0, |h: &Hit| h.score);
        let searched = Searched { track, view: NothingKept, hits: &hits, threshold };
        let id = Uuid::from_u128(i as u128);
        decider.searched(now(i), id, searched, own, &mut |f| found.push(f));
    }
    decider.end(now(views.len()), track, &mut |f| found.push(f));
    found
}

fn against(probe: &Template, list: &[&View]) -> Vec<Hit> {
    let score = |(entry, of): (usize, &&View)| Hit {
        entry,
        template: 0,
        score: probe.cosine(&of.template),
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
    let curve = judge::curve(&models).expect("a measured curve");
    // That of a list of one, half a false alert in a thousand faces a day.
    let budget = Budget { faces_a_day: 1000.0, false_alerts_a_day: 0.5 };
    let threshold = curve
        .plan(budget, &[1].into_iter().collect::<Entries>())
        .expect("one entry fits")
        .threshold;
    let config = DecisionConfig::default();
    let seen = |views: &[&View], list: &[&View]| {
        track(&config, threshold, views, |probe| against(probe, list))
    };

    let found = seen(&[&twin, &twin, &twin, &twin, &enrolled, &enrolled], &[&enrolled]);
    assert_eq!(
        found.iter().map(|f| f.sequence).collect::<Vec<_>>(),
        [1, 2],
        "a candidate and one better view"
    );
    assert!(found[0].combined < found[1].combined, "the better views are in the probe");
    // Two views are enough where the track ends, one is not.
    assert_eq!(seen(&[&twin, &enrolled], &[&enrolled]).len(), 1);
    assert!(seen(&[&enrolled], &[&enrolled]).is_empty());
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
fn strangers_tracks_reach_a_similarity_no_more_often_than_single_comparisons_reach_it_less_the_shift()
 {
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
    println!("threshold  single comparisons at threshold - shift   tracks   found of those listed");
    let config = DecisionConfig::default();
    for threshold in [0.37, 0.42, 0.47] {
        let (mut single, mut tracks, mut found, mut genuine) = (0.0, 0usize, 0usize, 0usize);
        for (index, views) in &walkers {
            let (enrolled, seen) = views.split_first().expect("five or more");
            let seen: Vec<&View> = seen.iter().take(8).collect();
            let decided = |of: &View| {
                !track(&config, threshold, &seen, |probe| against(probe, &[of])).is_empty()
            };
            for (_, stranger) in firsts.iter().enumerate().filter(|(i, _)| i != index) {
                let [of_one, ..] = FUSION_SHIFT;
                let alike =
                    |v: &&&View| v.template.cosine(&stranger.template) >= threshold - of_one;
                single += seen.iter().filter(alike).count() as f64 / seen.len() as f64;
                tracks += usize::from(decided(stranger));
            }
            genuine += 1;
            found += usize::from(decided(enrolled));
        }
        println!("{threshold:9.2} {single:40.1} {tracks:8} {:12.3}", found as f64 / genuine as f64);
        // Where enough happened to say anything.
        if single >= 20.0 {
            assert!(tracks as f64 <= single, "fusing moves the curve further than is allowed for");
        }
    }
}

/// A list of `people`, signed by two and in force, with the budget of `alerts` in `faces` a day.
fn list(models: &Models, people: &[&View], faces: u32, alerts: f64) -> Result<ActiveList, String> {
    let now = OffsetDateTime::now_utc();
    let (embedder, dimensions) =
        (models.manifest.embedder.sha256.0, models.manifest.embedder.dimensions);
    let mut list = fixture::list_for("gate-1", embedder, dimensions, now);
    let kept = promise::of(models, &VisionConfig::default(), &DecisionConfig::default());
    list.promise = kept.bytes();
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
    let curve = judge::curve(models).map_err(|b| b.to_string())?;
    ActiveList::enact(list, &curve, &kept, &DecisionConfig::default(), None, None)
        .map_err(|b| b.to_string())
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
                    let seen: Vec<&View> =
                        views.iter().flat_map(|v| std::iter::repeat_n(v, 2)).take(8).collect();
                    let search = |probe: &Template| {
                        let mut top = TopK::new(MAX_HITS);
                        active.gallery().search(probe, &mut top);
                        top.hits().to_vec()
                    };
                    count += usize::from(!track(&config, threshold, &seen, search).is_empty());
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
