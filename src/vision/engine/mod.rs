//! Runs a network: one image in, named tensors of `f32` out, shapes fixed when it is loaded.
//!
//! [`load`] reads an ONNX file, checks it and returns the fastest engine that can run it as a
//! [`Network`]. Callers hand over pixels as bytes; the engine normalises them itself, so that a
//! quantized engine never has to widen them.
//!
//! * A malformed file, or one that tract itself panics on, is an error, never a panic.
//! * Kernels that the environment names but this processor lacks are an error.
//!
//! Not promised: batches, several inputs, outputs that are not `f32`, or dynamic shapes after
//! loading (load once more).

mod finite;
mod plan;
#[cfg(feature = "any-network")]
mod reference;

#[cfg(feature = "any-network")]
use log::info;
use zeroize::Zeroize;

use crate::kernels::{choice, networks as kernels};

/// What the network subtracts from and multiplies with each channel: `(x - mean) * scale`, in the
/// model's channel order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Subtracted, on the scale of 0 to 255.
    pub mean: [f32; 3],
    /// Multiplied with afterwards.
    pub scale: [f32; 3],
}

impl Normalization {
    /// Bytes go in as they are.
    pub const NONE: Normalization = Normalization { mean: [0.0; 3], scale: [1.0; 3] };
}

/// One image for a network whose input is `[1, 3, height, width]`.
#[derive(Clone, Copy)]
pub enum NetworkInput<'a> {
    /// `3 * height * width` values, channel after channel, after mean and scale.
    Planes(&'a [f32]),
    /// `height * width * 3` bytes, pixel after pixel in the model's channel order, before mean and
    /// scale.
    Interleaved(&'a [u8]),
}

impl std::fmt::Debug for NetworkInput<'_> {
    // Never the pixels: they may be a face.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Planes(v) => write!(f, "Planes(<{} x f32>)", v.len()),
            Self::Interleaved(v) => write!(f, "Interleaved(<{} x u8>)", v.len()),
        }
    }
}

/// A loaded network. Not shared between threads: it owns its working memory.
pub trait Network: Send {
    /// Engine and kernel, for `bench` and `doctor`, as in `tract` or `plan avx512vnni`.
    fn name(&self) -> &str;

    /// `[1, 3, height, width]`.
    fn input_shape(&self) -> [usize; 4];

    /// Names of the outputs in the order of the file.
    fn output_names(&self) -> &[String];

    /// Runs the network; its outputs are read with [`Network::output`] afterwards.
    ///
    /// # Errors
    /// [`EngineError::Input`] where the input has another length than the shape asks for,
    /// [`EngineError::Run`] where the engine fails. The outputs are then those of no run.
    fn run(&mut self, input: &NetworkInput<'_>) -> Result<(), EngineError>;

    /// The values of an output after the last run, in row-major order; before the first run, zeros
    /// of the right length.
    ///
    /// # Panics
    /// Where `index` is not below the number of [`Network::output_names`].
    fn output(&self, index: usize) -> &[f32];

    /// Overwrites what the network still holds of the last input and its outputs.
    fn wipe(&mut self);
}

/// Why a network cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bytes do not decode.
    #[error("not an ONNX file, or cut short: {reason}")]
    NotOnnx {
        /// What the decoder said.
        reason: String,
    },
    /// A weight that is not a number.
    #[error(
        "weight `{weight}` is not finite: the file is damaged, or was exported from a network \
         that was"
    )]
    NotFinite {
        /// Its name in the file.
        weight: String,
    },
    /// It decodes, but does not have one image as its input.
    #[error("the network must have exactly one input of shape [1, 3, height, width]: {reason}")]
    Interface {
        /// What it has.
        reason: String,
    },
    /// An operator or a shape that no engine here can run at this input size.
    #[error("no engine can run this network on a {width}x{height} image: {reason}")]
    Unsupported {
        /// Asked for.
        height: usize,
        /// Asked for.
        width: usize,
        /// The engine's chain of causes.
        reason: String,
    },
    /// The environment names kernels that cannot run here.
    #[error(transparent)]
    Kernels(#[from] choice::UnusableSet),
    /// The caller's image has another size than the network.
    #[error("the network takes {need} values, got {got}")]
    Input {
        /// Values that the shape asks for.
        need: usize,
        /// Values given.
        got: usize,
    },
    /// The engine failed on this input.
    #[error("the network failed to run: {reason}")]
    Run {
        /// The engine's chain of causes.
        reason: String,
    },
}

