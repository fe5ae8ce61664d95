//! The deterministic subset of CBOR (RFC 8949, section 4.2.1) in which a list is written: definite
//! lengths, shortest heads, map keys ascending.
//!
//! * The [`CborReader`] accepts exactly what the [`CborWriter`] writes and nothing else, so that
//!   one content has one encoding, a duplicate key cannot be expressed, and depth is that of the
//!   calling code.
//! * It borrows from its input: a length in the input never allocates anything, it is only compared
//!   with what is left.
//!
//! Why not a general decoder: a tree of generic values multiplies hostile input by the size of a
//! value (a list of a hundred million empty arrays becomes gigabytes), and it forgets how the input
//! was encoded, which a strict reader must know.

/// Why bytes are not what was expected, and where.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum CborError {
    /// The input ends inside an item.
    #[error("cut short at byte {0}")]
    CutShort(usize),
    /// Another type, or an indefinite length.
    #[error("no {wanted} at byte {at}")]
    Unexpected {
        /// What the schema has here.
        wanted: &'static str,
        /// Offset of the item.
        at: usize,
    },
    /// A number that a shorter head could hold.
    #[error("not in shortest form at byte {0}")]
    NotShortest(usize),
    /// More items or bytes than the schema allows, or another number of them than it asks for.
    #[error("{found} {what} at byte {at} where {allowed} are allowed")]
    Count {
        /// What is counted.
        what: &'static str,
        /// As announced in the input.
        found: u64,
        /// Bound of the schema.
        allowed: u64,
        /// Offset of the item.
        at: usize,
    },
    /// A map key that is missing, unknown or out of order.
    #[error("key {found} at byte {at} where key {wanted} belongs")]
    Key {
        /// As found.
        found: u64,
        /// By the schema.
        wanted: u64,
        /// Offset of the key.
        at: usize,
    },
    /// Text that is no UTF-8.
    #[error("text at byte {0} is not UTF-8")]
    Text(usize),
    /// Bytes after the end.
    #[error("{0} bytes too many at the end")]
    Trailing(usize),
}

