//! Orders that stop: the revocation of a list or of one entry, and the suspension of matching for a
//! time.
//!
//! Starting a search takes two people and stopping it takes one: an order has a single signature,
//! by a key that the trust file pins as a revoker or a suspender. The schema in CDDL is
//! `config/schemas/order.cddl`.
//!
//! # Container
//! A tagged `COSE_Sign1` (RFC 9052, section 4.2): protected `{alg: EdDSA (-8), content type, kid}`,
//! nothing unprotected, the payload inside. `external_aad` is [`CONTEXT`], so that a signature for
//! an order is valid for nothing else. Deterministic CBOR throughout, as for lists; at most
//! [`MAX_BYTES`].
//!
//! # What a replay can do
//! * A **revocation** names the last version that it covers and takes effect even where the clock
//!   is wrong: it can only ever stop, and stopping the same versions again changes nothing. A list
//!   signed later under a higher version is not touched by it.
//! * A **suspension** names the time that it covers, at most [`LONGEST`]. When that is over it is
//!   refused, and one whose id is known changes nothing.
//!
//! Sans-IO: bytes, trust and the time are arguments. What survives a restart is in
//! [`super::memory::DeviceMemory`].

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::cbor::{CborError, CborReader, CborWriter};
use super::keys::{KeyId, SecretKey};
use super::model::{Area, MAX_CORNERS, Position, Reference};
use super::sign1::{Sign1, SignedForm};
use super::text::stamp;
use super::trust::{Role, Trust};

/// Content type in the protected header.
pub const CONTENT_TYPE: &str = "application/vnd.watchpost.order+cbor";
/// What every signature is bound to besides the payload (`external_aad`).
pub const CONTEXT: &[u8] = b"watchpost order v1";
/// Most bytes of an order.
pub const MAX_BYTES: usize = 32 * 1024;
/// Most devices that a suspension names.
pub const MAX_DEVICES: usize = 64;
/// Most areas that a suspension names.
pub const MAX_AREAS: usize = 8;
/// Longest suspension; a longer one is ordered again.
pub const LONGEST: Duration = Duration::days(366);
/// The version that covers every version which a list may have.
pub const EVERY_VERSION: u64 = 1 << 53;

const FORM: SignedForm = SignedForm { content_type: CONTENT_TYPE, context: CONTEXT };
const FORMAT_VERSION: u64 = 1;
const REVOKE: u64 = 1;
const SUSPEND: u64 = 2;
const LATEST: u64 = 253_402_300_799; // 9999-12-31T23:59:59Z

/// Why bytes are not an order that must be followed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum OrderError {
    /// More than [`MAX_BYTES`].
    #[error("the order has {0} bytes and at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// Not the container, not the schema, or cut short.
    #[error(
        "this is no order ({0}); make one with `watchpost watchlist revoke` or `watchpost \
         watchlist suspend`, and publish the file as it is"
    )]
    Unreadable(#[from] CborError),
    /// A value that the schema has no meaning for.
    #[error("the order's {what} cannot be: {rule}")]
    Value {
        /// Which field.
        what: &'static str,
        /// What is allowed.
        rule: &'static str,
    },
    /// By a key that may not.
    #[error("the order is signed by {key}, which the trust file does not pin as a {}; have a {} \
        sign it", .role.as_str(), .role.as_str())]
    NotPinned {
        /// Who signed.
        key: KeyId,
        /// Who would have to.
        role: Role,
    },
    /// The signature does not hold.
    #[error(
        "the order is not what the key {0} signed: it was altered or damaged; publish it again"
    )]
    Altered(KeyId),
    /// The suspended time is over.
    #[error("the suspension ended at {} and it is {}; order a new one", stamp(.at), stamp(.now))]
    Over {
        /// Its end.
        at: OffsetDateTime,
        /// By this device's clock.
        now: OffsetDateTime,
    },
}

/// What kind of refusal an [`OrderError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderErrorKind {
    /// Not an order at all.
    Malformed,
    /// By nobody who may give it, or altered.
    NotAuthentic,
    /// Authentic, and its time is over.
    Over,
}

impl OrderError {
    /// What kind of refusal it is.
    pub fn kind(&self) -> OrderErrorKind {
        match self {
            Self::TooLarge(_) | Self::Unreadable(_) | Self::Value { .. } => {
                OrderErrorKind::Malformed
            }
            Self::NotPinned { .. } | Self::Altered(_) => OrderErrorKind::NotAuthentic,
            Self::Over { .. } => OrderErrorKind::Over,
        }
    }
}

/// Names an order: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OrderId(pub [u8; 16]);

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Versions of a list, or one entry of them, may not be matched any more, for ever.
    Revoke {
        /// The list.
        list: Reference,
        /// The last version that is revoked; [`EVERY_VERSION`] for all that there will ever be.
        through: u64,
        /// The entry; the whole list where absent.
        entry: Option<Reference>,
    },
    /// Nobody may be matched for a time.
    Suspend {
        /// From then on.
        from: OffsetDateTime,
        /// Until then.
        to: OffsetDateTime,
        /// Which devices; every one that reads it where empty.
        devices: Vec<Reference>,
        /// Which area; everywhere where empty. A device that does not know where it stands is in
        /// every area.
        areas: Vec<Area>,
    },
}

