//! Writes the contract down from the types, and holds the files under `config/schemas` to that.
//!
//! `WATCHPOST_WRITE_SCHEMAS=1 cargo test --lib published_schema` rewrites the files after a
//! change of a type. The binary carries nothing of this.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::*;
use crate::delivery::Topics;
use crate::delivery::topics::{AuditSaying, InboundKind};

/// A date as RFC 3339 writes it.
pub struct Date;

impl JsonSchema for Date {
    fn schema_name() -> Cow<'static, str> {
        "Date".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl JsonSchema for EventId {
    fn schema_name() -> Cow<'static, str> {
        "EventId".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "uuid" })
    }
}

/// Says what is sent rather than all that a reader would take: absent fields are left out and never
/// null, and formats that only name Rust's types are no part of the contract.
#[derive(Clone)]
struct AsSent;

impl Transform for AsSent {
    fn transform(&mut self, schema: &mut Schema) {
        let Some(object) = schema.as_object_mut() else { return };
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|t| t != "null");
            if let [only] = &types[..] {
                let only = only.clone();
                object.insert("type".to_owned(), only);
            }
        }
        object.remove("default");
        if object
            .get("format")
            .and_then(Value::as_str)
            .is_some_and(|f| !matches!(f, "uuid" | "date-time"))
        {
            object.remove("format");
        }
        if let Some(Value::Array(choices)) = object.get("anyOf").cloned()
            && let [one] = &choices.iter().filter(|c| c["type"] != "null").collect::<Vec<_>>()[..]
        {
            object.remove("anyOf");
            for (key, value) in one.as_object().into_iter().flatten() {
                object.entry(key.clone()).or_insert(value.clone());
            }
        }
        if let Some(Value::Array(choices)) = object.get("oneOf").cloned()
            && let Some(words) =
                choices.iter().map(|c| c.get("const").cloned()).collect::<Option<Vec<_>>>()
        {
            let meaning = choices.iter().filter_map(|c| {
                Some(format!(
                    "`{}`: {}",
                    c["const"].as_str()?,
                    c["description"].as_str()?.replace('\n', " ")
                ))
            });
            let meaning: Vec<String> = object
                .get("description")
                .and_then(Value::as_str)
                .map(str::to_owned)
                .into_iter()
                .chain(meaning)
                .collect();
            object.remove("oneOf");
            object.insert("type".to_owned(), "string".into());
            object.insert("enum".to_owned(), words.into());
            object.insert("description".to_owned(), meaning.join(" ").into());
        }
        if let Some(Value::String(text)) = object.get_mut("description") {
            // A line break or a link of the source means nothing to a reader of the schema.
            *text = text.replace('\n', " ").replace("[`", "`").replace("`]", "`");
        }
        if let Some(Value::Object(properties)) = object.get("properties") {
            // In an order that does not depend on features of other crates.
            let sorted: Map<String, Value> = properties
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect();
            object.insert("properties".to_owned(), sorted.into());
        }
        transform_subschemas(self, schema);
    }
}

/// What is sent of `T`, with its own words.
pub fn sent_schema<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let settings = settings.with_transform(AsSent);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn schema_of<T: EventData + JsonSchema>() -> Value {
    let mut schema = sent_schema::<T>();
    schema["$id"] = T::SCHEMA.into();
    let about = schema["description"].as_str().unwrap_or_default();
    schema["description"] = format!(
        "{about} The `data` of events of the type {}. Ignore what you do not know: optional \
         properties may be added.",
        T::TYPE
    )
    .into();
    schema
}

/// The envelope around `data` of any kind.
fn envelope() -> Value {
    let mut schema = sent_schema::<CloudEvent<Value>>();
    schema["$id"] = "urn:watchpost:schema:cloudevent:v1".into();
    schema["title"] = "CloudEvent".into();
    for (name, value) in [("specversion", "1.0"), ("datacontenttype", "application/json")] {
        schema["properties"][name] = json!({ "const": value });
    }
    schema["properties"]["data"] = json!({ "type": "object" });
    schema
}

