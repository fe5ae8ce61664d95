//! Every kernel gives the reference's bytes: shapes, strides, borders and extreme values.
//!
//! Each slice that a kernel gets is an allocation of its own and no longer than the kernel may
//! touch, so that the address sanitizer sees a read or write beyond it.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::layout::span;
use super::*;

/// Bytes that lean to the extremes, where saturating or 16-bit arithmetic would show.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(255), 1 => Just(ZERO)]
}

fn weight() -> impl Strategy<Value = i8> {
    prop_oneof![3 => any::<i8>(), 1 => Just(-128), 1 => Just(127), 1 => Just(0)]
}

fn activation() -> impl Strategy<Value = Activation> {
    select(vec![Activation::Identity, Activation::Relu, Activation::PRelu])
}

/// Bias, scales, and PReLU's factors.
type Parts = ([i32; LANES], [f32; LANES], f32, [f32; LANES]);

/// What follows the sums of a block. Scales range from one at which everything is zero to one at
/// which everything is clamped; powers of two make ties.
fn parts() -> impl Strategy<Value = Parts> {
    let scale = prop_oneof![
        4 => 1e-6f32..1e-2,
        2 => (-12i32..2).prop_map(|e| 2f32.powi(e)),
        1 => Just(0.0),
        1 => Just(8.0),
    ];
    let factor = prop_oneof![
        4 => -2f32..2.0,
        1 => Just(0.5),
        1 => Just(1.0),
        1 => Just(0.0),
        1 => Just(-200.0),
    ];
    let lanes =
        |s: BoxedStrategy<f32>| vec(s, LANES).prop_map(|v| <[f32; LANES]>::try_from(v).unwrap());
    let bias = vec(-40_000i32..40_000, LANES).prop_map(|v| <[i32; LANES]>::try_from(v).unwrap());
    (bias, lanes(scale.boxed()), factor.clone(), lanes(factor.boxed()))
}

fn post((bias, scale, positive, negative): &Parts, weights: &[WeightGroup]) -> Post {
    let (mut sums, mut magnitudes) = ([0; LANES], [0; LANES]);
    for group in weights {
        for lane in 0..LANES {
            sums[lane] += group.0[lane].iter().map(|w| i32::from(*w)).sum::<i32>();
            magnitudes[lane] += group.0[lane].iter().map(|w| i32::from(*w).abs()).sum::<i32>();
        }
    }
    // The largest scales are cut to what is still accepted.
    let scale = std::array::from_fn(|lane| {
        scale[lane].min(32_600.0 / (magnitudes[lane] * 128 + bias[lane].abs() + 1) as f32)
    });
    Post::new(*bias, sums, magnitudes, scale, *positive, *negative).expect("within bounds")
}

/// As the quantizers write them, without -128, or as they may be; all, or all but the first, with
/// magnitudes of which four just fit 16 bits or just do not.
fn groups(count: usize) -> impl Strategy<Value = Vec<WeightGroup>> {
    let limit = select(vec![(127, 127), (127, 127), (128, 128), (63, 63), (64, 64), (127, 63)]);
    (vec(group(), count), limit).prop_map(|(mut groups, (first, others))| {
        for (at, group) in groups.iter_mut().enumerate() {
            let limit = if at == 0 { first } else { others };
            let clamped = |w: i8| i32::from(w).clamp(-limit, limit.min(127)) as i8;
            group.0.as_flattened_mut().iter_mut().for_each(|w| *w = clamped(*w));
        }
        groups
    })
}

fn group() -> impl Strategy<Value = WeightGroup> {
    vec(weight(), 64).prop_map(|w| {
        WeightGroup(std::array::from_fn(|lane| std::array::from_fn(|i| w[lane * 4 + i])))
    })
}

/// Runs `f` with the reference and with every kernel of this processor, and compares what they
/// write.
fn same<T: PartialEq + std::fmt::Debug>(
    f: impl Fn(&dyn NetworkKernels) -> T,
) -> Result<(), TestCaseError> {
    let expected = f(&scalar::ScalarNetworks);
    for kernels in available() {
        prop_assert_eq!(&f(kernels), &expected, "{}", kernels.set());
    }
    Ok(())
}

/// Bytes in the form of the reference in that of a kernel, or back.
fn own(kernels: &dyn NetworkKernels, bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|b| b ^ ZERO ^ kernels.zero_byte()).collect()
}

/// What a pointwise convolution is made of, before its weights are packed: inputs, weights, what
/// follows.
type PointwiseParts = ((usize, InputRange), Vec<WeightGroup>, Vec<Post>, Activation);

