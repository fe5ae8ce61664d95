//! What of a device ends, and when somebody is told.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

#[cfg(test)]
use super::contract;

/// So long before its end it is told.
const SOON: Duration = Duration::days(30);

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// The list in force.
    List,
    /// The list's site record: the list is not matched from then on.
    SiteRecord,
    /// The pinned keys of those who sign.
    TrustFile,
    /// The device's certificate, by which the broker knows it.
    DeviceCertificate,
    /// The broker's certificate.
    BrokerCertificate,
    /// The certificate of the authority by which the device knows the broker.
    AuthorityCertificate,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

impl Ending {
    /// What to do about it, for people.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::List => {
                "have a new version signed under a renewed authorisation: `watchpost watchlist \
                 revise`, two signatures, seal"
            }
            Self::SiteRecord => {
                "calibrate again (`watchpost calibrate run`), and have a list with the new site \
                 record signed: `watchpost watchlist revise --site`, two signatures, seal"
            }
            Self::TrustFile => {
                "have a trust file with a higher serial signed and offered: `watchpost key trust`, \
                 `watchpost key sign-trust`"
            }
            Self::DeviceCertificate => concat!(
                "have the device's certificate renewed and put in the place of ",
                setting!(broker.client_cert),
                "; it is read again at the next connection"
            ),
            Self::BrokerCertificate => "renew the broker's certificate",
            Self::AuthorityCertificate => concat!(
                "put the authority's new certificate beside the old one into ",
                setting!(broker.ca_file),
                " before the broker's own is renewed by it; it is read again at the next connection"
            ),
        }
    }
}

/// Something that ends soon, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EndingSoon {
    /// `list`, `site-record`, `trust-file`, `device-certificate`, `broker-certificate` or
    /// `authority-certificate`.
    // The schema promises any word: more may come within `v1`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub what: Ending,
    /// When, UTC.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(test, schemars(with = "contract::Date"))]
    pub ends: OffsetDateTime,
}

impl EndingSoon {
    /// Whether something that ends at `ends` is to be told at `now`.
    pub fn is_soon(ends: OffsetDateTime, now: OffsetDateTime) -> bool {
        ends.saturating_sub(SOON) <= now
    }
}
