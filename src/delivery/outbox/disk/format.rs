//! Bytes of a segment, version 2. All numbers are little-endian.
//!
//! ```text
//! segment  = header, { event | mark | carried, { event of it } }
//! header   = "WPOUTBX" 0xFF, version u32 = 2, segment u64, next position u64, crc u32              32 bytes
//! event    = FF "EV" FE, length u32, position u64, id [16], seconds i64, nanoseconds u32, crc u32  48 bytes
//!            payload [length], crc u32
//! mark     = FF "RT" FE, position u64, crc u32                                                     16 bytes
//! carried  = FF "LG" FE, length u32, first position u64, events u32, crc u32                       24 bytes
//!            bytes [length], crc u32
//! event of it: as an event, with FF "EL" FE
//! ```
//!
//! Every crc is CRC-32C (Castagnoli, as in RFC 3720) over the segment's number as u64 and then the
//! bytes of the same line before it, so that a reused block of another segment is not taken for
//! this one's. The next position is the first that was not used when the header was
//! written. `seconds` and `nanoseconds` are when the event expires, since 1970 in UTC. A mark
//! retires every event of its position in its own and any earlier segment. The marks' bytes FF and
//! FE occur in no UTF-8 text, hence in no JSON payload.
//!
//! What is carried belongs to the audit log and to the events of the positions that it names, which
//! come right after it. One of those without it is no event: a power cut may leave any part of what
//! was written together, and what is published must not be there without what is carried.
//! Version 1 has neither of the two, and is read as well.
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
pub const VERSION: u32 = 2;
/// The first version, which is read, too.
const FIRST_VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER: usize = 32;
/// Bytes of an event without its payload.
pub const EVENT_OVERHEAD: usize = EVENT_HEAD + 4;
/// Bytes of a retirement.
pub const MARK: usize = 16;
/// Bytes of what is carried, without itself.
pub const CARRIED_OVERHEAD: usize = CARRIED_HEAD + 4;
/// Most bytes that are carried with one set of events: a record of the log and a checkpoint.
pub const MAX_CARRIED: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"WPOUTBX\xFF";
const EVENT_HEAD: usize = 48;
const EVENT_TAG: [u8; 4] = [0xFF, b'E', b'V', 0xFE];
const CARRYING_TAG: [u8; 4] = [0xFF, b'E', b'L', 0xFE];
const MARK_TAG: [u8; 4] = [0xFF, b'R', b'T', 0xFE];
const CARRIED_TAG: [u8; 4] = [0xFF, b'L', b'G', 0xFE];
const CARRIED_HEAD: usize = 24;

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
    if bytes.len() >= 12 && bytes[..8] == MAGIC {
        let version = u32_at(bytes, 8);
        if !(FIRST_VERSION..=VERSION).contains(&version) {
            return Header::Foreign { version };
        }
    }
    let good = bytes.len() >= HEADER
        && bytes[..8] == MAGIC
        && u64_at(bytes, 12) == segment
        && u32_at(bytes, 28) == crc(segment, &bytes[..28]);
    if good { Header::Good { next: u64_at(bytes, 20) } } else { Header::Damaged }
}

/// The bytes of an event in `segment`. Wiped when dropped, as its payload is.
pub fn event(segment: u64, position: QueuePosition, record: &EventRecord) -> Zeroizing<Vec<u8>> {
    event_as(EVENT_TAG, segment, position, record)
}

/// The same of one that counts only after what is [`carried`] with it.
pub fn carrying(segment: u64, position: QueuePosition, record: &EventRecord) -> Zeroizing<Vec<u8>> {
    event_as(CARRYING_TAG, segment, position, record)
}

/// The bytes of what is carried with `events` events from `first` on.
pub fn carried(segment: u64, first: QueuePosition, events: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(CARRIED_OVERHEAD + bytes.len());
    out.extend(CARRIED_TAG);
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(first.to_le_bytes());
    out.extend(events.to_le_bytes());
    let sum = crc(segment, &out);
    out.extend(sum.to_le_bytes());
    out.extend(bytes);
    out.extend(crc(segment, bytes).to_le_bytes());
    out
}

