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

fn open(config: &Config) -> WitnessDesk {
    WitnessDesk::open(config, ReadKeys::of(config), at(0))
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
    let desk = open(&config);
    assert_eq!(judged(&desk, 0), (unproved, None));
    assert_eq!(judged(&desk, 3599), (unproved, None));
    config.audit.on_unproved = OnFailure::Degraded;
    let desk = open(&config);
    assert_eq!(judged(&desk, 59), (unproved, None), "they are waited for");
    let (blind, degraded) = judged(&desk, 60);
    assert!(blind.is_none() && degraded.is_some_and(|why| why.contains("audit-unproved")));
    let (blind, degraded) = judged(&desk, 3 * 3600);
    assert!(blind.is_none());
    assert!(
        degraded.is_some_and(|why| why.contains("0 of 1") && why.contains("audit-unwitnessed"))
    );
    config.audit.on_unwitnessed = OnFailure::Blind;
    let desk = open(&config);
    assert_eq!(judged(&desk, 3 * 3600).0, Some(Cause::AuditUnwitnessed));
}

#[test]
fn a_trust_file_without_witnesses_asks_for_nothing_and_one_that_changes_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let text = std::fs::read_to_string(&config.watchlist.trust).unwrap();
    let without = text.replace("witnesses_needed = 1", "witnesses_needed = 0");
    replace(&config.watchlist.trust, without.as_bytes()).unwrap();
    let desk = open(&config);
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
    let desk = open(&config);
    let mut state = lock(&desk.state);
    desk.rolled_back(&mut state, "a witness has seen 9", journal.size(), b"note");
    desk.judge(&state, at(1));
    assert_eq!(desk.blindness().map(|b| b.cause), Some(Cause::AuditRolledBack));
    let again = shown_rolled_back(&config.audit.log).unwrap();
    assert_eq!(again.cause, Cause::AuditRolledBack);
}

#[test]
fn the_brokers_checkpoint_of_a_longer_or_another_log_is_a_rollback_and_any_other_says_nothing() {
    use crate::audit::record::AuditEvent;
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let origin = "watchpost/gate-1";
    let grown = |folder: &str, events: &[AuditEvent], by: u8| {
        let store = AuditStore::open(&dir.path().join(folder), origin).unwrap();
        let mut journal = Journal::new(store, origin, key(by));
        let mut notes = Vec::new();
        for event in events {
            journal.record(event.clone(), at(0), &mut |_| {}).unwrap();
            notes.push(journal.checkpoint().unwrap());
        }
        (journal, notes)
    };
    let events = [AuditEvent::UseBegan, AuditEvent::Stopped, AuditEvent::UseBegan];
    let (journal, own) = grown("own", &events[..2], 3);
    let (_, longer) = grown("longer", &events, 3);
    let (_, other) = grown("other", &events[1..], 3);
    let (_, of_others) = grown("of-others", &events, 4);
    let said = |note: &str| {
        let desk = open(&config);
        let mut state = lock(&desk.state);
        desk.compare_kept(&mut state, note.as_bytes(), &journal).unwrap();
        state.rolled_back.clone()
    };
    for harmless in [&own[0], &own[1], &of_others[2], "", "junk\n\n"] {
        assert_eq!(said(harmless), None, "{harmless}");
    }
    assert_eq!(shown_rolled_back(&config.audit.log), None);
    std::fs::create_dir_all(&config.audit.log).unwrap();
    for shown in [&longer[2], &other[1], &other[0]] {
        let blindness = said(shown).expect("rolled back");
        assert!(blindness.cause == Cause::AuditRolledBack && blindness.reason.contains("broker"));
        let kept = std::fs::read_to_string(config.audit.log.join(ROLLED_BACK)).unwrap();
        assert_eq!(kept, *shown, "what shows it");
    }
}

#[test]
fn a_cosigned_checkpoint_counts_only_where_enough_have_cosigned_it() {
    use crate::watchlist::trust::{Role, render};
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let origin = "watchpost/gate-1";
    let store = AuditStore::open(&config.audit.log, origin).unwrap();
    let mut journal = Journal::new(store, origin, key(3));
    journal.record(crate::audit::record::AuditEvent::UseBegan, at(0), &mut |_| {}).unwrap();
    let note = journal.checkpoint().unwrap();
    let signed = journal.own_checkpoint(note.as_bytes()).unwrap();
    let line = signed.cosign("w", &key(4), at(0).wall).unwrap();
    let (_, lines) =
        open_cosigned(format!("{signed}\n{line}").as_bytes(), &[key(4).public()]).unwrap();
    journal.keep_cosigned(&signed, &lines).unwrap();
    let known = |needed: usize| {
        let keys = [
            (key(1).public(), "", &[Role::Signer][..]),
            (key(2).public(), "", &[Role::Signer][..]),
            (key(4).public(), "one", &[Role::Witness][..]),
            (key(5).public(), "two", &[Role::Witness][..]),
        ];
        let from = OffsetDateTime::UNIX_EPOCH;
        let text = render(1, 2, from, at(0).wall + time::Duration::DAY, &keys);
        let text = format!("{text}\n[audit]\nwitnesses_needed = {needed}\n");
        let trust = Trust::parse(&text).unwrap();
        kept(&config.audit.log, &PinnedWitnesses::of(&trust)).map(|(size, _)| size)
    };
    assert_eq!((known(1), known(2)), (Some(1), None));
}

#[test]
fn keys_that_cannot_be_read_at_the_start_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let trust = std::fs::read(&config.watchlist.trust).unwrap();
    std::fs::remove_file(&config.watchlist.trust).unwrap();
    let desk = open(&config);
    assert_eq!(desk.blindness(), None, "there is no list either");
    replace(&config.watchlist.trust, &trust).unwrap();
    desk.follow_keys(&mut lock(&desk.state), at(5));
    desk.judge(&lock(&desk.state), at(5));
    assert_eq!(desk.blindness().map(|b| b.cause), Some(Cause::AuditUnproved));
}
