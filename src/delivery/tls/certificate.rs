//! What an X.509 certificate says, as far as a person has to know it: for whom, by whom, until
//! when. Nothing is believed because of it: rustls judges certificates.

use std::net::IpAddr;

use time::{Date, Month, OffsetDateTime, Time};

/// Some fields of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// 1 to 3.
    pub version: u8,
    /// The names in it are its own issuer's.
    pub self_issued: bool,
    /// The last common name of its subject.
    pub common_name: Option<String>,
    /// The last common name of its issuer.
    pub issuer: Option<String>,
    /// Host names that it is for (`subjectAltName`), as they are in it.
    pub names: Vec<String>,
    /// Addresses that it is for (`subjectAltName`).
    pub addresses: Vec<IpAddr>,
    /// It may issue others.
    pub is_authority: bool,
    /// The last second in which it is valid.
    pub not_after: OffsetDateTime,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The context tags 0 and 3 of a certificate: version and extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `dNSName` and `iPAddress`.
const DNS: u8 = 0x82;
const ADDRESS: u8 = 0x87;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// Takes one element off: its tag and its content.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, after) = rest.split_first()?;
    let (first, mut after) = after.split_first()?;
    let length = match *first {
        short @ 0..=0x7f => usize::from(short),
        // No certificate has more than 16 MiB.
        long @ 0x81..=0x83 => {
            let (bytes, more) = after.split_at_checked(usize::from(long - 0x80))?;
            after = more;
            bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, after) = after.split_at_checked(length)?;
    *rest = after;
    Some((*tag, content))
}

/// Takes one element off that has this tag.
fn take<'a>(rest: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    let (tag, content) = element(rest)?;
    (tag == wanted).then_some(content)
}

/// Takes one element off where it has this tag.
fn take_if<'a>(rest: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    (*rest.first()? == wanted).then(|| take(rest, wanted)).flatten()
}

impl Certificate {
    /// Reads a certificate in DER; `None` where it is none.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut rest = take(&mut &*der, SEQUENCE)?;
        let mut fields = take(&mut rest, SEQUENCE)?;
        let version = match take_if(&mut fields, VERSION) {
            Some(mut version) => take(&mut version, INTEGER)?.last()?.checked_add(1)?,
            None => 1,
        };
        take(&mut fields, INTEGER)?;
        take(&mut fields, SEQUENCE)?;
        let issuer = take(&mut fields, SEQUENCE)?;
        let mut validity = take(&mut fields, SEQUENCE)?;
        element(&mut validity)?;
        let not_after = date(&mut validity)?;
        let subject = take(&mut fields, SEQUENCE)?;
        let mut certificate = Self {
            version,
            self_issued: issuer == subject,
            common_name: common_name(subject),
            issuer: common_name(issuer),
            names: Vec::new(),
            addresses: Vec::new(),
            is_authority: false,
            not_after,
        };
        while !fields.is_empty() {
            if let (EXTENSIONS, mut extensions) = element(&mut fields)? {
                let mut extensions = take(&mut extensions, SEQUENCE)?;
                while !extensions.is_empty() {
                    certificate.extension(take(&mut extensions, SEQUENCE)?)?;
                }
            }
        }
        Some(certificate)
    }

    /// Whether it names `host`; a wildcard names none.
    #[cfg(feature = "author")]
    pub fn is_for(&self, host: &str) -> bool {
        match host.parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address),
            Err(_) => self.names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        }
    }

    /// All hosts that it is for.
    #[cfg(any(test, feature = "author"))]
    pub fn hosts(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        self.names.iter().cloned().chain(addresses).collect()
    }

    fn extension(&mut self, mut fields: &[u8]) -> Option<()> {
        let id = take(&mut fields, OBJECT)?;
        // Whether it is critical may stand before its value.
        let mut value = loop {
            if let (OCTETS, value) = element(&mut fields)? {
                break value;
            }
        };
        if id == ALTERNATIVE_NAMES {
            let mut names = take(&mut value, SEQUENCE)?;
            while !names.is_empty() {
                match element(&mut names)? {
                    (DNS, name) => self.names.push(String::from_utf8_lossy(name).into_owned()),
                    (ADDRESS, bytes) => self.addresses.extend(address(bytes)),
                    _ => {}
                }
            }
        } else if id == BASIC_CONSTRAINTS {
            let constraints = take(&mut value, SEQUENCE)?;
            self.is_authority = constraints.starts_with(&[0x01, 0x01, 0xff]);
        }
        Some(())
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

fn common_name(mut name: &[u8]) -> Option<String> {
    let mut found = None;
    while let Some(mut set) = take_if(&mut name, SET) {
        while let Some(mut part) = take_if(&mut set, SEQUENCE) {
            let is_name = take(&mut part, OBJECT)? == COMMON_NAME;
            let (_, text) = element(&mut part)?;
            if is_name {
                found = Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }
    found
}

/// Takes a time off, in one of the two forms that certificates have.
fn date(rest: &mut &[u8]) -> Option<OffsetDateTime> {
    let (tag, text) = element(rest)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let month = Month::try_from(two(0)?).ok()?;
    let day = Date::from_calendar_date(year, month, two(2)?).ok()?;
    Some(day.with_time(Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?).assume_utc())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["broker.example".to_owned(), "10.0.0.7".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "broker");
        params.not_after = rcgen::date_time_ymd(2051, 3, 4);
        change(&mut params);
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    #[test]
    fn names_issuer_authority_and_end_are_read() {
        let read = |der: &[u8]| Certificate::read(der).expect("a certificate");
        let leaf = read(&made(|_| ()));
        assert_eq!(leaf.hosts(), ["broker.example", "10.0.0.7"]);
        assert_eq!((leaf.names.len(), leaf.issuer.as_deref()), (1, Some("broker")));
        assert_eq!((leaf.version, leaf.common_name.as_deref()), (3, Some("broker")));
        assert!(leaf.self_issued && !leaf.is_authority);
        assert_eq!(leaf.not_after.date().to_string(), "2051-03-04");
        let authority = read(&made(|p| {
            p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            p.subject_alt_names.clear();
            p.not_after = rcgen::date_time_ymd(2027, 1, 1);
        }));
        assert!(authority.is_authority && authority.names.is_empty());
        assert_eq!(authority.not_after.date().to_string(), "2027-01-01");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0usize..500,
        ) {
            let _ = Certificate::read(&bytes);
            let mut der = made(|_| ());
            let at = at % der.len();
            der[at] ^= bytes.first().copied().unwrap_or(1);
            let _ = Certificate::read(&der);
            der.truncate(at);
            prop_assert_eq!(Certificate::read(&der), None);
        }
    }
}
