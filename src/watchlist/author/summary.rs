//! What a list or a draft says, for people to read before they sign: never a template.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::AuthorError;
use crate::promise::{Promise, Setting, Stage};
use crate::watchlist::codec;
use crate::watchlist::keys::KeyId;
use crate::watchlist::model::{Authorisation, Content, Entry, PhotographDigest, Reference};
use crate::watchlist::promotion::PromotionRule;
use crate::watchlist::text::hex;
use crate::watchlist::trust::{Role, Trust};
use crate::watchlist::verify::read_container;

/// How one signature counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureState {
    /// No trust file was given to judge it by.
    Unchecked,
    /// By a pinned signer, and it holds.
    Counts,
    /// By a pinned signer who has signed before.
    Repeated,
    /// By another key of somebody who has signed before.
    SamePerson,
    /// By a key that is not pinned as a signer.
    Unknown,
    /// By a pinned signer, and it does not hold.
    Altered,
}

/// One signature on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignatureSummary {
    /// By which key.
    pub key: KeyId,
    /// How it counts.
    pub state: SignatureState,
}

impl fmt::Display for SignatureState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "not checked",
            Self::Counts => "counts",
            Self::Repeated => "does not count: the same key again",
            Self::SamePerson => "does not count: another key of the same person",
            Self::Unknown => "does not count: not pinned as a signer",
            Self::Altered => "does not hold",
        })
    }
}

/// One entry, without its templates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntrySummary {
    /// Its opaque name.
    pub reference: Reference,
    /// The law or order.
    pub legal_basis: String,
    /// Why.
    pub purpose: String,
    /// When it ends.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// Digest and quality of each photograph that its template is made of.
    pub photographs: Vec<PhotographDigest>,
}

/// What a false-alert promise rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromiseSummary {
    /// Which way from pixels to a template.
    pub pipeline: u32,
    /// SHA-256 of the detector, hexadecimal.
    pub detector: String,
    /// SHA-256 of the embedder, hexadecimal.
    pub embedder: String,
    /// Digest of the false-match curve, hexadecimal.
    pub curve: String,
    /// No threshold is lower.
    pub floor: f64,
    /// The loosest that a device may be, by the key of its configuration.
    pub settings: BTreeMap<&'static str, f64>,
}

impl PromiseSummary {
    fn of(promise: &Promise) -> Self {
        let number = |thousandths: u32| f64::from(thousandths) / 1000.0;
        let setting = |setting: &Setting| (setting.key(), number(promise.setting(*setting)));
        Self {
            pipeline: promise.pipeline,
            detector: hex(&promise.detector),
            embedder: hex(&promise.embedder),
            curve: hex(&promise.curve),
            floor: number(promise.floor),
            settings: Setting::ALL.iter().map(setting).collect(),
        }
    }
}

/// What a list or a draft says, for a table or as JSON. Holds no template.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListSummary {
    /// Names the list.
    pub id: Reference,
    /// Rises.
    pub version: u64,
    /// When it was signed first.
    #[serde(with = "time::serde::rfc3339")]
    pub issued: OffsetDateTime,
    /// Not valid before.
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Not valid from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
    /// SHA-256 of the embedder, hexadecimal.
    pub embedder: String,
    /// Components of each template.
    pub dimensions: usize,
    /// Which way from pixels to a template made its templates.
    pub pipeline: u32,
    /// Whether its candidates are published.
    pub stage: Stage,
    /// What must have been counted before a version may be in force; absent where nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromotionRule>,
    /// SHA-256 of what the false-alert promise rests on, hexadecimal; absent in a draft, which gets
    /// it when it is signed.
    pub promise: Option<String>,
    /// The same in numbers; absent in a draft, and where another program wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promised: Option<PromiseSummary>,
    /// SHA-256 of the site record, hexadecimal; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site_record: Option<String>,
    /// SHA-256 of the signed payload, hexadecimal; absent in a draft. Two signers who see the same
    /// digest sign the same.
    pub digest: Option<String>,
    /// The permission.
    pub authorisation: Authorisation,
    /// In the order in which they were added; empty in a draft.
    pub signatures: Vec<SignatureSummary>,
    /// Entries that were removed from this copy after it was signed.
    pub removed: usize,
    /// The people who may be looked for.
    pub entries: Vec<EntrySummary>,
}

