//! The promise of a list's false-alert budget: everything that it rests on, as numbers.
//!
//! The people who sign a list sign it for one pair of networks, one measured false-match curve, one
//! quality gate and one decision rule. With another of these the threshold that follows from the
//! budget would be a number without a meaning. [`Promise`] is plain data that both sides know: the
//! list carries the signed one, the device makes its own from what it runs, and
//! [`Promise::differences`] says what the device cannot keep.
//!
//! * Networks, curve and pipeline are equal or different. A [`Setting`] may be stricter on the
//!   device than what was signed, never looser.
//! * One promise has one byte string ([`Promise::bytes`]) and one digest.
//! * Not promised: that the signed promise is a good one. Its signers answer for that; beneath it
//!   lies [`FLOOR`].

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// No threshold is lower than this cosine similarity, whatever budget and curve say. Single
/// comparisons of strangers of the worst-served group reach it about once in a hundred times
/// (`models/manifest.toml`), so that no list of any size is of use below it, and a curve that
/// allows it was not measured on people.
pub const FLOOR: f32 = 0.40;

/// What a list in force does.
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its candidates are published.
    #[default]
    InForce,
    /// It is compared and counted, and no candidate is ever published: how a list is tried on a
    /// street before anybody acts on it.
    Silent,
}

impl Stage {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::InForce => "in-force",
            Stage::Silent => "silent",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way a setting becomes stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stricter {
    /// A larger number turns more away.
    Higher,
    /// A smaller number turns more away.
    Lower,
}

macro_rules! settings {
    ($($name:ident, $key:expr, $stricter:ident, $meaning:literal;)*) => {
        /// A number that the promise rests on and that a device may only make stricter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Setting {
            $(#[doc = $meaning] $name,)*
        }

        impl Setting {
            /// Every setting, in the order in which a promise is written.
            pub const ALL: [Setting; [$($key),*].len()] = [$(Setting::$name,)*];

            /// The key of the configuration that sets it.
            pub const fn key(self) -> &'static str {
                match self { $(Setting::$name => $key,)* }
            }

            /// Which way it becomes stricter.
            pub const fn stricter(self) -> Stricter {
                match self { $(Setting::$name => Stricter::$stricter,)* }
            }
        }
    };
}

settings! {
    EyeDistance, setting!(vision.quality.min_eye_distance_px), Higher,
        "Fewest pixels between the eyes of a view that is compared.";
    Sharpness, setting!(vision.quality.min_sharpness), Higher,
        "Least sharpness of a view that is compared.";
    Yaw, setting!(vision.quality.max_yaw), Lower,
        "Most degrees that a face is turned to a side.";
    Pitch, setting!(vision.quality.max_pitch), Lower,
        "Most degrees that a face is turned up or down.";
    Score, setting!(vision.quality.min_score), Higher,
        "Least confidence of the detector, 0 to 1.";
    Outside, setting!(vision.quality.max_outside), Lower,
        "Largest share of a face outside the picture, 0 to 1.";
    ViewsATrack, setting!(vision.views.max_a_track), Lower,
        "Most views of a track that are compared: each is one more chance for a stranger.";
    Views, setting!(decision.views), Higher,
        "Views of a track from which it is decided.";
    LeastViews, setting!(decision.least_views), Higher,
        "Views of a track that ends early from which it is decided.";
    Patience, setting!(decision.patience_ms), Higher,
        "Milliseconds after which a track of fewer views is decided.";
    CoolDown, setting!(decision.cool_down_s), Higher,
        "Seconds for which an announced entry is not announced again.";
}

impl Setting {
    /// Its value as a promise writes it, in thousandths. What lies between two thousandths is
    /// counted as the looser one, and what is no number as the loosest.
    pub fn thousandths(self, value: f64) -> u32 {
        // Decimal fractions lie a little off their thousandth in binary.
        const SLACK: f64 = 1e-3;
        let scaled = value * 1000.0;
        match self.stricter() {
            Stricter::Higher => (scaled + SLACK).floor() as u32,
            Stricter::Lower if scaled.is_nan() => u32::MAX,
            Stricter::Lower => (scaled - SLACK).ceil() as u32,
        }
    }
}

/// Everything that a false-alert promise rests on.
#[derive(Clone, PartialEq, Eq)]
pub struct Promise {
    /// The steps between picture and embedding, by number: templates of two pipelines are not
    /// comparable even where the networks are the same.
    pub pipeline: u32,
    /// SHA-256 of the detector's file.
    pub detector: [u8; 32],
    /// SHA-256 of the embedder's file.
    pub embedder: [u8; 32],
    /// Digest of the false-match curve, every group of it, and of how the networks are used.
    pub curve: [u8; 32],
    /// Each of [`Setting::ALL`] at its place, in thousandths ([`Setting::thousandths`]).
    pub settings: [u32; Setting::ALL.len()],
    /// Under every threshold, in thousandths of similarity.
    pub floor: u32,
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Promise(pipeline {}, {})", self.pipeline, Hex(&self.digest()))
    }
}

