use super::*;
use crate::evaluate::statistics::dyadic;

/// A uniform number of (0, 1].
fn unit(draw: &mut Draw) -> f64 {
    (draw.below(1 << 30) + 1) as f64 / f64::from(1u32 << 30)
}

fn grid() -> Vec<f64> {
    (25..=95).map(|k| f64::from(k) / 100.0).collect()
}

/// All pairs of `people`, of which a share `rate` lies above .30 and falls off as `excess` draws.
fn sample(
    people: u32,
    rate: f64,
    seed: u64,
    mut excess: impl FnMut(&mut Draw) -> f64,
) -> (Design, Vec<Scored>) {
    let mut draw = Draw::new(seed, 0);
    let mut scored = Vec::new();
    for a in 0..people {
        for b in a + 1..people {
            if unit(&mut draw) < rate {
                let similarity = (0.30 + excess(&mut draw)) as f32;
                scored.push(Scored { a, b, similarity });
            }
        }
    }
    (Design::all(&vec![1; people as usize]), scored)
}

fn exponential(scale: f64) -> impl FnMut(&mut Draw) -> f64 {
    move |draw| -scale * unit(draw).ln()
}

fn fitted(design: &Design, scored: &[Scored], until: f64) -> Result<Tail, Refused> {
    let counted: Vec<_> = dyadic::count(design, scored, &grid())
        .into_iter()
        .take_while(|c| c.pairs_of_people >= 10 && c.threshold < until - END_MARGIN)
        .collect();
    extrapolate(Sample { design, scored, until }, &counted, &grid())
}

#[test]
fn the_scale_solves_the_mean_of_a_truncated_exponential() {
    for (scale_wanted, length) in [(0.04f64, 0.15f64), (0.02, 0.25), (0.5, 0.15)] {
        let mean = scale_wanted - length / (length / scale_wanted).exp_m1();
        let got = scale(mean, length).unwrap();
        assert!((got / scale_wanted - 1.0).abs() < 1e-6, "{got}");
    }
    for none in [0.075, 0.1, 0.0, f64::NAN] {
        assert_eq!(scale(none, 0.15), None);
    }
}

#[test]
fn a_true_exponential_is_found_and_its_rate_lies_below_the_bound() {
    let (design, scored) = sample(420, 0.05, 1, exponential(0.04));
    // What is beyond .55 was joined.
    let kept: Vec<Scored> = scored.iter().filter(|s| s.similarity < 0.55).copied().collect();
    let tail = fitted(&design, &kept, 0.55).unwrap();
    assert!((tail.scale - 0.04).abs() < 0.008, "{}", tail.scale);
    assert!(tail.halvings_failed <= 2 && tail.people == 420, "{tail:?}");
    for row in &tail.rows {
        let truth = 0.05 * (-(row.threshold - 0.30) / 0.04).exp();
        assert!(row.upper > truth && row.upper < 40.0 * truth, "{row:?} {truth}");
    }
    let (first, last) = (tail.rows.first().unwrap(), tail.rows.last().unwrap());
    assert!(first.threshold > 0.44 && last.threshold > 0.65 && last.upper >= 1e-6, "{last:?}");
    assert_eq!(fitted(&design, &kept, 0.55).unwrap(), tail, "the same seed, the same bits");
}

#[test]
fn without_the_truncation_joined_duplicates_would_make_the_tail_too_short() {
    let (design, scored) = sample(400, 0.05, 2, exponential(0.06));
    let kept: Vec<Scored> = scored.iter().filter(|s| s.similarity < 0.50).copied().collect();
    let right = fitted(&design, &kept, 0.50).unwrap();
    let wrong = FitWindow { from: right.from, until: 1.0 };
    let wrong = wrong.fit(&wrong.excess(&kept), &[1.0; 400], &design).unwrap();
    assert!((right.scale - 0.06).abs() < 0.012 && wrong.scale < 0.05, "{right:?} {wrong:?}");
}

#[test]
fn fewer_than_300_people_support_no_tail() {
    let (design, scored) = sample(299, 0.05, 3, exponential(0.04));
    assert_eq!(fitted(&design, &scored, 1.0), Err(Refused::People(299)));
}

#[test]
fn too_few_exceedances_support_no_tail() {
    let (design, scored) = sample(320, 0.002, 4, exponential(0.04));
    assert_eq!(fitted(&design, &scored, 1.0), Err(Refused::Start { until: 1.0 }));
}

#[test]
fn a_tail_that_does_not_fall_is_refused() {
    let (design, scored) = sample(320, 0.02, 5, |draw| 0.3 * unit(draw).sqrt());
    let refused = fitted(&design, &scored, 0.6).unwrap_err();
    assert!(matches!(refused, Refused::NotFalling { .. }), "{refused}");
}

#[test]
fn duplicates_that_were_left_in_make_the_tail_heavier_than_exponential() {
    // One in thirty of the pairs above .30 is one person under two names.
    let (design, scored) = sample(400, 0.03, 6, |draw| {
        if draw.below(30) == 0 { 0.1 + 0.5 * unit(draw) } else { exponential(0.02)(draw) }
    });
    let refused = fitted(&design, &scored, 1.0).unwrap_err();
    assert!(matches!(refused, Refused::Heavier(shape) if shape > 0.15), "{refused}");
}

#[test]
fn a_fit_that_the_other_half_of_the_people_contradicts_is_refused() {
    // Short to .40, then a plateau: an exponential through both misses the plateau's end.
    let (design, scored) = sample(500, 0.03, 7, |draw| {
        if draw.below(8) == 0 { 0.17 + 0.05 * unit(draw) } else { exponential(0.015)(draw) }
    });
    let window = FitWindow { from: 0.30, until: 0.55 };
    let sample = Sample { design: &design, scored: &scored, until: 0.55 };
    assert!(failed_halvings(sample, window, &grid()) > MOST_FAILED);
    assert!(fitted(&design, &scored, 0.55).is_err());
    let (design, scored) = self::sample(500, 0.03, 8, exponential(0.04));
    let sample = Sample { design: &design, scored: &scored, until: 0.55 };
    assert!(failed_halvings(sample, window, &grid()) <= MOST_FAILED);
}

#[test]
fn pairs_beyond_the_end_that_were_judged_to_be_different_people_are_not_ignored() {
    let (design, mut scored) = sample(400, 0.05, 9, exponential(0.03));
    scored.retain(|s| s.similarity < 0.55);
    assert!(fitted(&design, &scored, 0.55).is_ok());
    scored.extend((0..200).map(|a| Scored { a, b: a + 200, similarity: 0.7 }));
    let refused = fitted(&design, &scored, 0.55).unwrap_err();
    assert_eq!(refused, Refused::BeyondEnd { seen: 200, until: 0.55 });
}

#[test]
fn people_who_resemble_many_widen_the_bound() {
    let (design, plain) = sample(400, 0.02, 10, exponential(0.04));
    // As many comparisons, a tenth of the people in nine tenths of them.
    let mut draw = Draw::new(11, 0);
    let bunched: Vec<Scored> = plain
        .iter()
        .map(|s| {
            let a = if draw.below(10) > 0 { s.a % 40 } else { s.a };
            let b = if s.b == a { (s.b + 1) % 400 } else { s.b };
            Scored { a, b, ..*s }
        })
        .collect();
    let until = 0.55;
    let of = |scored: &[Scored]| {
        let window = FitWindow { from: 0.30, until };
        let fits = window.draws(&window.excess(scored), &design, 0);
        percentile(fits.iter().map(|f| f.unwrap().rate(window, 0.32)))
    };
    assert!(of(&bunched) > 1.1 * of(&plain));
}
