//! Draws that come out the same for ever: the generator and both algorithms are part of the
//! published protocol, so that anybody can repeat them in another language.
//!
//! * Generator: SplitMix64 (Steele, Lea and Flood 2014), its state starting at the seed.
//! * A number below n: the high 64 bits of the 128-bit product of the next output and n; where the
//!   low 64 bits are below 2^64 mod n, the output is thrown away and another taken (Lemire 2019),
//!   so that every number is equally likely.
//! * A permutation: Fisher-Yates from the last element to the second, each swapped with one at or
//!   below it.

/// The generator.
#[derive(Debug, Clone)]
pub struct Draw {
    state: u64,
}

impl Draw {
    /// The `number`-th draw of `seed`: SplitMix64 whose state starts at the `number`-th output
    /// (from 0) of SplitMix64 started at `seed`.
    pub fn new(seed: u64, number: u32) -> Self {
        let mut seeds = Self { state: seed };
        let mut state = 0;
        for _ in 0..=number {
            state = seeds.next();
        }
        Self { state }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, each equally likely; 0 for `n` = 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// A number between 0 and 1, both excluded.
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A number that is normally distributed (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A number that is gamma distributed with this `shape`, above 0, and scale 1 (Marsaglia and
    /// Tsang 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * self.unit().powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Puts `items` into an order, each equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let with = self.below(last + 1);
            items.swap(last, with);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_generator_gives_the_published_outputs() {
        // The first outputs of SplitMix64 for seed 1234567 (Rosetta Code, and the reference in C by
        // Vigna).
        let mut d = Draw { state: 1_234_567 };
        assert_eq!(
            [d.next(), d.next(), d.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn a_draw_never_changes() {
        let mut items: Vec<u32> = (0..10).collect();
        Draw::new(1, 0).shuffle(&mut items);
        assert_eq!(items, PINNED_0);
        let mut items: Vec<u32> = (0..10).collect();
        Draw::new(1, 1).shuffle(&mut items);
        assert_eq!(items, PINNED_1);
    }

    /// From an implementation in Python, after the module's description.
    const PINNED_0: [u32; 10] = [6, 4, 7, 2, 9, 1, 5, 0, 8, 3];
    const PINNED_1: [u32; 10] = [5, 9, 7, 1, 6, 2, 3, 8, 0, 4];

    #[test]
    fn every_number_is_about_equally_likely() {
        let mut d = Draw::new(7, 0);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[d.below(6)] += 1;
        }
        assert!(counts.iter().all(|c| (9_600..10_400).contains(c)), "{counts:?}");
    }

    #[test]
    fn gamma_numbers_have_the_mean_and_variance_of_their_shape() {
        for shape in [0.5, 1.0, 7.5, 3000.0] {
            let mut d = Draw::new(3, 0);
            let all: Vec<f64> = (0..20_000).map(|_| d.gamma(shape)).collect();
            let mean = all.iter().sum::<f64>() / 20_000.0;
            let variance = all.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
            // Five standard errors of the mean; the variance is coarser.
            assert!((mean - shape).abs() < 5.0 * (shape / 20_000.0).sqrt(), "{shape}: {mean}");
            assert!((variance / shape - 1.0).abs() < 0.12, "{shape}: {variance}");
        }
    }

    proptest! {
        #[test]
        fn a_shuffle_keeps_every_item(seed: u64, number in 0u32..20, n in 0usize..200) {
            let mut items: Vec<usize> = (0..n).collect();
            Draw::new(seed, number).shuffle(&mut items);
            items.sort_unstable();
            prop_assert!(items.iter().enumerate().all(|(i, v)| i == *v));
        }
    }
}
