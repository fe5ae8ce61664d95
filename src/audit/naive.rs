//! The tree as RFC 6962 defines it, recursive and over all records: what the tests hold the code
//! against.

use super::tree::TreeHash;

/// MTH of section 2.1.
pub fn root(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => TreeHash::empty(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            TreeHash::above(&root(left), &root(right))
        }
    }
}

fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// PATH of section 2.1.1.
pub fn path(m: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if m < left.len() {
        let mut below = path(m, left);
        below.push(root(right));
        below
    } else {
        let mut below = path(m - left.len(), right);
        below.push(root(left));
        below
    }
}

/// PROOF of section 2.1.2.
pub fn proof(m: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    subproof(m, leaves, true)
}

fn subproof(m: usize, leaves: &[TreeHash], whole: bool) -> Vec<TreeHash> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    if m <= left.len() {
        let mut below = subproof(m, left, whole);
        below.push(root(right));
        below
    } else {
        let mut below = subproof(m - left.len(), right, false);
        below.push(root(left));
        below
    }
}

/// A leaf that is told from the others by its number.
pub fn leaf(n: u64) -> TreeHash {
    TreeHash::leaf(&n.to_be_bytes())
}
