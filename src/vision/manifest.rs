//! The manifest: which networks run, and everything that has to be known about them; and the
//! networks' bytes, checked.
//!
//! [`Models`] exists only with both files read and equal to the manifest's digests. Whether the
//! networks have the inputs and outputs that the manifest says is found out when they are loaded
//! into an engine.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::engine::Normalization;
use super::groups::GroupCurve;
use super::misses::MissCurve;
use crate::files::read_bytes;
use crate::geometry::Point;
use crate::kernels::pixels;
use crate::template::{MAX_DIMENSIONS, MIN_DIMENSIONS};

/// Longest model file that is read, in bytes.
const MAX_FILE: u64 = 256 << 20;
/// Longest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// The manifest of the built-in networks.
const BUILTIN: &str = include_str!("../../models/manifest.toml");
/// Most output grids of a detector.
pub(super) const MAX_LEVELS: usize = 5;

/// Why there are no models.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}; the networks must lie beside their manifest")]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that is longer than any model.
    #[error("{path} is longer than {limit} bytes: not a file of this kind")]
    TooLong {
        /// Which one.
        path: PathBuf,
        /// In bytes.
        limit: u64,
    },
    /// Not TOML, an unknown key, or a missing one.
    #[error("{path} is no manifest: {reason}")]
    Syntax {
        /// Which one.
        path: PathBuf,
        /// The parser's words, with line and column.
        reason: String,
    },
    /// A value that no network can have.
    #[error("{path}: `{key}` {reason}")]
    Value {
        /// Of the manifest.
        path: PathBuf,
        /// Dotted path of the key.
        key: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The built-in embedder, used in another way than the one that was measured.
    #[error(
        "{path} names the built-in embedder with another `{key}`: its false-match curve was \
         measured with its own settings and holds with these only. Take the section `[embedder]` \
         and its groups from the manifest that this program was built with, or leave \
         {vision_models} out",
        vision_models = setting!(vision.models)
    )]
    NotAsBuiltIn {
        /// The manifest.
        path: PathBuf,
        /// Dotted path of the key.
        key: &'static str,
    },
    /// Not the file that the manifest speaks of.
    #[error(
        "{path} has SHA-256 {found}, the manifest says {expected}: fetch the file again, or \
         correct `{key}` if you replaced it on purpose"
    )]
    Digest {
        /// Which one.
        path: PathBuf,
        /// Dotted path of the key.
        key: &'static str,
        /// As the manifest says.
        expected: Digest,
        /// Of the file.
        found: Digest,
    },
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err("a SHA-256 is 64 hexadecimal digits".into());
        }
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16)
                .map_err(|_| "a SHA-256 is 64 hexadecimal digits".to_owned())?;
        }
        Ok(Self(bytes))
    }
}

/// The order in which a network takes the channels of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

impl Channels {
    /// Copies pixels of red, green, blue to as many bytes in this order.
    pub(super) fn copy_rgb(self, rgb: &[u8], to: &mut [u8]) {
        match self {
            Self::Rgb => to.copy_from_slice(rgb),
            Self::Bgr => pixels::in_use().swap(rgb, to),
        }
    }
}

/// How a detector's outputs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Two scores a cell, box as centre offset and log size.
    Yunet,
    /// One score an anchor, box as distances from the cell to its four edges.
    Scrfd,
}

/// `models/manifest.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The network that finds faces.
    pub detector: DetectorSpec,
    /// The network that makes an embedding of an aligned face.
    pub embedder: EmbedderSpec,
}

/// What has to be known about the detector.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorSpec {
    /// For people.
    pub name: String,
    /// Name of the ONNX file beside the manifest.
    pub file: String,
    /// Of that file.
    pub sha256: Digest,
    /// How its outputs are read.
    pub family: Family,
    /// Order of its input's channels.
    pub channels: Channels,
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Multiplied with afterwards.
    pub scale: [f32; 3],
    /// Its input's sides are multiples of this, in pixels. For a network whose input has a fixed
    /// size, square, that size.
    pub multiple: usize,
    /// Its output grids, finest first.
    pub levels: Vec<Level>,
    /// Where it comes from.
    pub origin: String,
    /// Under which terms.
    pub licence: String,
}