/// Loads a network for images of `height` x `width` pixels. A dynamic height or width in the file
/// is fixed to these.
///
/// # Errors
/// [`EngineError::NotOnnx`], [`EngineError::NotFinite`], [`EngineError::Interface`],
/// [`EngineError::Unsupported`], [`EngineError::Kernels`].
pub fn load(
    onnx: &[u8],
    height: usize,
    width: usize,
    normalization: Normalization,
) -> Result<Box<dyn Network>, EngineError> {
    if let Some(weight) = finite::unsound(onnx) {
        return Err(EngineError::NotFinite { weight });
    }
    let kernels = kernels::with(choice::chosen()?);
    let no_plan = if (1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width) {
        match plan::NetworkPlan::load(onnx, height, width, &normalization, kernels) {
            Ok(plan) => return Ok(Box::new(plan)),
            Err(reason) => Some(reason),
        }
    } else {
        None
    };
    without_plan(onnx, height, width, normalization, no_plan)
}

/// What runs a network that has no plan; `reason` is absent where the size alone forbids one.
#[cfg(feature = "any-network")]
fn without_plan(
    onnx: &[u8],
    height: usize,
    width: usize,
    normalization: Normalization,
    reason: Option<plan::NoPlan>,
) -> Result<Box<dyn Network>, EngineError> {
    // Of what is no ONNX file the reference engine says the same with more detail.
    if let Some(reason) = reason.filter(|r| !matches!(r, plan::NoPlan::NotOnnx(_))) {
        info!("The network runs on tract, slower than a quantized plan: reason={reason}.");
    }
    reference(onnx, height, width, normalization)
}

/// This build has no engine for networks that the quantized one cannot lower.
#[cfg(not(feature = "any-network"))]
fn without_plan(
    _: &[u8],
    height: usize,
    width: usize,
    _: Normalization,
    reason: Option<plan::NoPlan>,
) -> Result<Box<dyn Network>, EngineError> {
    let reason = match reason {
        Some(plan::NoPlan::NotOnnx(reason)) => return Err(EngineError::NotOnnx { reason }),
        Some(reason) => format!(
            "{reason}; this build runs quantized networks only: quantize it as models/rebuild \
             does, or build watchpost with --features any-network"
        ),
        None => format!("each side must be 1 to {MAX_SIDE} pixels"),
    };
    Err(EngineError::Unsupported { height, width, reason })
}

/// Loads a network as a quantized plan with the kernels given: for comparing them.
///
/// # Errors
/// As [`load`]; [`EngineError::Unsupported`] also where the network cannot be lowered.
pub fn load_with(
    onnx: &[u8],
    height: usize,
    width: usize,
    normalization: Normalization,
    kernels: &'static dyn kernels::NetworkKernels,
) -> Result<Box<dyn Network>, EngineError> {
    match plan::NetworkPlan::load(onnx, height, width, &normalization, kernels) {
        Ok(plan) => Ok(Box::new(plan)),
        Err(plan::NoPlan::NotOnnx(reason)) => Err(EngineError::NotOnnx { reason }),
        Err(e) => Err(EngineError::Unsupported { height, width, reason: e.to_string() }),
    }
}

/// Loads a network with the reference engine: what [`load`] is compared with.
///
/// # Errors
/// As [`load`].
#[cfg(feature = "any-network")]
pub fn reference(
    onnx: &[u8],
    height: usize,
    width: usize,
    normalization: Normalization,
) -> Result<Box<dyn Network>, EngineError> {
    Ok(Box::new(reference::TractNetwork::load(onnx, height, width, normalization)?))
}

/// Longest side of a network's input; keeps every product of sizes far within 32 bits.
const MAX_SIDE: usize = 8192;

/// Turns interleaved bytes into normalised planes. `planes` holds as many values as `bytes`.
#[cfg(any(test, feature = "any-network"))]
fn normalise(bytes: &[u8], normalization: &Normalization, planes: &mut [f32]) {
    let area = bytes.len() / 3;
    for (channel, plane) in planes.chunks_exact_mut(area.max(1)).enumerate().take(3) {
        let (mean, scale) = (normalization.mean[channel], normalization.scale[channel]);
        for (value, pixel) in plane.iter_mut().zip(bytes.chunks_exact(3)) {
            *value = (f32::from(pixel[channel]) - mean) * scale;
        }
    }
}