impl Action {
    /// Whose signature it takes.
    pub fn role(&self) -> Role {
        match self {
            Action::Revoke { .. } => Role::Revoker,
            Action::Suspend { .. } => Role::Suspender,
        }
    }

    /// Whether it is for `device` at `position`. A revocation is for every device that has the
    /// list.
    pub fn concerns(&self, device: &str, position: Option<Position>) -> bool {
        let Action::Suspend { devices, areas, .. } = self else { return true };
        let named = devices.is_empty() || devices.iter().any(|d| d.as_str() == device);
        let inside =
            areas.is_empty() || position.is_none_or(|p| areas.iter().any(|a| a.contains(p)));
        named && inside
    }

    fn check(&self) -> Result<(), OrderError> {
        let broken = |what, rule| Err(OrderError::Value { what, rule });
        match self {
            Action::Revoke { through, .. } if !(1..=EVERY_VERSION).contains(through) => {
                broken("version", "write a version from 1 to 2^53")
            }
            Action::Revoke { .. } => Ok(()),
            Action::Suspend { from, to, devices, areas } => {
                if to <= from || *to - *from > LONGEST {
                    return broken("time", "its end comes after its begin, by 366 days at most");
                }
                if devices.len() > MAX_DEVICES || areas.len() > MAX_AREAS {
                    return broken("place", "name at most 64 devices and 8 areas");
                }
                let good = |a: &Area| {
                    (3..=MAX_CORNERS).contains(&a.0.len()) && a.0.iter().all(Position::is_on_earth)
                };
                if areas.iter().all(good) {
                    Ok(())
                } else {
                    broken("area", "three to 256 corners, all on earth")
                }
            }
        }
    }
}

/// An order that a pinned person signed. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedOrder(Order);

impl std::ops::Deref for VerifiedOrder {
    type Target = Order;
    fn deref(&self) -> &Order {
        &self.0
    }
}

/// What an order says.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    id: OrderId,
    issued: OffsetDateTime,
    action: Action,
    signer: KeyId,
}

impl Order {
    /// Its name.
    pub fn id(&self) -> OrderId {
        self.id
    }

    /// When it was signed, by the signer's clock.
    pub fn issued(&self) -> OffsetDateTime {
        self.issued
    }

    /// What it says.
    pub fn action(&self) -> &Action {
        &self.action
    }

    /// Who signed it.
    pub fn signer(&self) -> KeyId {
        self.signer
    }
}