/// Something that a device would not do as it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Another way from picture to embedding.
    Pipeline {
        /// As signed.
        signed: u32,
        /// As the device has it.
        device: u32,
    },
    /// Another detector.
    Detector {
        /// As signed.
        signed: [u8; 32],
        /// As the device has it.
        device: [u8; 32],
    },
    /// Another embedder.
    Embedder {
        /// As signed.
        signed: [u8; 32],
        /// As the device has it.
        device: [u8; 32],
    },
    /// Another false-match curve.
    Curve {
        /// As signed.
        signed: [u8; 32],
        /// As the device has it.
        device: [u8; 32],
    },
    /// Looser than signed.
    Looser {
        /// Which setting.
        setting: Setting,
        /// As signed, in thousandths.
        signed: u32,
        /// As the device has it, in thousandths.
        device: u32,
    },
    /// The device allows lower thresholds.
    Floor {
        /// As signed, in thousandths of similarity.
        signed: u32,
        /// As the device has it.
        device: u32,
    },
}

impl Promise {
    /// Every value in a fixed order, numbers as four bytes, the highest first: pipeline, detector,
    /// embedder, curve, the number of settings, the settings, floor.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.pipeline.to_be_bytes().to_vec();
        for digest in [&self.detector, &self.embedder, &self.curve] {
            bytes.extend_from_slice(digest);
        }
        bytes.extend_from_slice(&(Setting::ALL.len() as u32).to_be_bytes());
        for value in self.settings.iter().chain([&self.floor]) {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        bytes
    }

    /// The promise that [`Promise::bytes`] wrote; `None` for anything else, or what a program with
    /// other settings wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let number = |rest: &mut &[u8]| -> Option<u32> {
            let (first, after) = rest.split_first_chunk::<4>()?;
            *rest = after;
            Some(u32::from_be_bytes(*first))
        };
        let digest = |rest: &mut &[u8]| -> Option<[u8; 32]> {
            let (first, after) = rest.split_first_chunk::<32>()?;
            *rest = after;
            Some(*first)
        };
        let pipeline = number(&mut rest)?;
        let [detector, embedder, curve] =
            [digest(&mut rest)?, digest(&mut rest)?, digest(&mut rest)?];
        let mut settings = [0; Setting::ALL.len()];
        if number(&mut rest)? as usize != settings.len() {
            return None;
        }
        for value in &mut settings {
            *value = number(&mut rest)?;
        }
        let floor = number(&mut rest)?;
        let promise = Self { pipeline, detector, embedder, curve, settings, floor };
        rest.is_empty().then_some(promise)
    }

    /// SHA-256 of [`Promise::bytes`], after words that no other digest begins with.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new_with_prefix(b"watchpost promise v1\n")
            .chain_update(self.bytes())
            .finalize()
            .into()
    }

    /// The value of `setting`, in thousandths.
    pub fn setting(&self, setting: Setting) -> u32 {
        self.settings[setting as usize]
    }

    /// What `device` does not keep of this signed promise; nothing, where it is as signed or
    /// stricter.
    pub fn differences(&self, device: &Promise) -> Vec<Difference> {
        let mut found = Vec::new();
        if self.pipeline != device.pipeline {
            let (signed, device) = (self.pipeline, device.pipeline);
            found.push(Difference::Pipeline { signed, device });
        }
        if self.detector != device.detector {
            let (signed, device) = (self.detector, device.detector);
            found.push(Difference::Detector { signed, device });
        }
        if self.embedder != device.embedder {
            let (signed, device) = (self.embedder, device.embedder);
            found.push(Difference::Embedder { signed, device });
        }
        if self.curve != device.curve {
            let (signed, device) = (self.curve, device.curve);
            found.push(Difference::Curve { signed, device });
        }
        for setting in Setting::ALL {
            let (signed, device) = (self.setting(setting), device.setting(setting));
            let looser = match setting.stricter() {
                Stricter::Higher => device < signed,
                Stricter::Lower => device > signed,
            };
            if looser {
                found.push(Difference::Looser { setting, signed, device });
            }
        }
        if device.floor < self.floor {
            found.push(Difference::Floor { signed: self.floor, device: device.floor });
        }
        found
    }
}