impl ListSummary {
    pub(super) fn of(
        content: &Content,
        payload: Option<&[u8]>,
        signatures: Vec<SignatureSummary>,
    ) -> Self {
        let entry = |e: &Entry| EntrySummary {
            reference: e.reference.clone(),
            legal_basis: e.legal_basis.clone(),
            purpose: e.purpose.clone(),
            expires: e.expires,
            photographs: e.photographs().copied().collect(),
        };
        Self {
            id: content.id.clone(),
            version: content.version,
            issued: content.issued,
            not_before: content.not_before,
            expires: content.expires,
            embedder: hex(&content.embedder),
            dimensions: content.dimensions,
            pipeline: content.pipeline,
            stage: content.stage,
            promotion: content.promotion,
            promise: payload.map(|_| hex(&Sha256::digest(&content.promise))),
            promised: Promise::from_bytes(&content.promise).map(|p| PromiseSummary::of(&p)),
            site_record: content.site.as_ref().map(|site| hex(&Sha256::digest(site))),
            digest: payload.map(|p| hex(&Sha256::digest(p))),
            authorisation: content.authorisation.clone(),
            signatures,
            removed: 0,
            entries: content.entries.iter().map(entry).collect(),
        }
    }
}

/// What a signed list says, and how its signatures count by `trust`. Not a verification: what is
/// shown may be refused.
///
/// # Errors
/// Where `bytes` are no signed list.
pub fn show(bytes: &[u8], trust: Option<&Trust>) -> Result<ListSummary, AuthorError> {
    let container = read_container(bytes)?;
    let (content, removed) = codec::decode(&container)?;
    let mut signatures: Vec<SignatureSummary> = Vec::new();
    let same_person = |key: KeyId, before: &[SignatureSummary]| {
        let counts = |s: &&SignatureSummary| s.state == SignatureState::Counts;
        trust.is_some_and(|t| {
            before.iter().filter(counts).any(|s| t.same_person(Role::Signer, s.key, key))
        })
    };
    for (key, signature) in container.signatures() {
        let state = match trust.map(|t| t.key(*key, Role::Signer)) {
            None => SignatureState::Unchecked,
            Some(None) => SignatureState::Unknown,
            Some(Some(public)) if !public.verifies(&container.signed_by(*key), signature) => {
                SignatureState::Altered
            }
            Some(Some(_)) if signatures.iter().any(|s| s.key == *key) => SignatureState::Repeated,
            Some(Some(_)) if same_person(*key, &signatures) => SignatureState::SamePerson,
            Some(Some(_)) => SignatureState::Counts,
        };
        signatures.push(SignatureSummary { key: *key, state });
    }
    Ok(ListSummary { removed, ..ListSummary::of(&content, Some(container.payload()), signatures) })
}

#[cfg(test)]
mod tests {
    use super::super::Draft;
    use super::*;
    use crate::watchlist::fixture::{content, trust};
    use crate::watchlist::tampering::signed;

    #[test]
    fn show_says_how_each_signature_counts_and_never_a_template() {
        let list = signed(&content(2), &[1, 1, 9, 4, 2]);
        let summary = show(&list, Some(&trust())).unwrap();
        let states: Vec<_> = summary.signatures.iter().map(|s| s.state).collect();
        use SignatureState::{Counts, Repeated, Unknown};
        assert_eq!(states, [Counts, Repeated, Unknown, Unknown, Counts]);
        let json = serde_json::to_string(&summary).unwrap();
        let draft = Draft { content: content(2) };
        let draft: serde_json::Value = serde_json::from_slice(&draft.to_json()).unwrap();
        let template = draft["entries"][0]["templates"][0]["template"].as_str().unwrap();
        assert!(!json.contains(template) && json.contains("case-1"));
        let mut damaged = list.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(
            show(&damaged, Some(&trust())).unwrap().signatures[4].state,
            SignatureState::Altered
        );
    }
}
