//! Why nobody is matched, or a list or key that came is refused: every cause there is.
//!
//! * The set is closed. A new cause has a code, a meaning, a remedy and a group before it compiles,
//!   and every place that tells causes apart has an arm for it.
//! * A code is published, in parentheses at the end of a `reason` and as the `detail` of a refused
//!   offer. It is never renamed and never given another meaning.
//! * `config/schemas/causes.md` is written from this table; a test holds them equal.
//!
//! What exactly is wrong this time, with names and numbers, is the text of the error that has the
//! cause: [`Blindness::reason`](crate::decision::policy::Blindness).

mod group;

use std::fmt;

use serde::{Serialize, Serializer};

pub use self::group::CauseGroup;

/// What to do where the device's memory can be used no more. It is not to be moved away: a device
/// that has run before and has none is damaged.
macro_rules! begin_memory_anew {
    () => {
        concat!(
            "stop watchpost, move ",
            setting!(watchlist.list),
            " away, remove the file that is called as it with `.seen` behind it, write \
             `{\"last_seen\":0,\"lists\":[]}` into ",
            setting!(watchlist.state),
            ", start watchpost, publish the orders that are to hold again, and install a list whose \
             version is higher than any before",
        )
    };
}

macro_rules! causes {
    ($($name:ident, $code:literal, $group:ident, $meaning:literal, $remedy:expr;)*) => {
        /// Why nobody is matched, or something that came is refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $(#[doc = $meaning] $name,)*
        }

        impl Cause {
            /// Every cause, in the order of the published table.
            pub const ALL: &'static [Cause] = &[$(Cause::$name,)*];

            /// The published word.
            pub const fn code(self) -> &'static str {
                match self { $(Cause::$name => $code,)* }
            }

            /// What it is about.
            pub const fn group(self) -> CauseGroup {
                match self { $(Cause::$name => CauseGroup::$group,)* }
            }

            /// What it means, for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Cause::$name => $meaning,)* }
            }

            /// What to do about it, for people.
            pub const fn remedy(self) -> &'static str {
                match self { $(Cause::$name => $remedy,)* }
            }
        }
    };
}