/// The first bytes of a digest: enough to tell two apart.
struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A number in thousandths as people write it.
fn decimal(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1000.0
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline { signed, device } => write!(
                f,
                "signed for pipeline {signed}, this program has pipeline {device}: install the \
                 matching version, or enrol again"
            ),
            Self::Detector { signed, device } => {
                write!(
                    f,
                    concat!("signed for detector {}, ", setting!(vision.models), " has {}"),
                    Hex(signed),
                    Hex(device)
                )
            }
            Self::Embedder { signed, device } => {
                write!(
                    f,
                    concat!("signed for embedder {}, ", setting!(vision.models), " has {}"),
                    Hex(signed),
                    Hex(device)
                )
            }
            Self::Curve { signed, device } => write!(
                f,
                concat!(
                    "signed for the false-match curve {}, the manifest of ",
                    setting!(vision.models),
                    " has {} (its groups and rows, and how the networks read pixels)"
                ),
                Hex(signed),
                Hex(device)
            ),
            Self::Looser { setting, signed, device } => {
                let (key, bound) = match setting.stricter() {
                    Stricter::Higher => (setting.key(), "at least"),
                    Stricter::Lower => (setting.key(), "at most"),
                };
                let (signed, device) = (decimal(*signed), decimal(*device));
                write!(f, "{key} is {device}, signed is {bound} {signed}")
            }
            Self::Floor { signed, device } => write!(
                f,
                "signed for no threshold below {}, this program has {}",
                decimal(*signed),
                decimal(*device)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise() -> Promise {
        Promise {
            pipeline: 2,
            detector: [1; 32],
            embedder: [2; 32],
            curve: [3; 32],
            settings: [5000; Setting::ALL.len()],
            floor: 400,
        }
    }

    #[test]
    fn what_is_equal_keeps_the_promise_and_so_does_what_is_stricter() {
        let signed = promise();
        assert_eq!(signed.differences(&promise()), []);
        for setting in Setting::ALL {
            let mut device = promise();
            let value = &mut device.settings[setting as usize];
            match setting.stricter() {
                Stricter::Higher => *value += 1,
                Stricter::Lower => *value -= 1,
            }
            assert_eq!(signed.differences(&device), [], "{}", setting.key());
            // The other way round it is looser, and named by its key.
            let found = device.differences(&signed);
            assert_eq!(found.len(), 1);
            assert!(found[0].to_string().starts_with(setting.key()), "{}", found[0]);
        }
        let stricter = Promise { floor: 500, ..promise() };
        assert_eq!(signed.differences(&stricter), []);
        assert_eq!(stricter.differences(&signed).len(), 1);
    }

    #[test]
    fn another_network_curve_or_pipeline_is_a_difference_and_every_one_is_named() {
        let device = Promise {
            pipeline: 3,
            detector: [9; 32],
            embedder: [9; 32],
            curve: [9; 32],
            ..promise()
        };
        let words: Vec<String> =
            promise().differences(&device).iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 4);
        for (words, named) in words.iter().zip(["pipeline 3", "detector", "embedder", "curve"]) {
            assert!(words.contains(named), "{words}");
        }
    }

    #[test]
    fn its_bytes_say_all_of_it_and_nothing_else_is_read() {
        let bytes = promise().bytes();
        assert_eq!(Promise::from_bytes(&bytes), Some(promise()));
        for cut in 0..bytes.len() {
            assert_eq!(Promise::from_bytes(&bytes[..cut]), None);
        }
        assert_eq!(Promise::from_bytes(&[&bytes[..], &[0]].concat()), None);
        let mut more = bytes;
        more[100 + 3] += 1;
        assert_eq!(Promise::from_bytes(&more), None, "another number of settings");
    }

    #[test]
    fn each_value_changes_the_digest() {
        let mut all = vec![
            promise(),
            Promise { pipeline: 1, ..promise() },
            Promise { detector: [0; 32], ..promise() },
            Promise { embedder: [0; 32], ..promise() },
            Promise { curve: [0; 32], ..promise() },
            Promise { floor: 0, ..promise() },
        ];
        for setting in Setting::ALL {
            let mut other = promise();
            other.settings[setting as usize] += 1;
            all.push(other);
        }
        let digests: std::collections::HashSet<_> = all.iter().map(Promise::digest).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn what_lies_between_two_thousandths_counts_as_the_looser_one() {
        assert_eq!(Setting::Score.thousandths(f64::from(0.7f32)), 700);
        assert_eq!(Setting::Score.thousandths(0.6999), 699);
        assert_eq!(Setting::Outside.thousandths(f64::from(0.15f32)), 150);
        assert_eq!(Setting::Outside.thousandths(0.1501), 151);
        assert_eq!(Setting::Score.thousandths(f64::NAN), 0);
        assert_eq!(Setting::Outside.thousandths(f64::NAN), u32::MAX);
        assert_eq!(Setting::Yaw.thousandths(f64::INFINITY), u32::MAX);
    }
}
