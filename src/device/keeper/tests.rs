use std::time::Duration;

use time::OffsetDateTime;

use super::*;
use crate::audit::record::{Answer, AuditEvent, AuditRecord, Instruction, InstructionRecord};
use crate::audit::store::AuditStore;
use crate::files::replace;
use crate::watchlist::keys::SecretKey;
use crate::watchlist::memory::DAYS;
use crate::watchlist::tampering::signed;
use crate::watchlist::trust::{Role, render, resetting_clock};
use crate::watchlist::{fixture, removal, verify};

const NOON: i64 = 1_790_596_800;

fn at(seconds: i64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(NOON + seconds).expect("a time");
    // Far enough apart for the clock to be judged anew each time.
    Now { monotonic: Duration::from_secs(1_000_000u64.wrapping_add_signed(seconds * 10)), wall }
}

/// A device's folder, whose pinned file has the signers `signers`.
struct DeviceFolder {
    folder: tempfile::TempDir,
    config: Config,
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

fn trust_file(serial: u64, signers: &[u8]) -> String {
    let day = time::Duration::DAY;
    let keys: Vec<_> =
        signers.iter().map(|n| (key(*n).public(), "somebody", &[Role::Signer][..])).collect();
    render(serial, 2, at(0).wall - day, at(0).wall + day, &keys)
}

fn rotation(serial: u64, signers: &[u8], by: [u8; 2]) -> Vec<u8> {
    let once = rotation::sign(&trust_file(serial, signers), &key(by[0])).expect("a good file");
    rotation::cosign(&once, &key(by[1])).expect("another signer")
}

impl DeviceFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config::default();
        let w = &mut config.watchlist;
        (w.list, w.trust, w.state) = (
            folder.path().join("list"),
            folder.path().join("trust.toml"),
            folder.path().join("state.json"),
        );
        w.require_synchronised_clock = false;
        replace(&w.trust, trust_file(1, &[1, 2]).as_bytes()).expect("writes");
        config.broker.outbox = None;
        Self { folder, config }
    }

    fn started(&self) -> Keeper {
        Keeper::new(&self.config, &Models::builtin().expect("built-in"))
    }

    fn serial(&self) -> Result<u64, &'static str> {
        self.started().trust().map(|t| t.serial()).map_err(|b| b.cause.code())
    }
}

#[test]
fn a_clock_set_back_is_noticed_after_a_restart() {
    let device = DeviceFolder::new();
    assert_eq!(device.started().state.judge_clock(at(0)), Ok(()));
    let refused = device.started().state.judge_clock(at(-3600)).expect_err("an hour earlier");
    assert_eq!(refused.cause.code(), "went-back");
    assert_eq!(device.started().state.judge_clock(at(1)), Ok(()));
    // Decades ahead are believed, where the configuration asks nobody; and then nothing earlier is.
    assert_eq!(device.started().state.judge_clock(at(1_000_000_000)), Ok(()));
    assert_eq!(
        device.started().state.judge_clock(at(2)).expect_err("back again").cause.code(),
        "went-back"
    );
}

/// The wall clock shows `shown` when so many seconds have passed.
fn showing(shown: i64, passed: i64) -> Now {
    Now { monotonic: Duration::from_secs(2_000_000u64.wrapping_add_signed(passed)), ..at(shown) }
}

fn load(keeper: &mut Keeper, now: Now) -> &'static str {
    keeper.load(now).map_or_else(|b| b.cause.code(), |_| "in force")
}

#[test]
fn the_time_is_kept_at_the_end_of_a_process_and_a_step_back_within_it_is_noticed() {
    let device = DeviceFolder::new();
    let mut keeper = device.started();
    assert_eq!(load(&mut keeper, showing(0, 0)), "no-list");
    assert_eq!(load(&mut keeper, showing(300, 300)), "no-list", "too soon to be written");
    assert_eq!(load(&mut keeper, showing(270, 310)), "went-back");
    keeper.remember_time(showing(320, 320));
    drop(keeper);
    assert_eq!(load(&mut device.started(), at(290)), "went-back");
    assert_eq!(load(&mut device.started(), at(330)), "no-list");
}

#[test]
fn a_time_after_everything_that_could_be_valid_is_not_remembered() {
    let device = DeviceFolder::new();
    let mut keeper = device.started();
    assert_eq!(load(&mut keeper, showing(0, 0)), "no-list");
    // A receiver or a time server that once says 2126.
    assert_eq!(load(&mut keeper, showing(3_153_600_000, 10)), "no-list");
    keeper.remember_time(showing(3_153_600_010, 20));
    assert_eq!(load(&mut device.started(), at(10)), "no-list");
}