prop_compose! {
    fn a_pointwise()(
        // Seldom more than a kernel may keep at a time.
        inputs in prop_oneof![15 => 1usize..100, 1 => 500usize..600], blocks in 1usize..9,
        range in select(vec![InputRange::Signed, InputRange::NotNegative]),
    )(
        weights in groups(blocks * Pointwise::groups(inputs)),
        parts in vec(parts(), blocks),
        activation in activation(),
        (inputs, range) in Just((inputs, range)),
    ) -> PointwiseParts {
        let groups = weights.chunks(Pointwise::groups(inputs));
        let post = parts.iter().zip(groups).map(|(p, w)| post(p, w)).collect();
        ((inputs, range), weights, post, activation)
    }
}

prop_compose! {
    fn a_depthwise()(
        weights in groups(3), parts in parts(), activation in activation(), stride in 1usize..3,
        left in 0usize..2) -> Depthwise {
        let mut weights = <[WeightGroup; 3]>::try_from(weights).unwrap();
        // The fourth place of a row holds no weight.
        weights.iter_mut().flat_map(|g| &mut g.0).for_each(|w| w[3] = 0);
        let post = post(&parts, &weights);
        Depthwise::new(vec![weights], vec![post], activation, stride, left)
    }
}

/// Three rows of `pixels` pixels.
fn rows(pixels: usize) -> impl Strategy<Value = [Vec<u8>; 3]> {
    let row = || vec(byte(), pixels * LANES);
    [row(), row(), row()]
}

