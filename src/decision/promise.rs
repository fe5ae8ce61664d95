//! The promise that a device keeps, from the networks and the configuration that it runs.
//!
//! * Signers sign what [`of`] makes of their networks and configuration; a device compares with
//!   what it makes of its own.
//! * Whatever loosens the promise and is not in it is a hole: a new key that lets more strangers
//!   through belongs into [`Setting`].

use sha2::{Digest as _, Sha256};

use super::DecisionConfig;
use super::curve::{FUSION_SHIFT, LEAST_PEOPLE, UNPROVEN_ALLOWANCE};
use crate::promise::{FLOOR, Promise, Setting};
use crate::template::PIPELINE;
use crate::vision::{Models, VisionConfig};

/// Each of [`Setting::ALL`] at its place as this configuration has it, in thousandths.
pub fn settings(vision: &VisionConfig, decision: &DecisionConfig) -> [u32; Setting::ALL.len()] {
    let gate = &vision.quality;
    let value = |setting| match setting {
        Setting::EyeDistance => f64::from(gate.min_eye_distance_px),
        Setting::Sharpness => f64::from(gate.min_sharpness),
        Setting::Yaw => f64::from(gate.max_yaw),
        Setting::Pitch => f64::from(gate.max_pitch),
        Setting::Score => f64::from(gate.min_score),
        Setting::Outside => f64::from(gate.max_outside),
        Setting::ViewsATrack => f64::from(vision.views.max_a_track),
        Setting::Views => f64::from(decision.views),
        Setting::LeastViews => f64::from(decision.least_views),
        Setting::Patience => decision.patience_ms as f64,
        Setting::CoolDown => decision.cool_down_s as f64,
    };
    Setting::ALL.map(|setting| setting.thousandths(value(setting)))
}

/// What `models` under this configuration promise.
pub fn of(models: &Models, vision: &VisionConfig, decision: &DecisionConfig) -> Promise {
    let manifest = &models.manifest;
    Promise {
        pipeline: PIPELINE,
        detector: manifest.detector.sha256.0,
        embedder: manifest.embedder.sha256.0,
        curve: curve_digest(models),
        settings: settings(vision, decision),
        floor: (FLOOR * 1000.0).round() as u32,
    }
}

/// Of every number of the measured curve, of what the promise adds to it, and of how the networks
/// were used when it was measured.
fn curve_digest(models: &Models) -> [u8; 32] {
    let (detector, embedder) = (&models.manifest.detector, &models.manifest.embedder);
    let mut digest = Sha256::new_with_prefix(b"watchpost false-match curve v2\n");
    digest.update(UNPROVEN_ALLOWANCE.to_be_bytes());
    for shift in FUSION_SHIFT {
        digest.update(shift.to_be_bytes());
    }
    digest.update(LEAST_PEOPLE.to_be_bytes());
    digest.update([embedder.channels as u8]);
    digest.update((embedder.side as u64).to_be_bytes());
    let used = [&embedder.mean[..], &embedder.scale[..], embedder.template.as_flattened()];
    for number in used.into_iter().flatten() {
        digest.update(number.to_be_bytes());
    }
    digest.update((embedder.output.len() as u64).to_be_bytes());
    digest.update(&embedder.output);
    digest.update([detector.channels as u8]);
    for number in [detector.mean, detector.scale].as_flattened() {
        digest.update(number.to_be_bytes());
    }
    for group in &embedder.groups {
        for text in [&group.name, &group.source] {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text);
        }
        digest.update(group.people.to_be_bytes());
        digest.update(group.pairs.to_be_bytes());
        digest.update(group.exact_to.to_be_bytes());
        digest.update((group.curve.len() as u64).to_be_bytes());
        for (similarity, upper) in &group.curve {
            digest.update(similarity.to_be_bytes());
            digest.update(upper.to_be_bytes());
        }
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each edit of the configuration that lets more strangers through, or through earlier.
    const LOOSER: [(&str, &str); 20] = [
        ("vision.quality.min_eye_distance_px", "15.9"),
        ("vision.quality.min_eye_distance_px", "4.0"),
        ("vision.quality.min_sharpness", "0.0"),
        ("vision.quality.min_sharpness", "0.089"),
        ("vision.quality.max_yaw", "50.1"),
        ("vision.quality.max_yaw", "90.0"),
        ("vision.quality.max_pitch", "35.5"),
        ("vision.quality.max_pitch", "90.0"),
        ("vision.quality.min_score", "0.699"),
        ("vision.quality.min_score", "0.1"),
        ("vision.quality.max_outside", "0.151"),
        ("vision.quality.max_outside", "1.0"),
        ("vision.views.max_a_track", "9"),
        ("vision.views.max_a_track", "1000"),
        ("decision.views", "3"),
        ("decision.views", "1"),
        ("decision.least_views", "1"),
        ("decision.patience_ms", "0"),
        ("decision.patience_ms", "1499"),
        ("decision.cool_down_s", "0"),
    ];

    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct Sections {
        vision: VisionConfig,
        decision: DecisionConfig,
    }

    fn promise(key: &str, value: &str) -> Promise {
        let sections: Sections = toml::from_str(&format!("{key} = {value}\n")).expect("a key");
        of(&Models::builtin().expect("as committed"), &sections.vision, &sections.decision)
    }

    #[test]
    fn no_looser_configuration_keeps_what_was_signed_and_each_is_named_by_its_key() {
        let signed = promise("decision.cool_down_s", "60");
        for (key, value) in LOOSER {
            let found = signed.differences(&promise(key, value));
            assert_eq!(found.len(), 1, "{key} = {value}: {found:?}");
            assert!(found[0].to_string().contains(key), "{}", found[0]);
        }
        for (key, value) in [("decision.views", "8"), ("vision.quality.max_yaw", "30.0")] {
            assert_eq!(signed.differences(&promise(key, value)), []);
        }
    }

    #[test]
    fn another_curve_or_another_use_of_the_embedder_is_another_promise() {
        let models = Models::builtin().expect("as committed");
        let (vision, decision) = (VisionConfig::default(), DecisionConfig::default());
        let signed = of(&models, &vision, &decision);
        let edits: [fn(&mut Models); 9] = [
            |m| m.manifest.embedder.groups[0].curve[0].1 = 1e-9,
            |m| m.manifest.embedder.groups[0].curve[0].0 = 0.05,
            |m| m.manifest.embedder.groups[0].people = 299,
            |m| m.manifest.embedder.groups.truncate(7),
            |m| m.manifest.embedder.groups[7].exact_to = 0.8,
            |m| m.manifest.embedder.scale[1] = 0.001,
            |m| m.manifest.embedder.template[4][1] += 1.0,
            |m| m.manifest.embedder.output.push('2'),
            |m| m.manifest.detector.mean[0] = 0.0,
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut other = models.clone();
            edit(&mut other);
            let found = signed.differences(&of(&other, &vision, &decision));
            assert!(
                matches!(found[..], [crate::promise::Difference::Curve { .. }]),
                "edit {i}: {found:?}"
            );
        }
    }
}
