//! A certificate authority of the test's own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use time::{Duration, OffsetDateTime};

/// Its certificate is `<name>.pem` in the directory; what it issues is beside that.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str, host: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::days(30);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(days);
    params
}

impl Authority {
    pub fn new(directory: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(&format!("watchpost-test-{name}"), "authority.example", 2);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        std::fs::write(directory.join(format!("{name}.pem")), certificate.pem()).expect("writable");
        Self { directory: directory.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// Issues `<name>.pem` and `<name>.key` for a host, which is the common name, too. `days` may
    /// be negative: expired.
    pub fn issue(&self, name: &str, host: &str, days: i64) {
        let key = KeyPair::generate().expect("a key");
        let certificate =
            params(host, host, days).signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(self.directory.join(format!("{name}.pem")), certificate.pem())
            .expect("writable");
        std::fs::write(self.directory.join(format!("{name}.key")), key.serialize_pem())
            .expect("writable");
    }
}