impl CborError {
    fn items(found: usize, wanted: usize, at: usize) -> Self {
        Self::Count { what: "items", found: found as u64, allowed: wanted as u64, at }
    }
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
/// The simple value in place of what is not there.
pub const NULL: u8 = 0xf6;

/// Reads items one after another, as the schema expects them.
pub struct CborReader<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> CborReader<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0 }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], CborError> {
        let rest = &self.input[self.at..];
        let taken = rest.get(..n).ok_or(CborError::CutShort(self.input.len()))?;
        self.at += n;
        Ok(taken)
    }

    /// Major type and argument of the next item.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let at = self.at;
        let first = self.take(1)?[0];
        let (value, least) = match first & 0x1f {
            direct @ 0..=23 => (u64::from(direct), 0),
            24 => (u64::from(self.take(1)?[0]), 24),
            25 => (u64::from(u16::from_be_bytes(self.array_of()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.array_of()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.array_of()?), 1 << 32),
            _ => return Err(CborError::Unexpected { wanted: "definite length", at }),
        };
        if value < least {
            return Err(CborError::NotShortest(at));
        }
        Ok((first >> 5, value))
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        Ok(self.take(N)?.try_into().expect("take returns exactly N bytes"))
    }

    fn typed(&mut self, major: u8, wanted: &'static str) -> Result<u64, CborError> {
        let at = self.at;
        match self.head()? {
            (found, value) if found == major => Ok(value),
            _ => Err(CborError::Unexpected { wanted, at }),
        }
    }

    pub fn uint(&mut self, most: u64) -> Result<u64, CborError> {
        let at = self.at;
        let value = self.typed(UINT, "unsigned number")?;
        if value > most {
            return Err(CborError::Count { what: "units", found: value, allowed: most, at });
        }
        Ok(value)
    }

    /// A number from -2^31 to 2^31 - 1.
    pub fn int(&mut self) -> Result<i32, CborError> {
        let at = self.at;
        let (major, value) = self.head()?;
        let number = i32::try_from(value)
            .map_err(|_| CborError::Unexpected { wanted: "32-bit number", at })?;
        match major {
            UINT => Ok(number),
            NEGATIVE => Ok(-1 - number),
            _ => Err(CborError::Unexpected { wanted: "number", at }),
        }
    }

    pub fn bytes(&mut self, most: usize) -> Result<&'a [u8], CborError> {
        let n = self.length(BYTES, "byte string", most)?;
        self.take(n)
    }

    /// A byte string of exactly `N` bytes.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        let at = self.at;
        let found = self.bytes(N)?;
        found.try_into().map_err(|_| CborError::Count {
            what: "bytes",
            found: found.len() as u64,
            allowed: N as u64,
            at,
        })
    }

    pub fn text(&mut self, most: usize) -> Result<&'a str, CborError> {
        let at = self.at;
        let n = self.length(TEXT, "text", most)?;
        std::str::from_utf8(self.take(n)?).map_err(|_| CborError::Text(at))
    }

    /// Number of items that follow, at most `most`.
    pub fn array(&mut self, most: usize) -> Result<usize, CborError> {
        self.length(ARRAY, "array", most)
    }

    /// An array of exactly `wanted` items.
    pub fn items(&mut self, wanted: usize) -> Result<(), CborError> {
        let at = self.at;
        match self.array(wanted)? {
            found if found == wanted => Ok(()),
            found => Err(CborError::items(found, wanted, at)),
        }
    }

    /// An array of exactly `wanted` items, or an empty one in its place; whether they are there.
    pub fn items_or_none(&mut self, wanted: usize) -> Result<bool, CborError> {
        let at = self.at;
        match self.array(wanted)? {
            0 => Ok(false),
            found if found == wanted => Ok(true),
            found => Err(CborError::items(found, wanted, at)),
        }
    }

    /// A map of exactly `fields` entries; each is then read with [`CborReader::key`].
    pub fn map(&mut self, fields: u64) -> Result<(), CborError> {
        let at = self.at;
        match self.typed(MAP, "map")? {
            found if found == fields => Ok(()),
            found => Err(CborError::Count { what: "fields", found, allowed: fields, at }),
        }
    }

    /// A map of any number of entries; for its first key, before it is known which map it is.
    pub fn any_map(&mut self) -> Result<u64, CborError> {
        self.typed(MAP, "map")
    }

    pub fn key(&mut self, wanted: u64) -> Result<(), CborError> {
        let at = self.at;
        match self.typed(UINT, "map key")? {
            found if found == wanted => Ok(()),
            found => Err(CborError::Key { found, wanted, at }),
        }
    }

    /// A byte string, or nothing in its place.
    pub fn bytes_or_null(&mut self, most: usize) -> Result<Option<&'a [u8]>, CborError> {
        if self.input.get(self.at) == Some(&NULL) {
            self.at += 1;
            return Ok(None);
        }
        self.bytes(most).map(Some)
    }

    /// Where the next item begins.
    pub fn at(&self) -> usize {
        self.at
    }

    pub fn tag(&mut self, wanted: u64) -> Result<(), CborError> {
        let at = self.at;
        match self.typed(TAG, "tag")? {
            found if found == wanted => Ok(()),
            _ => Err(CborError::Unexpected { wanted: "tag of the container", at }),
        }
    }

    pub fn end(&self) -> Result<(), CborError> {
        match self.input.len() - self.at {
            0 => Ok(()),
            more => Err(CborError::Trailing(more)),
        }
    }

    fn length(&mut self, major: u8, wanted: &'static str, most: usize) -> Result<usize, CborError> {
        let at = self.at;
        let found = self.typed(major, wanted)?;
        match usize::try_from(found) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(CborError::Count {
                what: if major == ARRAY { "items" } else { "bytes" },
                found,
                allowed: most as u64,
                at,
            }),
        }
    }
}

/// Writes the encoding that [`CborReader`] accepts.
#[derive(Default)]
pub struct CborWriter {
    out: Vec<u8>,
}

impl CborWriter {
    pub fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        match value {
            0..=23 => self.out.push(major | value as u8),
            24..=0xff => self.out.extend([major | 24, value as u8]),
            0x100..=0xffff => {
                self.out.push(major | 25);
                self.out.extend((value as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                self.out.push(major | 26);
                self.out.extend((value as u32).to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend(value.to_be_bytes());
            }
        }
        self
    }

    pub fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    pub fn int(&mut self, value: i32) -> &mut Self {
        match u64::try_from(value) {
            Ok(positive) => self.head(UINT, positive),
            Err(_) => self.head(NEGATIVE, (-1 - i64::from(value)) as u64),
        }
    }

    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
        self
    }

    /// What is encoded already, as it is.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.out.extend_from_slice(encoded);
        self
    }