fn event_as(
    tag: [u8; 4],
    segment: u64,
    position: QueuePosition,
    record: &EventRecord,
) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(EVENT_OVERHEAD + record.payload.len()));
    out.extend(tag);
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
    /// Whether it counts only after what is carried with it.
    pub carrying: bool,
}

/// The head of what is carried.
#[derive(Debug, Clone, Copy)]
struct CarriedHead {
    bytes: usize,
    first: QueuePosition,
    events: u32,
}

impl CarriedHead {
    fn read(segment: u64, bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..CARRIED_HEAD)?;
        if head[..4] != CARRIED_TAG || u32_at(head, 20) != crc(segment, &head[..20]) {
            return None;
        }
        let (bytes, first, events) = (u32_at(head, 4) as usize, u64_at(head, 8), u32_at(head, 16));
        (bytes <= MAX_CARRIED).then_some(Self { bytes, first, events })
    }

    fn names(self, position: QueuePosition) -> bool {
        position.checked_sub(self.first).is_some_and(|n| n < self.events.into())
    }
}

fn read_head(segment: u64, bytes: &[u8]) -> Option<EventHead> {
    let head = bytes.get(..EVENT_HEAD)?;
    let is_event = head[..4] == EVENT_TAG || head[..4] == CARRYING_TAG;
    if !is_event || u32_at(head, 44) != crc(segment, &head[..44]) {
        return None;
    }
    let carrying = head[..4] == CARRYING_TAG;
    let bytes = u32_at(head, 4) as usize;
    let seconds = i64::from_le_bytes(head[32..40].try_into().expect("eight bytes were sliced"));
    let expires = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    let id = u128::from_le_bytes(head[16..32].try_into().expect("sixteen bytes were sliced"));
    (bytes <= MAX_EVENT).then(|| EventHead {
        position: u64_at(head, 8),
        id: EventId::from_u128(id),
        expires: expires.saturating_add(Duration::nanoseconds(u32_at(head, 40).into())),
        bytes,
        carrying,
    })
}

fn read_mark(segment: u64, bytes: &[u8]) -> Option<QueuePosition> {
    let mark = bytes.get(..MARK)?;
    (mark[..4] == MARK_TAG && u32_at(mark, 12) == crc(segment, &mark[..12]))
        .then(|| u64_at(mark, 4))
}

fn payload<'a>(segment: u64, head: &EventHead, bytes: &'a [u8]) -> Option<&'a [u8]> {
    body(segment, EVENT_HEAD, head.bytes, bytes)
}

/// `length` bytes from `from` on, if their checksum is right.
fn body(segment: u64, from: usize, length: usize, bytes: &[u8]) -> Option<&[u8]> {
    let body = bytes.get(from..from + length)?;
    let sum = bytes.get(from + length..from + length + 4)?;
    (u32_at(sum, 0) == crc(segment, body)).then_some(body)
}

/// Reads one event back from its bytes; `None` where they are not whole. That what is carried with
/// it is there was seen when it was found.
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
    /// What is carried: so many bytes at this offset.
    Carried(usize, usize),
    /// A run of bytes that is no record; what follows it is still read.
    Damaged,
    /// The same at the end of the file, as a write that a power cut interrupts leaves it.
    Torn,
}

/// Where the frame of what is carried is, of so many bytes at this offset.
pub fn carried_frame(at: usize, length: usize) -> std::ops::Range<usize> {
    at - CARRIED_HEAD..at + length + (CARRIED_OVERHEAD - CARRIED_HEAD)
}

