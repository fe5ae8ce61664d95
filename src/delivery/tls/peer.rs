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

/// The keys that are taken, in certificates of brokers and devices and of those who sign them.
pub const KEYS: &str = "RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519";

/// How a certificate was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The host that was connected to.
    pub host: &'a str,
    /// Others came with it, that may have signed it.
    pub with_others: bool,
    /// Authorities are those in `broker.ca_file`, not the system's.
    pub by_file: bool,
}

/// What is wrong with how a certificate was made or sent that was refused for `error`, if that is
/// it.
pub fn explain(
    error: &CertificateError,
    certificate: &Certificate,
    presented: Presented<'_>,
) -> Option<Misfit> {
    making(certificate, presented.host).or_else(|| match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            naming(certificate, presented.host)
        }
        CertificateError::UnknownIssuer => Some(signing(certificate, presented)),
        _ => None,
    })
}

/// It is for other hosts, or names an address as if it were a name.
fn naming(certificate: &Certificate, host: &str) -> Option<Misfit> {
    if host.parse::<std::net::IpAddr>().is_err() || !certificate.names.iter().any(|n| n == host) {
        return None;
    }
    let alone = certificate.self_issued;
    Some(Misfit(format!(
        "the broker's certificate has the address {host} as the name of a host (DNS:{host}), where \
         nobody looks for an address (IP:{host}); make one with `{}`{}",
        right_one(host, !alone),
        then(alone)
    )))
}

/// No way leads from it to an authority.
fn signing(certificate: &Certificate, presented: Presented<'_>) -> Misfit {
    let issuer = certificate.issuer.as_deref().unwrap_or("an authority without a name");
    let authorities = if presented.by_file {
        concat!("the authorities in ", setting!(broker.ca_file))
    } else {
        "the system's authorities"
    };
    if certificate.self_issued {
        return Misfit(format!(
            "the broker's certificate is signed by itself, and is none of {authorities}; put this \
             very certificate into {broker_ca_file}",
            broker_ca_file = setting!(broker.ca_file)
        ));
    }
    let send = if presented.with_others {
        "none of the certificates that the broker sends with it leads to one of them either; where \
         one is missing between, have the broker send it"
    } else {
        "the broker sends no other with it; where that one is an intermediate, have the broker \
         send its certificate, too (mosquitto: in certfile, after its own)"
    };
    Misfit(format!(
        "the broker's certificate is signed by {issuer:?}, which is none of {authorities}, and \
         {send}; where it is the authority itself, put its certificate into {broker_ca_file}",
        broker_ca_file = setting!(broker.ca_file)
    ))
}

/// What is to be done with a new certificate that is its own authority.
fn then(alone: bool) -> &'static str {
    if alone { concat!(" and name server.pem by ", setting!(broker.ca_file)) } else { "" }
}

/// It is none that a broker may have.
fn making(certificate: &Certificate, host: &str) -> Option<Misfit> {
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
    Some(Misfit(format!("{what}; make one with `{}`{}", right_one(host, !alone), then(alone))))
}

/// Judges as rustls does.
#[derive(Debug)]
pub struct ExplainingVerifier {
    /// The judge.
    pub judge: Arc<WebPkiServerVerifier>,
    /// Where the end is remembered.
    pub ends: Arc<CertificateEnds>,
    /// The judge knows the authorities in `broker.ca_file`, not the system's.
    pub by_file: bool,
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
                let host = name.to_str();
                let with_others = !intermediates.is_empty();
                let presented = Presented { host: &host, with_others, by_file: self.by_file };
                let misfit = first.and_then(|c| explain(&error, &c, presented));
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
        let said = |c: &Certificate, host| {
            let presented = Presented { host, with_others: false, by_file: true };
            explain(&CertificateError::InvalidPurpose, c, presented).map(|m| m.to_string())
        };
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

    #[test]
    fn an_address_that_is_in_it_as_a_name_is_said_and_another_host_is_not_explained() {
        let presented = |host| Presented { host, with_others: false, by_file: true };
        let by_name = Certificate { names: vec!["127.0.0.1".into()], ..leaf() };
        let error = CertificateError::NotValidForName;
        let said = explain(&error, &by_name, presented("127.0.0.1")).expect("a misfit").to_string();
        assert!(said.contains("DNS:127.0.0.1") && said.contains("subjectAltName=IP:127.0.0.1"));
        assert_eq!(explain(&error, &leaf(), presented("127.0.0.1")), None);
        assert_eq!(explain(&error, &leaf(), presented("other")), None);
        assert_eq!(explain(&CertificateError::Expired, &by_name, presented("127.0.0.1")), None);
    }

    #[test]
    fn where_no_way_leads_to_an_authority_the_broker_is_to_send_what_is_missing() {
        let said = |with_others, by_file| {
            let presented = Presented { host: "broker", with_others, by_file };
            let misfit = explain(&CertificateError::UnknownIssuer, &leaf(), presented);
            misfit.expect("explained").to_string()
        };
        let alone = said(false, true);
        assert!(alone.contains("\"site authority\"") && alone.contains("certfile"), "{alone}");
        assert!(alone.contains("the authorities in broker.ca_file"), "{alone}");
        let with_others = said(true, false);
        assert!(with_others.contains("the system's authorities"), "{with_others}");
        assert!(!with_others.contains("sends no other"), "{with_others}");
        let own = Certificate { self_issued: true, ..leaf() };
        let presented = Presented { host: "broker", with_others: false, by_file: true };
        let own = explain(&CertificateError::UnknownIssuer, &own, presented).expect("explained");
        assert!(own.to_string().contains("this very certificate"), "{own}");
    }
}
