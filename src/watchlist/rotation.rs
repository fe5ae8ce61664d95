//! How keys rotate: a new trust file, signed by as many of the old file's signers as a list needs.
//!
//! * A rotation is a tagged `COSE_Sign`, as a list is, whose payload is the text of the new trust
//!   file. Content type and context are its own ([`CONTENT_TYPE`], [`CONTEXT`]), so that a
//!   signature for a list is none for a trust file.
//! * Each is signed by the file before it, so that a device which missed some needs all of them. It
//!   keeps them one after another (a CBOR sequence, RFC 8742), begins at the pinned `trust.toml`
//!   and follows them each time ([`follow`]). Nothing but that file has to be believed.
//! * Serials rise. A rotation to a lower or the same serial is refused; those up to the pinned
//!   file's own are skipped, which is what makes room: after [`MAX_ROTATIONS`] a newer `trust.toml`
//!   has to be installed.
//! * An unknown signer counts for nothing, a signer counts once, and a pinned one's signature that
//!   does not hold refuses the rotation; a new file under which one person could start a search is
//!   refused like any.
//! * The old file's validity does not matter: keys can rotate after it has ended. The new file's
//!   does, wherever a list is verified.
//!
//! That an older set does not come back is for [`super::memory::DeviceMemory`] to remember.

use super::cbor::CborError;
use super::container::{Container, MAX_SIGNATURES, SignedKind};
use super::keys::{KeyId, SecretKey};
use super::signatures::{SignatureError, check_signatures};
use super::trust::{MAX_TRUST_BYTES, Trust, TrustError};
use crate::cause::Cause;

/// Content type in the protected header.
pub const CONTENT_TYPE: &str = "application/vnd.watchpost.trust+toml";
/// What every signature is bound to besides the payload (`external_aad`).
pub const CONTEXT: &[u8] = b"watchpost trust v1";
/// Most rotations that a device follows from its pinned file.
pub const MAX_ROTATIONS: usize = 32;
/// Most bytes of one.
pub const MAX_BYTES: usize = MAX_TRUST_BYTES as usize + 4096;
/// Most bytes of all that a device keeps.
pub const MAX_CHAIN: usize = 4 << 20;

/// Trust files, as the container has to know them.
pub(super) static TRUST_FILE: SignedKind = SignedKind {
    content_type: CONTENT_TYPE,
    context: CONTEXT,
    max_payload: MAX_TRUST_BYTES as usize,
    items: None,
};

/// Why a rotation is not followed.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Too many bytes.
    #[error("{0} bytes of rotations; install the newest trust file itself")]
    TooLarge(usize),
    /// More than [`MAX_ROTATIONS`].
    #[error(
        "more than {MAX_ROTATIONS} rotations from the pinned trust file; install the newest trust \
         file itself"
    )]
    TooMany,
    /// Not the container, or cut short.
    #[error(
        "this is no complete signed trust file ({0}); make one with `watchpost key sign-trust`"
    )]
    Unreadable(#[from] CborError),
    /// The payload is no text.
    #[error("the signed trust file is not UTF-8")]
    NotText,
    /// The new file itself.
    #[error("the new trust file: {0}")]
    File(#[from] TrustError),
    /// Not enough signers of the old file, or an altered signature.
    #[error(
        "the new trust file is not signed as the one before it asks for: it needs {need} of that \
         one's signers, and {have} signed"
    )]
    TooFewSigners {
        /// Different signers of the file before whose signatures hold.
        have: usize,
        /// As that file asks.
        need: usize,
    },
    /// A pinned signer's signature does not hold.
    #[error("the new trust file is not what the key {0} signed: it was altered or damaged")]
    Altered(KeyId),
    /// Not newer.
    #[error(
        "the trust file has serial {offered} and this device has had {highest}; raise `serial` \
         and have it signed again"
    )]
    NotNewer {
        /// As offered.
        offered: u64,
        /// As known.
        highest: u64,
    },
    /// A second signature by one key.
    #[error("the key {0} has signed this trust file already; have another signer sign")]
    AlreadySigned(KeyId),
    /// More than [`MAX_SIGNATURES`].
    #[error("the trust file has {MAX_SIGNATURES} signatures already; more are not read")]
    TooManySignatures,
}

impl From<SignatureError> for RotationError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Altered(key) => Self::Altered(key),
            SignatureError::TooFewSigners { have, need } => Self::TooFewSigners { have, need },
        }
    }
}

impl RotationError {
    /// Its published cause.
    pub fn cause(&self) -> Cause {
        match self {
            Self::TooLarge(_) | Self::TooMany => Cause::TrustTooLarge,
            Self::Unreadable(_) | Self::NotText => Cause::TrustUnreadable,
            Self::File(_) => Cause::TrustRefused,
            Self::TooFewSigners { .. } => Cause::TrustTooFewSigners,
            Self::Altered(_) => Cause::TrustAltered,
            Self::NotNewer { .. } => Cause::TrustNotNewer,
            Self::AlreadySigned(_) | Self::TooManySignatures => Cause::TrustSignatures,
        }
    }
}

