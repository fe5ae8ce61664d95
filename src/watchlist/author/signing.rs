//! From a draft to a list that enough people have signed: the first signature freezes the bytes,
//! and each further one is over the same.

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::{AuthorError, Draft, whole_seconds};
use crate::watchlist::codec::{self, FormatError, SALT};
use crate::watchlist::container::MAX_SIGNATURES;
use crate::watchlist::keys::{KeyError, SecretKey};
use crate::watchlist::verify::read_container;

/// Freezes a draft, issued `now`, with its first signature: one template an entry, and `promise`,
/// the canonical form of what the signer's networks and rule promise.
///
/// # Errors
/// Where a rule of the format is broken or the list has expired.
pub fn sign(
    draft: &Draft,
    promise: &[u8],
    key: &SecretKey,
    now: OffsetDateTime,
) -> Result<Zeroizing<Vec<u8>>, AuthorError> {
    let mut content = draft.content.clone();
    content.issued = whole_seconds(now);
    content.promise = promise.to_vec();
    if content.expires <= now {
        return Err(AuthorError::AlreadyExpired);
    }
    // One failure of the generator is enough: a list whose salts are known tells of what was
    // removed from it.
    let mut failed = None;
    let encoded = codec::encode(&content, || {
        let mut salt = [0; SALT];
        failed = failed.take().or(getrandom::fill(&mut salt).err());
        salt
    })?;
    if let Some(error) = failed {
        return Err(KeyError::Random(error.to_string()).into());
    }
    let mut container = encoded.container();
    container.sign(key);
    Ok(container.to_bytes())
}

/// Adds a signature to a signed list. What the list says is read first: nobody signs what does not
/// parse.
///
/// # Errors
/// Where `bytes` are no signed list, or the key has signed it already.
pub fn cosign(bytes: &[u8], key: &SecretKey) -> Result<Zeroizing<Vec<u8>>, AuthorError> {
    let mut container = read_container(bytes)?;
    let (_, removed) = codec::decode(&container)?;
    if removed > 0 {
        return Err(FormatError::Removed(removed).into());
    }
    let id = key.public().id();
    if container.signatures().iter().any(|(signer, _)| *signer == id) {
        return Err(AuthorError::AlreadySigned(id));
    }
    if container.signatures().len() >= MAX_SIGNATURES {
        return Err(AuthorError::TooManySignatures);
    }
    container.sign(key);
    Ok(container.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::show;
    use super::super::tests::{draft, person};
    use super::*;
    use crate::watchlist::fixture::{DEVICE, EMBEDDER, PROMISE, key, now, stored, trust};
    use crate::watchlist::model::ContentError;
    use crate::watchlist::refusal::Refusal;
    use crate::watchlist::verify::verify;
    use time::Duration;

    #[test]
    fn a_draft_becomes_a_list_once_two_people_have_signed_the_same_bytes() {
        let mut d = draft();
        d.add(person(1), vec![stored(1)]).unwrap();
        d.add_templates(&person(1).reference, vec![stored(2)]).unwrap();
        let d = Draft::from_json(&d.to_json()).unwrap();
        let once = sign(&d, PROMISE, &key(1), now()).unwrap();
        let refused = verify(&once, &trust(), now(), DEVICE, &EMBEDDER).unwrap_err();
        assert_eq!(refused, Refusal::TooFewSigners { have: 1, need: 2 });
        assert!(matches!(cosign(&once, &key(1)), Err(AuthorError::AlreadySigned(_))));
        let twice = cosign(&once, &key(3)).unwrap();
        let list = verify(&twice, &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!((list.version(), list.entries().len()), (1, 1));
        let mut list = list;
        assert_eq!(list.promise(), PROMISE);
        assert_eq!(list.take_gallery().unwrap().templates(), 1, "of two photographs");
        assert_eq!(list.signers(), [key(1).public().id(), key(3).public().id()]);
        assert_eq!(show(&once, None).unwrap().digest, show(&twice, None).unwrap().digest);
    }

    #[test]
    fn the_documented_draft_is_one() {
        let text: String = include_str!("mod.rs")
            .lines()
            .skip_while(|l| *l != "//! ```json")
            .skip(1)
            .take_while(|l| *l != "//! ```")
            .map(|l| &l[4..])
            .collect();
        let d = Draft::from_json(text.as_bytes()).unwrap();
        assert!(sign(&d, PROMISE, &key(1), now()).is_ok());
    }

    #[test]
    fn an_expired_or_broken_draft_is_not_signed() {
        let mut d = draft();
        assert!(matches!(
            sign(&d, PROMISE, &key(1), now() + Duration::days(31)),
            Err(AuthorError::AlreadyExpired)
        ));
        d.content_mut().authorisation.devices.clear();
        assert!(matches!(
            sign(&d, PROMISE, &key(1), now()),
            Err(AuthorError::Content(ContentError::Range { what: "devices", .. }))
        ));
        assert!(matches!(
            cosign(b"no list", &key(1)),
            Err(AuthorError::List(Refusal::Unreadable(_)))
        ));
    }
}