/// Outputs as plain vectors, reused from run to run.
#[derive(Default)]
struct Outputs {
    names: Vec<String>,
    values: Vec<Vec<f32>>,
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.values.iter_mut().for_each(Zeroize::zeroize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECTOR: &[u8] = include_bytes!("../../../models/yunet_s_int8.onnx");
    const EMBEDDER: &[u8] = include_bytes!("../../../models/fr_feature_int8.onnx");

    #[test]
    fn a_dynamic_network_is_fixed_to_the_size_asked_for_and_its_outputs_have_their_lengths_before_any_run()
     {
        let mut n = load(DETECTOR, 64, 96, Normalization::NONE).unwrap();
        assert_eq!(n.input_shape(), [1, 3, 64, 96]);
        let length = |n: &dyn Network, name: &str| {
            n.output(n.output_names().iter().position(|o| o == name).expect("an output of YuNet"))
                .len()
        };
        assert_eq!(
            (length(&*n, "cls_8"), length(&*n, "bbox_16"), length(&*n, "kps_32")),
            (96, 4 * 24, 10 * 6)
        );
        n.run(&NetworkInput::Interleaved(&[128; 3 * 64 * 96])).unwrap();
        assert!(n.output(0).iter().any(|v| *v != 0.0));
        n.wipe();
        assert!(n.output(0).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn bytes_and_normalised_planes_give_the_same_outputs() {
        let normalization = Normalization { mean: [127.5; 3], scale: [1.0 / 128.0; 3] };
        let mut n = load(EMBEDDER, 112, 112, normalization).unwrap();
        let bytes: Vec<u8> = (0..3 * 112 * 112usize).map(|i| (i * 31 % 251) as u8).collect();
        n.run(&NetworkInput::Interleaved(&bytes)).unwrap();
        let first = n.output(0).to_vec();
        let mut planes = vec![0.0; bytes.len()];
        normalise(&bytes, &normalization, &mut planes);
        n.run(&NetworkInput::Planes(&planes)).unwrap();
        assert_eq!(first, n.output(0));
    }

    #[test]
    fn an_image_of_another_size_is_refused_and_the_network_still_works() {
        let mut n = load(DETECTOR, 32, 32, Normalization::NONE).unwrap();
        assert!(matches!(
            n.run(&NetworkInput::Interleaved(&[0; 3071])),
            Err(EngineError::Input { need: 3072, got: 3071 })
        ));
        n.run(&NetworkInput::Interleaved(&[0; 3072])).unwrap();
    }

    #[test]
    fn what_is_no_network_is_an_error_and_never_a_panic() {
        for bytes in [&b""[..], b"\x08\x07", b"not a network", &[0xff; 64]] {
            assert!(matches!(
                load(bytes, 32, 32, Normalization::NONE),
                Err(EngineError::NotOnnx { .. })
            ));
        }
        for part in 1..8 {
            assert!(
                load(&DETECTOR[..DETECTOR.len() * part / 8], 32, 32, Normalization::NONE).is_err()
            );
        }
    }

    #[test]
    fn a_network_of_a_fixed_size_refuses_another_and_absurd_sizes_are_refused() {
        let error = |height, width| load(EMBEDDER, height, width, Normalization::NONE).err();
        assert!(matches!(
            error(112, 96),
            Some(EngineError::Interface { .. } | EngineError::Unsupported { .. })
        ));
        assert!(matches!(error(0, 112), Some(EngineError::Unsupported { .. })));
        assert!(matches!(error(112, usize::MAX), Some(EngineError::Unsupported { .. })));
    }

    #[test]
    fn normalising_deinterleaves_and_applies_each_channels_mean_and_scale() {
        let n = Normalization { mean: [1.0, 2.0, 3.0], scale: [1.0, 0.5, 2.0] };
        let mut planes = [0.0; 6];
        normalise(&[1, 2, 3, 11, 12, 13], &n, &mut planes);
        assert_eq!(planes, [0.0, 10.0, 0.0, 5.0, 0.0, 20.0]);
    }
}
