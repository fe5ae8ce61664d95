use super::*;
use crate::audit::store::AuditStore;
use crate::watchlist::keys::SecretKey;

fn at(seconds: u64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(1_764_400_000 + seconds as i64).unwrap();
    Now { monotonic: Duration::from_secs(seconds), wall }
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// A device whose trust file asks for one witness, the key 4.
fn config(folder: &Path) -> Config {
    use crate::watchlist::trust::{Role, render};
    let mut config = Config::default();
    config.audit.log = folder.join("audit");
    config.watchlist.trust = folder.join("trust.toml");
    config.watchlist.rotations = Some(folder.join("rotations"));
    let keys = [
        (key(1).public(), "", &[Role::Signer][..]),
        (key(2).public(), "", &[Role::Signer][..]),
        (key(4).public(), "", &[Role::Witness][..]),
    ];
    let from = OffsetDateTime::UNIX_EPOCH;
    let text = render(1, 2, from, at(0).wall + time::Duration::DAY, &keys);
    let text = format!("{text}\n[audit]\nwitnesses_needed = 1\n");
    replace(&config.watchlist.trust, text.as_bytes()).unwrap();
    config
}

#[test]
fn until_a_witness_has_answered_the_policy_says_what_follows_and_silence_is_never_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let unproved = Some(Cause::AuditUnproved);
    let judged = |desk: &WitnessDesk, seconds| {
        desk.judge(&lock(&desk.state), at(seconds));
        (desk.blindness().map(|b| b.cause), desk.degraded())
    };
    let desk = WitnessDesk::open(&config, at(0));
    assert_eq!(judged(&desk, 0), (unproved, None));
    assert_eq!(judged(&desk, 3599), (unproved, None));
    config.audit.on_unproved = OnFailure::Degraded;
    let desk = WitnessDesk::open(&config, at(0));
    assert_eq!(judged(&desk, 59), (unproved, None), "they are waited for");
    let (blind, degraded) = judged(&desk, 60);
    assert!(blind.is_none() && degraded.is_some_and(|why| why.contains("audit-unproved")));
    let (blind, degraded) = judged(&desk, 3 * 3600);
    assert!(blind.is_none());
    assert!(
        degraded.is_some_and(|why| why.contains("0 of 1") && why.contains("audit-unwitnessed"))
    );
    config.audit.on_unwitnessed = OnFailure::Blind;
    let desk = WitnessDesk::open(&config, at(0));
    assert_eq!(judged(&desk, 3 * 3600).0, Some(Cause::AuditUnwitnessed));
}

#[test]
fn a_trust_file_without_witnesses_asks_for_nothing_and_one_that_changes_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let text = std::fs::read_to_string(&config.watchlist.trust).unwrap();
    let without = text.replace("witnesses_needed = 1", "witnesses_needed = 0");
    replace(&config.watchlist.trust, without.as_bytes()).unwrap();
    let desk = WitnessDesk::open(&config, at(0));
    assert_eq!((desk.blindness(), desk.degraded()), (None, None));
    replace(&config.watchlist.trust, text.as_bytes()).unwrap();
    desk.follow_keys(&mut lock(&desk.state), at(5));
    desk.judge(&lock(&desk.state), at(5));
    assert_eq!(desk.blindness().map(|b| b.cause), Some(Cause::AuditUnproved));
}

#[test]
fn a_log_that_a_witness_has_seen_longer_is_blind_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let origin = "watchpost/gate-1";
    let store = AuditStore::open(&config.audit.log, origin).unwrap();
    let journal = Journal::new(store, origin, key(3));
    assert_eq!(shown_rolled_back(&config.audit.log), None);
    let desk = WitnessDesk::open(&config, at(0));
    let seen = FreshnessAnswer {
        origin: origin.into(),
        nonce: Nonce([1; 32]),
        size: 9,
        root: crate::audit::tree::TreeHash([1; 32]),
        signature: None,
    };
    let mut state = lock(&desk.state);
    desk.rolled_back(&mut state, &seen, journal.size(), b"note");
    desk.judge(&state, at(1));
    assert_eq!(desk.blindness().map(|b| b.cause), Some(Cause::AuditRolledBack));
    let again = shown_rolled_back(&config.audit.log).unwrap();
    assert_eq!(again.cause, Cause::AuditRolledBack);
}