/// One output grid of a detector.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// Pixels of the input a cell.
    pub stride: usize,
    /// Names of the score outputs; their product counts (its square root, if there are two).
    pub scores: Vec<String>,
    /// Name of the output with four values a box.
    pub boxes: String,
    /// Name of the output with ten values a box: x and y of five points.
    pub points: String,
}

/// What has to be known about the embedder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderSpec {
    /// For people.
    pub name: String,
    /// Name of the ONNX file beside the manifest.
    pub file: String,
    /// Of that file. Templates of two embedders are not comparable: a watch list names this digest.
    pub sha256: Digest,
    /// Order of its input's channels.
    pub channels: Channels,
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// Multiplied with afterwards.
    pub scale: [f32; 3],
    /// Side of its square input in pixels.
    pub side: usize,
    /// Where the five landmarks are placed in it, as x and y in pixels.
    pub template: [[f32; 2]; 5],
    /// Name of its output.
    pub output: String,
    /// Length of its embedding.
    pub dimensions: usize,
    /// Where it comes from.
    pub origin: String,
    /// Under which terms.
    pub licence: String,
    /// The measured false-match curve of each group of people. Empty where none was measured.
    #[serde(default)]
    pub groups: Vec<GroupCurve>,
    /// How often listed people are missed. Empty where that was not measured.
    #[serde(default)]
    pub misses: Vec<MissCurve>,
    /// What manifests had before there were groups; told apart from a misspelt key.
    #[serde(default, rename = "false_match")]
    former_curve: Option<IgnoredAny>,
    #[serde(default, rename = "worst_group_factor")]
    former_factor: Option<IgnoredAny>,
}

impl DetectorSpec {
    /// What its engine does to each byte.
    pub fn normalization(&self) -> Normalization {
        Normalization { mean: self.mean, scale: self.scale }
    }
}

impl EmbedderSpec {
    /// What its engine does to each byte.
    pub fn normalization(&self) -> Normalization {
        Normalization { mean: self.mean, scale: self.scale }
    }

    /// The first key in which this differs from `measured`, of those on which a false-match curve
    /// rests; `None` for another network.
    fn differs_where_it_counts(&self, measured: &Self) -> Option<&'static str> {
        if self.sha256 != measured.sha256 {
            return None;
        }
        [
            ("embedder.channels", self.channels == measured.channels),
            ("embedder.mean", self.mean == measured.mean),
            ("embedder.scale", self.scale == measured.scale),
            ("embedder.side", self.side == measured.side),
            ("embedder.template", self.template == measured.template),
            ("embedder.output", self.output == measured.output),
            ("embedder.dimensions", self.dimensions == measured.dimensions),
            ("embedder.groups", self.groups == measured.groups),
            // No promise rests on these, but whoever plans a list believes them.
            ("embedder.misses", self.misses == measured.misses),
        ]
        .into_iter()
        .find_map(|(key, equal)| (!equal).then_some(key))
    }

    /// Where the five landmarks are placed in the aligned face.
    pub fn template(&self) -> [Point; 5] {
        self.template.map(|[x, y]| Point::new(x, y))
    }
}

