//! Which log of a device it is: the first, or one that it began anew.
//!
//! * The first log of the device `gate-3` is called `<root>/gate-3`, later ones `<root>/gate-3.2`,
//!   `<root>/gate-3.3`: another log for everybody who verifies one, so that none can pass for
//!   another.
//! * A device begins a later one only where a trust file names it (`origin_reset`) that the people
//!   who start a search have signed together, as a rotation of its keys. It never goes back to an
//!   earlier one.
//! * What the pinned file itself names is the name of the first log in an empty folder, and sets no
//!   log aside. It is no protection against those who can edit that file: they can pin keys of
//!   their own, and have the device.

use std::num::NonZeroU32;

use crate::watchlist::Trust;

/// A device's first log, or a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(NonZeroU32);

impl Generation {
    /// The first.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The generation of the log that is called `name` below the root, where it is one of `device`.
    pub fn named(name: &str, device: &str) -> Option<Self> {
        let rest = name.strip_prefix(device)?;
        if rest.is_empty() {
            return Some(Self::FIRST);
        }
        let digits = rest.strip_prefix('.')?;
        let canonical = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
        let number: u32 = digits.parse().ok().filter(|_| canonical)?;
        // The first one is called after the device alone.
        (number > 1).then(|| NonZeroU32::new(number).map(Self)).flatten()
    }

    /// The log of `device` that `trust` asks for.
    pub fn asked_for(trust: &Trust, device: &str) -> Self {
        let reset = trust.audit().origin_reset.as_ref();
        reset.and_then(|reset| Self::named(reset.as_str(), device)).unwrap_or(Self::FIRST)
    }

    /// What that log of `device` is called below the root.
    pub fn name(self, device: &str) -> String {
        if self == Self::FIRST { device.to_owned() } else { format!("{device}.{}", self.0) }
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::FIRST
    }
}

/// Which log the keys of a device ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedLog {
    named: Generation,
    signed: bool,
}

impl AskedLog {
    /// The log that is `named`; `signed` where the people of the keys before have signed that.
    pub fn new(named: Generation, signed: bool) -> Self {
        Self { named, signed }
    }

    /// The one that was signed; the first where none was.
    pub fn signed(self) -> Generation {
        if self.signed { self.named } else { Generation::FIRST }
    }

    /// Which one to open where `had` lies there.
    pub fn after(self, had: Option<Generation>) -> Generation {
        had.map_or(self.named, |had| had.max(self.signed()))
    }

    /// Whether it names a later log than `had`, and nobody has signed that.
    pub fn is_unsigned_reset_of(self, had: Generation) -> bool {
        !self.signed && self.named > had
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_one_generation_of_one_device_or_none() {
        let of = |name: &str| Generation::named(name, "gate-3").map(|g| g.0.get());
        assert_eq!([of("gate-3"), of("gate-3.2"), of("gate-3.12")], [Some(1), Some(2), Some(12)]);
        for other in ["gate-3.1", "gate-3.0", "gate-3.02", "gate-3.", "gate-3.x", "gate-32", "gate"]
        {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(of("gate-3.4294967296"), None);
    }

    proptest! {
        #[test]
        fn what_is_named_is_read_the_same(n in 1u32.., device in "[a-z][a-z0-9.-]{0,9}") {
            let generation = Generation(NonZeroU32::new(n).expect("not zero"));
            let name = generation.name(&device);
            prop_assert_eq!(Generation::named(&name, &device), Some(generation));
        }
    }
}
