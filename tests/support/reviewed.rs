//! A device whose candidates are reviewed: it has a key of its own and a log, and its trust file
//! pins dora and emil as reviewers.

use std::fs;

use serde_json::Value;

use super::desk::{Desk, ok, watchpost};
use super::field::Field;

/// With the list that `list` makes, signed and plain; it is sealed here. `None` where no mosquitto
/// is installed.
pub fn reviewed_field(list: impl FnOnce(&Desk)) -> Option<Field> {
    let field = Field::with("device_key = \"DESK/device.key\"", |desk| {
        list(desk);
        ok(&["key", "device", &desk.arg("device.key")]);
        ok(&["key", "identity", &desk.arg("identity.key")]);
        seal(desk, "list.cose");
        let [alice, bob] = ["alice.key", "bob.key"].map(|key| public(desk, key));
        let [dora, emil] = ["dora.key", "emil.key"].map(|key| {
            ok(&["key", "new", &desk.arg(key), "--no-passphrase"]);
            public(desk, key)
        });
        let [dora, emil] = [format!("p-1={dora}"), format!("p-2={emil}")];
        let trust = desk.arg("trust.toml");
        let reviewers = ["--reviewer", &dora, "--reviewer", &emil];
        ok(&[&["key", "trust", &alice, &bob], &reviewers[..], &["--out", &trust]].concat());
    })?;
    let file = field.desk.path("watchpost.toml");
    let mut text = fs::read_to_string(&file).expect("a configuration");
    let [identity, log, docket] =
        ["identity.key", "audit", "reviews.cbor"].map(|name| field.desk.arg(name));
    text += &format!(
        "[audit]\nidentity = \"{identity}\"\nlog = \"{log}\"\n[review]\ndocket = \"{docket}\"\n"
    );
    fs::write(&file, text).expect("writes");
    Some(field)
}

/// Puts the list `name` sealed to the device in its place.
pub fn seal(desk: &Desk, name: &str) {
    let (plain, sealed) = (desk.arg(name), desk.arg("list.age"));
    ok(&["watchlist", "seal", &plain, "--to", &device_key(desk), "--out", &sealed]);
    fs::rename(sealed, plain).expect("a sealed list");
}

fn public(desk: &Desk, key: &str) -> String {
    ok(&["key", "show", &desk.arg(key)]).trim().to_owned()
}

/// The public line of the device's key.
pub fn device_key(desk: &Desk) -> String {
    public(desk, "device.key")
}

/// Has `key` judge the candidate in the file `candidate`, into the file `out`.
pub fn judge(desk: &Desk, candidate: &str, key: &str, opinion: &str, out: &str) {
    let [candidate, key, out] = [candidate, key, out].map(|name| desk.arg(name));
    let said = ["--opinion", opinion, "--confidence", "high", "--key", &key];
    let to = ["--device-key", &device_key(desk), "--out", &out];
    ok(&[&["review", "judge", &candidate][..], &said, &to].concat());
}

/// Has `key` judge the candidate in a file, and sends that. Whether the device counted it, and what
/// it said.
pub fn judges(desk: &Desk, candidate: &str, key: &str, opinion: &str) -> (bool, String) {
    judge(desk, candidate, key, opinion, "verdict.cose");
    let [out, config] = ["verdict.cose", "watchpost.toml"].map(|name| desk.arg(name));
    let sent =
        watchpost(&["orders", "send", &out, "--device", "gate-1", "--config", &config, "--json"]);
    let answer: Value = serde_json::from_slice(&sent.stdout).expect("a JSON line");
    (sent.status.success(), answer["detail"].as_str().unwrap_or_default().to_owned())
}