fn borrowed(rows: &[Vec<u8>; 3]) -> [&[u8]; 3] {
    [&rows[0], &rows[1], &rows[2]]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn pointwise_convolutions_agree(
        (parts, pixels, gap, bytes) in
            (a_pointwise(), 1usize..40, 0usize..3).prop_flat_map(|(parts, pixels, gap)| {
                let stride = (pixels + gap) * LANES;
                let (inputs, range) = parts.0;
                let bytes = vec(byte(), span(inputs.div_ceil(LANES), stride, pixels));
                let bytes = bytes.prop_map(move |mut bytes| {
                    if range == InputRange::NotNegative {
                        bytes.iter_mut().for_each(|byte| *byte |= ZERO);
                    }
                    bytes
                });
                (Just(parts), Just(pixels), Just(gap), bytes)
            }),
    ) {
        let stride = (pixels + gap) * LANES;
        let (inputs, weights, post, activation) = parts;
        same(|k| {
            let op = Pointwise::new(inputs, weights.clone(), post.clone(), activation, k.packing());
            let (bytes, mut out) =
                (own(k, &bytes), own(k, &vec![7; span(op.post.len(), stride, pixels)]));
            k.pointwise(
                &op,
                Blocks { bytes: &bytes, stride },
                BlocksMut { bytes: &mut out, stride },
                pixels,
            );
            own(k, &out)
        })?;
    }

    #[test]
    fn depthwise_convolutions_agree(
        (op, rows) in (a_depthwise(), (1usize..40).prop_flat_map(rows)),
        bottom in 0usize..2,
    ) {
        let (input, padded) = (rows[0].len() / LANES, rows[0].len() / LANES + op.left + bottom);
        prop_assume!(padded >= 3);
        let output = (padded - 3) / op.stride + 1;
        prop_assume!((output - 1) * op.stride < input + op.left);
        same(|k| {
            let mut out = vec![7; output * LANES];
            k.depthwise(&op, 0, borrowed(&rows.each_ref().map(|r| own(k, r))), &mut out);
            own(k, &out)
        })?;
    }

    #[test]
    fn pooling_within_a_depthwise_convolution_is_pooling_after_it(
        op in a_depthwise(),
        (first, second) in (2usize..40).prop_flat_map(|p| (rows(p), rows(p))),
        bottom in 0usize..2,
    ) {
        let op = Depthwise { stride: 1, ..op };
        let (input, padded) = (first[0].len() / LANES, first[0].len() / LANES + op.left + bottom);
        prop_assume!(op.can_pool() && padded >= 4 && padded - 3 < input + op.left);
        let [a, b, c] = borrowed(&first);
        let d = &second[0][..];
        let (wide, pooled) = (padded - 2, (padded - 2) / 2);
        let mut apart = [vec![7; wide * LANES], vec![7; wide * LANES]];
        scalar::depthwise(&op, 0, [a, b, c], &mut apart[0]);
        scalar::depthwise(&op, 0, [b, c, d], &mut apart[1]);
        let mut expected = vec![7; pooled * LANES];
        scalar::max_pool([&apart[0], &apart[1]], &mut expected);
        for kernels in available().into_iter().filter(|k| k.pools()) {
            let mut out = vec![7; pooled * LANES];
            let rows = [a, b, c, d].map(|r| own(kernels, r));
            kernels.depthwise_pool(&op, 0, rows.each_ref().map(|r| &r[..]), &mut out);
            prop_assert_eq!(&own(kernels, &out), &expected, "{}", kernels.set());
        }
    }

    #[test]
    fn stems_agree(
        mut all in vec((groups(9), parts()), 1..5),
        activation in activation(),
        stride in 1usize..3,
        (pixels, bytes) in (1usize..40).prop_flat_map(|p| (Just(p), vec(byte(), 3 * (p * 6 + 16)))),
    ) {
        // A row has nine weights: its third group holds one.
        let thirds = all.iter_mut().flat_map(|(groups, _)| groups.iter_mut().skip(2).step_by(3));
        thirds.flat_map(|group| &mut group.0).for_each(|weights| weights[1..].fill(0));
        let post: Vec<Post> = all.iter().map(|(groups, parts)| post(parts, groups)).collect();
        let weights: Vec<[WeightGroup; 9]> =
            all.into_iter().map(|(g, _)| g.try_into().unwrap()).collect();
        let packed =
            |packing| Stem::new(weights.clone(), post.clone(), activation, stride, packing);
        let row = packed(Packing::Groups).row_bytes(pixels);
        let rows = [0, 1, 2].map(|r| bytes[r * row..][..row].to_vec());
        same(|k| {
            let op = packed(k.packing());
            let mut out = vec![7; op.post.len() * pixels * LANES];
            let dst = BlocksMut { bytes: &mut out, stride: pixels * LANES };
            k.stem(&op, borrowed(&rows.each_ref().map(|r| own(k, r))), dst, pixels);
            own(k, &out)
        })?;
    }

    #[test]
    fn quarters_hold_every_weight_once_and_say_which_runs_fit_16_bits(
        (weights, blocks, per_block) in
            (1usize..4, 1usize..12).prop_flat_map(|(blocks, pairs)| {
                (groups(blocks * 2 * pairs), Just(blocks), Just(2 * pairs))
            }),
    ) {
        let quarters = Quarters::new(weights.clone(), per_block);
        prop_assert_eq!(
            quarters.narrow,
            weights.iter().all(|g| g.0.as_flattened().iter().all(|w| *w > -128))
        );
        let bytes: Vec<i8> =
            quarters.weights.iter().flat_map(|g| g.0.as_flattened()).copied().collect();
        let mut fours = quarters.fours.iter();
        for block in 0..blocks {
            let mut first = 0;
            while first < per_block {
                let run = (per_block - first).min(4);
                let start = (block * per_block + first) * 64;
                let mut largest = 0;
                for lane in 0..LANES {
                    for input in 0..4 {
                        let mut sum = 0;
                        for group in 0..run {
                            let given = weights[block * per_block + first + group].0[lane][input];
                            let at = start + (lane / 4 * run + group) * 16 + lane % 4 * 4 + input;
                            prop_assert_eq!(bytes[at], given);
                            sum += i32::from(given).abs() * 128;
                        }
                        largest = largest.max(sum);
                    }
                }
                prop_assert_eq!(fours.next(), Some(&(largest <= 32_767)));
                first += run;
            }
        }
        prop_assert_eq!(fours.next(), None);
    }

    #[test]
    fn runs_hold_every_group_once_and_no_run_can_leave_16_bits(
        (weights, per_block) in (1usize..4, 1usize..12).prop_flat_map(|(blocks, per_block)| {
            (groups(blocks * per_block), Just(per_block))
        }),
    ) {
        let packed = Runs::new(weights.clone(), per_block);
        for (block, given) in weights.chunks(per_block).enumerate() {
            let (runs, groups) = packed.of(block);
            prop_assert_eq!(groups, given);
            let mut next = 0;
            for run in runs {
                let (first, count) = (usize::from(run.group), usize::from(run.count));
                prop_assert_eq!(4 * usize::from(run.block) + first, next);
                prop_assert!(count >= 1 && first + count <= 4, "within a block of inputs");
                for lane in 0..LANES {
                    for pair in [0..2, 2..4] {
                        let of_run = groups[next..next + count].iter();
                        let weights = of_run.flat_map(|g| g.0[lane][pair.clone()].iter());
                        let (mut most, mut least) = (0, 0);
                        for weight in weights.map(|w| i32::from(*w) * 127) {
                            most += weight.max(0);
                            least += weight.min(0);
                        }
                        prop_assert!(most <= i32::from(i16::MAX) && least >= i32::from(i16::MIN));
                    }
                }
                next += count;
            }
            prop_assert_eq!(next, per_block);
        }
    }

    #[test]
    fn global_convolutions_agree(
        (mut weights, bytes) in
            (1usize..60).prop_flat_map(|p| (groups(p.div_ceil(4)), vec(byte(), p * LANES))),
        parts in parts(),
        activation in activation(),
    ) {
        let pixels = bytes.len() / LANES;
        // Places beyond the last pixel hold no weight.
        let last = weights.last_mut().expect("at least one pixel");
        last.0.iter_mut().for_each(|w| w[(pixels - 1) % 4 + 1..].fill(0));
        let op = Global { post: vec![post(&parts, &weights)], weights, activation, pixels };
        same(|k| {
            let mut out = [7; LANES];
            k.global(&op, 0, &own(k, &bytes), &mut out);
            own(k, &out)
        })?;
    }

    #[test]
    fn maxima_agree(
        (upper, lower) in
            (2usize..60).prop_flat_map(|p| (vec(byte(), p * LANES), vec(byte(), p * LANES))),
    ) {
        let pixels = upper.len() / LANES / 2;
        same(|k| {
            let mut out = vec![7; pixels * LANES];
            k.max_pool([&own(k, &upper), &own(k, &lower)], &mut out);
            own(k, &out)
        })?;
    }

    #[test]
    fn sums_of_images_agree(
        (first, second) in
            (1usize..40).prop_flat_map(|p| (vec(byte(), p * LANES), vec(byte(), p * LANES))),
        factors in (
            prop_oneof![0f32..4.0, Just(0.5), Just(1.0)],
            prop_oneof![0f32..4.0, Just(0.5), Just(1000.0)],
        ),
        doubled in any::<bool>(),
    ) {
        let op = Add { first: factors.0, second: factors.1, doubled };
        let pixels = second.len() / LANES;
        let first = if doubled { &first[..pixels.div_ceil(2) * LANES] } else { &first[..] };
        same(|k| {
            let mut out = vec![7; second.len()];
            k.add(&op, &own(k, first), &own(k, &second), &mut out);
            own(k, &out)
        })?;
    }

    #[test]
    fn heads_agree_to_the_last_bit(
        rows in (1usize..30).prop_flat_map(rows),
        weights in vec(vec(prop_oneof![-1f32..1.0, Just(0.0), Just(-1e30)], LANES), 9),
        bias in vec(prop_oneof![-10f32..10.0, Just(-0.0)], LANES),
    ) {
        let lanes = |v: &Vec<f32>| <[f32; LANES]>::try_from(&v[..]).unwrap();
        let op =
            FloatHead { weights: std::array::from_fn(|t| lanes(&weights[t])), bias: lanes(&bias) };
        same(|k| {
            let mut out = vec![7.0; rows[0].len()];
            k.head(&op, borrowed(&rows.each_ref().map(|r| own(k, r))), &mut out);
            out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        })?;
    }

    #[test]
    fn sigmoids_agree_to_the_last_bit_and_are_right(
        values in vec(prop_oneof![-20f32..20.0, any::<f32>()], 1..70),
    ) {
        same(|k| {
            let mut out = values.clone();
            k.sigmoid(&mut out);
            out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        })?;
        let mut out = values.clone();
        scalar::sigmoid(&mut out);
        for (value, result) in values.iter().zip(&out).filter(|(v, _)| v.is_finite()) {
            let exact = 1.0 / (1.0 + (-f64::from(value.clamp(-87.0, 87.0))).exp());
            prop_assert!(
                (f64::from(*result) / exact - 1.0).abs() < 4e-7,
                "{} gives {} for {}",
                value,
                result,
                exact
            );
        }
    }

    #[test]
    fn image_bytes_are_looked_up_alike(
        tables in vec(vec(byte(), 256), 3),
        uniform in any::<bool>(),
        image in (1usize..100).prop_flat_map(|p| vec(any::<u8>(), 3 * p)),
    ) {
        let channel =
            |c: usize| <[u8; 256]>::try_from(&tables[if uniform { 0 } else { c }][..]).unwrap();
        let table = ByteTable { channels: [channel(0), channel(1), channel(2)], uniform };
        same(|k| {
            let mut out = vec![7; image.len()];
            k.quantize(&table, &image, &mut out);
            out
        })?;
    }
}