/// Name, topic below the device's, schema, QoS, retained, whether it expires, what it is.
struct ContractMessage {
    name: &'static str,
    channel: &'static str,
    kind: &'static str,
    /// Its `dataschema`.
    named: &'static str,
    schema: Value,
    qos: u8,
    retain: bool,
    expires: bool,
    about: &'static str,
}

fn messages() -> [ContractMessage; 7] {
    [
        ContractMessage {
            name: "candidate",
            channel: "candidate",
            kind: Candidate::TYPE,
            named: Candidate::SCHEMA,
            schema: schema_of::<Candidate>(),
            qos: 1,
            retain: false,
            expires: true,
            about: "Matches, in the order of their decision. Never retained; the message expires \
                with the candidate. The user property `sentat` says when it was sent first, \
                `decided_at` in the payload when it was decided; `signature` is the device's, \
                where it has an identity.",
        },
        ContractMessage {
            name: "status",
            channel: "status",
            kind: Status::TYPE,
            named: Status::SCHEMA,
            schema: schema_of::<Status>(),
            qos: 1,
            retain: true,
            expires: false,
            about: "How the device is. `offline` is the last will, published by the broker.",
        },
        ContractMessage {
            name: "stats",
            channel: "stats",
            kind: Stats::TYPE,
            named: Stats::SCHEMA,
            schema: schema_of::<Stats>(),
            qos: 0,
            retain: false,
            expires: false,
            about: "Counts, now and then.",
        },
        ContractMessage {
            name: "watchlist-state",
            channel: "watchlist/state",
            kind: ListState::TYPE,
            named: ListState::SCHEMA,
            schema: schema_of::<ListState>(),
            qos: 1,
            retain: true,
            expires: false,
            about: "Which list is in force and what was last ordered about it: the answer to each \
                order and offer, until the broker has acknowledged it; the newest again on each \
                connection.",
        },
        ContractMessage {
            name: "audit-entry",
            channel: "audit/entry",
            kind: AuditEntry::TYPE,
            named: AuditEntry::SCHEMA,
            schema: schema_of::<AuditEntry>(),
            qos: 1,
            retain: false,
            expires: true,
            about: "Each record of the audit log, in its order, where the device keeps one.",
        },
        ContractMessage {
            name: "review-state",
            channel: "review/state",
            kind: ReviewState::TYPE,
            named: ReviewState::SCHEMA,
            schema: schema_of::<ReviewState>(),
            qos: 1,
            retain: false,
            expires: true,
            about: "How far the review of a candidate is: the answer to each verdict that reached \
                the device, and the outcome. Nothing before the outcome tells what anybody said.",
        },
        ContractMessage {
            name: "control-answer",
            channel: "control/answer",
            kind: ControlAnswer::TYPE,
            named: ControlAnswer::SCHEMA,
            schema: schema_of::<ControlAnswer>(),
            qos: 1,
            retain: false,
            expires: true,
            about: "How a control stands: the answer to each registration, and its end. For the \
                desk that registered it, and for nobody else: an access list keeps it from those \
                who review.",
        },
    ]
}

fn camel(name: &str) -> String {
    name.split(['-', '/']).map(|part| part[..1].to_uppercase() + &part[1..]).collect()
}

/// Signed texts of the audit log: topic, whether it is retained, what it is.
const AUDIT_TEXTS: [(&str, bool, &str); 3] = [
    (
        "audit/checkpoint",
        true,
        "The newest signed checkpoint of the audit log (C2SP tlog-checkpoint), where the device \
         keeps one; again on each connection. The device compares what the broker has kept of it \
         with its log before it replaces that, and replaces nothing that convicts its log.",
    ),
    (
        "audit/consistency",
        false,
        "The answer to audit/request, signed by the device: the nonce, and what add-checkpoint of \
         C2SP tlog-witness takes. Under a nonce of zeros it says unasked that the log has grown.",
    ),
    (
        "audit/challenge",
        false,
        "The device asks its witnesses whether its log is the newest: a nonce, size and root, \
         signed by the device.",
    ),
];

