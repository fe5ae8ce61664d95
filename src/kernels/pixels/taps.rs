//! Which source samples make a target sample along one axis of a resize.

use super::WEIGHT;

/// One axis of a resize. Shrinking weighs every source sample by the length that it covers of the
/// target's (so that nothing aliases), stretching is linear.
#[derive(Debug, Default)]
pub struct Taps {
    source: usize,
    taps: Vec<Tap>,
    /// `2 * pairs` a target sample, zeros after those that count.
    weights: Vec<u16>,
    pairs: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    pub start: u32,
    count: u32,
}

impl Taps {
    /// Sets the axis to `target` samples of `source` samples, both at least 1.
    pub fn set(&mut self, source: usize, target: usize) {
        assert!(source > 0 && target > 0 && source <= u32::MAX as usize);
        self.source = source;
        self.taps.clear();
        self.taps.extend((0..target).map(|i| {
            let (first, last, ..) = stretch(source, target, i);
            Tap { start: first as u32, count: (last - first + 1) as u32 }
        }));
        self.pairs = self.taps.iter().map(|t| t.count.div_ceil(2)).max().unwrap_or(1) as usize;
        self.weights.clear();
        self.weights.resize(target * self.pairs * 2, 0);
        for (i, all) in self.weights.chunks_exact_mut(self.pairs * 2).enumerate() {
            let (first, last, from, width) = stretch(source, target, i);
            // Differences of a rounded running sum add up to one exactly. The outermost samples
            // repeat beyond the border.
            let mut given = 0;
            for (s, weight) in (first..=last).zip(all) {
                let share = if s == last { 1.0 } else { ((s + 1) as f64 - from) / width };
                let sum = (share.clamp(0.0, 1.0) * f64::from(1 << WEIGHT)).round() as u16;
                *weight = sum - given;
                given = sum;
            }
        }
    }

    /// Whether target samples are source samples.
    pub fn identity(&self) -> bool {
        self.source == self.taps.len()
    }

    /// Target samples.
    pub fn targets(&self) -> usize {
        self.taps.len()
    }

    /// Most source samples of a target sample, rounded up to an even number.
    pub fn most(&self) -> usize {
        self.pairs * 2
    }

    /// Source samples, and after them so many that do not count that every target sample may read
    /// [`Taps::most`].
    pub fn padded(&self) -> usize {
        self.source + self.most()
    }

    /// The first source sample of the target sample `i`, and the weights from there on.
    pub fn at(&self, i: usize) -> (usize, &[u16]) {
        let tap = self.taps[i];
        (tap.start as usize, &self.weights[i * self.most()..][..tap.count as usize])
    }

    /// The first source sample of each target sample, and the [`Taps::most`] weights of each,
    /// zeros after those that count.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "for SIMD kernels")
    )]
    pub(super) fn filled(&self) -> (&[Tap], &[u16]) {
        (&self.taps, &self.weights)
    }
}

/// The first and last source sample of a target sample, where its stretch of the source begins and
/// how wide that is: at least one sample, so that where the axis is stretched the shares of that
/// stretch are the linear weights.
fn stretch(source: usize, target: usize, i: usize) -> (usize, usize, f64, f64) {
    let scale = source as f64 / target as f64;
    let centre = (i as f64 + 0.5) * scale;
    let width = scale.max(1.0);
    let from = centre - width / 2.0;
    let first = ((from + 1e-9).floor().max(0.0) as usize).min(source - 1);
    let last = ((from + width - 1e-9).ceil() as usize).clamp(first + 1, source) - 1;
    (first, last, from, width)
}
