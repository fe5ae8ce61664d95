//! Measures detector and embedder on photographs whose truth is known, with the metrics of ISO/IEC
//! 19795-1, so that whoever deploys the device can test it on people of their own before they trust
//! it.
//!
//! | module | one job |
//! |---|---|
//! | [`statistics`] | counts to rates with intervals; pure |
//! | [`protocol`] | how test data are laid out and drawn from |
//! | [`extract`] | photographs to templates, on all cores |
//! | [`cover`] | masks and glasses, drawn over faces |
//! | [`degrade`] | views as a street gives them, made from photographs |
//! | [`compare`] | all templates with all others |
//! | [`verification`] | one to one: accuracy, ROC, TAR at FAR |
//! | [`identification`] | one to many, open set: FNIR at FPIR, rank 1 |
//! | [`detection`] | WIDER protocol, recall by face height |
//! | [`gate`] | whether views that cannot match are counted as such |
//! | [`gate_fit`] | the limits of that count, fitted anew |
//! | [`groups`] | how rates differ between the deployer's own groups |
//! | [`duplicates`] | who may be one person under two names |
//! | [`contact`] | their photographs side by side, for a person to judge |
//! | [`bounds`] | upper bounds of a population: counted, then extrapolated |
//! | [`mod@unit`] | templates of several photographs with tracks of several views |
//! | [`curve`] | the false-match curve that a manifest carries |
//! | [`sites`] | whether a calibration on site keeps its bound, at drawn places |
//! | [`provenance`] | how a manifest says where its figures are from |
//! | [`records`] | every comparison as a line, for checking the figures with other software |
//! | [`report`] | any of these as text or as one HTML file |
//!
//! Promises: a comparison here is the one that the device makes (int8 templates, cosine); no
//! template is written to disk (similarities, boxes and, for `sites`, templates only where asked
//! for); everything that was not used is counted and listed; a rate that the data cannot support is
//! refused with the reason; what is extrapolated is called so. Pictures go into a report only where
//! a contact sheet is asked for.
//! Intervals take trials as independent unless a design effect is named.
//!
//! Not promised: that figures of one set of photographs hold for another camera, place or
//! population.

pub(crate) mod bounds;
pub(crate) mod compare;
pub(crate) mod contact;
pub(crate) mod cover;
pub(crate) mod curve;
pub(crate) mod degrade;
pub(crate) mod detection;
pub(crate) mod duplicates;
pub(crate) mod extract;
pub(crate) mod gate;
pub(crate) mod gate_fit;
pub(crate) mod groups;
pub(crate) mod identification;
pub(crate) mod left_out;
pub(crate) mod protocol;
pub(crate) mod provenance;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod sites;
pub mod statistics;
pub(crate) mod unit;
pub(crate) mod verification;
mod work;

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;

use crate::files;
use crate::vision::{Models, VisionError};
use extract::{Acquisition, Settings};
use left_out::LeftOut;
use records::Records;

/// What every evaluation works with.
pub struct Context<'a> {
    /// How photographs are looked at.
    pub settings: &'a Settings,
    /// Shows how far it is.
    pub progress: &'a ProgressBar,
    /// Takes what is not used.
    pub left_out: &'a mut LeftOut,
    /// Takes what is scored.
    pub records: &'a mut Records,
}

/// Why there is no result at all. Data that are merely poor give a result that says so.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The folder with the photographs.
    #[error(
        "cannot list the folder {path}: {source}; --root must name the folder with the photographs"
    )]
    Root {
        /// As given.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A list of pairs, boxes or groups.
    #[error("cannot read the list {path}: {source}")]
    List {
        /// As given.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A list that is not UTF-8 text.
    #[error("the list {path} is not UTF-8 text: convert it")]
    NotText {
        /// As given.
        path: PathBuf,
    },
    /// Not a pairs file.
    #[error(transparent)]
    Pairs(#[from] protocol::pairs::PairsError),
    /// Not a list of groups.
    #[error(transparent)]
    Labels(#[from] protocol::labels::LabelsError),
    /// Not a file of judgements.
    #[error(transparent)]
    Duplicates(#[from] protocol::duplicates::DuplicatesError),
    /// The models do not load.
    #[error(transparent)]
    Vision(#[from] VisionError),
}

/// Most bytes of a list: one of a million photographs has some 40 MB.
const MAX_LIST: u64 = 256 << 20;

/// Reads a list.
///
/// # Errors
/// [`EvaluateError::List`], [`EvaluateError::NotText`].
pub fn read_list(path: &std::path::Path) -> Result<String, EvaluateError> {
    let bytes = files::read_bytes(path, MAX_LIST)
        .map_err(|source| EvaluateError::List { path: path.into(), source })?;
    let text = files::text(&bytes).map_err(|_| EvaluateError::NotText { path: path.into() })?;
    Ok(text.as_str().to_owned())
}

/// One network as a result names it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestedNetwork {
    /// Name in the manifest.
    pub name: String,
    /// SHA-256 of its file, hexadecimal.
    pub sha256: String,
}

/// A result with everything that is needed to understand and repeat it.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation<R> {
    /// Which command made it.
    pub evaluation: &'static str,
    /// Version of this program.
    pub program: &'static str,
    /// The detector under test.
    pub detector: TestedNetwork,
    /// The embedder under test.
    pub embedder: TestedNetwork,
    /// How photographs were looked at.
    pub settings: Settings,
    /// Folder of the photographs.
    pub root: PathBuf,
    /// The list of pairs, boxes or groups, where there is one.
    pub list: Option<PathBuf>,
    /// Whether anything at all could be evaluated.
    pub evaluated: bool,
    /// Photographs and failures to acquire; `None` for detection.
    pub acquisition: Option<Acquisition>,
    /// What was not used.
    pub left_out: LeftOut,
    /// The figures.
    #[serde(flatten)]
    pub result: R,
}

/// Names the networks of `models`.
pub fn networks(models: &Models) -> (TestedNetwork, TestedNetwork) {
    let (d, e) = (&models.manifest.detector, &models.manifest.embedder);
    (
        TestedNetwork { name: d.name.clone(), sha256: d.sha256.to_string() },
        TestedNetwork { name: e.name.clone(), sha256: e.sha256.to_string() },
    )
}
