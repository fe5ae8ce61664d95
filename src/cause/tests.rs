use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use super::*;

const PUBLISHED: &str = "config/schemas/causes.md";

/// The sections of the published table.
const SECTIONS: [(CauseGroup, &str); 7] = [
    (CauseGroup::Bytes, "What came is no list at all (counted, and nothing is published)"),
    (CauseGroup::Offer, "The way of an offered list"),
    (CauseGroup::List, "The list"),
    (CauseGroup::Seal, "The seal and the device's key"),
    (CauseGroup::Trust, "The keys of those who sign"),
    (CauseGroup::TimeAndPlace, "Time and place"),
    (CauseGroup::Device, "The device"),
];

const HEAD: &str = "\
# Why nobody is matched, or an offer is refused

The code is the word in parentheses at the end of a `reason` in `status` and `watchlist/state`, and
the `detail` of a refused offer. A code is never renamed and never given another meaning; new ones
are added. Ignore what you do not know. `watchpost doctor` says on the device which one it is.

Written from the program by its tests.
";

fn table() -> String {
    let mut text = String::from(HEAD);
    for (group, title) in SECTIONS {
        let _ =
            write!(text, "\n## {title}\n\n| code | what it means | what to do |\n|---|---|---|\n");
        for cause in Cause::ALL.iter().filter(|cause| cause.group() == group) {
            let (code, meaning, remedy) = (cause.code(), cause.meaning(), cause.remedy());
            let _ = writeln!(text, "| `{code}` | {meaning} | {remedy} |");
        }
    }
    text
}

/// `WATCHPOST_WRITE_SCHEMAS=1 cargo test --lib cause::` writes the page anew.
#[test]
fn the_published_table_names_every_cause_and_no_other() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PUBLISHED);
    let expected = table();
    assert!(Cause::ALL.iter().all(|cause| expected.contains(&format!("| `{cause}` |"))));
    if std::env::var_os("WATCHPOST_WRITE_SCHEMAS").is_some() {
        std::fs::write(&path, &expected).expect("the page can be written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == expected,
        "{PUBLISHED} is not what the program says; where codes were only added, run \
         WATCHPOST_WRITE_SCHEMAS=1 cargo test --lib cause::"
    );
}

#[test]
fn a_code_is_one_lower_case_word_and_stands_for_one_cause() {
    let codes: HashSet<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    assert_eq!(codes.len(), Cause::ALL.len());
    assert!(codes.iter().all(|code| code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'-'))));
}

#[test]
fn each_cause_has_a_meaning_and_a_remedy_of_its_own() {
    for of in [Cause::meaning, Cause::remedy] {
        let texts: HashSet<_> = Cause::ALL.iter().map(|cause| of(*cause)).collect();
        assert_eq!(texts.len(), Cause::ALL.len());
        assert!(texts.iter().all(|text| text.len() > 10 && !text.ends_with('.')));
    }
}

#[test]
fn what_anybody_may_send_is_counted_and_not_published() {
    let bytes: Vec<_> = Cause::ALL.iter().filter(|c| c.group() == CauseGroup::Bytes).collect();
    assert_eq!(bytes, [&Cause::TooLarge, &Cause::Unreadable]);
}

#[test]
fn a_remedy_names_what_helps() {
    for (cause, words) in [
        (Cause::Unsynchronised, "time service"),
        (Cause::DamagedState, "watchlist.state"),
        (Cause::NoDeviceKey, "systemd-run"),
        (Cause::SealedToAnother, "watchlist seal"),
        (Cause::TooFewSigners, "watchlist sign"),
        (Cause::NoTrust, "key trust"),
        (Cause::WrongDevice, "device.id"),
        (Cause::Expired, "watchlist revise"),
        (Cause::MemoryNotLocked, "LimitMEMLOCK"),
        (Cause::OverBudget, "watchlist plan"),
        (Cause::PositionUnknown, "watchlist.position"),
        (Cause::TrustNotNewer, "key sign-trust"),
        (Cause::NotInInbox, "watchlist.inbox"),
        (Cause::NoFrames, "source.kind"),
    ] {
        assert!(cause.remedy().contains(words), "{cause}: {}", cause.remedy());
    }
}