#[test]
fn two_signers_reset_a_clock_that_was_wrong_once_and_nothing_else_is_forgotten() {
    let device = DeviceFolder::new();
    let mut keeper = device.started();
    assert_eq!(load(&mut keeper, showing(80_000, 0)), "no-list");
    assert_eq!(load(&mut keeper, showing(10, 10)), "went-back");
    let reset = |serial, by: [u8; 2]| {
        let text = resetting_clock(&trust_file(serial, &[1, 2]));
        let once = rotation::sign(&text, &key(by[0])).expect("a good file");
        rotation::cosign(&once, &key(by[1])).expect("another signer")
    };
    let mut rotate = |bytes: &[u8], now| keeper.rotate(bytes, now).map_err(|b| b.cause.code());
    assert_eq!(
        rotate(&rotation(2, &[3, 4], [1, 2]), showing(20, 20)),
        Err("went-back"),
        "without a reset"
    );
    assert_eq!(rotate(&reset(2, [1, 7]), showing(30, 30)), Err("trust-too-few-signers"));
    assert_eq!(rotate(&reset(2, [1, 2]), showing(40, 40)), Ok(2));
    assert_eq!(rotate(&reset(2, [1, 2]), showing(50, 50)), Err("trust-not-newer"), "a replay");
    assert_eq!(load(&mut keeper, showing(60, 60)), "no-list");
    assert_eq!(load(&mut device.started(), at(70)), "no-list");
}

#[test]
fn a_state_that_is_gone_or_put_back_from_a_copy_is_damage_and_its_age_is_known() {
    let device = DeviceFolder::new();
    let state = &device.config.watchlist.state;
    let mut keeper = device.started();
    assert_eq!(load(&mut keeper, showing(0, 0)), "no-list", "a first start");
    let (since, changes) = keeper.memory_age().expect("it has begun");
    assert_eq!((since, changes), (at(0).wall, 1));
    let old = std::fs::read(state).expect("a state");
    keeper.rotate(&rotation(2, &[3, 4], [1, 2]), showing(10, 10)).expect("followed");
    assert_eq!(load(&mut device.started(), at(20)), "no-list");
    assert_eq!(device.started().memory_age().expect("it goes on").1, changes + 1);

    let new = std::fs::read(state).expect("a state");
    std::fs::write(state, old).expect("writes");
    assert_eq!(load(&mut device.started(), at(30)), "damaged-state", "an older one");
    std::fs::remove_file(state).expect("removes");
    assert_eq!(load(&mut device.started(), at(40)), "damaged-state", "gone");
    std::fs::remove_file(device.config.watchlist.list_seen()).expect("removes");
    assert_eq!(load(&mut device.started(), at(50)), "damaged-state", "rotations are there");
    let rotations = device.config.watchlist.rotations();
    let kept = std::fs::read(&rotations).expect("rotations");
    std::fs::remove_file(&rotations).expect("removes");
    assert_eq!(load(&mut device.started(), at(55)), "damaged-state", "room was held for it");
    std::fs::write(&rotations, kept).expect("writes");
    std::fs::write(state, new).expect("writes");
    assert_eq!(load(&mut device.started(), at(60)), "no-list");
}

#[test]
fn nobody_is_matched_by_a_device_that_cannot_write_its_state() {
    let device = DeviceFolder::new();
    let mut keeper = device.started();
    // What a write makes first cannot be made.
    let beside = device.folder.path().join("state.json.new");
    std::fs::create_dir(&beside).expect("makes");
    std::fs::write(beside.join("x"), b"").expect("writes");
    assert_eq!(load(&mut keeper, showing(0, 0)), "no-list");
    let held = keeper.permits(showing(10, 10)).map_err(|b| b.cause.code());
    assert_eq!(held, Err("state-not-stored"));
    std::fs::remove_dir_all(&beside).expect("removes");
    assert_eq!(keeper.permits(showing(20, 20)), Ok(()));
}

#[test]
fn a_damaged_memory_is_no_fresh_start() {
    let device = DeviceFolder::new();
    assert_eq!(device.started().state.judge_clock(at(0)), Ok(()));
    std::fs::write(&device.config.watchlist.state, b"{").expect("writes");
    assert_eq!(
        device.started().state.judge_clock(at(1)).expect_err("damaged").cause.code(),
        "damaged-state"
    );
}

