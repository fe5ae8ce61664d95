//! Translates between our terms and the client library's: connection options, messages,
//! acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, LastWillProperties, PubAckReason, PublishProperties};
use rumqttc::{TlsConfiguration, Transport};

use super::broker::{BrokerConfig, BrokerUrl};
use super::event::{CONTENT_TYPE, CloudEvent, EventId, State, Status};
use super::failure::LinkFailure;
use super::inbound::{MAX_OFFER, RECEIVE_MAX};
use super::outbox::{AckOutcome, MAX_WINDOW};
use super::session::Publish;
use super::tls::peer::CertificateEnds;
use super::tls::{self, CredentialError};
use super::topics::{DeviceId, Topics};
use crate::clock::Now;

/// Largest packet taken from the broker: the largest list, its topic and properties. A broker sends
/// nothing larger.
const MAX_INCOMING: u32 = MAX_OFFER as u32 + 64 * 1024;
/// For TCP, TLS and the broker's answer together.
pub const CONNECT_TIMEOUT_S: u64 = 10;

/// Connection options, with certificates and the password as their files say now.
///
/// # Errors
/// Where one of the files cannot be used.
pub fn options(
    config: &BrokerConfig,
    url: &BrokerUrl,
    client_id: &str,
    will: LastWill,
    ends: &Arc<CertificateEnds>,
) -> Result<MqttOptions, LinkFailure> {
    let mut options = MqttOptions::new(client_id, url.address(), url.port);
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(config.session_expiry_s))
        .set_max_packet_size(Some(MAX_INCOMING))
        .set_receive_maximum(Some(RECEIVE_MAX))
        .set_manual_acks(true)
        .set_connection_timeout(CONNECT_TIMEOUT_S)
        .set_outgoing_inflight_upper_limit(MAX_WINDOW as u16 + 2)
        // The client library panics below 5.
        .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s.max(5))))
        .set_last_will(will);
    let mut network = options.network_options();
    network.set_tcp_nodelay(true);
    options.set_network_options(network);
    identify(&mut options, config, url, ends).map_err(|e| LinkFailure::credentials(&e))?;
    Ok(options)
}

/// Who the device is to the broker, and the broker to the device: user, password and TLS, as their
/// files say now.
///
/// # Errors
/// Where one of the files cannot be used.
pub fn identify(
    options: &mut MqttOptions,
    config: &BrokerConfig,
    url: &BrokerUrl,
    ends: &Arc<CertificateEnds>,
) -> Result<(), CredentialError> {
    let password = tls::password(config)?;
    if !config.username.is_empty() || password.is_some() {
        options
            .set_credentials(&config.username, password.map(|p| p.to_string()).unwrap_or_default());
    }
    if url.is_socket() {
        options.set_transport(Transport::unix());
    }
    if url.tls {
        let config = tls::client_config(config, ends)?;
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(config)));
    }
    Ok(())
}

/// The last will: what the broker publishes for the device when the connection is lost. `retain`
/// where the broker keeps messages.
///
/// # Errors
/// Where it cannot be dated.
pub fn will(
    device: &DeviceId,
    topics: &Topics,
    status: &Status,
    now: Now,
    retain: bool,
) -> Result<LastWill, LinkFailure> {
    let status = Status {
        state: State::Offline,
        since: now.wall,
        matching: false,
        list: None,
        reason: None,
        threshold: None,
        degraded: None,
        ..status.clone()
    };
    let payload = CloudEvent::new(EventId::new(now), device, now, status)
        .to_json()
        .map_err(|e| LinkFailure::clock(&e))?;
    let properties = LastWillProperties {
        delay_interval: None,
        payload_format_indicator: Some(1),
        message_expiry_interval: None,
        content_type: Some(CONTENT_TYPE.to_owned()),
        response_topic: None,
        correlation_data: None,
        user_properties: Vec::new(),
    };
    Ok(LastWill::new(topics.status(), payload, QoS::AtLeastOnce, retain, Some(properties)))
}

/// MQTT properties of a message.
pub fn properties(publish: &Publish) -> PublishProperties {
    let own = |(name, value): (&str, &String)| (name.to_owned(), value.clone());
    let signature = publish.signature.as_ref().map(|signature| ("signature", signature));
    PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: publish.expiry_s,
        content_type: Some(publish.content_type.to_owned()),
        user_properties: [("sentat", &publish.sent_at)]
            .into_iter()
            .chain(signature)
            .map(own)
            .collect(),
        ..PublishProperties::default()
    }
}

/// A message as it is sent again; without packet id where it has none yet.
pub fn packet(publish: Publish) -> rumqttc::v5::mqttbytes::v5::Publish {
    let qos = if publish.acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
    let properties = properties(&publish);
    let mut packet = rumqttc::v5::mqttbytes::v5::Publish::new(
        publish.topic,
        qos,
        publish.payload,
        Some(properties),
    );
    packet.retain = publish.retain;
    packet.dup = publish.again.is_some();
    packet.pkid = publish.again.unwrap_or(0);
    packet
}

/// A message to the device, as the client library wants it to acknowledge it under `packet`.
pub fn acknowledgement(packet: u16) -> rumqttc::v5::mqttbytes::v5::Publish {
    let mut publish =
        rumqttc::v5::mqttbytes::v5::Publish::new("", QoS::AtLeastOnce, Vec::new(), None);
    publish.pkid = packet;
    publish
}

/// What an acknowledgement means.
pub fn verdict(reason: PubAckReason) -> AckOutcome {
    match reason {
        PubAckReason::Success => AckOutcome::Delivered,
        PubAckReason::NoMatchingSubscribers => AckOutcome::Unheard,
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::NotAuthorized
        | PubAckReason::PacketIdentifierInUse
        | PubAckReason::QuotaExceeded => AckOutcome::RefusedForNow,
        PubAckReason::TopicNameInvalid | PubAckReason::PayloadFormatInvalid => AckOutcome::Invalid,
    }
}
