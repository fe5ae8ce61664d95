//! Every implementation gives the reference's bytes: formats, sizes, positions and extreme values.
//!
//! Each slice that a kernel gets is an allocation of its own and no longer than the kernel may
//! touch, so that the address sanitizer sees a read or write beyond it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Bytes that lean to the extremes, where saturating or 16-bit arithmetic would show.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(255), 1 => Just(128)]
}

fn pixels(count: usize) -> impl Strategy<Value = Vec<Rgbx>> {
    vec((byte(), byte(), byte()).prop_map(|(r, g, b)| [r, g, b, 0]), count)
}

fn range() -> impl Strategy<Value = Range> {
    select(Range::ALL.to_vec())
}

/// Source and target of an axis: mostly short, some the longest there are.
fn axis() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        4 => (1usize..200, 1usize..120),
        1 => (1usize..120).prop_map(|s| (s, s)),
        1 => (1usize..120).prop_map(|s| (2 * s, s)),
        1 => (1000usize..16_384, 1usize..100),
    ]
}

/// All implementations but the reference, which is the last.
fn others() -> Vec<&'static dyn PixelKernels> {
    let mut all = available();
    all.pop();
    all
}

/// The bytes that a line of `pixels` pixels of the format number `format` has.
fn bytes_of(format: usize, pixels: usize) -> usize {
    let pairs = pixels.div_ceil(2);
    match format {
        0 => pixels,
        1 | 6..=8 => pairs * 4,
        2 | 3 | 9 => pixels + pairs * 2,
        4 | 5 | 10 | 11 | 16 => pixels * 3,
        12 | 13 | 18 | 19 => pixels * 2,
        20 => DeepLuma::Packed10.bytes(pixels),
        21 => DeepLuma::Packed12.bytes(pixels),
        // Two pixels more, at which the line does not begin.
        14 => DeepLuma::Packed10.bytes(pixels + 2),
        15 => DeepLuma::Packed12.bytes(pixels + 2),
        _ => pixels * 4,
    }
}

/// Formats of [`Samples`].
const FORMATS: usize = 24;

/// A line of the format number `format`, each plane an allocation of its own.
struct Samples {
    format: usize,
    planes: [Vec<u8>; 3],
}

impl Samples {
    fn new(format: usize, pixels: usize, bytes: &[u8]) -> Self {
        let pairs = pixels.div_ceil(2);
        let planes = match format {
            2 | 9..=11 => [&bytes[..pixels], &bytes[pixels..], &[]],
            3 => [&bytes[..pixels], &bytes[pixels..pixels + pairs], &bytes[pixels + pairs..]],
            _ => [bytes, &[], &[]],
        };
        Self { format, planes: planes.map(|p| p.to_vec().into_boxed_slice().into_vec()) }
    }

    fn line(&self) -> SampleLine<'_> {
        let [a, b, c] = &self.planes;
        match self.format {
            0 => SampleLine::Grey(a),
            1 => SampleLine::Yuyv(a),
            2 => SampleLine::Nv12 { luma: a, chroma: b },
            3 => SampleLine::I420 { luma: a, cb: b, cr: c },
            4 => SampleLine::Ycc444(a),
            5 => SampleLine::Rgb8(a),
            other => SampleLine::Other(match other {
                6 => OtherLine::Packed { order: PackedOrder::Uyvy, all: a },
                7 => OtherLine::Packed { order: PackedOrder::Yvyu, all: a },
                8 => OtherLine::Packed { order: PackedOrder::Vyuy, all: a },
                9 => OtherLine::Nv21 { luma: a, chroma: b },
                10 => OtherLine::Nv24 { luma: a, chroma: b, cr_first: false },
                11 => OtherLine::Nv24 { luma: a, chroma: b, cr_first: true },
                12 => OtherLine::Deep { luma: DeepLuma::Words { bits: 10 }, row: a, from: 0 },
                13 => OtherLine::Deep { luma: DeepLuma::Words { bits: 16 }, row: a, from: 0 },
                14 => OtherLine::Deep { luma: DeepLuma::Packed10, row: a, from: 2 },
                15 => OtherLine::Deep { luma: DeepLuma::Packed12, row: a, from: 2 },
                16 => OtherLine::Rgb { step: 3, places: [2, 1, 0], all: a },
                17 => OtherLine::Rgb { step: 4, places: [1, 2, 3], all: a },
                18 => OtherLine::Rgb565(a),
                19 => OtherLine::Deep { luma: DeepLuma::Words { bits: 12 }, row: a, from: 0 },
                20 => OtherLine::Deep { luma: DeepLuma::Packed10, row: a, from: 0 },
                21 => OtherLine::Deep { luma: DeepLuma::Packed12, row: a, from: 0 },
                22 => OtherLine::Rgb { step: 4, places: [2, 1, 0], all: a },
                _ => OtherLine::Rgb { step: 4, places: [3, 2, 1], all: a },
            }),
        }
    }
}

