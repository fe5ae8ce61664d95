//! Keys, trust files and lists for tests: the one way to make them. The integration tests use this
//! file, too, so that it knows the public face of the crate only; what authoring cannot make is in
//! `tampering`.
#![allow(dead_code)]

use time::{Duration, OffsetDateTime};
use watchpost::promise::Stage;
use watchpost::template::{PIPELINE, Template};
use watchpost::watchlist::author::{self, Draft};
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::model::{Aim, Authorisation, Content, Entry, Hours, StoredTemplate};
use watchpost::watchlist::trust::Trust;

pub const DEVICE: &str = "gate-3";
pub const EMBEDDER: [u8; 32] = [0xe5; 32];
/// In the place of a promise, for tests that do not look into it.
pub const PROMISE: &[u8] = b"a promise";

/// A Monday, noon.
pub fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_790_596_800).unwrap()
}

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

pub fn trust_text(needed: usize, keys: &[(&str, u8)]) -> String {
    let mut text = format!(
        "version = 1\nsigners_needed = {needed}\nvalid_from \
         = \"2026-01-01T00:00:00Z\"\nvalid_until = \"2036-01-01T00:00:00Z\"\n"
    );
    for (role, n) in keys {
        let public = key(*n).public();
        text += &format!(
            "[[keys]]\npublic = \"{public}\"\nlabel = \"person {n}\"\nroles = [\"{role}\"]\n"
        );
        if *role == "reviewer" {
            text += &format!("person = \"p-{n}\"\n");
        }
    }
    text
}

/// Signers 1, 2 and 3, of whom two are needed; 4 is a revoker.
pub fn trust() -> Trust {
    Trust::parse(&trust_text(2, &[("signer", 1), ("signer", 2), ("signer", 3), ("revoker", 4)]))
        .unwrap()
}

/// A template of 64 pseudo-random components.
pub fn template(seed: u64) -> Template {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values = (0..64).map(|_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 24) as i8
    });
    Template::new(values.collect()).unwrap()
}

pub fn stored(seed: u64) -> StoredTemplate {
    let mut photo = [0; 32];
    photo[..8].copy_from_slice(&seed.to_be_bytes());
    StoredTemplate::of_one(template(seed), 0.75, photo)
}

pub fn entry(n: u64) -> Entry {
    Entry {
        reference: format!("case-{n}").parse().unwrap(),
        legal_basis: "Police Act s. 12".into(),
        purpose: "missing person 4711".into(),
        expires: now() + Duration::days(20),
        templates: (0..1 + n % 3).map(|t| stored(n * 10 + t)).collect(),
    }
}

pub fn content(entries: u64) -> Content {
    Content {
        id: "north-gate".parse().unwrap(),
        version: 7,
        issued: now() - Duration::days(2),
        not_before: now() - Duration::days(1),
        expires: now() + Duration::days(30),
        embedder: EMBEDDER,
        dimensions: 64,
        pipeline: PIPELINE,
        stage: Stage::InForce,
        promise: PROMISE.to_vec(),
        site: None,
        promotion: None,
        authorisation: Authorisation {
            authority: "District Court".into(),
            decision: "12 Gs 345/26".into(),
            aim: Aim::MissingOrVictim,
            devices: vec![DEVICE.parse().unwrap(), "gate-4".parse().unwrap()],
            areas: vec![],
            hours: Hours::always(),
            most_entries: 1_000_000,
            expected_faces_per_day: 50_000,
            false_alerts_per_day: 0.5,
        },
        entries: (0..entries).map(entry).collect(),
    }
}

/// A list of nobody for one device and one embedder, in force from a minute before `now` for ten
/// minutes after it.
pub fn list_for(
    device: &str,
    embedder: [u8; 32],
    dimensions: usize,
    now: OffsetDateTime,
) -> Content {
    let mut list = Content {
        version: 1,
        issued: now,
        not_before: now - Duration::MINUTE,
        expires: now + Duration::minutes(10),
        embedder,
        dimensions,
        ..content(0)
    };
    list.authorisation.devices = vec![device.parse().unwrap()];
    list
}

/// A person with one photograph, for as long as `list` lasts.
pub fn person(list: &Content, reference: &str, stored: StoredTemplate) -> Entry {
    Entry {
        reference: reference.parse().unwrap(),
        expires: list.expires,
        templates: vec![stored],
        ..entry(0)
    }
}

/// `content` as a workstation makes a list of it: signed at `now` with the keys 1 and 2.
pub fn signed_by_two(content: &Content, now: OffsetDateTime) -> Vec<u8> {
    let draft = Draft::from_json(&serde_json::to_vec(content).unwrap()).unwrap();
    let once = author::sign(&draft, &content.promise, &key(1), now).unwrap();
    author::cosign(&once, &key(2)).unwrap().to_vec()
}
