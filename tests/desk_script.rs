//! The desk's script and the device understand each other: node gives verdicts with the very script
//! that browsers load, and the device's code opens them.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;
use watchpost::judgement::{Confidence, Opinion};
use watchpost::review::verdict::{MAX_BYTES, authenticate, open};
use watchpost::watchlist::Trust;
use watchpost::watchlist::keys::SecretKey;
use watchpost::watchlist::seal::DeviceKey;
use watchpost::watchlist::trust::{Role, render};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/independent/verdict.mjs");
const REVIEWER: [u8; 32] = [3; 32];

/// Whether node is there; its absence is a failure with `CI=true`.
fn node() -> bool {
    let found = Command::new("node").arg("--version").output().is_ok();
    let ci = std::env::var_os("CI").is_some_and(|v| v == "true");
    assert!(found || !ci, "CI=true and no node: install the Debian package nodejs");
    if !found {
        let _ = writeln!(std::io::stderr(), "desk: no node; its script was NOT checked.");
    }
    found
}

fn trust() -> Trust {
    let keys = [1, 2, 3].map(|n| SecretKey::from_seed(&[n; 32]).public());
    let signer = [Role::Signer];
    let pinned = [
        (keys[0], "a", &signer[..]),
        (keys[1], "b", &signer[..]),
        (keys[2], "c", &[Role::Reviewer][..]),
    ];
    let (from, until) = (
        OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("a time"),
        OffsetDateTime::from_unix_timestamp(4_000_000_000).expect("a time"),
    );
    Trust::parse(&render(1, 2, from, until, &pinned)).expect("a trust file")
}

fn pair(device_key: &DeviceKey, name: &str, version: u64) -> Value {
    json!({
        "candidate": "0192f0c1-2345-7abc-8def-0123456789ab",
        "payload_sha256": "ab".repeat(32),
        "list": name,
        "version": version,
        "device": name,
        "device_key": device_key.recipient().to_string(),
    })
}

/// What the script makes of it; its reason where it refuses.
fn gives(pair: &Value, opinion: &str, confidence: &str) -> Result<Vec<u8>, String> {
    let input = json!({
        "seed": STANDARD.encode(REVIEWER),
        "pair": pair,
        "said": { "opinion": opinion, "confidence": confidence },
        "judged_at": 1_795_000_000,
    });
    let mut child = Command::new("node")
        .arg(SCRIPT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node runs");
    let text = input.to_string();
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("node reads");
    let output = child.wait_with_output().expect("node ends");
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn the_device_opens_what_the_script_gives_whatever_is_said() {
    if !node() {
        return;
    }
    let device = DeviceKey::generate().expect("a key");
    let longest = "n".repeat(64);
    let names = ["gate-1", "x", &longest];
    let versions = [1, 23, 24, 255, 65_536, (1 << 53) - 1];
    let mut turns = versions.into_iter().cycle();
    for (name, opinion) in names.into_iter().cycle().zip(Opinion::ALL) {
        for confidence in Confidence::ALL {
            let version = turns.next().expect("endless");
            let pair = pair(&device, name, version);
            let bytes = gives(&pair, opinion.as_str(), confidence.as_str()).expect("an envelope");
            assert!(bytes.len() <= MAX_BYTES);
            let verdict = open(&bytes, &trust(), name, &device).expect("the device opens it");
            assert_eq!((verdict.opinion, verdict.confidence), (*opinion, *confidence));
            assert_eq!(verdict.reviewer(), SecretKey::from_seed(&REVIEWER).public().id());
            assert_eq!(verdict.candidate.to_string(), pair["candidate"]);
            assert_eq!((verdict.payload, verdict.version), ([0xab; 32], version));
            assert_eq!((verdict.list.as_str(), verdict.device.as_str()), (name, name));
            assert_eq!(verdict.judged_at.unix_timestamp(), 1_795_000_000);
        }
    }
}

#[test]
fn no_single_bit_of_what_the_script_gives_can_be_changed() {
    if !node() {
        return;
    }
    let device = DeviceKey::generate().expect("a key");
    let mut bytes = gives(&pair(&device, "gate-1", 7), "same", "high").expect("an envelope");
    let trust = trust();
    assert!(open(&bytes, &trust, "gate-1", &device).is_ok());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(authenticate(&bytes, &trust, "gate-1").is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn the_script_gives_nothing_that_no_device_could_open() {
    if !node() {
        return;
    }
    let device = DeviceKey::generate().expect("a key");
    let good = pair(&device, "gate-1", 7);
    let with = |field: &str, value: &str| {
        let mut pair = good.clone();
        pair[field] = value.into();
        gives(&pair, "same", "high").expect_err(field)
    };
    assert!(with("candidate", "0192f0c1").contains("16 bytes"));
    assert!(with("payload_sha256", "AB").contains("not hexadecimal"));
    // Neither a passphrase, nor another kind of recipient, nor two.
    for key in ["", "age1", "age1pq1qqqq", "AGE-SECRET-KEY-1QQQ"] {
        assert!(with("device_key", key).contains("no device's key"), "{key}");
    }
    assert!(gives(&good, "probably", "high").is_err_and(|e| e.contains("nothing is said")));
    assert!(gives(&good, "same", "").is_err_and(|e| e.contains("nothing is said")));
}