impl Manifest {
    /// Reads a manifest; `path` is only what errors call it.
    ///
    /// # Errors
    /// [`ManifestError::Syntax`], [`ManifestError::Value`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ManifestError> {
        let manifest: Manifest = toml::from_str(text).map_err(|e| ManifestError::Syntax {
            path: path.into(),
            reason: e.to_string().trim_end().into(),
        })?;
        manifest.check().map_err(|(key, reason)| ManifestError::Value {
            path: path.into(),
            key,
            reason,
        })?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let (d, e) = (&self.detector, &self.embedder);
        let require = |good: bool, key, reason: &str| {
            if good { Ok(()) } else { Err((key, reason.to_owned())) }
        };
        let finite = |v: &[f32; 3]| v.iter().all(|v| v.is_finite());
        let scales = |v: &[f32; 3]| finite(v) && v.iter().all(|v| *v != 0.0);
        let beside = |f: &str| Path::new(f).file_name().is_some_and(|n| n == f);
        require(
            beside(&d.file),
            "detector.file",
            "must be the bare name of a file beside the manifest",
        )?;
        require(
            beside(&e.file),
            "embedder.file",
            "must be the bare name of a file beside the manifest",
        )?;
        require(finite(&d.mean), "detector.mean", "must be finite")?;
        require(scales(&d.scale), "detector.scale", "must be finite and not zero")?;
        require(finite(&e.mean), "embedder.mean", "must be finite")?;
        require(scales(&e.scale), "embedder.scale", "must be finite and not zero")?;
        require((1..=4096).contains(&d.multiple), "detector.multiple", "must be 1 to 4096 pixels")?;
        let levels = (1..=MAX_LEVELS).contains(&d.levels.len());
        require(levels, "detector.levels", "must be one to five output grids")?;
        let scores = match d.family {
            Family::Yunet => 2,
            Family::Scrfd => 1,
        };
        for level in &d.levels {
            // A canvas that is no multiple of the stride has no whole grid.
            let fits = level.stride > 0 && d.multiple.is_multiple_of(level.stride);
            require(fits, "detector.levels.stride", "must divide `detector.multiple`")?;
            let right = level.scores.len() == scores;
            require(
                right,
                "detector.levels.scores",
                "must name two outputs for `yunet`, one for `scrfd`",
            )?;
        }
        require((16..=512).contains(&e.side), "embedder.side", "must be 16 to 512 pixels")?;
        let inside = |p: &[f32; 2]| p.iter().all(|v| *v >= 0.0 && *v < e.side as f32);
        require(e.template.iter().all(inside), "embedder.template", "must lie inside the input")?;
        let eyes = e.template[1][0] - e.template[0][0];
        require(
            eyes > 4.0,
            "embedder.template",
            "must begin with the image-left, then the image-right eye",
        )?;
        let dimensions = (MIN_DIMENSIONS..=MAX_DIMENSIONS).contains(&e.dimensions);
        require(dimensions, "embedder.dimensions", "must be 64 to 1024")?;
        require(
            e.former_curve.is_none() && e.former_factor.is_none(),
            "embedder.false_match",
            "and `embedder.worst_group_factor` are no longer read: a curve and a factor of two \
             different sets promised too much. Write a curve a group, `[[embedder.groups]]` with \
             name, source, people, pairs, exact_to and curve = [[similarity, upper bound], ...]; \
             `watchpost evaluate curve` measures one",
        )?;
        for (i, group) in e.groups.iter().enumerate() {
            require(
                e.groups[..i].iter().all(|other| other.name != group.name),
                "embedder.groups.name",
                "must name each group once",
            )?;
            group.check()?;
        }
        e.misses.iter().try_for_each(MissCurve::check)
    }
}

/// The two networks and their manifest, digests checked.
#[derive(Clone)]
pub struct Models {
    /// As read.
    pub manifest: Manifest,
    detector: Cow<'static, [u8]>,
    embedder: Cow<'static, [u8]>,
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Models({}, {})", self.manifest.detector.name, self.manifest.embedder.name)
    }
}

impl Models {
    /// The networks inside this binary.
    ///
    /// # Errors
    /// None, unless the binary was built from files that do not fit their manifest.
    pub fn builtin() -> Result<Self, ManifestError> {
        const DETECTOR: &[u8] = include_bytes!("../../models/yunet_s_int8.onnx");
        const EMBEDDER: &[u8] = include_bytes!("../../models/fr_feature_int8.onnx");
        let path = Path::new("(built in) manifest.toml");
        Self::checked(path, Manifest::parse(BUILTIN, path)?, DETECTOR.into(), EMBEDDER.into())
    }

