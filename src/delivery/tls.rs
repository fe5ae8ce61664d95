//! Certificates, keys and passwords, read from files at every connection so that renewed ones are
//! used without a restart.
//!
//! TLS 1.2 and 1.3 by rustls with the ring provider. The broker's certificate is always checked by
//! name, date and authority; nothing switches that off. No secret is in an error, a log or a
//! `Debug` output.

mod certificate;
pub mod peer;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;
use zeroize::Zeroizing;

#[cfg(feature = "author")]
pub use self::certificate::Certificate;
#[cfg(not(feature = "author"))]
use self::certificate::Certificate;
use self::peer::{CertificateEnds, ExplainingVerifier, KEYS};
use super::broker::{BrokerConfig, BrokerUrl};
use super::event::Ending;
use crate::files::{self, NoSecret};
use crate::problem::Problem;

/// Largest file that is read; a bundle of all public authorities is a fifth of it.
const MAX_FILE: u64 = 1024 * 1024;
/// Longest password in bytes: what MQTT can carry.
const MAX_PASSWORD: usize = 65_535;

/// What is wrong with a file of secrets or certificates.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Not there or not readable.
    #[error(
        "{path} cannot be read ({source}); check that it exists and that watchpost's user may \
         read it"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The service manager passes no credentials.
    #[error(
        "{0}: the service manager passes no credentials; set LoadCredential= in the unit, or name \
         a file"
    )]
    NoDirectory(PathBuf),
    /// No PEM certificate in it.
    #[error("{0} holds no PEM certificate; it begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate(PathBuf),
    /// No usable PEM private key in it.
    #[error("{0} holds no PEM private key without passphrase (PKCS #8, PKCS #1 or SEC1)")]
    NoKey(PathBuf),
    /// The system has no authorities.
    #[error(
        "the system has no certificate authorities; install ca-certificates or set \
         {broker_ca_file}",
        broker_ca_file = setting!(broker.ca_file)
    )]
    NoAuthorities,
    /// Certificate and key do not belong together, or another refusal by the TLS library.
    #[error(
        "{broker_client_cert} and {broker_client_key} cannot be used ({0}); they must belong \
         together, and the key be {KEYS}",
        broker_client_cert = setting!(broker.client_cert),
        broker_client_key = setting!(broker.client_key)
    )]
    ClientCertificate(rustls::Error),
    /// The TLS library refused its settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
    /// The first line is empty, too long or no text.
    #[error("{path} holds no password: {why}")]
    NoPassword {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: NoSecret,
    },
}

/// The beginning of paths that the service manager passes.
const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY";

/// The file's path; `directory` is what the service manager says.
fn place(path: &Path, directory: Option<OsString>) -> Result<PathBuf, CredentialError> {
    match (path.strip_prefix(CREDENTIALS), directory) {
        (Ok(name), Some(directory)) if !directory.is_empty() => {
            Ok(Path::new(&directory).join(name))
        }
        (Ok(_), _) => Err(CredentialError::NoDirectory(path.to_owned())),
        (Err(_), _) => Ok(path.to_owned()),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let place = place(path, std::env::var_os("CREDENTIALS_DIRECTORY"))?;
    let failed = |source| CredentialError::File { path: path.to_owned(), source };
    files::read_bytes(&place, MAX_FILE).map_err(failed)
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// Where it cannot be read, or there is none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let bytes = read(path)?;
    match CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CredentialError::NoCertificate(path.to_owned())),
    }
}

/// The private key of a PEM file.
///
/// # Errors
/// Where it cannot be read, or there is none without a passphrase.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialError> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|_| CredentialError::NoKey(path.to_owned()))
}

fn authorities(
    config: &BrokerConfig,
    ends: &CertificateEnds,
) -> Result<RootCertStore, CredentialError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        let all = certificates(path)?;
        if let [only] = &all[..] {
            ends.authority_has(only);
        }
        let (added, _) = roots.add_parsable_certificates(all);
        return if added == 0 {
            Err(CredentialError::NoCertificate(path.clone()))
        } else {
            Ok(roots)
        };
    }
    let found = rustls_native_certs::load_native_certs();
    for e in &found.errors {
        log::debug!("An authority of the system is skipped: error={e}.");
    }
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 { Err(CredentialError::NoAuthorities) } else { Ok(roots) }
}

/// The TLS settings as the files say now. When certificates end is noted in `ends`.
///
/// # Errors
/// Where a file is missing, holds nothing usable, or certificate and key do not belong together.
pub fn client_config(
    config: &BrokerConfig,
    ends: &Arc<CertificateEnds>,
) -> Result<Arc<ClientConfig>, CredentialError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(authorities(config, ends)?);
    let judge = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|_| CredentialError::NoAuthorities)?;
    let by_file = config.ca_file.is_some();
    let verifier = ExplainingVerifier { judge, ends: ends.clone(), by_file };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(CredentialError::Setup)?
        // It judges as rustls does; see `peer`.
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let client = match (&config.client_cert, &config.client_key) {
        (Some(cert), Some(key_path)) => {
            let key = private_key(key_path)?;
            let chain = certificates(cert)?;
            if let Some(own) = chain.first() {
                ends.device_has(own);
            }
            builder.with_client_auth_cert(chain, key).map_err(CredentialError::ClientCertificate)?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(client))
}