#[test]
fn every_code_of_luma_and_chroma_is_converted_alike() {
    let codes: Vec<u8> =
        (0..=255u8).flat_map(|cb| (0..=255u8).flat_map(move |cr| [0, cb, cr])).collect();
    for kernels in others() {
        for range in Range::ALL {
            for y in 0..=255 {
                let line: Vec<u8> = codes.chunks_exact(3).flat_map(|c| [y, c[1], c[2]]).collect();
                let (mut got, mut want) = (vec![[1; 4]; 1 << 16], vec![[2; 4]; 1 << 16]);
                kernels.convert(&SampleLine::Ycc444(&line), range, &mut got);
                ScalarPixels.convert(&SampleLine::Ycc444(&line), range, &mut want);
                assert!(got == want, "{} {range:?} {y}", kernels.set());
            }
        }
    }
}

#[test]
fn the_weights_of_every_target_sample_add_up_to_one_and_lie_within_the_source() {
    let mut taps = Taps::default();
    for (source, target) in [
        (1, 1),
        (1, 40),
        (17, 17),
        (640, 640),
        (1280, 640),
        (720, 360),
        (4001, 7),
        (16_384, 64),
        (5, 16),
    ] {
        taps.set(source, target);
        assert_eq!(taps.identity(), source == target);
        for i in 0..target {
            let (start, weights) = taps.at(i);
            assert!(start + weights.len() <= source && weights.len() <= taps.most());
            assert_eq!(
                weights.iter().map(|w| u32::from(*w)).sum::<u32>(),
                1 << WEIGHT,
                "{source} to {target} at {i}"
            );
        }
    }
}