/// MQTT user properties of a message.
fn user_properties(signed: bool) -> Value {
    let mut all = json!({ "sentat": {
        "type": "string",
        "format": "date-time",
        "description": "When it was sent first, UTC.",
    } });
    if signed {
        all["signature"] = json!({
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]+\\.\\.[A-Za-z0-9_-]{86}$",
            "description": "The device's signature of the payload's bytes as they are: a detached \
                JWS (RFC 7515, appendix F) with an unencoded payload (RFC 7797) and Ed25519 (RFC \
                9864). Absent where the device has no identity.",
        });
    }
    json!({ "type": "object", "properties": all })
}

fn asyncapi(messages: &[ContractMessage]) -> Value {
    let device = DeviceId::new("cam-7").expect("plain");
    let topics = Topics::new("site", &device).expect("plain");
    let parameters = json!({
        "root": { "default": "watchpost", "description": setting!(broker.root) },
        "device": { "description": setting!(device.id) },
    });
    let (mut channels, mut operations, mut components) = (Map::new(), Map::new(), Map::new());
    for m in messages {
        channels.insert(
            m.name.to_owned(),
            json!({
                "address": format!("{{root}}/v1/{{device}}/{}", m.channel),
                "description": m.about,
                "messages": { m.name: { "$ref": format!("#/components/messages/{}", m.name) } },
                "parameters": parameters,
            }),
        );
        let mut mqtt = json!({ "qos": m.qos, "retain": m.retain, "bindingVersion": "0.2.0" });
        if m.expires {
            // The seconds are those that are left of `expires`; this is the default for a candidate
            // just decided.
            mqtt["messageExpiryInterval"] =
                crate::delivery::BrokerConfig::default().event_expiry_s.into();
        }
        operations.insert(
            format!("publish{}", camel(m.name)),
            json!({
                "action": "send",
                "channel": { "$ref": format!("#/channels/{}", m.name) },
                "bindings": { "mqtt": mqtt },
            }),
        );
        components.insert(
            m.name.to_owned(),
            json!({
                "name": m.kind,
                "headers": user_properties(m.name == "candidate"),
                "contentType": CONTENT_TYPE,
                "payload": { "allOf": [
                    { "$ref": "./cloudevent.v1.schema.json" },
                    { "properties": {
                        "type": { "const": m.kind },
                        "dataschema": { "const": m.named },
                        "data": { "$ref": format!("./{}.v2.schema.json", m.name) },
                    } },
                ] },
                "examples": [{ "name": m.name, "payload": golden(&format!("{}.v2.json", m.name)) }],
                "bindings": { "mqtt": {
                    "payloadFormatIndicator": 1,
                    "contentType": CONTENT_TYPE,
                    "bindingVersion": "0.2.0",
                } },
            }),
        );
    }
    for (below, retain, about) in AUDIT_TEXTS {
        let name = below.replace('/', "-");
        channels.insert(
            name.clone(),
            json!({
                "address": format!("{{root}}/v1/{{device}}/{below}"),
                "description": about,
                "messages": { name.clone(): {
                    "contentType": "text/plain; charset=utf-8",
                    "payload": { "type": "string" },
                } },
                "parameters": parameters,
            }),
        );
        operations.insert(
            format!("publish{}", camel(&name)),
            json!({
                "action": "send",
                "channel": { "$ref": format!("#/channels/{name}") },
                "bindings": { "mqtt": { "qos": 0, "retain": retain, "bindingVersion": "0.2.0" } },
            }),
        );
    }
    // From others to others: a device neither sends nor receives it.
    channels.insert(
        "audit-finding".to_owned(),
        json!({
            "address": "{root}/v1/{device}/audit/finding",
            "description": "What a witness of the device's audit log has found, at QoS 1, for those \
                who keep an eye on the fleet. Published by `watchpost witness run`, not by the \
                device, and not signed: the evidence in it is.",
            "messages": { "audit-finding": {
                "contentType": "application/json",
                "payload": { "$ref": "./audit-finding.v1.schema.json" },
            } },
            "parameters": parameters,
        }),
    );
    for (topic, kind) in topics.inbound() {
        let address = topic.trim_start_matches("site/v1/cam-7/");
        let name = address.replace('/', "-");
        let (about, inbound) = inbound_messages(kind);
        let of_channel: Map<String, Value> = inbound
            .iter()
            .map(|(id, _)| {
                ((*id).to_owned(), json!({ "$ref": format!("#/components/messages/{id}") }))
            })
            .collect();
        components.extend(inbound.into_iter().map(|(id, message)| (id.to_owned(), message)));
        channels.insert(
            name.clone(),
            json!({
                "address": format!("{{root}}/v1/{{device}}/{address}"),
                "description": about,
                "messages": of_channel,
                "parameters": parameters,
            }),
        );
        operations.insert(
            format!("receive{}", camel(&name)),
            json!({
                "action": "receive",
                "channel": { "$ref": format!("#/channels/{name}") },
                "bindings": { "mqtt": { "qos": 1, "bindingVersion": "0.2.0" } },
            }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "watchpost",
            "version": "1.0.0",
            "description": "What a device publishes over MQTT 5 and what it listens to, from the \
                device's side: it sends, consumers receive. A candidate may come more than once \
                under the same id; drop repetitions, and what has expired.",
        },
        "servers": { "broker": {
            "host": "broker.example:8883",
            "protocol": "secure-mqtt",
            "protocolVersion": "5.0",
            "description": "A device shows a certificate, or a user name and a password, or both. \
                Brokers without either (`mqtt` on port 1883) are for a try on one machine.",
            "security": [
                { "$ref": "#/components/securitySchemes/certificate" },
                { "$ref": "#/components/securitySchemes/password" },
            ],
            "bindings": { "mqtt": {
                "clientId": "the device's id",
                "cleanSession": false,
                "keepAlive": 30,
                "sessionExpiryInterval": crate::delivery::BrokerConfig::default().session_expiry_s,
                "lastWill": {
                    "topic": "{root}/v1/{device}/status",
                    "qos": 1,
                    "retain": true,
                    "message": "a status whose state is offline",
                },
                "bindingVersion": "0.2.0",
            } },
        } },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": components,
            "securitySchemes": {
                "certificate": {
                    "type": "X509",
                    "description": concat!(
                        "The device's certificate and key: ",
                        setting!(broker.client_cert), ", ", setting!(broker.client_key), "."
                    ),
                },
                "password": {
                    "type": "userPassword",
                    "description": concat!(
                        setting!(broker.username), " and ", setting!(broker.password_file), "."
                    ),
                },
            },
        },
    })
}