/// Signs an order named `id`, at `now`.
///
/// # Errors
/// [`OrderError::Value`] where the action cannot be.
pub fn sign(
    id: OrderId,
    action: &Action,
    key: &SecretKey,
    now: OffsetDateTime,
) -> Result<Vec<u8>, OrderError> {
    action.check()?;
    let payload = encode(id, action, now)?;
    let bytes = FORM.sign(&payload, key);
    // With the most devices, areas and corners it is larger than any device reads.
    if bytes.len() > MAX_BYTES { Err(OrderError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The container's parts; nothing about them is believed.
fn envelope(bytes: &[u8]) -> Result<Sign1<'_>, OrderError> {
    if bytes.len() > MAX_BYTES {
        return Err(OrderError::TooLarge(bytes.len()));
    }
    Ok(Sign1::read(bytes, FORM, MAX_BYTES)?)
}

/// Whether `bytes` are a container of an order; nothing in it is believed.
///
/// # Errors
/// Where they are none.
pub fn check_shape(bytes: &[u8]) -> Result<(), OrderError> {
    envelope(bytes).map(drop)
}

/// What an order says, to look at it, not to follow it: its signature is not checked.
///
/// # Errors
/// Where it is none.
pub fn inspect(bytes: &[u8]) -> Result<Order, OrderError> {
    let envelope = envelope(bytes)?;
    let (id, issued, action) = decode(envelope.payload)?;
    action.check()?;
    Ok(Order { id, issued, action, signer: envelope.signer })
}

/// What the payload alone of an order says.
///
/// # Errors
/// Where it is none.
pub fn inspect_content(payload: &[u8]) -> Result<Action, OrderError> {
    let (_, _, action) = decode(payload)?;
    action.check()?;
    Ok(action)
}

/// Reads an order and checks that a key pinned in `trust` for what it orders has signed it, and
/// that a suspension is not over at `now`.
///
/// The validity of the trust file does not matter: a person who may stop a search may do so for as
/// long as the device still holds their key.
///
/// # Errors
/// The first reason not to follow it.
pub fn verify(
    bytes: &[u8],
    trust: &Trust,
    now: OffsetDateTime,
) -> Result<VerifiedOrder, OrderError> {
    let order = authenticate(bytes, trust)?;
    if let Action::Suspend { to, .. } = order.action()
        && *to <= now
    {
        return Err(OrderError::Over { at: *to, now });
    }
    Ok(order)
}

/// The same at any time: an order whose time is over is one, too.
///
/// # Errors
/// Where nobody who may order it has signed it as it is.
pub fn authenticate(bytes: &[u8], trust: &Trust) -> Result<VerifiedOrder, OrderError> {
    let envelope = envelope(bytes)?;
    let signer = envelope.signer;
    // The role depends on the payload, but the payload is not parsed before a key that may order
    // anything has signed it.
    let pinned = [Role::Revoker, Role::Suspender].map(|role| trust.key(signer, role));
    let Some(key) = pinned.into_iter().flatten().next() else {
        return Err(OrderError::NotPinned { key: signer, role: Role::Revoker });
    };
    if !envelope.is_by(key) {
        return Err(OrderError::Altered(signer));
    }
    let (id, issued, action) = decode(envelope.payload)?;
    action.check()?;
    let role = action.role();
    if trust.key(signer, role).is_none() {
        return Err(OrderError::NotPinned { key: signer, role });
    }
    Ok(VerifiedOrder(Order { id, issued, action, signer }))
}

fn encode(id: OrderId, action: &Action, now: OffsetDateTime) -> Result<Vec<u8>, OrderError> {
    let mut w = CborWriter::default();
    w.map(5).key(0).uint(FORMAT_VERSION).key(1).bytes(&id.0).key(2).uint(seconds(now)?);
    match action {
        Action::Revoke { list, through, entry } => {
            w.key(3).uint(REVOKE).key(4).array(3).text(list).uint(*through);
            // No reference is empty, so that the empty text is free to say "none".
            w.text(entry.as_deref().unwrap_or_default());
        }
        Action::Suspend { from, to, devices, areas } => {
            w.key(3).uint(SUSPEND).key(4).array(4).uint(seconds(*from)?).uint(seconds(*to)?);
            w.array(devices.len());
            for device in devices {
                w.text(device);
            }
            w.array(areas.len());
            for area in areas {
                w.array(area.0.len());
                for corner in &area.0 {
                    let e7 = |degrees: f64| (degrees * 1e7).round() as i32;
                    w.array(2).int(e7(corner.latitude)).int(e7(corner.longitude));
                }
            }
        }
    }
    Ok(w.finish())
}

fn decode(payload: &[u8]) -> Result<(OrderId, OffsetDateTime, Action), OrderError> {
    let mut r = CborReader::new(payload);
    r.map(5)?;
    r.key(0)?;
    if r.uint(u64::MAX)? != FORMAT_VERSION {
        return Err(OrderError::Value {
            what: "format",
            rule: "this version of watchpost reads format 1",
        });
    }
    r.key(1)?;
    let id = r.fixed()?;
    r.key(2)?;
    let issued = time(&mut r)?;
    r.key(3)?;
    let kind = r.uint(u64::MAX)?;
    r.key(4)?;
    let action = match kind {
        REVOKE => {
            r.items(3)?;
            let list = reference(r.text(64)?)?;
            let through = r.uint(EVERY_VERSION)?;
            let entry = Some(r.text(64)?).filter(|e| !e.is_empty()).map(reference).transpose()?;
            Action::Revoke { list, through, entry }
        }
        SUSPEND => {
            r.items(4)?;
            let (from, to) = (time(&mut r)?, time(&mut r)?);
            let devices = (0..r.array(MAX_DEVICES)?)
                .map(|_| reference(r.text(64)?))
                .collect::<Result<_, _>>()?;
            let areas = (0..r.array(MAX_AREAS)?).map(|_| area(&mut r)).collect::<Result<_, _>>()?;
            Action::Suspend { from, to, devices, areas }
        }
        _ => return Err(OrderError::Value { what: "kind", rule: "1 revokes, 2 suspends" }),
    };
    r.end()?;
    Ok((OrderId(id), issued, action))
}

fn area(r: &mut CborReader<'_>) -> Result<Area, OrderError> {
    let corners = r.array(MAX_CORNERS)?;
    let mut area = Area(Vec::with_capacity(corners));
    for _ in 0..corners {
        r.items(2)?;
        let (latitude, longitude) = (f64::from(r.int()?) / 1e7, f64::from(r.int()?) / 1e7);
        area.0.push(Position { latitude, longitude });
    }
    Ok(area)
}

fn reference(text: &str) -> Result<Reference, OrderError> {
    text.parse()
        .map_err(|_| OrderError::Value { what: "reference", rule: "1 to 64 of A-Z a-z 0-9 . _ -" })
}

fn time(r: &mut CborReader<'_>) -> Result<OffsetDateTime, OrderError> {
    let seconds = r.uint(LATEST)?;
    Ok(OffsetDateTime::from_unix_timestamp(seconds as i64).expect("the year 9999 is representable"))
}

fn seconds(at: OffsetDateTime) -> Result<u64, OrderError> {
    let good = u64::try_from(at.unix_timestamp()).ok().filter(|s| *s <= LATEST);
    good.ok_or(OrderError::Value { what: "time", rule: "write a time from 1970 to 9999" })
}

#[cfg(test)]
mod tests;