#[test]
fn a_set_is_served_by_the_fastest_implementation_that_needs_no_more() {
    assert_eq!(with(InstructionSet::Scalar).set(), InstructionSet::Scalar);
    assert_eq!(with(InstructionSet::fastest()).set(), available()[0].set());
    for set in InstructionSet::ALL {
        assert!(with(set).set() <= set && with(set).set().is_available(), "{set}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_line_of_any_format_and_length_is_converted_alike(
        (format, range, length, bytes) in (0..FORMATS, range(), 1usize..600)
            .prop_flat_map(|(f, r, n)| (Just(f), Just(r), Just(n), vec(byte(), bytes_of(f, n)))),
    ) {
        let samples = Samples::new(format, length, &bytes);
        let mut want = vec![[7; 4]; length];
        ScalarPixels.convert(&samples.line(), range, &mut want);
        for kernels in others() {
            let mut got = vec![[9; 4]; length];
            kernels.convert(&samples.line(), range, &mut got);
            prop_assert_eq!(&got, &want, "{}", kernels.set());
        }
        // What kernels fall back on that do not read an order as it is.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        if let SampleLine::Other(line) = samples.line() {
            let mut got = vec![[9; 4]; length];
            reorder::convert(&ScalarPixels, &line, range, &mut got);
            prop_assert_eq!(&got, &want, "in turns");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_row_is_resized_across_alike(
        ((source, target), pattern) in (axis(), pixels(97)),
    ) {
        let mut taps = Taps::default();
        taps.set(source, target);
        // What lies after the row is read and must not count.
        let line: Vec<Rgbx> = (0..taps.padded()).map(|i| pattern[i * 31 % pattern.len()]).collect();
        let mut want = vec![[1; 4]; target];
        ScalarPixels.across(&taps, &line, &mut want);
        let mut other = line.clone();
        other[source..].fill([255, 255, 255, 0]);
        for kernels in available() {
            let mut got = vec![[2; 4]; target];
            kernels.across(&taps, &other, &mut got);
            prop_assert_eq!(&got, &want, "{}", kernels.set());
        }
    }

    #[test]
    fn rows_are_resized_down_alike(
        (width, (source, target), pattern, at) in (
            1usize..70,
            (1usize..200, 1usize..40),
            vec((0u16..=255 << KEEP, 0u16..=255 << KEEP, Just(255 << KEEP)), 97),
            any::<prop::sample::Index>(),
        ),
    ) {
        let mut taps = Taps::default();
        taps.set(source, target);
        let (first, weights) = taps.at(at.index(target));
        let wide: Vec<Wide> = (0..taps.most() * width)
            .map(|i| {
                let (r, g, b) = pattern[i * 31 % pattern.len()];
                [r, g, b, 0]
            })
            .collect();
        let rows = RingRows { pixels: &wide, width };
        let mut want = vec![[1; 4]; width];
        ScalarPixels.down(&rows, first, weights, &mut want);
        for kernels in others() {
            let mut got = vec![[2; 4]; width];
            kernels.down(&rows, first, weights, &mut got);
            prop_assert_eq!(&got, &want, "{}", kernels.set());
        }
    }

    #[test]
    fn pixels_are_packed_alike(src in (1usize..80).prop_flat_map(pixels), bgr: bool) {
        let mut want = vec![1; src.len() * 3];
        ScalarPixels.pack(bgr, &src, &mut want);
        prop_assert_eq!(want[0], src[0][if bgr { 2 } else { 0 }]);
        for kernels in others() {
            let mut got = vec![2; src.len() * 3];
            kernels.pack(bgr, &src, &mut got);
            prop_assert_eq!(&got, &want, "{}", kernels.set());
            kernels.swap(&want, &mut got);
            let mut swapped = want.clone();
            ScalarPixels.pack(!bgr, &src, &mut swapped);
            prop_assert_eq!(&got, &swapped, "{}", kernels.set());
        }
    }

    #[test]
    fn a_turned_picture_is_sampled_alike_wherever_it_lies(
        (width, pixels) in
            (2usize..40, 2usize..40).prop_flat_map(|(w, h)| (Just(w), pixels(w * h))),
        (left, top) in (-40i32..3000, -40i32..3000),
        (angle, scale, dx, dy) in (-3.2f32..3.2, 0.05f32..20.0, -60f32..60.0, -60f32..60.0),
        (x, y, count) in (0usize..160, 0usize..160, 1usize..40),
        samples in prop_oneof![2 => Just(1usize), 1 => 1usize..=SampleWalk::MOST_SAMPLES],
    ) {
        let patch = Patch { pixels: &pixels, width, left, top };
        let (a, b) = (scale * angle.cos(), scale * angle.sin());
        // Takes a pixel of the run into the patch or near it.
        let (fx, fy) = (x as f32, y as f32);
        let walk = SampleWalk {
            a,
            b,
            tx: left as f32 + dx - (a * fx - b * fy),
            ty: top as f32 + dy - (b * fx + a * fy),
            samples,
        };
        let mut want = vec![[1; 4]; count];
        ScalarPixels.walk(&patch, &walk, x, y, &mut want);
        for kernels in others() {
            let mut got = vec![[2; 4]; count];
            kernels.walk(&patch, &walk, x, y, &mut got);
            prop_assert_eq!(&got, &want, "{}", kernels.set());
        }
    }

    #[test]
    fn points_that_are_no_numbers_stay_within_the_patch(
        values in proptest::array::uniform4(proptest::num::f32::ANY),
        samples in 1usize..4,
    ) {
        let pixels = [[200, 100, 50, 0]; 6];
        let patch = Patch { pixels: &pixels, width: 3, left: -1, top: 5 };
        let [a, b, tx, ty] = values;
        for kernels in available() {
            let mut got = [[1; 4]; 11];
            kernels.walk(&patch, &SampleWalk { a, b, tx, ty, samples }, 3, 4, &mut got);
        }
    }
}
