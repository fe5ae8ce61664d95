//! Which list some bytes are, and the same bytes without some of its entries: what a device needs
//! to destroy what was revoked.
//!
//! * Removing is all that can be done to a signed list: nothing here makes a list valid that was
//!   not.
//! * Signatures are not checked here.

use super::codec::{LIST, ListHead, read_entry, vouched_for};
use super::container::Container;
use super::model::Reference;
use super::refusal::Refusal;
use super::verify::read_container;

/// Id and version of the list in `bytes`. Signatures are not checked.
///
/// # Errors
/// Where they are no list.
pub fn identity(bytes: &[u8]) -> Result<(Reference, u64), Refusal> {
    let head = ListHead::decode(read_container(bytes)?.payload())?;
    Ok((head.content.id, head.content.version))
}

/// A list without some of its entries.
pub struct Reduced<'a> {
    /// What is left, one after another.
    pub parts: Vec<&'a [u8]>,
    /// The digests, as signed, of the entries that were there and are gone.
    pub gone: Vec<[u8; 32]>,
}

/// The list in `bytes` without the entries that are `gone`; `None` where it has none of them.
///
/// # Errors
/// Where `bytes` are no list, or an entry is not what was signed.
pub fn without(
    bytes: &[u8],
    gone: impl Fn(&Reference) -> bool,
) -> Result<Option<Reduced<'_>>, Refusal> {
    let container: Container<'_> = Container::read(&LIST, bytes).map_err(Refusal::Unreadable)?;
    let head = ListHead::decode(container.payload())?;
    let (mut positions, mut digests) = (Vec::new(), Vec::new());
    let signed = head.digests.as_chunks().0;
    let items = vouched_for(head.digests, container.items())?.zip(signed);
    for (position, (item, digest)) in items.enumerate() {
        let Some(item) = item? else { continue };
        if gone(&read_entry(item, head.content.dimensions)?.entry.reference) {
            positions.push(position);
            digests.push(*digest);
        }
    }
    Ok((!positions.is_empty())
        .then(|| Reduced { parts: container.without(bytes, &positions), gone: digests }))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{DEVICE, EMBEDDER, content, now, trust};
    use super::super::tampering::signed;
    use super::super::verify::verify;
    use super::*;

    #[test]
    fn what_is_left_is_a_list_without_the_entry_and_doing_it_again_changes_nothing() {
        let bytes = signed(&content(4), &[1, 2]);
        assert_eq!(identity(&bytes).unwrap(), ("north-gate".parse().unwrap(), 7));
        let gone = |r: &Reference| r.as_str() == "case-2";
        let reduced = without(&bytes, gone).unwrap().unwrap().parts.concat();
        let list = verify(&reduced, &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!(
            (list.entries().len(), list.removed_entries(), list.position("case-2")),
            (3, 1, None)
        );
        assert!(without(&reduced, gone).unwrap().is_none());
        let all = without(&reduced, |_| true).unwrap().unwrap().parts.concat();
        let mut list = verify(&all, &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!((list.entries().len(), list.removed_entries()), (0, 4));
        assert_eq!(list.take_gallery().unwrap().templates(), 0);
        assert!(without(b"no list", |_| true).is_err() && identity(b"no list").is_err());
    }
}