causes! {
    TooLarge, "too-large", Bytes,
        "what came has more bytes than any list may have",
        "make a smaller list (`watchpost watchlist remove`); one this large keeps no false-alert \
         budget either";
    Unreadable, "unreadable", Bytes,
        "what came is no complete list and no offer of one",
        "copy the list again from those who made it; on their workstation `watchpost watchlist \
         show FILE` says what is in a file";

    NoInbox, "no-inbox", Offer,
        "a list is offered by digest, and this device has no folder to take it from",
        concat!(
            "set ",
            setting!(watchlist.inbox),
            " to a folder and copy the list there, or offer the list itself",
        );
    NotInInbox, "not-in-inbox", Offer,
        "the list that is offered by digest cannot be read in the inbox",
        concat!(
            "copy the list into the folder ",
            setting!(watchlist.inbox),
            ", named by its digest (`sha256sum`) and readable for the user that runs watchpost, \
             then offer it again",
        );
    NotAsOffered, "not-as-offered", Offer,
        "the file in the inbox is not the list that is offered by digest",
        concat!(
            "copy the file into ",
            setting!(watchlist.inbox),
            " again, and offer it by the digest and the size that `sha256sum` and `stat` print for \
             it",
        );

    NoList, "no-list", List,
        "there is no list on the device, or it cannot be read",
        concat!(
            "copy the sealed list to ",
            setting!(watchlist.list),
            ", readable for the user that runs watchpost",
        );
    TooFewSigners, "too-few-signers", List,
        "fewer people signed the list than the trust file asks for",
        "have those sign whom the trust file names (`watchpost watchlist sign`), or install the \
         trust file of those who signed; on a workstation `watchpost watchlist show --trust` says \
         how each signature counts";
    Altered, "altered", List,
        "the list is not what its signers signed",
        "copy the list again from those who made it, and tell them if it happens twice";
    UnknownFormat, "unknown-format", List,
        "the list is in a format that this version of the program does not read",
        "install the version of watchpost that made the list, or have the list made with this \
         device's version (`watchpost --version`)";
    BadContent, "bad-content", List,
        "the list is signed, but breaks a rule for lists",
        "have its authors correct what is named and sign a higher version: `watchpost watchlist \
         revise`, two signatures, seal";
    BadEntry, "bad-entry", List,
        "an entry of the list breaks a rule for entries",
        "have its authors remove the entry that is named (`watchpost watchlist remove`), enrol it \
         again (`watchpost watchlist add`) and sign a higher version";
    WrongDevice, "wrong-device", List,
        "the list was signed for other devices",
        concat!(
            "correct ",
            setting!(device.id),
            ", or have the list made and signed for this device",
        );
    WrongModel, "wrong-model", List,
        "the list was enrolled with another embedder than this device runs",
        concat!(
            "enrol again with this device's networks, or name the list's networks by ",
            setting!(vision.models),
        );
    RolledBack, "rolled-back", List,
        "the device has had a later version of the list",
        "install the newest version, or have this content signed again with a higher one: \
         `watchpost watchlist revise`, two signatures, seal";
    SameVersion, "same-version", List,
        "the device has had another list of this version",
        "have one of the two lists signed again with a higher version: `watchpost watchlist \
         revise`, two signatures, seal";
    EntriesMissing, "entries-missing", List,
        "entries were taken from the list without an order that revokes them",
        "copy the list again from those who made it, and tell them; an entry is withdrawn by \
         `watchpost watchlist revoke --entry`";
    Revoked, "revoked", List,
        "the list was revoked",
        "install another list; this one was withdrawn for good";
    EmptyList, "empty-list", List,
        "no entry of the list can be matched any more",
        "have a new version with valid entries signed: `watchpost watchlist revise`, `watchpost \
         watchlist add`, two signatures, seal";
    OverBudget, "over-budget", List,
        "a list this large makes more false alerts than its authorisation allows",
        "remove entries, or have more false alerts a day authorised; `watchpost watchlist plan` \
         shows which lists keep the budget";
    PromiseDiffers, "promise-differs", List,
        "the device cannot keep the promise that the list was signed for: networks, false-match \
         curve, quality gate or decision rule differ",
        "set what is named back to what was signed or stricter, or have the list signed for what \
         this device runs: `watchpost watchlist revise`, two signatures, seal";
    BadSiteRecord, "bad-site-record", List,
        "the site record in the list is damaged, contradicts itself, or is of too few days or \
         faces",
        "copy the record from the device again (`watchpost calibrate show` reads it) and sign it \
         into a new version: `watchpost watchlist revise --site`, two signatures, seal";
    SiteNotOurs, "site-not-ours", List,
        "the device did not make the site record in the list as it is, or has no key to know it \
         by",
        concat!(
            "sign the record that this device wrote, unaltered: `watchpost watchlist revise \
             --site`, two signatures, seal; where ",
            setting!(watchlist.device_key),
            " was replaced, calibrate again (`watchpost calibrate run`)",
        );
    SiteElsewhere, "site-elsewhere", List,
        "the site record in the list is of another device, camera or place, or of a camera that \
         moves",
        concat!(
            "set ",
            setting!(device.camera),
            " and ",
            setting!(watchlist.position),
            " back where the camera was not moved; where it was, calibrate again, and until then \
             have a list signed without the record: `watchpost watchlist revise --no-site`",
        );
    SiteEnded, "site-ended", List,
        "the site record in the list has ended, or has not begun",
        "calibrate again (`watchpost calibrate run`) and sign the new record: `watchpost watchlist \
         revise --site`, two signatures, seal; or correct the clock";
    SitePromiseDiffers, "site-promise-differs", List,
        "the site record in the list was measured with other networks, another quality gate or \
         another decision rule",
        "calibrate again with what the device runs now, or set it back; `watchpost watchlist revise \
         --no-site` makes a list without the record";
    NotPromoted, "not-promoted", List,
        "the list was to come into force only after what its silent version was signed with has \
         been counted, and that has not been shown",
        "let the silent version (`watchpost watchlist new --silent`) and its calibration go on \
         until what is missing is there; then sign the record into the next version: `watchpost \
         watchlist revise --in-force --site`, two signatures, seal";
    BudgetExceeded, "budget-exceeded", List,
        "more of this list's alerts were refuted, or left unjudged, than its signed budget explains",
        "have reviewers judge what waits; remove the entries that are confused (`watchpost audit \
         report`), and sign a new version: `watchpost watchlist revise`, two signatures, seal";
    TooManyLists, "too-many-lists", List,
        "the device remembers the versions of as many unexpired lists as it can",
        "go on with a list that the device has had (`watchpost watchlist revise` keeps its id), or \
         wait until one has expired";

    NotSealed, "not-sealed", Seal,
        "the list is not sealed, and the device has a key that lists are sealed to",
        concat!(
            "have the list sealed to this device: `watchpost watchlist seal LIST --to age1...` \
             with what `watchpost key show KEYFILE` prints; or set ",
            setting!(watchlist.accept_plain),
            " = true where disk and network are safe",
        );
    SealedToAnother, "sealed-to-another", Seal,
        "the list is sealed to the key of another device",
        "have the list sealed to this device: `watchpost watchlist seal LIST --to age1...` with \
         what `watchpost key show KEYFILE` prints";
    SealedWithPassphrase, "sealed-with-passphrase", Seal,
        "the list is sealed with a passphrase",
        "have the list sealed to the device's key instead: `watchpost watchlist seal LIST --to \
         age1...`";
    SealBroken, "seal-broken", Seal,
        "the sealed list was altered or cut",
        "copy the sealed list again, or have it sealed again (`watchpost watchlist seal`)";
    NoDeviceKey, "no-device-key", Seal,
        "the list is sealed, and the device has no key",
        concat!(
            "name the key that the list was sealed to by ",
            setting!(watchlist.device_key),
            "; a key in /etc/credstore is for the service only: examine as it does, with \
             `systemd-run --pipe --wait -p User=watchpost -p SupplementaryGroups=video -p \
             LimitMEMLOCK=infinity -p \
             LoadCredential=watchpost-device-key:/etc/credstore/watchpost-device-key watchpost \
             doctor`",
        );
    DeviceKey, "device-key", Seal,
        "the device's key cannot be used",
        concat!(
            "let the user that runs watchpost, and nobody else, read the key (`chown`, `chmod \
             600`); where it is lost, make another one (`watchpost key device FILE`), name it by ",
            setting!(watchlist.device_key),
            " and have the list sealed to it",
        );
    Recipients, "recipients", Seal,
        "a list is sealed to no device, to too many, or to what is no device's public key",
        "name each device by what `watchpost key show KEYFILE` prints for it";

    NoTrust, "no-trust", Trust,
        "the trust file, or the file of its rotations, cannot be used",
        concat!(
            "install the trust file of those who sign for this device (`watchpost key trust` makes \
             one) as ",
            setting!(watchlist.trust),
            ", readable for the user that runs watchpost, as ",
            setting!(watchlist.rotations),
            " has to be",
        );
    TrustNotValid, "trust-not-valid", Trust,
        "the trust file is not valid at this time",
        "install a trust file that is valid today (`watchpost key trust --days`), or correct the \
         clock";
    TrustRolledBack, "trust-rolled-back", Trust,
        "the device has had a trust file with a higher serial",
        concat!(
            "install the trust file with the highest serial as ",
            setting!(watchlist.trust),
            ", or put its rotations back as ",
            setting!(watchlist.rotations),
        );
    TrustTooLarge, "trust-too-large", Trust,
        "there are more rotations of the keys than a device keeps",
        concat!(
            "install the newest trust file itself as ",
            setting!(watchlist.trust),
            ", and remove ",
            setting!(watchlist.rotations),
        );
    TrustUnreadable, "trust-unreadable", Trust,
        "what came is no complete signed trust file",
        concat!(
            "send it as `watchpost key sign-trust` writes it; a damaged ",
            setting!(watchlist.rotations),
            " is replaced by installing the newest trust file itself as ",
            setting!(watchlist.trust),
        );
    TrustRefused, "trust-refused", Trust,
        "the new trust file breaks a rule for trust files",
        "correct what is named (`watchpost key trust` makes a good one), and have it signed again \
         (`watchpost key sign-trust`)";
    TrustTooFewSigners, "trust-too-few-signers", Trust,
        "too few of the signers before have signed the new trust file",
        "have more signers of the trust file before sign the new one (`watchpost key sign-trust`); \
         `watchpost key verify-trust` judges it as a device does";
    TrustAltered, "trust-altered", Trust,
        "the new trust file is not what its signers signed",
        "copy the signed trust file again from those who made it; `watchpost key verify-trust` \
         judges it as a device does";
    TrustNotNewer, "trust-not-newer", Trust,
        "the serial of the new trust file is not higher than the one in use",
        "make the trust file with a higher serial (`watchpost key trust --serial`), and have it \
         signed again (`watchpost key sign-trust`)";
    TrustSignatures, "trust-signatures", Trust,
        "a key has signed the trust file twice, or too many have",
        "have each signer sign the trust file once (`watchpost key sign-trust`)";

    Unsynchronised, "unsynchronised", TimeAndPlace,
        "nothing keeps the device's clock right",
        "start a time service (`timedatectl set-ntp true`, or chrony) and wait until it has the \
         time";
    WentBack, "went-back", TimeAndPlace,
        "the clock shows an earlier time than it has shown before",
        "set the clock right (`timedatectl set-ntp true`, or chrony); the device remembers the \
         latest time that it has seen, so that nothing expired comes back. Where that time was \
         wrong, restart; where that does not help, have a trust file signed that resets it \
         (`watchpost key trust --resets-clock`)";
    NotYetValid, "not-yet-valid", TimeAndPlace,
        "the list is not valid yet",
        "wait until the list begins (its authors see when with `watchpost watchlist show FILE`), \
         or correct the clock";
    Expired, "expired", TimeAndPlace,
        "the list, or the trust file that it rests on, has expired",
        "install a newer version under a renewed authorisation: `watchpost watchlist revise`, two \
         signatures, seal; where the trust file ends first, a newer trust file";
    OutsideHours, "outside-hours", TimeAndPlace,
        "it is outside the weekly hours that the list is authorised for",
        "wait for the list's hours, or have other hours authorised and signed";
    OutsideArea, "outside-area", TimeAndPlace,
        "the camera stands outside the areas that the list is authorised for",
        concat!(
            "correct ",
            setting!(watchlist.position),
            ", or have a list authorised for this place",
        );
    PositionUnknown, "position-unknown", TimeAndPlace,
        "the list is authorised for some areas, and it is not known where the camera stands",
        concat!("set ", setting!(watchlist.position), " to where the camera stands");
    Suspended, "suspended", TimeAndPlace,
        "somebody who may has suspended matching for a time",
        "wait; matching goes on by itself when the suspension ends";
    OrdersAwaited, "orders-awaited", TimeAndPlace,
        "the device has just started, and the orders that the broker keeps for it have not all been \
         heard",
        concat!(
            "see that the broker answers (",
            setting!(broker.url),
            ") and lets this device read its orders; without it matching begins after ",
            setting!(watchlist.await_orders_s),
        );

    NoFrames, "no-frames", Device,
        "no frame comes from the camera",
        concat!(
            "look at what `watchpost doctor` says of `cameras` and `source`, and correct ",
            setting!(source.kind),
            " and the section of that kind",
        );
    MemoryNotLocked, "memory-not-locked", Device,
        "the list's templates, or the camera's frames, cannot be kept out of swap",
        "give the service LimitMEMLOCK=infinity (or `ulimit -l unlimited` before it starts)";
    NoMemory, "no-memory", Device,
        "there is no memory for the list",
        "end what else uses the device's memory (`free -m`), or install a smaller list";
    DamagedState, "damaged-state", Device,
        "what the device remembers of lists, orders and time cannot be read",
        concat!(
            "find out why (`ls -l` as the user that runs watchpost; the disk's health), and put the \
             file ",
            setting!(watchlist.state),
            " back; where it is lost for good, ",
            begin_memory_anew!(),
        );
    StateNotStored, "state-not-stored", Device,
        "what the device has to remember cannot be written",
        concat!(
            "look at what `watchpost doctor` says of `state`: the folders of ",
            setting!(watchlist.state),
            ", ",
            setting!(watchlist.list),
            " and ",
            setting!(watchlist.rotations),
            " need room, and the user that runs watchpost writes there",
        );
    OrderNotStored, "order-not-stored", Device,
        "an order that stops is followed and cannot be written to the disk, where a restart would \
         forget it",
        concat!(
            "let the user that runs watchpost write the folder of ",
            setting!(watchlist.state),
            ", and make room there; the order is stored and matching goes on by itself",
        );
    TooManyOrders, "too-many-orders", Device,
        "more orders came than the device can remember or take at once",
        concat!(
            "find out who signs or sends so many, and restart watchpost: what came too fast is \
             heard again; where the device still says so its memory is full: ",
            begin_memory_anew!(),
        );
    ListNotStored, "list-not-stored", Device,
        "the list on the disk cannot be replaced",
        concat!(
            "let the user that runs watchpost write the folder of ",
            setting!(watchlist.list),
            ", and make room there",
        );
    ReviewsNotStored, "reviews-not-stored", Device,
        "the candidates that wait for verdicts cannot be read or stored",
        concat!(
            "let the user that runs watchpost read and write ",
            setting!(review.docket),
            ", and make room there; a file that is damaged is moved away, and what waited is lost",
        );
    ReviewsFull, "reviews-full", Device,
        "as many candidates wait for two people to judge them as the device remembers",
        concat!(
            "have reviewers judge them; what nobody judges ends after ",
            setting!(review.deadline_s),
        );
    AuditNotStored, "audit-not-stored", Device,
        "a record of what the device does cannot be written to its audit log",
        concat!(
            "let the user that runs watchpost write the folder of ",
            setting!(audit.log),
            ", and make room there; matching goes on by itself",
        );
    AuditRolledBack, "audit-rolled-back", Device,
        "the audit log is not what it was when the device last signed it: put back, cut or altered",
        concat!(
            "keep the folder of ",
            setting!(audit.log),
            " for those who examine it, and tell who answers for the device; to go on, have a trust \
             file signed that begins the log anew (`watchpost key trust --origin-reset`), and show \
             it to the witnesses, too (`watchpost witness run --reset`)",
        );
    AuditUnproved, "audit-unproved", Device,
        "too few witnesses have said since the start that they know of no newer audit log",
        concat!(
            "see that the broker answers and that the witnesses that the trust file pins run \
             (`watchpost witness run`) and know this device's key; ",
            setting!(audit.on_unproved),
            " says what happens until then",
        );
    AuditUnwitnessed, "audit-unwitnessed", Device,
        "too few witnesses have cosigned the audit log for too long",
        concat!(
            "see that the witnesses that the trust file pins run (`watchpost witness run`), know \
             this device's key and may write to the broker; ",
            setting!(audit.quorum_hours),
            " says how long is too long",
        );
    AuditUnusable, "audit-unusable", Device,
        "the audit log or the identity that signs it cannot be used",
        concat!(
            "correct ",
            setting!(audit.identity),
            " (`watchpost key identity` makes one, readable for the user that runs watchpost \
             alone) and ",
            setting!(audit.log),
            ", and restart",
        );
    NoFalseMatchCurve, "no-false-match-curve", Device,
        "nothing was measured of how often the embedder confuses people",
        concat!(
            "leave ",
            setting!(vision.models),
            " out for the built-in networks, or name a manifest with a measured curve of 300 \
             people or more (`[[embedder.groups]]`; `watchpost evaluate curve` measures one)",
        );
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests;