#[test]
fn rotations_are_kept_followed_after_a_restart_and_not_forgotten() {
    let device = DeviceFolder::new();
    let mut keeper = device.started();
    let mut offer = |bytes: &[u8]| keeper.rotate(bytes, at(0)).map_err(|b| b.cause.code());
    assert_eq!(offer(&rotation(2, &[3, 4], [1, 2])), Ok(2));
    assert_eq!(
        offer(&rotation(3, &[5, 6], [1, 2])),
        Err("trust-too-few-signers"),
        "by those who were replaced"
    );
    assert_eq!(offer(&rotation(3, &[5, 6], [3, 4])), Ok(3));
    assert_eq!(offer(&rotation(3, &[5, 6], [5, 6])), Err("trust-not-newer"));
    assert_eq!(device.serial(), Ok(3));

    // Cut to the first, or gone: older keys do not come back.
    let kept = device.folder.path().join("trust.cose");
    let chain = std::fs::read(&kept).expect("kept beside the state");
    std::fs::write(&kept, rotation(2, &[3, 4], [1, 2])).expect("writes");
    assert_eq!(device.serial(), Err("trust-rolled-back"));
    std::fs::remove_file(&kept).expect("removes");
    assert_eq!(device.serial(), Err("trust-rolled-back"));
    std::fs::write(&kept, &chain[..chain.len() - 1]).expect("writes");
    assert_eq!(device.serial(), Err("trust-unreadable"));
    std::fs::write(&kept, &chain).expect("writes");
    assert_eq!(device.serial(), Ok(3));
    // A newer pinned file takes their place.
    replace(&device.config.watchlist.trust, trust_file(4, &[7, 8]).as_bytes()).expect("writes");
    assert_eq!(device.serial(), Ok(4));
}

#[test]
fn a_power_cut_between_the_kept_rotation_and_the_memory_leaves_the_new_keys() {
    let device = DeviceFolder::new();
    device.started().state.judge_clock(at(0)).expect("a first start");
    std::fs::write(device.folder.path().join("trust.cose"), rotation(2, &[3, 4], [1, 2]))
        .expect("writes");
    assert_eq!(device.serial(), Ok(2));
}

#[test]
fn keys_that_are_not_valid_now_are_not_taken_over() {
    let device = DeviceFolder::new();
    let refused = device.started().rotate(&rotation(2, &[3, 4], [1, 2]), at(200_000));
    assert_eq!(refused.map_err(|b| b.cause.code()), Err("trust-not-valid"));
    assert_eq!(device.serial(), Ok(1));
}

#[test]
fn a_list_left_unread_by_a_wrong_clock_is_read_once_when_the_clock_is_right() {
    let device = DeviceFolder::new();
    device.started().state.judge_clock(at(0)).expect("a first start");

    // A board without a battery starts with the time of its last shutdown, or with 1970.
    let mut keeper = device.started();
    let code = |outcome: Result<ActiveList, Blindness>| {
        outcome.map(|_| "in force").unwrap_or_else(|b| b.cause.code())
    };
    assert_eq!(keeper.may_load_now(at(1)), None, "nothing was tried yet");
    assert_eq!(code(keeper.load(at(-3600))), "went-back");
    assert_eq!(keeper.may_load_now(at(-3599)), None, "still wrong");
    assert_eq!(keeper.may_load_now(at(2)), Some(LoadOccasion::ClockSet), "set right meanwhile");
    // There is none, which only reading it can tell; reading it again and again would not help.
    assert_eq!(code(keeper.load(at(3))), "no-list");
    assert_eq!(keeper.may_load_now(at(4)), None);
}

#[test]
fn a_state_that_the_disk_did_not_give_is_read_when_it_does_and_a_damaged_one_is_not() {
    let device = DeviceFolder::new();
    let path = device.config.watchlist.state.clone();
    let faces = DayCounts { day: at(0).wall.to_julian_day(), today: 700, before: [9; DAYS] };
    device.started().keep_faces(faces.clone());
    let kept = std::fs::read(&path).expect("kept");
    std::fs::remove_file(&path).expect("there");
    // As one that cannot be read for now.
    std::fs::create_dir(&path).expect("a folder");
    let mut keeper = device.started();
    assert!(keeper.state.memory().is_err() && !keeper.is_stored(), "what it hears is not stored");
    assert_eq!(keeper.may_load_now(at(0)), None);
    assert!(keeper.permits(at(0)).is_err(), "nothing is known of the clock either");
    std::fs::remove_dir(&path).expect("empty");
    std::fs::write(&path, kept).expect("writes");
    assert_eq!(keeper.may_load_now(at(0)), None, "not at once");
    assert_eq!(keeper.may_load_now(at(1)), Some(LoadOccasion::MemoryRead));
    assert!(keeper.state.memory().is_ok() && keeper.is_stored());
    assert_eq!(keeper.faces(), Some(faces), "what had passed before the start");
    assert_eq!(keeper.permits(at(1)), Ok(()), "the clock is judged anew");
    assert_eq!(keeper.may_load_now(at(2)), None, "once");

    std::fs::write(&path, "{").expect("writes");
    let mut keeper = device.started();
    std::fs::remove_file(&path).expect("there");
    assert_eq!(keeper.may_load_now(at(10)), None);
    assert!(keeper.state.memory().is_err());
}