/// Whether `bytes` claim to be a rotation.
pub fn is_rotation(bytes: &[u8]) -> bool {
    Container::read_first(&TRUST_FILE, bytes).is_ok()
}

/// Signs the text of a new trust file, which has to be a good one.
///
/// # Errors
/// Where it is none.
pub fn sign(text: &str, key: &SecretKey) -> Result<Vec<u8>, RotationError> {
    Trust::parse(text)?;
    let mut container = Container::new(&TRUST_FILE, text.as_bytes());
    container.sign(key);
    Ok(container.to_bytes().to_vec())
}

/// Adds a signature.
///
/// # Errors
/// Where `bytes` are no signed trust file, or the key has signed it already.
pub fn cosign(bytes: &[u8], key: &SecretKey) -> Result<Vec<u8>, RotationError> {
    let mut container = Container::read(&TRUST_FILE, bytes)?;
    read_file(&container)?;
    let id = key.public().id();
    if container.signatures().iter().any(|(signer, _)| *signer == id) {
        return Err(RotationError::AlreadySigned(id));
    }
    if container.signatures().len() >= MAX_SIGNATURES {
        return Err(RotationError::TooManySignatures);
    }
    container.sign(key);
    Ok(container.to_bytes().to_vec())
}

/// The new trust file that a rotation carries, and the keys that signed it, to look at it, not to
/// follow it: the signatures are not checked.
///
/// # Errors
/// Where it is none.
pub fn inspect(bytes: &[u8]) -> Result<(Trust, Vec<KeyId>), RotationError> {
    if bytes.len() > MAX_BYTES {
        return Err(RotationError::TooLarge(bytes.len()));
    }
    let container = Container::read(&TRUST_FILE, bytes)?;
    Ok((read_file(&container)?, container.signatures().iter().map(|(id, _)| *id).collect()))
}

fn text<'a>(container: &Container<'a>) -> Result<&'a str, RotationError> {
    std::str::from_utf8(container.payload()).map_err(|_| RotationError::NotText)
}

fn read_file(container: &Container<'_>) -> Result<Trust, RotationError> {
    Ok(Trust::parse(text(container)?)?)
}

/// The file that follows `old` by one rotation.
fn step(old: &Trust, container: &Container<'_>) -> Result<Trust, RotationError> {
    // Nothing of the text is parsed before enough people have signed it.
    check_signatures(container, old)?;
    let new = read_file(container)?;
    if new.serial() <= old.serial() {
        return Err(RotationError::NotNewer { offered: new.serial(), highest: old.serial() });
    }
    Ok(new)
}

/// Follows one rotation from `old`.
///
/// # Errors
/// Why not.
pub fn rotate(old: &Trust, bytes: &[u8]) -> Result<Trust, RotationError> {
    if bytes.len() > MAX_BYTES {
        return Err(RotationError::TooLarge(bytes.len()));
    }
    step(old, &Container::read(&TRUST_FILE, bytes)?)
}