/// Calls `found` with everything in the file that is called `segment`, in its order. Takes time
/// linear in `bytes`.
pub fn scan(segment: u64, bytes: &[u8], mut found: impl FnMut(ScannedItem)) {
    let mut at = HEADER.min(bytes.len());
    // What is carried with the events that come next.
    let mut carried = None::<CarriedHead>;
    while at < bytes.len() {
        let rest = &bytes[at..];
        // Of one with a body: the bytes of all of it, and what it is if it is whole.
        let (whole, item) = if let Some(position) = read_mark(segment, rest) {
            found(ScannedItem::Retired(position));
            at += MARK;
            continue;
        } else if let Some(head) = read_head(segment, rest) {
            let counts = !head.carrying || carried.is_some_and(|c| c.names(head.position));
            let item = payload(segment, &head, rest).map(|_| ScannedItem::Event(at, head));
            (EVENT_OVERHEAD + head.bytes, item.filter(|_| counts))
        } else if let Some(head) = CarriedHead::read(segment, rest) {
            let body = body(segment, CARRIED_HEAD, head.bytes, rest);
            carried = body.is_some().then_some(head);
            let item = body.map(|_| ScannedItem::Carried(at + CARRIED_HEAD, head.bytes));
            (CARRIED_OVERHEAD + head.bytes, item)
        } else {
            let is_record = |n: &usize| {
                let tail = &rest[*n..];
                tail[0] == EVENT_TAG[0]
                    && (read_mark(segment, tail).is_some()
                        || read_head(segment, tail).is_some()
                        || CarriedHead::read(segment, tail).is_some())
            };
            match (1..rest.len()).find(is_record) {
                Some(n) => {
                    found(ScannedItem::Damaged);
                    at += n;
                    continue;
                }
                None => {
                    found(ScannedItem::Torn);
                    return;
                }
            }
        };
        if item.is_none() && whole > rest.len() {
            found(ScannedItem::Torn);
            return;
        }
        found(item.unwrap_or(ScannedItem::Damaged));
        at += whole;
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

    /// A header of version 1, as it lies on devices.
    const HEADER_1: &str = "57504f55544258ff0100000007000000000000000900000000000000b3cde1e5";

    /// Files of version 2 lie on devices: these bytes never change.
    #[test]
    fn version_2_is_these_bytes() {
        assert_eq!(
            hex(&header(7, 9)),
            "57504f55544258ff020000000700000000000000090000000000000074d525bc"
        );
        assert_eq!(
            hex(&carried(7, 9, 2, b"log")),
            "ff4c47fe030000000900000000000000020000000cc5fcc96c6f67ccd3f712"
        );
        let (plain, carrying) = (event(7, 9, &record(3)), carrying(7, 9, &record(3)));
        assert_eq!(hex(&carrying[..4]), "ff454cfe");
        assert_eq!((&plain[4..44], &plain[48..]), (&carrying[4..44], &carrying[48..]));
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
            ScannedItem::Carried(..) => {}
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
        bytes[8] = 3;
        assert_eq!(read_header(7, &bytes), Header::Foreign { version: 3 });
        bytes[0] = 0;
        assert_eq!(read_header(7, &bytes), Header::Damaged);
        assert_eq!(read_header(7, &[]), Header::Damaged);
    }

    #[test]
    fn a_segment_of_the_first_version_is_read() {
        let byte = |at: usize| u8::from_str_radix(&HEADER_1[at..at + 2], 16).expect("hex");
        let header: Vec<u8> = (0..HEADER_1.len()).step_by(2).map(byte).collect();
        assert_eq!(read_header(7, &header), Header::Good { next: 9 });
    }

    /// What is carried with two events, those two, and one that stands alone.
    fn group() -> Vec<u8> {
        let mut bytes = header(7, 0).to_vec();
        bytes.extend(carried(7, 0, 2, b"log"));
        bytes.extend(carrying(7, 0, &record(10)).iter());
        bytes.extend(carrying(7, 1, &record(11)).iter());
        bytes.extend(event(7, 2, &record(12)).iter());
        bytes
    }

    #[test]
    fn an_event_that_carries_is_there_only_with_what_it_carries() {
        let whole = group();
        assert_eq!(read(&whole), (vec![0, 1, 2], vec![], 0));
        let carried = HEADER..HEADER + CARRIED_OVERHEAD + 3;
        for at in carried.clone() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            assert_eq!(read(&bytes).0, [2], "{at}");
        }
        // A block that never came to the disk, and one in which something else lies.
        for fill in [0, 0x5a, 0xff] {
            let mut bytes = whole.clone();
            bytes[carried.clone()].fill(fill);
            assert_eq!(read(&bytes).0, [2], "{fill}");
        }
        let mut of_others = header(7, 0).to_vec();
        of_others.extend(super::carried(7, 5, 2, b"log"));
        of_others.extend(carrying(7, 4, &record(10)).iter());
        of_others.extend(carrying(7, 6, &record(10)).iter());
        of_others.extend(carrying(7, 7, &record(10)).iter());
        assert_eq!(read(&of_others).0, [6]);
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
