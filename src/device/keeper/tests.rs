use std::time::Duration;

use time::OffsetDateTime;

use super::*;
use crate::files::replace;
use crate::watchlist::keys::SecretKey;
use crate::watchlist::trust::{Role, render};

const NOON: i64 = 1_790_596_800;

fn at(seconds: i64) -> Now {
    let wall = OffsetDateTime::from_unix_timestamp(NOON + seconds).expect("a time");
    // Far enough apart for the clock to be judged anew each time.
    Now { monotonic: Duration::from_secs(1_000_000u64.wrapping_add_signed(seconds * 10)), wall }
}

/// A device's folder, whose pinned file has the signers `signers`.
struct Device {
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

impl Device {
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
    let device = Device::new();
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

#[test]
fn a_damaged_memory_is_no_fresh_start() {
    let device = Device::new();
    assert_eq!(device.started().state.judge_clock(at(0)), Ok(()));
    std::fs::write(&device.config.watchlist.state, b"{").expect("writes");
    assert_eq!(
        device.started().state.judge_clock(at(1)).expect_err("damaged").cause.code(),
        "damaged-state"
    );
}

#[test]
fn rotations_are_kept_followed_after_a_restart_and_not_forgotten() {
    let device = Device::new();
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
    let device = Device::new();
    device.started().state.judge_clock(at(0)).expect("a first start");
    std::fs::write(device.folder.path().join("trust.cose"), rotation(2, &[3, 4], [1, 2]))
        .expect("writes");
    assert_eq!(device.serial(), Ok(2));
}

#[test]
fn keys_that_are_not_valid_now_are_not_taken_over() {
    let device = Device::new();
    let refused = device.started().rotate(&rotation(2, &[3, 4], [1, 2]), at(200_000));
    assert_eq!(refused.map_err(|b| b.cause.code()), Err("trust-not-valid"));
    assert_eq!(device.serial(), Ok(1));
}

#[test]
fn a_list_left_unread_by_a_wrong_clock_is_read_once_when_the_clock_is_right() {
    let device = Device::new();
    device.started().state.judge_clock(at(0)).expect("a first start");

    // A board without a battery starts with the time of its last shutdown, or with 1970.
    let mut keeper = device.started();
    let code = |outcome: Result<ActiveList, Blindness>| {
        outcome.map(|_| "in force").unwrap_or_else(|b| b.cause.code())
    };
    assert!(!keeper.may_load_now(at(1)), "nothing was tried yet");
    assert_eq!(code(keeper.load(at(-3600))), "went-back");
    assert!(!keeper.may_load_now(at(-3599)), "still wrong");
    assert!(keeper.may_load_now(at(2)), "set right meanwhile");
    // There is none, which only reading it can tell; reading it again and again would not help.
    assert_eq!(code(keeper.load(at(3))), "no-list");
    assert!(!keeper.may_load_now(at(4)));
}
