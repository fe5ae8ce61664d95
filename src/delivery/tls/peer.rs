//! The broker's certificate: judged by rustls, remembered for its end, and explained where it is
//! refused for how it was made.
//!
//! * Nothing is accepted that rustls does not accept.
//! * Where it is refused for its making, the failure says what is wrong with it and the command
//!   that makes a right one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use time::OffsetDateTime;

use super::certificate::Certificate;

/// When certificates end, as they were used last.
#[derive(Debug, Default)]
pub struct CertificateEnds {
    /// Unix seconds; 0 where none was used.
    device: AtomicI64,
    broker: AtomicI64,
    authority: AtomicI64,
}

impl CertificateEnds {
    /// The device's own certificate was read.
    pub fn device_has(&self, der: &[u8]) {
        store(&self.device, Certificate::read(der));
    }

    /// When the device's own certificate ends.
    pub fn device(&self) -> Option<OffsetDateTime> {
        read(&self.device)
    }

    /// The certificate of the only authority in `broker.ca_file` was read.
    pub fn authority_has(&self, der: &[u8]) {
        store(&self.authority, Certificate::read(der));
    }

    /// When the authority's certificate ends.
    pub fn authority(&self) -> Option<OffsetDateTime> {
        read(&self.authority)
    }

    /// When the broker's certificate ends, or the first of those that it sends with it.
    pub fn broker(&self) -> Option<OffsetDateTime> {
        read(&self.broker)
    }
}

fn store(place: &AtomicI64, certificate: Option<Certificate>) {
    let ends = certificate.map_or(0, |c| c.not_after.unix_timestamp());
    place.store(ends, Ordering::Relaxed);
}

fn read(place: &AtomicI64) -> Option<OffsetDateTime> {
    let at = Some(place.load(Ordering::Relaxed)).filter(|at| *at != 0)?;
    OffsetDateTime::from_unix_timestamp(at).ok()
}

/// A broker's certificate that was made wrongly, with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit(String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

/// The command that makes a certificate for `host`, by the authority `ca.pem` where it is not its
/// own.
pub fn right_one(host: &str, by_authority: bool) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() { "IP" } else { "DNS" };
    let by = if by_authority { "-CA ca.pem -CAkey ca.key " } else { "" };
    format!(
        "openssl req -x509 {by}-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj \
         /CN={host} -addext subjectAltName={kind}:{host} -addext \
         basicConstraints=critical,CA:FALSE -keyout server.key -out server.pem"
    )
}

/// What is wrong with how a refused certificate was made, if that is it.
pub fn explain(certificate: &Certificate, host: &str) -> Option<Misfit> {
    let alone = certificate.self_issued;
    let what = if certificate.version < 3 {
        format!(
            "the broker's certificate is of X.509 version {}, which has no place for the names of \
             hosts",
            certificate.version
        )
    } else if certificate.is_authority {
        "the broker's certificate is that of an authority (CA:TRUE), which may sign others and not \
         serve"
            .to_owned()
    } else if certificate.names.is_empty() && certificate.addresses.is_empty() {
        let name = certificate.common_name.as_deref().unwrap_or("nothing");
        format!(
            "the broker's certificate has its host in the common name only ({name}), which TLS no \
             longer looks at"
        )
    } else {
        return None;
    };
    let then =
        if alone { concat!(" and name server.pem by ", setting!(broker.ca_file)) } else { "" };
    Some(Misfit(format!("{what}; make one with `{}`{then}", right_one(host, !alone))))
}

/// Judges as rustls does.
#[derive(Debug)]
pub struct ExplainingVerifier {
    /// The judge.
    pub judge: Arc<WebPkiServerVerifier>,
    /// Where the end is remembered.
    pub ends: Arc<CertificateEnds>,
}

impl ServerCertVerifier for ExplainingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.judge.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let first = Certificate::read(end_entity);
        match verdict {
            Ok(good) => {
                let all = intermediates.iter().filter_map(|der| Certificate::read(der));
                let earliest = all.chain(first).min_by_key(|c| c.not_after);
                store(&self.ends.broker, earliest);
                Ok(good)
            }
            Err(Error::InvalidCertificate(error)) => {
                let misfit = first.and_then(|c| explain(&c, &name.to_str()));
                let error =
                    misfit.map_or(error, |why| CertificateError::Other(OtherError(Arc::new(why))));
                Err(Error::InvalidCertificate(error))
            }
            Err(other) => Err(other),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf() -> Certificate {
        Certificate {
            version: 3,
            self_issued: false,
            common_name: Some("broker".into()),
            issuer: Some("site authority".into()),
            names: vec!["broker".into()],
            addresses: Vec::new(),
            is_authority: false,
            not_after: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificates_making_is_named_with_the_command_that_makes_it_right() {
        let said = |c: &Certificate, host| explain(c, host).map(|m| m.to_string());
        assert_eq!(said(&leaf(), "broker"), None);
        let old = said(&Certificate { version: 1, names: Vec::new(), ..leaf() }, "broker");
        let old = old.expect("version 1");
        assert!(old.contains("X.509 version 1") && old.contains("-CA ca.pem"), "{old}");
        let common = said(&Certificate { names: Vec::new(), ..leaf() }, "10.0.0.7");
        let common = common.expect("no name");
        assert!(common.contains("common name") && common.contains("subjectAltName=IP:10.0.0.7"));
        let own = Certificate { is_authority: true, self_issued: true, ..leaf() };
        let own = said(&own, "broker").expect("an authority");
        assert!(own.contains("CA:TRUE") && own.contains("broker.ca_file"), "{own}");
        assert!(!own.contains("-CA ca.pem"), "{own}");
    }
}
