//! Bytes of a segment, version 1. All numbers are little-endian.
//!
//! ```text
//! segment  = header, { event | mark }
//! header   = "WPOUTBX" 0xFF, version u32 = 1, segment u64, next position u64, crc u32              32 bytes
//! event    = FF "EV" FE, length u32, position u64, id [16], seconds i64, nanoseconds u32, crc u32  48 bytes
//!            payload [length], crc u32
//! mark     = FF "RT" FE, position u64, crc u32                                                     16 bytes
//! ```
//!
//! Every crc is CRC-32C (Castagnoli, as in RFC 3720) over the segment's number as u64 and then the
//! bytes of the same line before it, so that a reused block of another segment is not taken for
//! this one's. The next position is the first that was not used when the header was
//! written. `seconds` and `nanoseconds` are when the event expires, since 1970 in UTC. A mark
//! retires every event of its position in its own and any earlier segment. The marks' bytes FF and
//! FE occur in no UTF-8 text, hence in no JSON payload.
//!
//! # Warning
//! Devices in the field hold files of this format. Do not add, remove, reorder or retype a field: a
//! change is a new [`VERSION`] beside which this one stays readable. The first twelve bytes of a
//! header always keep their meaning.

use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::delivery::event::EventId;
use crate::delivery::outbox::{EventRecord, MAX_EVENT, QueuePosition};

/// Version of everything in this module.
pub const VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER: usize = 32;
/// Bytes of an event without its payload.
pub const EVENT_OVERHEAD: usize = EVENT_HEAD + 4;
/// Bytes of a retirement.
pub const MARK: usize = 16;

const MAGIC: [u8; 8] = *b"WPOUTBX\xFF";
const EVENT_HEAD: usize = 48;
const EVENT_TAG: [u8; 4] = [0xFF, b'E', b'V', 0xFE];
const MARK_TAG: [u8; 4] = [0xFF, b'R', b'T', 0xFE];

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