/// The password as the file says now: its first line. `None` where none is configured.
///
/// # Errors
/// Where the file cannot be read or its first line is no password.
pub fn password(config: &BrokerConfig) -> Result<Option<Zeroizing<String>>, CredentialError> {
    let Some(path) = &config.password_file else { return Ok(None) };
    let line = files::secret(&read(path)?, MAX_PASSWORD);
    line.map(Some).map_err(|why| CredentialError::NoPassword { path: path.clone(), why })
}

/// Adds what is wrong with the files that the configuration names. Reads them; for `watchpost
/// check`.
pub fn file_problems(config: &BrokerConfig, out: &mut Vec<Problem>) {
    let mut add = |key: &str, value: String, e: CredentialError| {
        out.push(Problem { key: format!("broker.{key}"), value, remedy: e.to_string() });
    };
    if let Err(e) = password(config) {
        let path = config.password_file.as_deref().unwrap_or(Path::new(""));
        add("password_file", path.display().to_string(), e);
    }
    if config.url.parse::<BrokerUrl>().is_ok_and(|url| url.tls)
        && let Err(e) = client_config(config, &Arc::default())
    {
        add("url", config.url.clone(), e);
    }
}

/// When the certificates in the files that the configuration names end: the device's own, and that
/// of the authority where there is only one. Those that cannot be read are left out.
pub fn file_ends(config: &BrokerConfig) -> Vec<(Ending, PathBuf, OffsetDateTime)> {
    // A bundle has many, of which some may have ended without harm.
    let files = [
        (Ending::DeviceCertificate, &config.client_cert, usize::MAX),
        (Ending::AuthorityCertificate, &config.ca_file, 1),
    ];
    let ends = |(what, path, most): (Ending, &Option<PathBuf>, usize)| {
        let path = path.as_ref()?;
        let all = certificates(path).ok().filter(|all| all.len() <= most)?;
        Some((what, path.clone(), Certificate::read(all.first()?)?.not_after))
    };
    files.into_iter().filter_map(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("it can be written");
        file
    }

    #[test]
    fn a_credential_of_the_service_manager_is_looked_for_where_that_says() {
        let path = Path::new("$CREDENTIALS_DIRECTORY/broker-password");
        let found =
            place(path, Some("/run/credentials/watchpost.service".into())).expect("it is passed");
        assert_eq!(found, Path::new("/run/credentials/watchpost.service/broker-password"));
        assert!(place(path, None).is_err_and(|e| e.to_string().contains("LoadCredential=")));
        let plain = Path::new("/etc/watchpost/password");
        assert_eq!(place(plain, Some("/run/credentials".into())).expect("no credential"), plain);
    }

    fn with_password(text: &[u8]) -> Result<Option<String>, String> {
        let file = file(text);
        let config =
            BrokerConfig { password_file: Some(file.path().to_owned()), ..BrokerConfig::default() };
        password(&config).map(|p| p.map(|p| p.to_string())).map_err(|e| e.to_string())
    }

    #[test]
    fn the_first_line_is_the_password() {
        assert_eq!(with_password(b"se cret\n"), Ok(Some("se cret".to_owned())));
        assert_eq!(with_password(b"secret\r\nnot this\n"), Ok(Some("secret".to_owned())));
        assert_eq!(with_password(b"secret"), Ok(Some("secret".to_owned())));
        assert_eq!(with_password(b"\xef\xbb\xbfsecret\r\n"), Ok(Some("secret".to_owned())));
        assert!(password(&BrokerConfig::default()).expect("none is configured").is_none());
    }

    #[test]
    fn a_file_without_password_says_so_and_shows_nothing_of_it() {
        assert!(with_password(b"\nsecret").unwrap_err().contains("no password"));
        let error = with_password(b"sec\xffret").unwrap_err();
        assert!(error.contains("no password") && !error.contains("sec"), "{error}");
        assert!(with_password(&vec![b'x'; MAX_PASSWORD + 1]).is_err());
        assert!(with_password(&vec![b'x'; MAX_FILE as usize + 1]).unwrap_err().contains("1 MiB"));
    }

    #[test]
    fn files_that_are_missing_or_no_pem_are_problems_with_a_remedy() {
        let (bad, key) = (file(b"no pem"), file(b"no key"));
        let mut config = BrokerConfig {
            url: "mqtts://localhost".to_owned(),
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..BrokerConfig::default()
        };
        let remedy = |config: &BrokerConfig| {
            let mut out = Vec::new();
            file_problems(config, &mut out);
            out.pop().map(|p| p.remedy).unwrap_or_default()
        };
        assert!(remedy(&config).contains("/nonexistent/ca.pem cannot be read"));
        config.ca_file = Some(bad.path().to_owned());
        assert!(remedy(&config).contains("no PEM certificate"));
        config.ca_file = None;
        config.client_cert = Some(bad.path().to_owned());
        config.client_key = Some(key.path().to_owned());
        assert!(
            remedy(&config).contains("no PEM private key")
                || remedy(&config).contains("no certificate authorities")
        );
        config.url = "mqtt://localhost".to_owned();
        assert_eq!(remedy(&config), "", "plain connections need no certificates");
    }
}
