//! A draft of a set of decoys: a JSON file on a workstation, unsigned, with templates in base64.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::decoys::{DecoysError, Head, LEAST_FACES, SignError, TWICE, sign};
use crate::template::Template;
use crate::watchlist::Reference;
use crate::watchlist::keys::SecretKey;
use crate::watchlist::text::{as_base64, as_hex};

/// Most bytes of a draft: 10,000 templates of 1,024 components in base64 and their digests.
pub const MAX_BYTES: usize = 64 << 20;

/// Not a draft.
#[derive(Debug, thiserror::Error)]
#[error("this is no draft of decoys ({0}); make one with `watchpost calibrate new`")]
pub struct NotADraft(String);

/// One person.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftDecoy {
    /// Fused of all photographs.
    #[serde(with = "as_base64")]
    pub template: Template,
    /// SHA-256 of each photograph's file, so that none is looked at twice.
    pub photographs: Vec<DecoyPhotograph>,
}

/// A photograph's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DecoyPhotograph(#[serde(with = "as_hex")] pub [u8; 32]);

/// What becomes a set once it is signed. The fields are those of [`Head`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is documented in `Head`")]
pub struct DecoyDraft {
    pub id: Reference,
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    #[serde(with = "as_hex")]
    pub embedder: [u8; 32],
    pub pipeline: u32,
    pub dimensions: usize,
    pub authority: String,
    pub decision: String,
    pub device: Reference,
    pub camera: Reference,
    pub days: u16,
    #[serde(default = "least_faces")]
    pub least_faces: u32,
    pub source: String,
    pub decoys: Vec<DraftDecoy>,
}

fn least_faces() -> u32 {
    LEAST_FACES
}

impl DecoyDraft {
    /// Reads a draft.
    ///
    /// # Errors
    /// Where it is none.
    pub fn from_json(bytes: &[u8]) -> Result<Self, NotADraft> {
        serde_json::from_slice(bytes).map_err(|e| NotADraft(e.to_string()))
    }

    /// As a file.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("numbers and texts serialise");
        json.push(b'\n');
        json
    }

    /// The head that is signed, issued `now`.
    ///
    /// # Errors
    /// Where a value is not allowed.
    pub fn head(&self, now: OffsetDateTime) -> Result<Head, DecoysError> {
        let head = Head {
            id: self.id.clone(),
            issued: now.replace_nanosecond(0).expect("zero is a nanosecond"),
            not_before: self.not_before,
            expires: self.expires,
            embedder: self.embedder,
            pipeline: self.pipeline,
            dimensions: self.dimensions,
            authority: self.authority.clone(),
            decision: self.decision.clone(),
            device: self.device.clone(),
            camera: self.camera.clone(),
            days: self.days,
            least_faces: self.least_faces,
            source: self.source.clone(),
        };
        head.check()?;
        Ok(head)
    }

    /// The decoy that `template` would be a second time, and how similar they are.
    pub fn same_person(&self, template: &Template) -> Option<(usize, f32)> {
        let similarities = self.decoys.iter().map(|d| d.template.cosine(template)).enumerate();
        similarities.max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, s)| *s >= TWICE)
    }

    /// Freezes the draft with its first signature.
    ///
    /// # Errors
    /// Where it is no set that a device would use.
    pub fn sign(
        &self,
        key: &SecretKey,
        now: OffsetDateTime,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, SignError> {
        let templates = self.decoys.iter().map(|d| d.template.clone()).collect();
        let head = self.head(now)?;
        sign(&head, templates, key, head.issued)
    }
}

#[cfg(test)]
mod tests {
    use super::super::decoys::{Here, LEAST, cosign, verify};
    use super::*;
    use crate::watchlist::fixture::{key, now, template, trust};
    use time::Duration;

    fn draft() -> DecoyDraft {
        DecoyDraft {
            id: "portraits-1".parse().unwrap(),
            not_before: now(),
            expires: now() + Duration::days(30),
            embedder: [0xe5; 32],
            pipeline: 2,
            dimensions: 64,
            authority: "District Court".into(),
            decision: "12 Gs 346/26".into(),
            device: "gate-3".parse().unwrap(),
            camera: "main".parse().unwrap(),
            days: 14,
            least_faces: 1000,
            source: "portraits before 1940".into(),
            decoys: Vec::new(),
        }
    }

    #[test]
    fn a_draft_of_enough_people_becomes_a_set_and_nobody_enters_it_twice() {
        let mut draft = draft();
        for seed in 1.. {
            if draft.decoys.len() == LEAST {
                break;
            }
            let template = template(seed);
            if draft.same_person(&template).is_none() {
                let photographs = vec![DecoyPhotograph([seed as u8; 32])];
                draft.decoys.push(DraftDecoy { template, photographs });
            }
        }
        let again = draft.decoys[3].template.clone();
        assert_eq!(draft.same_person(&again).map(|(at, _)| at), Some(3));
        let read = DecoyDraft::from_json(&draft.to_json()).unwrap();
        let signed = cosign(&read.sign(&key(1), now()).unwrap(), &key(2)).unwrap();
        let here = Here { device: "gate-3", camera: "main", embedder: &[0xe5; 32], pipeline: 2 };
        assert_eq!(verify(&signed, &trust(), now(), here).unwrap().templates().len(), LEAST);
    }

    #[test]
    fn a_draft_with_a_key_that_there_is_not_is_refused() {
        let text = String::from_utf8(draft().to_json()).unwrap();
        assert!(DecoyDraft::from_json(text.replace("\"days\"", "\"dayz\"").as_bytes()).is_err());
        assert!(DecoyDraft::from_json(b"{}").is_err());
    }
}
