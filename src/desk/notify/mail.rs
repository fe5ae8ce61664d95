//! Mail to one address, by SMTP: a message of its own, so that no address keeps another from being
//! told, and none sees another.

use std::path::PathBuf;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::secret::first_line;
use super::{NotifyFailure, certificates};
use crate::delivery::event::EventId;
use crate::desk::config::{LinkSecurity, MailConfig, NotifyEndpoint, mailbox};

/// For one answer of the server.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub struct Mail {
    endpoint: NotifyEndpoint,
    from: Address,
    to: Address,
    username: String,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl Mail {
    /// To one address, as configured; `None` where something of it may not be used.
    pub fn new(config: &MailConfig, to: &str) -> Option<Self> {
        Some(Self {
            endpoint: NotifyEndpoint::of_mail(&config.server)?,
            from: mailbox(&config.from)?,
            to: mailbox(to)?,
            username: config.username.clone(),
            password_file: config.password_file.clone(),
            ca_file: config.ca_file.clone(),
        })
    }

    /// Hands one notification over.
    ///
    /// # Errors
    /// Where it was not taken.
    pub async fn hand(
        &self,
        id: EventId,
        opened: OffsetDateTime,
        link: &str,
    ) -> Result<(), NotifyFailure> {
        let envelope = Envelope::new(Some(self.from.clone()), vec![self.to.clone()]);
        let envelope = envelope.map_err(|_| NotifyFailure::Address)?;
        let message = message(&self.from, &self.to, id, opened, link);
        let message = message.ok_or(NotifyFailure::Address)?;
        self.transport()?.send_raw(&envelope, message.as_bytes()).await?;
        Ok(())
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyFailure> {
        let NotifyEndpoint { host, port, security, .. } = &self.endpoint;
        let tls = match security {
            LinkSecurity::Tls => Tls::Wrapper(self.tls()?),
            LinkSecurity::StartTls => Tls::Required(self.tls()?),
            LinkSecurity::Loopback => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.clone())
            .port(*port)
            .tls(tls)
            .timeout(Some(PATIENCE))
            .hello_name(ClientId::Domain(self.from.domain().to_owned()));
        if let Some(file) = &self.password_file {
            let password = first_line(file)?.to_string();
            builder = builder.credentials(Credentials::new(self.username.clone(), password));
        }
        Ok(builder.build())
    }

    fn tls(&self) -> Result<TlsParameters, NotifyFailure> {
        let mut builder = TlsParameters::builder(self.endpoint.host.clone());
        if let Some(path) = &self.ca_file {
            builder = builder.certificate_store(CertificateStore::None);
            for certificate in certificates(Some(path))? {
                let certificate = Certificate::from_der(certificate.to_vec())?;
                builder = builder.add_root_certificate(certificate);
            }
        }
        Ok(builder.build()?)
    }
}

/// The message, but for its last line's end, which the client adds. Its date and id are those of
/// the notification: repeated, it is the same.
fn message(
    from: &Address,
    to: &Address,
    id: EventId,
    opened: OffsetDateTime,
    link: &str,
) -> Option<String> {
    let date = opened.format(&Rfc2822).ok()?;
    Some(format!(
        "Date: {date}\r\nFrom: <{from}>\r\nTo: <{to}>\r\nSubject: A candidate waits\r\n\
         Message-ID: <{id}@{domain}>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: \
         1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\nA candidate waits at {link}",
        domain = from.domain(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_that_a_candidate_waits_and_where() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let message = message(
            &address("desk@city.example"),
            &address("duty@city.example"),
            EventId::from_u128(7),
            OffsetDateTime::from_unix_timestamp(1_790_000_000).unwrap(),
            "https://desk.example/queue",
        );
        let expected = "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\n\
            From: <desk@city.example>\r\n\
            To: <duty@city.example>\r\n\
            Subject: A candidate waits\r\n\
            Message-ID: <00000000-0000-0000-0000-000000000007@city.example>\r\n\
            Auto-Submitted: auto-generated\r\n\
            MIME-Version: 1.0\r\n\
            Content-Type: text/plain; charset=us-ascii\r\n\
            \r\n\
            A candidate waits at https://desk.example/queue";
        assert_eq!(message.unwrap(), expected);
    }
}
