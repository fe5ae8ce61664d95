//! How values stand in columns, and how many rows in a statement.

use crate::delivery::event::{EventId, ReviewStage};
use crate::desk::pages::views::OwnStanding;

/// Most rows of one statement: SQLite takes 32 766 values.
const MOST_ROWS: usize = 64;

pub(super) fn event_id(bytes: &[u8]) -> Result<EventId, sqlx::Error> {
    let bytes: [u8; 16] =
        bytes.try_into().map_err(|_| sqlx::Error::Decode("an id of 16 bytes".into()))?;
    Ok(EventId::from_u128(u128::from_be_bytes(bytes)))
}

pub(super) fn id_bytes(id: EventId) -> Vec<u8> {
    id.as_u128().to_be_bytes().to_vec()
}

pub(super) fn digest(bytes: &[u8]) -> Result<[u8; 32], sqlx::Error> {
    bytes.try_into().map_err(|_| sqlx::Error::Decode("a digest of 32 bytes".into()))
}

pub(super) fn own_standing(given: bool, answer: Option<&str>) -> OwnStanding {
    match answer {
        None if given => OwnStanding::Sent,
        None => OwnStanding::Open,
        Some("refused") => OwnStanding::Refused,
        Some(_) => OwnStanding::Counted,
    }
}

/// As it is stored and published.
pub fn stage_word(stage: ReviewStage) -> &'static str {
    match stage {
        ReviewStage::Pending => "pending",
        ReviewStage::ThirdNeeded => "third-needed",
        ReviewStage::Confirmed => "confirmed",
        ReviewStage::Refuted => "refuted",
        ReviewStage::Undecided => "undecided",
        ReviewStage::Expired => "expired",
        ReviewStage::Withdrawn => "withdrawn",
        ReviewStage::Control => "control",
        ReviewStage::Unknown => "unknown",
    }
}

/// The stage of a word; what nobody has written is unknown.
pub fn stage_of(word: &str) -> ReviewStage {
    let all = [
        ReviewStage::Pending,
        ReviewStage::ThirdNeeded,
        ReviewStage::Confirmed,
        ReviewStage::Refuted,
        ReviewStage::Undecided,
        ReviewStage::Expired,
        ReviewStage::Withdrawn,
        ReviewStage::Control,
    ];
    all.into_iter().find(|stage| stage_word(*stage) == word).unwrap_or(ReviewStage::Unknown)
}

/// The 8 bytes of a key's id.
pub fn hexadecimal(text: &str) -> Option<[u8; 8]> {
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok().map(u64::to_be_bytes)
}

/// `rows` in parts of which each has a power of two.
pub(super) fn parts<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = 1 << rows.len().min(MOST_ROWS).checked_ilog2()?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_in_parts_of_powers_of_two_and_none_is_left_out() {
        for n in 0..300 {
            let rows: Vec<usize> = (0..n).collect();
            let sizes: Vec<usize> = parts(&rows).map(<[usize]>::len).collect();
            assert!(sizes.iter().all(|size| size.is_power_of_two() && *size <= MOST_ROWS));
            assert_eq!(parts(&rows).flatten().copied().collect::<Vec<_>>(), rows);
        }
    }
}