/// What comes on an inbound topic: what it is for, and its messages by their ids.
fn inbound_messages(kind: InboundKind) -> (&'static str, Vec<(&'static str, Value)>) {
    let binary = |content: &str, about: &str| {
        json!({
            "contentType": content,
            "description": about,
            "payload": { "type": "string", "format": "binary" },
        })
    };
    let note = |about: &str| {
        json!({
            "contentType": "text/plain; charset=utf-8",
            "description": format!("{about} A signed note, see audit.md."),
            "payload": { "type": "string" },
        })
    };
    let order = "application/cose; cose-type=\"cose-sign1\"";
    match kind {
        InboundKind::Revoke => (
            "Orders that a list, or one entry of it, may not be matched any more.",
            vec![("revocation", binary(order, "A signed revocation, see order.cddl."))],
        ),
        InboundKind::Suspend => (
            "Orders that nobody is matched for a time.",
            vec![("suspension", binary(order, "A signed suspension, see order.cddl."))],
        ),
        InboundKind::Offer => (
            "Lists to take over, and new keys. A device that has a key of its own takes sealed \
             lists only.",
            vec![
                (
                    "sealed-list",
                    binary(
                        "application/octet-stream",
                        "A signed list, sealed to the device's key: an age file \
                         (https://age-encryption.org/v1).",
                    ),
                ),
                (
                    "signed-list",
                    binary(
                        "application/cose; cose-type=\"cose-sign\"",
                        "A signed list as it is, see watchlist.cddl.",
                    ),
                ),
                (
                    "list-by-digest",
                    json!({
                        "contentType": "application/json",
                        "description": concat!(
                            "A list that lies in the folder ",
                            setting!(watchlist.inbox),
                            " of the device under its digest: for what is too large for a message."
                        ),
                        "payload": {
                            "type": "object",
                            "properties": {
                                "sha256": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
                                "size": { "type": "integer", "minimum": 1, "description": "Bytes." },
                            },
                            "required": ["sha256", "size"],
                            "additionalProperties": false,
                        },
                        "examples": [{
                            "name": "list-by-digest",
                            "payload": { "sha256": "ab".repeat(32), "size": 123_456_789 },
                        }],
                    }),
                ),
                (
                    "rotation",
                    binary(
                        "application/cose; cose-type=\"cose-sign\"",
                        "A new trust file, signed by as many of the old signers as a list needs, \
                         see trust.cddl.",
                    ),
                ),
            ],
        ),
        InboundKind::AuditRequest => (
            "A pinned witness asks for the proof that the audit log only grew.",
            vec![("audit-request", note("Log, nonce, old size; signed by the witness."))],
        ),
        InboundKind::AuditCosign => (
            "A checkpoint of the audit log that witnesses have cosigned.",
            vec![(
                "audit-cosign",
                note("A checkpoint with cosignatures (C2SP tlog-cosignature) of pinned witnesses."),
            )],
        ),
        InboundKind::AuditFreshness => (
            "A pinned witness's answer to audit/challenge.",
            vec![(
                "audit-freshness",
                note(
                    "Log, nonce, size and root of the log that the witness cosigned last, and the \
                     device's own signature under that; signed by the witness.",
                ),
            )],
        ),
        InboundKind::Verdict => (
            "Verdicts of reviewers on candidates, sealed to the device.",
            vec![(
                "verdict",
                binary(
                    order,
                    "A signed envelope around a verdict that is sealed to the device's key, see \
                     verdict.cddl.",
                ),
            )],
        ),
        InboundKind::Receipt => (
            "A desk's receipts of candidates and of states of reviews that it has stored. Only \
             devices that wait for receipts read them.",
            vec![(
                "receipt",
                binary(
                    "application/vnd.watchpost.receipt+cbor",
                    "Ids and digests of events, signed by a receiver that the trust file pins, \
                     see receipt.cddl.",
                ),
            )],
        ),
        InboundKind::Control => (
            "Registrations of controls, known non-mates that a desk shows as candidates. Only \
             devices that take controls read them; an access list keeps them from those who \
             review.",
            vec![(
                "control",
                binary(
                    "application/vnd.watchpost.control+cbor",
                    "A control, signed by a receiver that the trust file pins, see control.cddl.",
                ),
            )],
        ),
        // Its own word, see AUDIT_TEXTS.
        InboundKind::AuditKept => ("", Vec::new()),
        #[allow(unreachable_patterns, reason = "kinds may be added")]
        _ => ("A signed message.", vec![("message", binary("application/cose", "Signed."))]),
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schemas").join(name)
}

/// The published schema `name`.
pub fn committed(name: &str) -> Value {
    let text = std::fs::read_to_string(file(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn the_published_schemas_and_the_asyncapi_document_are_those_of_the_types() {
    let messages = messages();
    let mut files: Vec<(String, Value)> =
        messages.iter().map(|m| (format!("{}.v2.schema.json", m.name), m.schema.clone())).collect();
    files.push(("cloudevent.v1.schema.json".to_owned(), envelope()));
    files.push(("asyncapi.json".to_owned(), asyncapi(&messages)));
    files.iter().for_each(|(name, generated)| hold_file(name, generated));
}

/// Holds the published file `name` to what the types say.
pub fn hold_file(name: &str, generated: &Value) {
    if std::env::var_os("WATCHPOST_WRITE_SCHEMAS").is_some() {
        let text = serde_json::to_string_pretty(generated).expect("it is JSON") + "\n";
        std::fs::write(file(name), text).expect("a writable source tree");
    }
    assert!(
        committed(name) == *generated,
        "config/schemas/{name} differs from the types. Where the change is wanted and adds only \
         what is optional, run WATCHPOST_WRITE_SCHEMAS=1 cargo test --lib published_schema; \
         anything else is another version"
    );
}

/// What of `value` the schema does not say or says otherwise; knows the keywords that the schemas
/// use.
pub fn drift(schema: &Value, value: &Value, path: &str, out: &mut Vec<String>) {
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::Null => "null",
    };
    let typed = schema["type"].as_str();
    if typed.is_some_and(|t| t != kind && !(t == "number" && kind == "integer")) {
        out.push(format!("{path} is {kind}"));
    }
    let fixed = schema.get("const").is_none_or(|c| c == value);
    let listed = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    let known = typed.is_some() || schema.get("const").is_some() || schema.get("enum").is_some();
    let inside = value.as_f64().is_none_or(|v| {
        schema["minimum"].as_f64().is_none_or(|least| v >= least)
            && schema["maximum"].as_f64().is_none_or(|most| v <= most)
    });
    let long = value.as_array().is_none_or(|v| {
        schema["minItems"].as_u64().is_none_or(|least| v.len() as u64 >= least)
            && schema["maxItems"].as_u64().is_none_or(|most| v.len() as u64 <= most)
    });
    if !(fixed && listed && known && inside && long) {
        out.push(format!("{path} is {value}"));
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name).or(schema.get("additionalProperties")) {
            Some(schema) => drift(schema, value, &format!("{path}.{name}"), out),
            None => out.push(format!("{path}.{name} is unknown")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().expect("names are strings")).is_none() {
            out.push(format!("{path}.{} is missing", name.as_str().unwrap_or_default()));
        }
    }
    for value in value.as_array().into_iter().flatten() {
        drift(&schema["items"], value, &format!("{path}[]"), out);
    }
}

fn golden(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/delivery/event/golden").join(file);
    serde_json::from_slice(&std::fs::read(path).expect("it is committed"))
        .expect("golden files are JSON")
}

#[test]
fn the_golden_payloads_are_what_the_published_schemas_say_and_nothing_else() {
    for (schema, name) in [
        ("candidate", "candidate"),
        ("status", "status"),
        ("status", "status-blind"),
        ("stats", "stats"),
        ("watchlist-state", "watchlist-state"),
    ] {
        let schema = committed(&format!("{schema}.v2.schema.json"));
        let mut payloads = vec![format!("{name}.v1.json"), format!("{name}.v2.json")];
        if name == "candidate" {
            payloads.push("candidate-head.v2.json".to_owned());
        }
        for payload in payloads {
            let (mut found, event) = (Vec::new(), golden(&payload));
            drift(&committed("cloudevent.v1.schema.json"), &event, &payload, &mut found);
            // What the envelope says of `data` is that it is an object.
            found.retain(|line| !line.ends_with(" is unknown"));
            drift(&schema, &event["data"], &payload, &mut found);
            assert_eq!(found, Vec::<String>::new());
            if payload.ends_with(".v2.json") {
                assert_eq!(event["dataschema"], schema["$id"], "it names the schema of `data`");
            }
        }
    }
    let mut wrong = golden("candidate.v1.json");
    wrong["data"]["evidence"]["added"] = 1.into();
    wrong["data"]["score"] = 1.5.into();
    wrong["data"]["entry"] = 7.into();
    wrong["data"].as_object_mut().expect("data").remove("list");
    let mut found = Vec::new();
    drift(&committed("candidate.v2.schema.json"), &wrong["data"], "", &mut found);
    found.sort_unstable();
    assert_eq!(
        found,
        [".entry is integer", ".evidence.added is unknown", ".list is missing", ".score is 1.5"]
    );
}

/// What a reader of v1 may rely on: a type that loses one of these, or asks for one more, is a v2.
#[test]
fn version_1_keeps_its_required_fields_for_ever() {
    let required = |name: &str| -> Vec<String> {
        let schema = committed(&format!("{name}.v2.schema.json"));
        let fields = schema["required"].as_array().cloned().unwrap_or_default();
        let mut fields: Vec<String> =
            fields.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect();
        fields.sort_unstable();
        fields
    };
    let candidate = [
        "alternatives",
        "camera",
        "candidate",
        "decided_at",
        "device",
        "entry",
        "evidence",
        "expires",
        "list",
        "models",
        "score",
        "sequence",
        "threshold",
    ];
    let envelope = committed("cloudevent.v1.schema.json");
    let of_the_envelope: Vec<_> =
        envelope["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!(
        of_the_envelope,
        ["specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "data"]
    );
    assert_eq!(required("candidate"), candidate);
    assert_eq!(required("status"), ["clock", "matching", "since", "state", "version"]);
    assert_eq!(required("stats"), ["counts", "drops", "since"]);
    assert_eq!(required("watchlist-state"), ["entries"]);
    assert_eq!(required("audit-entry"), ["index", "record"]);
    assert_eq!(required("review-state"), ["candidate", "given", "state"]);
    assert_eq!(required("control-answer"), ["control", "state"]);
}

#[test]
fn the_asyncapi_document_names_the_topics_that_are_published() {
    let document = committed("asyncapi.json");
    let topics = Topics::new("site", &DeviceId::new("cam-7").expect("plain")).expect("plain");
    assert_eq!(
        document["channels"]["audit-finding"]["address"], "{root}/v1/{device}/audit/finding",
        "as the witness publishes it"
    );
    for (name, topic) in [
        ("candidate", topics.candidate()),
        ("status", topics.status()),
        ("stats", topics.stats()),
        ("watchlist-state", topics.watchlist_state()),
        ("audit-entry", topics.audit_entry()),
        ("review-state", topics.review_state()),
        ("control-answer", topics.control_answer()),
        ("audit-checkpoint", topics.audit_checkpoint()),
        ("audit-consistency", topics.audit_saying(AuditSaying::Consistency)),
        ("audit-challenge", topics.audit_saying(AuditSaying::Challenge)),
    ] {
        let address = document["channels"][name]["address"].as_str().expect("an address");
        assert_eq!(address.replace("{root}", "site").replace("{device}", "cam-7"), topic);
    }
    assert_eq!(document["operations"]["publishCandidate"]["bindings"]["mqtt"]["retain"], false);
    // Every reference within the document leads somewhere, and every scheme is one of its own.
    let text = document.to_string();
    for part in text.split("\"$ref\":\"#").skip(1) {
        let pointer = part.split('"').next().expect("a reference ends");
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    for part in text.split("\"$ref\":\"./").skip(1) {
        let name = part.split('"').next().expect("a reference ends");
        assert!(file(name).is_file(), "{name}");
    }
    let messages = &document["channels"]["watchlist-offer"]["messages"];
    for kind in ["sealed-list", "signed-list", "list-by-digest", "rotation"] {
        assert!(messages[kind].is_object(), "{kind}: {messages}");
    }
}