#[test]
fn an_order_that_comes_before_the_state_can_be_read_is_remembered_once_it_can_be() {
    let device = DeviceFolder::new();
    let (w, day) = (&device.config.watchlist, time::Duration::DAY);
    let roles = [Role::Signer, Role::Revoker];
    let keys = [1, 2].map(|n| (key(n).public(), "somebody", &roles[..]));
    let pinned = render(1, 2, at(0).wall - day, at(0).wall + day, &keys);
    replace(&w.trust, pinned.as_bytes()).expect("writes");
    std::fs::create_dir(&w.state).expect("a folder");
    let mut keeper = device.started();
    let north: Reference = "north".parse().expect("a reference");
    let action = order::Action::Revoke { list: north, through: order::EVERY_VERSION, entry: None };
    let revocation = order::sign(order::OrderId([7; 16]), &action, &key(1), at(0).wall);
    let revocation = revocation.expect("an order");
    for _ in 0..2 {
        let (_, obeyed) = keeper.obey(&revocation, at(0)).expect("genuine");
        assert_eq!((obeyed, keeper.is_stored()), (Obeyed::Now, false), "not acknowledged");
    }
    std::fs::remove_dir(&w.state).expect("empty");
    assert_eq!(keeper.may_load_now(at(1)), Some(LoadOccasion::MemoryRead));
    assert!(keeper.is_stored());
    assert_eq!(load(&mut keeper, at(2)), "revoked");
    assert_eq!(load(&mut device.started(), at(3)), "revoked", "over a restart");
}

/// A device whose signers may revoke, with the list `north-gate` of four entries on its disk, and
/// what revokes the list, or one of its entries.
fn with_a_list() -> (DeviceFolder, impl Fn(Option<&str>) -> Vec<u8>) {
    let device = DeviceFolder::new();
    let (w, day) = (&device.config.watchlist, time::Duration::DAY);
    let roles = [Role::Signer, Role::Revoker];
    let keys = [1, 2].map(|n| (key(n).public(), "somebody", &roles[..]));
    let pinned = render(1, 2, at(0).wall - day, at(0).wall + day, &keys);
    replace(&w.trust, pinned.as_bytes()).expect("writes");
    replace(&w.list, &signed(&fixture::content(4), &[1, 2])).expect("writes");
    let revocation = |entry: Option<&str>| {
        let list = "north-gate".parse().expect("a reference");
        let entry = entry.map(|entry| entry.parse().expect("a reference"));
        let action = order::Action::Revoke { list, through: order::EVERY_VERSION, entry };
        order::sign(order::OrderId([7; 16]), &action, &key(1), at(0).wall).expect("an order")
    };
    (device, revocation)
}

/// References of the entries that are in the list on the disk.
fn on_disk(device: &DeviceFolder) -> Vec<String> {
    let bytes = std::fs::read(&device.config.watchlist.list).expect("a list");
    let entries = (0..4).map(|n| format!("case-{n}"));
    let there = |entry: &String| {
        removal::without(&bytes, |r| r.as_str() == entry).expect("a list").is_some()
    };
    entries.filter(there).collect()
}

