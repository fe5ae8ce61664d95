//! From a list's content to its bytes.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{FORMAT_VERSION, LIST, MAX_ENTRY_BYTES, SALT};
use crate::promise::Stage;
use crate::watchlist::cbor::{CborWriter, NULL};
use crate::watchlist::container::Container;
use crate::watchlist::model::{
    Aim, Authorisation, Content, ContentError, Entry, MAX_PHOTOGRAPHS, MAX_TEXT,
};

/// A content's two halves: what is signed, and the entries that it vouches for.
pub struct Encoded {
    /// To be signed.
    pub payload: Vec<u8>,
    /// The entries, byte strings one after another.
    pub items: Zeroizing<Vec<u8>>,
    /// How many.
    pub count: usize,
}

impl Encoded {
    /// The container, signed by nobody yet.
    pub(in crate::watchlist) fn container(&self) -> Container<'_> {
        Container::with_items(&LIST, &self.payload, &self.items, self.count)
    }
}

/// The encoding of `content` with a salt for each entry.
///
/// # Errors
/// As for [`Content::check`], and where there is no promise.
pub fn encode(
    content: &Content,
    mut salt: impl FnMut() -> [u8; SALT],
) -> Result<Encoded, ContentError> {
    content.check()?;
    if content.promise.is_empty() {
        return Err(ContentError::Range { what: "promise", rule: "a list has one" });
    }
    // Reserved generously, because a buffer that grows leaves copies of templates
    // unwiped.
    let mut items = CborWriter::with_capacity(
        content.entries.len() * (content.dimensions + 40 * MAX_PHOTOGRAPHS + 2 * MAX_TEXT + 160)
            + MAX_ENTRY_BYTES,
    );
    let mut digests = Vec::with_capacity(content.entries.len() * 32);
    for entry in &content.entries {
        let item = encode_entry(entry, salt())?;
        digests.extend_from_slice(&Sha256::digest(&item));
        items.bytes(&item);
    }
    let mut w = CborWriter::default();
    w.map(12 + u64::from(content.promotion.is_some()));
    w.key(0).uint(FORMAT_VERSION);
    w.key(1).text(&content.id);
    w.key(2).uint(content.version);
    w.key(3).array(3);
    w.uint(seconds(content.issued))
        .uint(seconds(content.not_before))
        .uint(seconds(content.expires));
    w.key(4).bytes(&content.embedder);
    w.key(5).uint(content.dimensions as u64);
    w.key(6);
    write_authorisation(&mut w, &content.authorisation);
    w.key(7).uint(content.pipeline.into());
    w.key(8).bytes(&digests);
    w.key(9).bytes(&content.promise);
    w.key(10).uint(stage_code(content.stage));
    w.key(11);
    match &content.site {
        None => w.raw(&[NULL]),
        Some(site) => w.bytes(site),
    };
    if let Some(rule) = &content.promotion {
        w.key(12).array(3);
        w.uint(rule.days.into()).uint(rule.faces.into()).uint(rule.covered.into());
    }
    Ok(Encoded {
        payload: w.finish(),
        items: Zeroizing::new(items.finish()),
        count: content.entries.len(),
    })
}

fn write_authorisation(w: &mut CborWriter, a: &Authorisation) {
    w.map(9);
    w.key(0).text(&a.authority);
    w.key(1).text(&a.decision);
    w.key(2).uint(aim_code(a.aim));
    w.key(3).array(a.devices.len());
    for device in &a.devices {
        w.text(device);
    }
    w.key(4).array(a.areas.len());
    for area in &a.areas {
        w.array(area.0.len());
        for corner in &area.0 {
            w.array(2).int(e7(corner.latitude)).int(e7(corner.longitude));
        }
    }
    w.key(5).array(2).int(a.hours.utc_offset_minutes.into()).array(a.hours.windows.len());
    for window in &a.hours.windows {
        w.array(3)
            .uint(window.days.into())
            .uint(window.from_minute.into())
            .uint(window.to_minute.into());
    }
    w.key(6).uint(a.most_entries.into());
    w.key(7).uint(a.expected_faces_per_day.into());
    w.key(8).uint((a.false_alerts_per_day * 1000.0).round() as u64);
}

fn encode_entry(entry: &Entry, salt: [u8; SALT]) -> Result<Zeroizing<Vec<u8>>, ContentError> {
    let fused = entry.fused()?;
    let mut w = CborWriter::with_capacity(MAX_ENTRY_BYTES);
    w.array(2).bytes(&salt);
    w.map(6);
    w.key(0).text(&entry.reference);
    w.key(1).text(&entry.legal_basis);
    w.key(2).text(&entry.purpose);
    w.key(3).uint(seconds(entry.expires));
    w.key(4).signed_bytes(fused.template.values());
    w.key(5).array(fused.photographs.len());
    for photograph in &fused.photographs {
        w.array(2).bytes(&photograph.sha256);
        w.uint((f64::from(photograph.quality) * 1000.0).round() as u64);
    }
    Ok(Zeroizing::new(w.finish()))
}

/// The number that stands for a stage.
fn stage_code(stage: Stage) -> u64 {
    match stage {
        Stage::InForce => 0,
        Stage::Silent => 1,
    }
}

/// The number that stands for an aim: its place in [`Aim::ALL`], from 1.
fn aim_code(aim: Aim) -> u64 {
    1 + Aim::ALL.iter().position(|a| *a == aim).expect("every aim is in the table") as u64
}

fn seconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp())
        .expect("times are checked to lie after 1970 before they are encoded")
}

fn e7(degrees: f64) -> i32 {
    // At most 1.8e9 because positions are checked to be on earth before they are encoded; the cast
    // would saturate.
    (degrees * 1e7).round() as i32
}