/// No processor runs all kernels: what was not compared with the reference is said.
#[test]
#[expect(clippy::print_stderr, reason = "for whoever reads what the tests of this machine showed")]
fn every_kernel_of_this_kind_of_processor_is_compared_or_named() {
    let compared: Vec<InstructionSet> = available().iter().map(|k| k.set()).collect();
    assert_eq!(compared.last(), Some(&InstructionSet::Scalar));
    #[cfg(target_arch = "x86_64")]
    {
        use InstructionSet::{Avx2, Avx512Vnni, AvxVnni};
        for set in [Avx2, AvxVnni, Avx512Vnni] {
            if !compared.contains(&set) {
                eprintln!("kernels: NOT COMPARED on this processor: {set}.");
            }
        }
        let vex = is_x86_feature_detected!("avxvnni");
        let evex = is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni");
        let of_both = compared.iter().filter(|set| **set == AvxVnni).count();
        assert_eq!(of_both, usize::from(vex) + usize::from(evex));
        if of_both == 1 {
            let (here, missing) = if vex { ("VEX", "EVEX") } else { ("EVEX", "VEX") };
            eprintln!(
                "kernels: {AvxVnni} was compared as {here} encodes it, NOT as {missing} does."
            );
        }
    }
}

#[test]
fn a_convolution_is_what_its_definition_says() {
    // Two pixels, one input channel, weight -3, bias 10, scale 1/2: (10 - 3 * 5) / 2 = -2.5 and (10
    // - 3 * -5) / 2 = 12.5, both rounded to even; PReLU then multiplies the negative one with 1/4:
    // -0.5, to even again.
    let mut weights = vec![WeightGroup::NONE; 2];
    weights[0].0[0][0] = -3;
    let mut lanes = ([0; LANES], [0; LANES], [0; LANES]);
    (lanes.0[0], lanes.1[0], lanes.2[0]) = (10, -3, 3);
    let post = Post::new(lanes.0, lanes.1, lanes.2, [0.5; LANES], 1.0, [0.25; LANES]).unwrap();
    let mut bytes = [ZERO; 2 * LANES];
    (bytes[0], bytes[LANES]) = (ZERO + 5, ZERO - 5);
    for (activation, expected) in [
        (Activation::Identity, [-2i16, 12]),
        (Activation::Relu, [0, 12]),
        (Activation::PRelu, [0, 12]),
    ] {
        for kernels in available() {
            let (weights, post) = (weights.clone(), vec![post.clone()]);
            let op = Pointwise::new(
                (1, InputRange::Signed),
                weights,
                post,
                activation,
                kernels.packing(),
            );
            let mut out = [7; 2 * LANES];
            let dst = BlocksMut { bytes: &mut out, stride: 2 * LANES };
            let bytes = own(kernels, &bytes);
            kernels.pointwise(&op, Blocks { bytes: &bytes, stride: 2 * LANES }, dst, 2);
            let out = own(kernels, &out);
            let steps = [out[0], out[LANES]].map(|b| i16::from(b) - i16::from(ZERO));
            assert_eq!(steps, expected, "{activation:?} {}", kernels.set());
            assert!(out[1..LANES].iter().all(|b| *b == ZERO), "channels that pad a block are zero");
        }
    }
}

#[test]
fn what_could_differ_between_processors_is_refused() {
    let new = |bias: i32, magnitude: i32, scale: f32, negative: f32| {
        Post::new(
            [bias; LANES],
            [0; LANES],
            [magnitude; LANES],
            [scale; LANES],
            1.0,
            [negative; LANES],
        )
    };
    assert!(new(0, 1000, 0.01, 0.25).is_some());
    assert!(new(i32::MAX, 1, 0.0, 0.0).is_none(), "a sum of more than 32 bits");
    assert!(
        new(0, i32::MAX / 200, 0.0, 0.0).is_none(),
        "a sum of more than 32 bits, by the weights"
    );
    assert!(
        new(0, 1000, 0.25, 0.0).is_some() && new(0, 1000, 0.26, 0.0).is_none(),
        "a step of more than 16 bits"
    );
    assert!(new(33_000, 0, 1.0, 0.0).is_none(), "a step of more than 16 bits, by the bias alone");
    assert!(new(0, 1000, f32::NAN, 0.0).is_none() && new(0, 1000, -1.0, 0.0).is_none());
    assert!(new(0, 1000, 0.01, f32::INFINITY).is_none());
}