#[test]
fn a_revoked_entry_that_cannot_be_taken_off_the_disk_is_tried_again_and_remembered_first() {
    let (device, revocation) = with_a_list();
    let w = &device.config.watchlist;
    // Nothing can be written beside the list, as on a full disk.
    let beside = w.list.with_file_name("list.new");
    std::fs::create_dir(&beside).expect("a folder");
    let mut keeper = device.started();
    keeper.obey(&revocation(Some("case-2")), at(0)).expect("genuine");
    keeper.remove_revoked();
    assert!(keeper.left_on_disk().is_some(), "and the status says so");
    assert_eq!(on_disk(&device).len(), 4);
    keeper.remove_again(at(1));
    keeper.remove_again(at(1));
    std::fs::remove_dir(&beside).expect("empty");
    keeper.remove_again(at(1));
    assert!(keeper.left_on_disk().is_some(), "not at once");
    keeper.remove_again(at(2));
    assert_eq!(
        (keeper.left_on_disk(), &on_disk(&device)[..]),
        (None, &["case-0", "case-1", "case-3"].map(String::from)[..])
    );
    // The device knows of it over a restart, and of no other that is missing.
    let bytes = std::fs::read(&w.list).expect("a list");
    let verified = |bytes: &[u8]| {
        verify(bytes, &fixture::trust(), fixture::now(), fixture::DEVICE, &fixture::EMBEDDER)
            .expect("signed")
    };
    let mut memory = device.started().state.memory().expect("kept").clone();
    assert_eq!(memory.admit(&verified(&bytes), fixture::now()), Ok(()));
    let more = removal::without(&bytes, |r| r.as_str() == "case-0").expect("a list");
    let more = more.expect("it is there").parts.concat();
    let refused = memory.admit(&verified(&more), fixture::now()).expect_err("one more is missing");
    assert_eq!(Blindness::from(refused).cause, Cause::EntriesMissing);
}

#[test]
fn no_entry_is_taken_out_before_the_memory_of_it_is_stored() {
    let (device, revocation) = with_a_list();
    let w = &device.config.watchlist;
    let mut keeper = device.started();
    keeper.obey(&revocation(Some("case-2")), at(0)).expect("genuine");
    let beside = w.state.with_file_name("state.json.new");
    std::fs::create_dir(&beside).expect("a folder");
    keeper.remove_revoked();
    assert!(keeper.left_on_disk().is_some_and(|left| left.contains("state")));
    assert_eq!(on_disk(&device).len(), 4, "else it would be refused after a restart");
    std::fs::remove_dir(&beside).expect("empty");
    keeper.remove_again(at(1));
    assert_eq!((keeper.left_on_disk(), on_disk(&device).len()), (None, 3));
}

#[test]
fn a_revoked_list_that_is_a_link_is_destroyed_where_it_lies() {
    let (device, revocation) = with_a_list();
    let w = &device.config.watchlist;
    let real = device.folder.path().join("real.cose");
    std::fs::rename(&w.list, &real).expect("renames");
    std::os::unix::fs::symlink(&real, &w.list).expect("links");
    let held = std::fs::File::open(&real).expect("there");
    let mut keeper = device.started();
    keeper.obey(&revocation(None), at(0)).expect("genuine");
    keeper.remove_revoked();
    assert_eq!(keeper.left_on_disk(), None);
    assert!(!real.exists() && w.list.symlink_metadata().is_err());
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &held, &mut bytes).expect("reads");
    assert!(!bytes.is_empty() && bytes.iter().all(|b| *b == 0), "overwritten");
}

#[test]
fn a_state_that_lacks_a_revocation_of_the_audit_log_matches_nobody_until_it_is_heard_again() {
    let (mut device, revocation) = with_a_list();
    device.config.audit.log = device.folder.path().join("audit");
    let mut store = AuditStore::open(&device.config.audit.log, "watchpost/gate-1").expect("new");
    let followed = AuditEvent::Instruction(InstructionRecord {
        what: Instruction::RevokeEntry,
        answer: Answer::Followed,
        order: Some([7; 16]),
        keys: Vec::new(),
    });
    let record = AuditRecord::new(followed, at(0)).to_bytes().expect("small");
    assert_eq!(device.started().permits(at(0)), Ok(()), "before the order");
    device.started().obey(&revocation(None), at(0)).expect("genuine");
    store.append(&record).expect("appends");
    drop(store);
    let cause = |device: &DeviceFolder| device.started().permits(at(1)).map_err(|b| b.cause);
    assert_eq!(cause(&device), Ok(()));
    let w = &device.config.watchlist;
    let kept = std::fs::read_to_string(&w.state).expect("a state");
    let mut older: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    older.as_object_mut().expect("an object").remove("revoked");
    std::fs::write(&w.state, older.to_string()).expect("writes");
    std::fs::remove_file(w.list_seen()).expect("there");
    assert_eq!(cause(&device), Err(Cause::DamagedState), "put back");
    let mut keeper = device.started();
    assert!(keeper.permits(at(1)).is_err());
    keeper.obey(&revocation(None), at(1)).expect("genuine");
    assert_eq!(keeper.permits(at(2)), Ok(()), "heard again");
    // Whatever else is deleted with it: the log says that this device has run before.
    for file in [w.state.clone(), w.list_seen(), w.state.with_file_name("state.json.reserve")] {
        std::fs::remove_file(file).expect("there");
    }
    assert_eq!(cause(&device), Err(Cause::DamagedState), "deleted");
}