fn crc_on(crc: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!crc, |crc, byte| (crc >> 8) ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

fn crc(segment: u64, bytes: &[u8]) -> u32 {
    crc_on(crc_on(0, &segment.to_le_bytes()), bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// Of this format.
    Good {
        /// The first position that was not used when it was written.
        next: QueuePosition,
    },
    /// Torn or damaged; records are read all the same, as each has its own checksum.
    Damaged,
    /// Of another version of this program.
    Foreign {
        /// The version that it has.
        version: u32,
    },
}

/// The first bytes of a segment.
pub fn header(segment: u64, next: QueuePosition) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..20].copy_from_slice(&segment.to_le_bytes());
    out[20..28].copy_from_slice(&next.to_le_bytes());
    let sum = crc(segment, &out[..28]);
    out[28..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Reads the header of the file that is called `segment`.
pub fn read_header(segment: u64, bytes: &[u8]) -> Header {
    if bytes.len() >= 12 && bytes[..8] == MAGIC && u32_at(bytes, 8) != VERSION {
        return Header::Foreign { version: u32_at(bytes, 8) };
    }
    let good = bytes.len() >= HEADER
        && bytes[..8] == MAGIC
        && u64_at(bytes, 12) == segment
        && u32_at(bytes, 28) == crc(segment, &bytes[..28]);
    if good { Header::Good { next: u64_at(bytes, 20) } } else { Header::Damaged }
}

/// The bytes of an event in `segment`. Wiped when dropped, as its payload is.
pub fn event(segment: u64, position: QueuePosition, record: &EventRecord) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(EVENT_OVERHEAD + record.payload.len()));
    out.extend(EVENT_TAG);
    // The outbox takes no event beyond MAX_EVENT; one that did not fit would be refused when it is
    // read.
    out.extend(u32::try_from(record.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(position.to_le_bytes());
    out.extend(record.id.as_u128().to_le_bytes());
    out.extend(record.expires.unix_timestamp().to_le_bytes());
    out.extend(record.expires.nanosecond().to_le_bytes());
    let sum = crc(segment, &out);
    out.extend(sum.to_le_bytes());
    out.extend(record.payload.iter());
    out.extend(crc(segment, &record.payload).to_le_bytes());
    out
}

/// The bytes of a retirement in `segment`.
pub fn mark(segment: u64, position: QueuePosition) -> [u8; MARK] {
    let mut out = [0; MARK];
    out[..4].copy_from_slice(&MARK_TAG);
    out[4..12].copy_from_slice(&position.to_le_bytes());
    let sum = crc(segment, &out[..12]);
    out[12..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// The head of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventHead {
    /// Place in the order of decisions.
    pub position: QueuePosition,
    /// The event's id.
    pub id: EventId,
    /// When it expires.
    pub expires: OffsetDateTime,
    /// Bytes of its payload.
    pub bytes: usize,
}

fn read_head(segment: u64, bytes: &[u8]) -> Option<EventHead> {
    let head = bytes.get(..EVENT_HEAD)?;
    if head[..4] != EVENT_TAG || u32_at(head, 44) != crc(segment, &head[..44]) {
        return None;
    }
    let bytes = u32_at(head, 4) as usize;
    let seconds = i64::from_le_bytes(head[32..40].try_into().expect("eight bytes were sliced"));
    let expires = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let id = u128::from_le_bytes(head[16..32].try_into().expect("sixteen bytes were sliced"));
    (bytes <= MAX_EVENT).then(|| EventHead {
        position: u64_at(head, 8),
        id: EventId::from_u128(id),
        expires: expires.saturating_add(Duration::nanoseconds(u32_at(head, 40).into())),
        bytes,
    })
}

fn read_mark(segment: u64, bytes: &[u8]) -> Option<QueuePosition> {
    let mark = bytes.get(..MARK)?;
    (mark[..4] == MARK_TAG && u32_at(mark, 12) == crc(segment, &mark[..12]))
        .then(|| u64_at(mark, 4))
}

fn payload<'a>(segment: u64, head: &EventHead, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let payload = bytes.get(EVENT_HEAD..EVENT_HEAD + head.bytes)?;
    let sum = bytes.get(EVENT_HEAD + head.bytes..EVENT_OVERHEAD + head.bytes)?;
    (u32_at(sum, 0) == crc(segment, payload)).then_some(payload)
}

/// Reads one event back from its bytes; `None` where they are not whole.
pub fn read_event(segment: u64, bytes: &[u8]) -> Option<(QueuePosition, EventRecord)> {
    let head = read_head(segment, bytes)?;
    let payload = payload(segment, &head, bytes)?.to_vec().into();
    Some((head.position, EventRecord { id: head.id, expires: head.expires, payload }))
}

/// What a segment holds, piece by piece. Damage is something found, not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScannedItem {
    /// A whole event at this offset.
    Event(usize, EventHead),
    /// A retirement.
    Retired(QueuePosition),
    /// A run of bytes that is no record; what follows it is still read.
    Damaged,
    /// The same at the end of the file, as a write that a power cut interrupts leaves it.
    Torn,
}

/// Calls `found` with everything in the file that is called `segment`, in its order. Takes time
/// linear in `bytes`.
pub fn scan(segment: u64, bytes: &[u8], mut found: impl FnMut(ScannedItem)) {
    let mut at = HEADER.min(bytes.len());
    while at < bytes.len() {
        let rest = &bytes[at..];
        if let Some(position) = read_mark(segment, rest) {
            found(ScannedItem::Retired(position));
            at += MARK;
        } else if let Some(head) = read_head(segment, rest) {
            let whole = EVENT_OVERHEAD + head.bytes;
            if payload(segment, &head, rest).is_some() {
                found(ScannedItem::Event(at, head));
                at += whole;
            } else if whole > rest.len() {
                found(ScannedItem::Torn);
                return;
            } else {
                found(ScannedItem::Damaged);
                at += whole;
            }
        } else {
            let is_record = |n: &usize| {
                let tail = &rest[*n..];
                tail[0] == EVENT_TAG[0]
                    && (read_mark(segment, tail).is_some() || read_head(segment, tail).is_some())
            };
            match (1..rest.len()).find(is_record) {
                Some(n) => {
                    found(ScannedItem::Damaged);
                    at += n;
                }
                None => {
                    found(ScannedItem::Torn);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc_on(0, &[0; 32]), 0x8A91_36AA);
        assert_eq!(crc_on(0, &[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc_on(0, &ascending), 0x46DD_794E);
        assert_eq!(crc_on(0, b"123456789"), 0xE306_9283);
        assert_eq!(crc_on(crc_on(0, b"1234"), b"56789"), 0xE306_9283);
    }

    fn record(number: u8) -> EventRecord {
        let expires =
            OffsetDateTime::from_unix_timestamp_nanos(1_800_000_000_123_456_789).expect("a date");
        EventRecord {
            id: EventId::from_u128(number.into()),
            expires,
            payload: vec![number; 5].into(),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Files of version 1 lie on devices: these bytes never change.
    #[test]
    fn version_1_is_these_bytes() {
        assert_eq!(
            hex(&header(7, 9)),
            "57504f55544258ff0100000007000000000000000900000000000000b3cde1e5"
        );
        assert_eq!(hex(&mark(7, 9)), "ff5254fe09000000000000007409d058");
        assert_eq!(
            hex(&event(7, 9, &record(3))),
            "ff4556fe0500000009000000000000000300000000000000000000000000000000d2496b0000000015cd5b07f6803f5f03030303030caeedc9"
        );
    }

    fn segment() -> Vec<u8> {
        let mut bytes = header(7, 0).to_vec();
        bytes.extend(event(7, 0, &record(10)).iter());
        bytes.extend(event(7, 1, &record(11)).iter());
        bytes.extend(mark(7, 0));
        bytes.extend(event(7, 2, &record(12)).iter());
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<QueuePosition>, Vec<QueuePosition>, usize) {
        let (mut events, mut retired, mut bad) = (Vec::new(), Vec::new(), 0);
        scan(7, bytes, |found| match found {
            ScannedItem::Event(at, head) => {
                assert_eq!(read_event(7, &bytes[at..]).map(|e| e.0), Some(head.position));
                events.push(head.position);
            }
            ScannedItem::Retired(position) => retired.push(position),
            ScannedItem::Damaged | ScannedItem::Torn => bad += 1,
        });
        (events, retired, bad)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = segment();
        assert_eq!(read_header(7, &bytes), Header::Good { next: 0 });
        assert_eq!(read(&bytes), (vec![0, 1, 2], vec![0], 0));
        assert_eq!(read_event(7, &event(7, 4, &record(1))), Some((4, record(1))));
    }

    #[test]
    fn another_version_is_told_apart_from_damage() {
        let mut bytes = segment();
        bytes[8] = 2;
        assert_eq!(read_header(7, &bytes), Header::Foreign { version: 2 });
        bytes[0] = 0;
        assert_eq!(read_header(7, &bytes), Header::Damaged);
        assert_eq!(read_header(7, &[]), Header::Damaged);
    }

    #[test]
    fn records_of_another_segment_are_nothing() {
        let (mut events, mut torn) = (0, 0);
        scan(
            8,
            &segment(),
            |found| if found == ScannedItem::Torn { torn += 1 } else { events += 1 },
        );
        assert_eq!((events, torn), (0, 1));
    }

    proptest! {
        #[test]
        fn one_bad_byte_costs_one_record(at in HEADER..HEADER + 3 * 57 + 16, flip in 1u8..) {
            let mut bytes = segment();
            bytes[at] ^= flip;
            let (events, retired, bad) = read(&bytes);
            prop_assert_eq!(events.len() + retired.len(), 3, "one of four is lost");
            prop_assert_eq!(bad, 1);
        }

        #[test]
        fn a_cut_costs_the_record_it_goes_through(cut in 0usize..300) {
            let bytes = segment();
            let cut = cut.min(bytes.len());
            let (events, ..) = read(&bytes[..cut]);
            let whole =
                [HEADER + 57, HEADER + 114, HEADER + 187].iter().filter(|end| **end <= cut).count();
            prop_assert_eq!(events, (0..whole as u64).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at: u8) {
            let mut mixed = segment();
            let at = usize::from(at).min(mixed.len());
            mixed.splice(at..at, bytes.iter().copied());
            read(&mixed);
            read(&bytes);
            read_header(7, &bytes);
        }
    }
}
