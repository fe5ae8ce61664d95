use time::OffsetDateTime;

use super::super::witnesses::ReadKeys;
use super::*;
use crate::device::keys::TrustedKeys;
use crate::files::replace;
use crate::watchlist::keys::SecretKey;
use crate::watchlist::rotation;
use crate::watchlist::trust::{Role, render};

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn device(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.device.id = "gate-3".into();
    config.broker.root = "site".into();
    config.audit.log = folder.join("audit");
    config.audit.identity = Some(folder.join("identity.key"));
    config.watchlist.trust = folder.join("trust.toml");
    config.watchlist.rotations = Some(folder.join("rotations"));
    key(3).create_file(&folder.join("identity.key")).unwrap();
    config
}

/// The text of a trust file that begins the log `reset` anew.
fn text(serial: u64, reset: &str) -> String {
    let from = OffsetDateTime::UNIX_EPOCH;
    let keys = [1, 2].map(|n| (key(n).public(), "", &[Role::Signer][..]));
    let text = render(serial, 2, from, from + time::Duration::days(20_000), &keys);
    format!("{text}\n[audit]\norigin_reset = \"{reset}\"\n")
}

fn pin(config: &Config, reset: &str) {
    replace(&config.watchlist.trust, text(1, reset).as_bytes()).unwrap();
}

/// The same as a rotation of the pinned file that both have signed.
fn rotate(config: &Config, serial: u64, reset: &str) {
    let keys = TrustedKeys::new(&config.watchlist);
    let signed = rotation::sign(&text(serial, reset), &key(1)).unwrap();
    let signed = rotation::cosign(&signed, &key(2)).unwrap();
    keys.keep(&keys.chain_with(&signed).unwrap()).unwrap();
}

fn opened(config: &Config) -> Result<String, Cause> {
    let asked = ReadKeys::of(config).asked("gate-3");
    let journal = open(config, asked).map_err(|blindness| blindness.cause)?;
    Ok(journal.expect("an identity").origin().to_owned())
}

#[test]
fn a_log_begins_anew_where_a_signed_trust_file_says_so_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = device(dir.path());
    let origin = || opened(&config);
    assert_eq!(origin().unwrap(), "site/gate-3");
    pin(&config, "gate-4.2");
    assert_eq!(origin().unwrap(), "site/gate-3", "another device's");
    let marker = config.audit.log.join(super::super::witnesses::ROLLED_BACK);
    std::fs::write(&marker, "note").unwrap();
    assert_eq!(origin(), Err(Cause::AuditRolledBack));
    rotate(&config, 2, "gate-3.2");
    assert_eq!(origin().unwrap(), "site/gate-3.2");
    let aside = config.audit.log.join("before-gate-3");
    assert_eq!(origin_of(&aside).unwrap().as_deref(), Some("site/gate-3"));
    assert!(aside.join("rolled-back").exists() && !marker.exists());
    for (serial, earlier) in [(3, "gate-3"), (4, "gate-4.2"), (5, "gate-3.2")] {
        rotate(&config, serial, earlier);
        assert_eq!(origin().unwrap(), "site/gate-3.2", "{earlier}");
    }
    rotate(&config, 6, "gate-3.7");
    assert_eq!(origin().unwrap(), "site/gate-3.7");
    assert!(config.audit.log.join("before-gate-3.2").join("log").exists());
}

#[test]
fn a_trust_file_that_was_edited_in_place_sets_no_log_aside_and_names_the_first_of_an_empty_folder()
{
    let dir = tempfile::tempdir().unwrap();
    let config = device(dir.path());
    pin(&config, "gate-3.2");
    assert_eq!(opened(&config).unwrap(), "site/gate-3.2", "a device that lost its log");
    pin(&config, "gate-3.3");
    assert_eq!(opened(&config).unwrap(), "site/gate-3.2");
    std::fs::write(config.audit.log.join(super::super::witnesses::ROLLED_BACK), "note").unwrap();
    assert_eq!(
        opened(&config),
        Err(Cause::AuditRolledBack),
        "it is believed to have been put back"
    );
    rotate(&config, 2, "gate-3.3");
    assert_eq!(opened(&config).unwrap(), "site/gate-3.3");
}
