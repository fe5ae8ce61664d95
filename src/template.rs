//! Embeddings and the int8 templates made from them: the only form in which a face is compared.
//!
//! Promises: both wipe themselves when dropped and print nothing but their length, so that neither
//! a log nor freed memory holds one.
//!
//! Not promised: that two templates are comparable. They are only if one embedder made both; the
//! caller that holds both checks the digest.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The steps from a picture to an embedding, by number. It rises whenever the same networks make
/// other embeddings of the same picture, or templates are made of them in another way: templates of
/// two pipelines are not comparable. 2: one template an entry, the mean of its photographs.
pub const PIPELINE: u32 = 2;

/// Most dimensions an embedder may have.
pub const MAX_DIMENSIONS: usize = 1024;
/// Fewest dimensions an embedder may have.
pub const MIN_DIMENSIONS: usize = 64;

/// Why numbers are no embedding or bytes no template.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum TemplateError {
    /// Outside [`MIN_DIMENSIONS`] to [`MAX_DIMENSIONS`].
    #[error("{0} dimensions: an embedding has {MIN_DIMENSIONS} to {MAX_DIMENSIONS}")]
    Dimensions(usize),
    /// A NaN or infinite component.
    #[error("component {0} is not finite")]
    NotFinite(usize),
    /// No direction to compare.
    #[error("all components are zero")]
    Zero,
}

/// An L2-normalised embedding straight from the network: a probe, or one view on its way into a
/// template.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Embedding {
    values: Box<[f32]>,
}

impl Embedding {
    /// Normalises `raw` to length one.
    ///
    /// # Errors
    /// Where the number of dimensions is out of range, a component is not finite or all are zero.
    pub fn normalised(raw: &[f32]) -> Result<Self, TemplateError> {
        if !(MIN_DIMENSIONS..=MAX_DIMENSIONS).contains(&raw.len()) {
            return Err(TemplateError::Dimensions(raw.len()));
        }
        if let Some(i) = raw.iter().position(|v| !v.is_finite()) {
            return Err(TemplateError::NotFinite(i));
        }
        let norm = raw.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
        if norm < 1e-12 {
            return Err(TemplateError::Zero);
        }
        Ok(Self { values: raw.iter().map(|v| (f64::from(*v) / norm) as f32).collect() })
    }

    /// The components; the sum of their squares is one.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Cosine similarity, -1 to 1. Panics in debug builds where the dimensions differ.
    pub fn cosine(&self, other: &Embedding) -> f32 {
        debug_assert_eq!(self.values.len(), other.values.len(), "embeddings of two embedders");
        self.values.iter().zip(other.values.iter()).map(|(a, b)| a * b).sum()
    }

    /// Symmetric int8 quantization, the largest component at ±127.
    pub fn quantize(&self) -> Template {
        let peak = self.values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let scale = 127.0 / peak;
        let values = self.values.iter().map(|v| (v * scale).round_ties_even() as i8).collect();
        Template::new(values)
            .expect("a normalised embedding has a largest component, which becomes ±127")
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Embedding(<{} x f32>)", self.values.len())
    }
}

/// One over the Euclidean length of components; `None` where all are zero.
pub fn inverse_norm(values: impl Iterator<Item = i8>) -> Option<f32> {
    let square: i64 = values.map(|v| i64::from(v) * i64::from(v)).sum();
    (square > 0).then(|| (1.0 / (square as f64).sqrt()) as f32)
}

/// An int8 template. Its scale is free: only the direction counts.
#[derive(Clone, Zeroize, ZeroizeOnDrop, PartialEq)]
pub struct Template {
    values: Box<[i8]>,
    inverse_norm: f32,
}

impl Template {
    /// A template from its stored components.
    ///
    /// # Errors
    /// Where the number of dimensions is out of range or all components are zero.
    pub fn new(values: Box<[i8]>) -> Result<Self, TemplateError> {
        if !(MIN_DIMENSIONS..=MAX_DIMENSIONS).contains(&values.len()) {
            return Err(TemplateError::Dimensions(values.len()));
        }
        let inverse_norm = inverse_norm(values.iter().copied()).ok_or(TemplateError::Zero)?;
        Ok(Self { values, inverse_norm })
    }