    /// The networks beside the manifest at `path`.
    ///
    /// # Errors
    /// Any [`ManifestError`]; [`ManifestError::NotAsBuiltIn`] where the built-in embedder is given
    /// another curve, or other pixels than it was measured with.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let text = String::from_utf8_lossy(&read(path, MAX_MANIFEST)?).into_owned();
        let manifest = Manifest::parse(&text, path)?;
        let built_in = Manifest::parse(BUILTIN, Path::new("(built in) manifest.toml"))?.embedder;
        if let Some(key) = manifest.embedder.differs_where_it_counts(&built_in) {
            return Err(ManifestError::NotAsBuiltIn { path: path.into(), key });
        }
        let detector = read(&path.with_file_name(&manifest.detector.file), MAX_FILE)?;
        let embedder = read(&path.with_file_name(&manifest.embedder.file), MAX_FILE)?;
        Self::checked(path, manifest, detector.into(), embedder.into())
    }

    fn checked(
        path: &Path,
        manifest: Manifest,
        detector: Cow<'static, [u8]>,
        embedder: Cow<'static, [u8]>,
    ) -> Result<Self, ManifestError> {
        let (d, e) = (&manifest.detector, &manifest.embedder);
        for (key, file, expected, bytes) in [
            ("detector.sha256", &d.file, d.sha256, &detector),
            ("embedder.sha256", &e.file, e.sha256, &embedder),
        ] {
            let found = Digest::of(bytes);
            if found != expected {
                return Err(ManifestError::Digest {
                    path: path.with_file_name(file),
                    key,
                    expected,
                    found,
                });
            }
        }
        Ok(Self { manifest, detector, embedder })
    }

    /// The detector's ONNX file.
    pub fn detector(&self) -> &[u8] {
        &self.detector
    }

    /// The embedder's ONNX file.
    pub fn embedder(&self) -> &[u8] {
        &self.embedder
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ManifestError> {
    match read_bytes(path, limit) {
        Ok(mut bytes) => Ok(std::mem::take(&mut *bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
            Err(ManifestError::TooLong { path: path.into(), limit })
        }
        Err(source) => Err(ManifestError::Read { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../models/manifest.toml");

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(text, Path::new("manifest.toml"))
    }

    #[test]
    fn the_built_in_networks_are_those_of_the_built_in_manifest() {
        let models = Models::builtin().expect("files as committed");
        assert_eq!(models.manifest.embedder.dimensions, 512);
        assert_eq!(models.manifest.detector.levels.len(), 3);
    }

    #[test]
    fn a_manifest_is_opened_with_the_networks_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.toml");
        std::fs::write(&path, SHIPPED).unwrap();
        let missing = Models::open(&path).unwrap_err().to_string();
        assert!(missing.contains("yunet_s_int8.onnx") && missing.contains("beside"), "{missing}");

        let builtin = Models::builtin().unwrap();
        std::fs::write(dir.path().join("yunet_s_int8.onnx"), builtin.detector()).unwrap();
        std::fs::write(dir.path().join("fr_feature_int8.onnx"), builtin.embedder()).unwrap();
        assert_eq!(Models::open(&path).unwrap().embedder(), builtin.embedder());

        let cut = &builtin.embedder()[..1000];
        std::fs::write(dir.path().join("fr_feature_int8.onnx"), cut).unwrap();
        let Err(ManifestError::Digest { key: "embedder.sha256", found, .. }) = Models::open(&path)
        else {
            panic!("a file that was cut short is not the manifest's")
        };
        assert_eq!(found, Digest::of(cut));
        assert!(matches!(Models::open(dir.path()), Err(ManifestError::Read { .. })));
    }

    #[test]
    fn a_value_that_no_network_can_have_is_named() {
        for (from, to, key) in [
            ("dimensions = 512", "dimensions = 32", "embedder.dimensions"),
            ("side = 112", "side = 60", "embedder.template"),
            ("side = 112", "side = 8000", "embedder.side"),
            ("multiple = 32", "multiple = 16", "detector.levels.stride"),
            ("family = \"yunet\"", "family = \"scrfd\"", "detector.levels.scores"),
            ("file = \"yunet_s_int8.onnx\"", "file = \"../yunet_s_int8.onnx\"", "detector.file"),
            ("scale = [1.0, 1.0, 1.0]", "scale = [1.0, nan, 1.0]", "detector.scale"),
        ] {
            assert!(SHIPPED.contains(from), "{from}");
            match parse(&SHIPPED.replacen(from, to, 1)) {
                Err(ManifestError::Value { key: got, .. }) => assert_eq!(got, key),
                other => panic!("{to}: {other:?}"),
            }
        }
        let unknown = SHIPPED.replacen("[embedder]", "[embedder]\nage = true", 1);
        assert!(matches!(parse(&unknown), Err(ManifestError::Syntax { .. })));
    }

    /// The shipped manifest without its groups, and these rows in one group.
    fn with_rows(rows: &str) -> Result<Manifest, ManifestError> {
        let before = SHIPPED.split("[[embedder.groups]]").next().expect("the part before the rows");
        parse(&format!(
            "{before}\n[[embedder.groups]]\nname = \"a\"\nsource = \"b\"\npeople = 300\npairs = \
             1000\nexact_to = 0.4\ncurve = [{rows}]\n"
        ))
    }

    #[test]
    fn a_curve_that_rises_repeats_itself_or_is_no_number_is_refused() {
        assert_eq!(with_rows("[0.3, 1e-2], [0.4, 1e-3]").unwrap().embedder.groups.len(), 1);
        for rows in [
            "",
            "[0.3, 1e-3], [0.4, 1e-2]",
            "[0.4, 1e-2], [0.3, 1e-3]",
            "[0.4, 1e-2], [0.4, 1e-3]",
            "[0.4, 1e-2], [0.5, 0.0]",
            "[0.4, 1e-2], [0.5, -1e-3]",
            "[0.4, 1e-2], [0.5, nan]",
            "[nan, 1e-2], [0.5, 1e-3]",
            "[0.4, 1.5], [0.5, 1e-3]",
            "[0.4, 1e-2], [inf, 1e-3]",
        ] {
            match with_rows(rows) {
                Err(ManifestError::Value { key, .. }) => assert_eq!(key, "embedder.groups.curve"),
                other => panic!("{rows}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_manifest_of_before_is_told_what_to_write_now() {
        for former in ["worst_group_factor = 31.1", "false_match = [{ threshold = 0.3 }]"] {
            let text = SHIPPED.replacen("[embedder]", &format!("[embedder]\n{former}"), 1);
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("no longer read") && error.contains("groups"), "{error}");
        }
    }

    #[test]
    fn the_built_in_embedder_has_no_curve_and_no_settings_but_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.toml");
        let builtin = Models::builtin().unwrap();
        std::fs::write(dir.path().join("yunet_s_int8.onnx"), builtin.detector()).unwrap();
        std::fs::write(dir.path().join("fr_feature_int8.onnx"), builtin.embedder()).unwrap();
        let open = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Models::open(&path)
        };
        assert!(open(SHIPPED).is_ok());
        let groups = SHIPPED.find("[[embedder.groups]]").expect("there are groups");
        let one_row = "[[embedder.groups]]\nname = \"all\"\nsource = \"none\"\npeople = \
            1000\npairs = 1000\nexact_to = 0.9\ncurve = [[0.05, 1e-9]]\n";
        let embedder = SHIPPED.find("[embedder]").expect("there is an embedder");
        let in_embedder = |from: &str, to: &str| {
            let (before, after) = SHIPPED.split_at(embedder);
            assert!(after.contains(from), "{from}");
            format!("{before}{}", after.replacen(from, to, 1))
        };
        let edits = [
            // One row at which strangers would be published.
            (format!("{}{one_row}", &SHIPPED[..groups]), "embedder.groups"),
            (SHIPPED[..groups].to_owned(), "embedder.groups"),
            (format!("{SHIPPED}\n{one_row}"), "embedder.groups"),
            (in_embedder("1.14e-1", "1.00e-1"), "embedder.groups"),
            (in_embedder("people = 479", "people = 299"), "embedder.groups"),
            (in_embedder("exact_to = 0.45", "exact_to = 0.80"), "embedder.groups"),
            (in_embedder("\"bgr\"", "\"rgb\""), "embedder.channels"),
            (in_embedder("mean = [128.0", "mean = [127.0"), "embedder.mean"),
            (in_embedder("scale = [1.0", "scale = [0.001"), "embedder.scale"),
            (in_embedder("38.2946", "60.0"), "embedder.template"),
        ];
        for (text, named) in edits {
            match open(&text) {
                Err(ManifestError::NotAsBuiltIn { key, .. }) => assert_eq!(key, named),
                other => panic!("{named}: {other:?}"),
            }
        }
    }
}