/// Follows the rotations in `chain`, one after another, from the pinned file; how many were
/// followed.
///
/// Those that lead up to the pinned file's serial are skipped unread: it is the pinned file that
/// says what holds there.
///
/// # Errors
/// The first reason not to follow one.
pub fn follow(pinned: Trust, mut chain: &[u8]) -> Result<(Trust, usize), RotationError> {
    if chain.len() > MAX_CHAIN {
        return Err(RotationError::TooLarge(chain.len()));
    }
    let (mut trust, mut followed) = (pinned, 0);
    while !chain.is_empty() {
        let (container, length) = Container::read_first(&TRUST_FILE, chain)?;
        chain = &chain[length..];
        // The serial is looked at unbelieved, only to skip.
        if followed == 0 && read_file(&container).is_ok_and(|file| file.serial() <= trust.serial())
        {
            continue;
        }
        if followed == MAX_ROTATIONS {
            return Err(RotationError::TooMany);
        }
        trust = step(&trust, &container)?;
        followed += 1;
    }
    Ok((trust, followed))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{key, trust_text};
    use super::*;
    use proptest::prelude::*;

    fn file(serial: u64, signers: &[u8]) -> String {
        let keys: Vec<_> = signers.iter().map(|n| ("signer", *n)).collect();
        format!("serial = {serial}\n{}", trust_text(2, &keys))
    }

    fn trust(serial: u64, signers: &[u8]) -> Trust {
        Trust::parse(&file(serial, signers)).unwrap()
    }

    fn rotation(text: &str, by: &[u8]) -> Vec<u8> {
        let mut container = Container::new(&TRUST_FILE, text.as_bytes());
        by.iter().for_each(|n| container.sign(&key(*n)));
        container.to_bytes().to_vec()
    }

    #[test]
    fn two_of_the_old_signers_bring_in_new_ones_and_one_twice_an_unknown_or_a_new_one_does_not() {
        let old = trust(1, &[1, 2, 3]);
        let next = file(2, &[7, 8]);
        let new = rotate(&old, &rotation(&next, &[1, 3])).unwrap();
        assert_eq!((new.serial(), new.keys().len()), (2, 2));
        for (by, have) in [(&[1u8][..], 1), (&[1, 1], 1), (&[1, 9], 1), (&[7, 8], 0), (&[], 0)] {
            let refused = rotate(&old, &rotation(&next, by)).unwrap_err();
            assert!(
                matches!(refused, RotationError::TooFewSigners { have: h, need: 2 } if h == have),
                "{refused}"
            );
        }
        let signed = cosign(&sign(&next, &key(2)).unwrap(), &key(1)).unwrap();
        assert!(rotate(&old, &signed).is_ok());
        assert!(matches!(cosign(&signed, &key(1)), Err(RotationError::AlreadySigned(_))));
    }

    #[test]
    fn a_revokers_signature_does_not_count() {
        let text = trust_text(2, &[("signer", 1), ("signer", 2), ("revoker", 3)]);
        let old = Trust::parse(&format!("serial = 1\n{text}")).unwrap();
        let refused = rotate(&old, &rotation(&file(2, &[7, 8]), &[1, 3])).unwrap_err();
        assert!(matches!(refused, RotationError::TooFewSigners { have: 1, .. }));
    }

    #[test]
    fn serials_rise_and_a_file_under_which_one_could_start_alone_is_refused_although_two_signed() {
        let old = trust(5, &[1, 2]);
        for serial in [0, 4, 5] {
            let refused = rotate(&old, &rotation(&file(serial, &[1, 2]), &[1, 2])).unwrap_err();
            assert!(matches!(refused, RotationError::NotNewer { highest: 5, .. }));
        }
        let alone = file(6, &[1, 2]).replace("needed = 2", "needed = 1");
        let refused = rotate(&old, &rotation(&alone, &[1, 2])).unwrap_err();
        assert!(matches!(refused, RotationError::File(TrustError::OneIsNotEnough(1))));
        assert!(sign(&alone, &key(1)).is_err());
    }

    #[test]
    fn a_chain_is_followed_from_the_pinned_file_step_by_step() {
        let steps = [
            rotation(&file(2, &[3, 4]), &[1, 2]),
            rotation(&file(3, &[5, 6]), &[3, 4]),
            rotation(&file(7, &[7, 8]), &[5, 6]),
        ];
        let (end, n) = follow(trust(1, &[1, 2]), &steps.concat()).unwrap();
        assert_eq!((end.serial(), n), (7, 3));
        // A newer pinned file skips what leads up to it, and its signers do not matter.
        let (end, n) = follow(trust(3, &[5, 6]), &steps.concat()).unwrap();
        assert_eq!((end.serial(), n), (7, 1));
        let (end, n) = follow(trust(9, &[1, 2]), &steps.concat()).unwrap();
        assert_eq!((end.serial(), n), (9, 0));
        assert_eq!(follow(trust(1, &[1, 2]), &[]).unwrap().0.serial(), 1);
        // One left out, two exchanged.
        assert!(follow(trust(1, &[1, 2]), &[&steps[0][..], &steps[2]].concat()).is_err());
        assert!(follow(trust(1, &[1, 2]), &[&steps[1][..], &steps[0]].concat()).is_err());
    }

    #[test]
    fn a_chain_is_bounded() {
        let signed: Vec<_> =
            (2..40).map(|serial| rotation(&file(serial, &[1, 2]), &[1, 2])).collect();
        let pinned = || trust(1, &[1, 2]);
        assert!(follow(pinned(), &signed[..MAX_ROTATIONS].concat()).is_ok());
        assert!(matches!(
            follow(pinned(), &signed[..=MAX_ROTATIONS].concat()),
            Err(RotationError::TooMany)
        ));
        assert!(matches!(
            follow(pinned(), &vec![0; MAX_CHAIN + 1]),
            Err(RotationError::TooLarge(_))
        ));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_anywhere_is_refused() {
        let old = trust(1, &[1, 2]);
        let good = rotation(&file(2, &[7, 8]), &[1, 2]);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(rotate(&old, &bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(rotate(&old, &good[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes: Vec<u8>, at in any::<prop::sample::Index>(), new: u8,
        ) {
            let _ = inspect(&bytes);
            let _ = follow(trust(1, &[1, 2]), &bytes);
            let mut near = rotation(&file(2, &[7, 8]), &[1, 2]);
            let at = at.index(near.len());
            near[at] = new;
            let _ = inspect(&near);
            let _ = follow(trust(1, &[1, 2]), &near);
        }
    }
}
