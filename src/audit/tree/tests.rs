use proptest::prelude::*;

use super::super::naive::{self, leaf};
use super::*;
use crate::watchlist::text::hex;

/// A log of `n` records: edge, nodes and leaves.
fn log(n: u64) -> (RightEdge, MemoryNodes, Vec<TreeHash>) {
    let (mut edge, mut nodes) = (RightEdge::default(), MemoryNodes::default());
    let leaves: Vec<TreeHash> = (0..n).map(leaf).collect();
    for leaf in &leaves {
        edge.push(*leaf, |node| nodes.0.push(node)).unwrap();
    }
    (edge, nodes, leaves)
}

#[test]
fn hashes_are_those_that_certificate_transparency_publishes() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(&TreeHash::empty().0), empty);
    // The records and roots of certificate-transparency's own tests of its trees.
    let records: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut edge = RightEdge::default();
    for (record, root) in records.iter().zip(roots) {
        edge.push(TreeHash::leaf(record), |_| ()).unwrap();
        assert_eq!(hex(&edge.root().0), root, "{}", edge.size());
    }
}

#[test]
fn every_root_and_proof_of_small_logs_is_that_of_the_definition() {
    for n in 0..=70 {
        let (edge, nodes, leaves) = log(n);
        assert_eq!(edge.root(), naive::root(&leaves));
        assert_eq!(nodes.0.len() as u64, finished(n));
        for size in 0..=n {
            let root = naive::root(&leaves[..size as usize]);
            assert_eq!(root_of(&nodes, size), Ok(root));
            let proof = consistency(&nodes, size, n).unwrap();
            if size > 0 {
                assert_eq!(proof[..], naive::proof(size as usize, &leaves));
            }
            assert_eq!(verify_consistency(size, root, n, edge.root(), &proof), Ok(()));
        }
        for index in 0..n {
            let proof = inclusion(&nodes, index, n).unwrap();
            assert_eq!(proof[..], naive::path(index as usize, &leaves));
            let at = leaves[index as usize];
            assert_eq!(verify_inclusion(at, index, n, edge.root(), &proof), Ok(()));
        }
    }
}

#[test]
fn what_is_no_question_about_a_log_is_refused_before_anything_is_read() {
    let nothing = MemoryNodes::default();
    let refused = |e| Err(NoNode::Tree(e));
    let none = TreeHash::empty();
    let (index, size) = (0, 0);
    assert_eq!(inclusion(&nothing, 0, 0), refused(TreeError::Beyond { index, size }));
    assert_eq!(consistency(&nothing, 0, 0), Ok(ProofPath::new()));
    let (old, new) = (2, 1);
    assert_eq!(consistency(&nothing, 2, 1), refused(TreeError::Shrinks { old, new }));
    for huge in [MAX_SIZE + 1, u64::MAX] {
        let error = TreeError::TooLarge(huge);
        assert_eq!(inclusion(&nothing, 0, huge), refused(error));
        assert_eq!(consistency(&nothing, 1, huge), refused(error));
        assert_eq!(verify_inclusion(none, 0, huge, none, &[]), Err(error));
        assert_eq!(verify_consistency(1, none, huge, none, &[]), Err(error));
    }
    // The largest log has proofs that are just as long as may be.
    let long = vec![none; 10_000];
    let length = |found, wanted| Err(TreeError::Length { found, wanted });
    assert_eq!(verify_inclusion(none, 0, MAX_SIZE, none, &long), length(10_000, 63));
    assert_eq!(verify_consistency(5, none, MAX_SIZE, none, &long), length(10_000, 64));
    let full = RightEdge { size: MAX_SIZE, peaks: (0..63).map(leaf).collect() };
    assert_eq!(full.clone().push(none, |_| ()), Err(TreeError::TooLarge(MAX_SIZE)));
}

/// Another hash: one bit differs.
#[inline(never)]
fn flipped(hash: &TreeHash, bit: usize) -> TreeHash {
    TreeHash(std::array::from_fn(|i| hash.0[i] ^ if i == bit / 8 { 1 << (bit % 8) } else { 0 }))
}

proptest! {
    #[test]
    fn no_altered_proof_leads_to_the_root(
        n in 2u64..2000, a: prop::sample::Index, b: prop::sample::Index, bit in 0usize..256,
        which: prop::sample::Index,
    ) {
        let (edge, nodes, leaves) = log(n);
        let (index, old) = (a.index(n as usize) as u64, 1 + b.index(n as usize - 1) as u64);
        let root = edge.root();
        let flip = |hash: TreeHash| flipped(&hash, bit);
        let at = leaves[index as usize];
        let good = inclusion(&nodes, index, n).unwrap();
        prop_assert_eq!(verify_inclusion(at, index, n, root, &good), Ok(()));
        prop_assert!(verify_inclusion(flip(at), index, n, root, &good).is_err());
        prop_assert!(verify_inclusion(at, index, n, flip(root), &good).is_err());
        prop_assert!(verify_inclusion(at, (index + 1) % n, n, root, &good).is_err());
        let mut bad = good.clone();
        let i = which.index(bad.len());
        bad[i] = flip(bad[i]);
        prop_assert!(verify_inclusion(at, index, n, root, &bad).is_err());
        prop_assert!(verify_inclusion(at, index, n, root, &good[1..]).is_err());

        let old_root = root_of(&nodes, old).unwrap();
        let good = consistency(&nodes, old, n).unwrap();
        prop_assert_eq!(verify_consistency(old, old_root, n, root, &good), Ok(()));
        prop_assert!(verify_consistency(old, flip(old_root), n, root, &good).is_err());
        prop_assert!(verify_consistency(old, old_root, n, flip(root), &good).is_err());
        let mut bad = good.clone();
        let i = which.index(bad.len());
        bad[i] = flip(bad[i]);
        prop_assert!(verify_consistency(old, old_root, n, root, &bad).is_err());
    }

    #[test]
    fn sizes_and_indices_of_any_kind_are_answered_without_a_panic(
        a: u64, b: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let hashes: Vec<TreeHash> = hashes.into_iter().map(TreeHash).collect();
        let none = TreeHash::empty();
        let _ = verify_inclusion(none, a, b, none, &hashes);
        let _ = verify_consistency(a, none, b, none, &hashes);
    }
}
