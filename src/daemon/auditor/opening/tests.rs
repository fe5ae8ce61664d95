use time::OffsetDateTime;

use super::super::witnesses::ReadKeys;
use super::*;
use crate::files::replace;
use crate::watchlist::keys::SecretKey;
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

/// A trust file that begins the log `reset` anew.
fn pin(config: &Config, reset: &str) {
    let from = OffsetDateTime::UNIX_EPOCH;
    let keys = [1, 2].map(|n| (key(n).public(), "", &[Role::Signer][..]));
    let text = render(1, 2, from, from + time::Duration::days(20_000), &keys);
    let text = format!("{text}\n[audit]\norigin_reset = \"{reset}\"\n");
    replace(&config.watchlist.trust, text.as_bytes()).unwrap();
}

#[test]
fn a_log_begins_anew_where_the_trust_file_says_so_and_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = device(dir.path());
    let origin = || {
        open(&config, ReadKeys::of(&config).asked("gate-3"))
            .map(|journal| journal.expect("an identity").origin().to_owned())
    };
    assert_eq!(origin().unwrap(), "site/gate-3");
    pin(&config, "gate-4.2");
    assert_eq!(origin().unwrap(), "site/gate-3", "another device's");
    let marker = config.audit.log.join(super::super::witnesses::ROLLED_BACK);
    std::fs::write(&marker, "note").unwrap();
    assert_eq!(origin().unwrap_err().cause, Cause::AuditRolledBack);
    pin(&config, "gate-3.2");
    assert_eq!(origin().unwrap(), "site/gate-3.2");
    let aside = config.audit.log.join("before-gate-3");
    assert_eq!(origin_of(&aside).unwrap().as_deref(), Some("site/gate-3"));
    assert!(aside.join("rolled-back").exists() && !marker.exists());
    for earlier in ["gate-3", "gate-4.2", "gate-3.2"] {
        pin(&config, earlier);
        assert_eq!(origin().unwrap(), "site/gate-3.2", "{earlier}");
    }
    pin(&config, "gate-3.7");
    assert_eq!(origin().unwrap(), "site/gate-3.7");
    assert!(config.audit.log.join("before-gate-3.2").join("log").exists());
}