    /// A byte string of two's complements.
    #[cfg(any(feature = "author", test))]
    pub fn signed_bytes(&mut self, value: &[i8]) -> &mut Self {
        self.head(BYTES, value.len() as u64);
        self.out.extend(value.iter().map(|v| v.cast_unsigned()));
        self
    }

    pub fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64);
        self.out.extend_from_slice(value.as_bytes());
        self
    }

    pub fn array(&mut self, items: usize) -> &mut Self {
        self.head(ARRAY, items as u64)
    }

    pub fn map(&mut self, fields: u64) -> &mut Self {
        self.head(MAP, fields)
    }

    pub fn tag(&mut self, tag: u64) -> &mut Self {
        self.head(TAG, tag)
    }

    /// A key of the map just opened; the caller writes them ascending.
    pub fn key(&mut self, key: u64) -> &mut Self {
        self.head(UINT, key)
    }

    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_in_a_longer_form_than_needed_is_refused() {
        for long in [
            &[0x18, 23][..],
            &[0x19, 0, 255],
            &[0x1a, 0, 0, 255, 255],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
        ] {
            assert_eq!(CborReader::new(long).uint(u64::MAX), Err(CborError::NotShortest(0)));
        }
    }

    #[test]
    fn an_announced_length_beyond_the_input_or_the_bound_is_refused_without_allocating() {
        let four_gigabytes = [0x5a, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(
            CborReader::new(&four_gigabytes).bytes(100),
            Err(CborError::Count { .. })
        ));
        assert_eq!(CborReader::new(&four_gigabytes).bytes(usize::MAX), Err(CborError::CutShort(5)));
    }

    #[test]
    fn of_items_and_bytes_of_a_fixed_number_neither_fewer_nor_more_are_taken() {
        assert_eq!(CborReader::new(&[0x82, 1, 2]).items(2), Ok(()));
        assert_eq!(CborReader::new(&[0x82, 1, 2]).items_or_none(2), Ok(true));
        assert_eq!(CborReader::new(&[0x80]).items_or_none(2), Ok(false));
        for other in [&[0x81, 1][..], &[0x83, 1, 2, 3]] {
            let count = |e: CborError| matches!(e, CborError::Count { .. });
            assert!(CborReader::new(other).items(2).is_err_and(count));
            assert!(CborReader::new(other).items_or_none(2).is_err_and(count));
        }
        assert!(CborReader::new(&[0x80]).items(2).is_err());
        assert_eq!(CborReader::new(&[0x42, 1, 2]).fixed(), Ok([1, 2]));
        assert!(CborReader::new(&[0x41, 1]).fixed::<2>().is_err());
        assert!(CborReader::new(&[0x43, 1, 2, 3]).fixed::<2>().is_err());
    }

    #[test]
    fn an_indefinite_length_is_refused() {
        assert!(matches!(
            CborReader::new(&[0x9f, 0xff]).array(9),
            Err(CborError::Unexpected { .. })
        ));
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_another_decoder_reads(n: u64, i: i32, b: Vec<u8>, t: String) {
            let mut w = CborWriter::default();
            w.array(4).uint(n).int(i).bytes(&b).text(&t);
            let out = w.finish();
            let other: (u64, i32, ciborium::Value, String) =
                ciborium::from_reader(&out[..]).unwrap();
            prop_assert_eq!(other, (n, i, ciborium::Value::Bytes(b.clone()), t.clone()));
            let mut r = CborReader::new(&out);
            prop_assert_eq!(r.array(4), Ok(4));
            prop_assert_eq!(r.uint(u64::MAX), Ok(n));
            prop_assert_eq!(r.int(), Ok(i));
            prop_assert_eq!(r.bytes(usize::MAX), Ok(&b[..]));
            prop_assert_eq!(r.text(usize::MAX), Ok(&t[..]));
            prop_assert_eq!(r.end(), Ok(()));
        }
    }
}
