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

/// The parts of `bytes` that are, one after another, the list without the entries that are `gone`;
/// `None` where it has none of them.
///
/// # Errors
/// Where `bytes` are no list, or an entry is not what was signed.
pub fn without(
    bytes: &[u8],
    gone: impl Fn(&Reference) -> bool,
) -> Result<Option<Vec<&[u8]>>, Refusal> {
    let container: Container<'_> = Container::read(&LIST, bytes).map_err(Refusal::Unreadable)?;
    let head = ListHead::decode(container.payload())?;
    let mut positions = Vec::new();
    for (position, item) in vouched_for(head.digests, container.items())?.enumerate() {
        let Some(item) = item? else { continue };
        if gone(&read_entry(item, head.content.dimensions)?.entry.reference) {
            positions.push(position);
        }
    }
    Ok((!positions.is_empty()).then(|| container.without(bytes, &positions)))
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
        let reduced = without(&bytes, gone).unwrap().unwrap().concat();
        let list = verify(&reduced, &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!(
            (list.entries().len(), list.removed_entries(), list.position("case-2")),
            (3, 1, None)
        );
        assert!(without(&reduced, gone).unwrap().is_none());
        let all = without(&reduced, |_| true).unwrap().unwrap().concat();
        let mut list = verify(&all, &trust(), now(), DEVICE, &EMBEDDER).unwrap();
        assert_eq!((list.entries().len(), list.removed_entries()), (0, 4));
        assert_eq!(list.take_gallery().unwrap().templates(), 0);
        assert!(without(b"no list", |_| true).is_err() && identity(b"no list").is_err());
    }
}