    /// The components.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// One over the Euclidean length of [`Template::values`].
    pub fn inverse_norm(&self) -> f32 {
        self.inverse_norm
    }

    /// Cosine similarity, -1 to 1. Panics in debug builds where the dimensions differ.
    pub fn cosine(&self, other: &Template) -> f32 {
        debug_assert_eq!(self.values.len(), other.values.len(), "templates of two embedders");
        let dot: i32 = self
            .values
            .iter()
            .zip(other.values.iter())
            .map(|(a, b)| i32::from(*a) * i32::from(*b))
            .sum();
        dot as f32 * self.inverse_norm * other.inverse_norm
    }
}

/// The one template of several of one person: the unit mean of their directions, each
/// photograph or view counting alike, requantized. The order does not matter.
///
/// # Errors
/// Where there is none, they are of different dimensions, or they cancel each other.
pub fn fuse<'a>(views: impl IntoIterator<Item = &'a Template>) -> Result<Template, TemplateError> {
    let mut sum = zeroize::Zeroizing::new(Vec::<f32>::new());
    for view in views {
        let dimensions = view.values.len();
        if sum.is_empty() {
            sum.resize(dimensions, 0.0);
        }
        if sum.len() != dimensions {
            return Err(TemplateError::Dimensions(dimensions));
        }
        for (sum, value) in sum.iter_mut().zip(view.values.iter()) {
            *sum += f32::from(*value) * view.inverse_norm;
        }
    }
    Ok(Embedding::normalised(&sum)?.quantize())
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template(<{} x i8>)", self.values.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn debug_output_never_shows_a_component() {
        let e = Embedding::normalised(&[0.5; 64]).expect("64 equal components");
        assert_eq!(
            format!("{e:?} {:?}", e.quantize()),
            "Embedding(<64 x f32>) Template(<64 x i8>)"
        );
    }

    #[test]
    fn a_fused_template_lies_between_its_photographs_whatever_their_scale() {
        let at = |degrees: f32, length: f32| {
            let mut values = vec![0i8; 64];
            values[0] = (length * degrees.to_radians().cos()).round() as i8;
            values[1] = (length * degrees.to_radians().sin()).round() as i8;
            Template::new(values.into()).unwrap()
        };
        let fused = fuse([&at(0.0, 120.0), &at(60.0, 60.0)]).unwrap();
        assert!(fused.cosine(&at(30.0, 127.0)) > 0.999, "{:?}", &fused.values()[..2]);
        assert_eq!(fuse([]).unwrap_err(), TemplateError::Dimensions(0));
        let opposite = fuse([&at(0.0, 100.0), &at(180.0, 100.0)]).unwrap_err();
        assert_eq!(opposite, TemplateError::Zero);
        let longer = Template::new(vec![1; 128].into()).unwrap();
        assert_eq!(fuse([&at(0.0, 9.0), &longer]).unwrap_err(), TemplateError::Dimensions(128));
    }

    #[test]
    fn what_is_no_embedding_is_refused() {
        assert_eq!(Embedding::normalised(&[1.0; 63]).unwrap_err(), TemplateError::Dimensions(63));
        assert_eq!(Embedding::normalised(&[0.0; 64]).unwrap_err(), TemplateError::Zero);
        let mut v = [1.0f32; 64];
        v[9] = f32::NAN;
        assert_eq!(Embedding::normalised(&v).unwrap_err(), TemplateError::NotFinite(9));
        assert_eq!(Template::new(vec![0; 512].into()).unwrap_err(), TemplateError::Zero);
    }

    proptest! {
        #[test]
        fn quantizing_moves_the_cosine_by_less_than_a_hundredth(
            a in proptest::collection::vec(-1.0f32..1.0, 512),
            b in proptest::collection::vec(-1.0f32..1.0, 512),
        ) {
            prop_assume!(a.iter().any(|v| v.abs() > 0.1) && b.iter().any(|v| v.abs() > 0.1));
            let (a, b) = (Embedding::normalised(&a).unwrap(), Embedding::normalised(&b).unwrap());
            prop_assert!((a.cosine(&b) - a.quantize().cosine(&b.quantize())).abs() < 0.01);
        }
    }
}
