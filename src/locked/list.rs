//! Lists of a fixed capacity whose elements leave nothing behind.
//!
//! Such a list keeps its memory for as long as it lives, and what is taken out of it stays there
//! until another element takes its place, which may be never.

use zeroize::{DefaultIsZeroes, Zeroize as _};

/// Takes an element out of a list whose order does not matter, and wipes the place that becomes
/// free.
///
/// # Panics
/// Where there is no element at `at`.
pub fn take_out<T: DefaultIsZeroes, const N: usize>(
    list: &mut heapless::Vec<T, N>,
    at: usize,
) -> T {
    let last = list.len() - 1;
    list.swap(at, last);
    let taken = list[last];
    list[last].zeroize();
    list.pop();
    taken
}

/// Empties a list, and wipes what was in it.
pub fn wipe_list<T: DefaultIsZeroes, const N: usize>(list: &mut heapless::Vec<T, N>) {
    list.as_mut_slice().zeroize();
    list.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All places of a list, those beyond its end too, all of which were filled once.
    fn places(list: &heapless::Vec<u32, 4>) -> [u32; 4] {
        // SAFETY: four elements were pushed, so that each place has a value.
        unsafe { *list.as_ptr().cast() }
    }

    #[test]
    fn what_is_taken_out_is_not_there_any_more() {
        let mut list = heapless::Vec::from_slice(&[1, 2, 3, 4]).unwrap();
        assert_eq!(take_out(&mut list, 1), 2);
        assert_eq!(places(&list), [1, 4, 3, 0]);
        assert_eq!(take_out(&mut list, 2), 3);
        assert_eq!(places(&list), [1, 4, 0, 0]);
        assert_eq!(list, [1, 4]);
        wipe_list(&mut list);
        assert_eq!((places(&list), list.len()), ([0; 4], 0));
    }
}
