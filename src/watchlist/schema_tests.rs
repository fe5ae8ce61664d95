//! The schemas in `config/schemas` say what the code does: keys, bounds, names.

use ciborium::Value;

use super::container::MAX_SIGNATURES;
use super::fixture::{content, key, now};
use super::tampering::{encoded, signed};
use super::{codec, model, order, rotation, trust};

const LIST: &str = include_str!("../../config/schemas/watchlist.cddl");
const ORDER: &str = include_str!("../../config/schemas/order.cddl");
const TRUST: &str = include_str!("../../config/schemas/trust.cddl");

/// The integer keys of the map in the rule `name`, in their order.
fn keys(schema: &str, name: &str) -> Vec<i128> {
    let rule =
        schema.split_once(&format!("\n{name} = ")).unwrap_or_else(|| panic!("no rule {name}")).1;
    // To the bracket that closes it: on its own line, or on the first one.
    let first = rule.find('\n').unwrap_or(rule.len());
    let end =
        [rule.find("\n}"), rule.find("\n]")].into_iter().flatten().min().unwrap_or(rule.len());
    let rule = if rule[..first].contains('}') { &rule[..first] } else { &rule[..end] };
    rule.lines()
        .filter_map(|line| line.trim().trim_start_matches("{ ").split_once(": ")?.0.parse().ok())
        .collect()
}

fn map(value: &Value) -> Vec<i128> {
    value
        .as_map()
        .expect("a map")
        .iter()
        .map(|(k, _)| k.as_integer().expect("an integer").into())
        .collect()
}

fn read(bytes: &[u8]) -> Value {
    ciborium::from_reader(bytes).unwrap()
}

#[test]
fn the_schemas_maps_have_the_keys_that_are_written() {
    let content = content(1);
    let whole = read(&signed(&content, &[1]));
    let parts = whole.as_tag().expect("tagged").1.as_array().expect("four parts").clone();
    assert_eq!(map(&read(parts[0].as_bytes().unwrap())), keys(LIST, "body-header"));
    let payload = read(&encoded(&content).payload);
    assert_eq!(map(&payload), keys(LIST, "content"));
    assert_eq!(map(&payload.as_map().unwrap()[6].1), keys(LIST, "authorisation"));
    let item = parts[1].as_map().unwrap()[0].1.as_array().unwrap()[0].as_bytes().unwrap().clone();
    assert_eq!(map(&read(&item).as_array().unwrap()[1]), keys(LIST, "entry"));
    let signer = parts[3].as_array().unwrap()[0].as_array().unwrap()[0].as_bytes().unwrap().clone();
    assert_eq!(map(&read(&signer)), keys(LIST, "signature-header"));
    assert_eq!(keys(LIST, "signature-header"), keys(TRUST, "signature-header"));

    let action =
        order::Action::Revoke { list: "north-gate".parse().unwrap(), through: 7, entry: None };
    let order = read(&order::sign(order::OrderId([1; 16]), &action, &key(4), now()).unwrap());
    let parts = order.as_tag().unwrap().1.as_array().unwrap().clone();
    assert_eq!(map(&read(parts[0].as_bytes().unwrap())), keys(ORDER, "header"));
}

#[test]
fn the_schemas_bounds_are_the_codes() {
    let wanted = [
        format!("format {} (RFC", codec::FORMAT_VERSION),
        format!("  0: {}, ", codec::FORMAT_VERSION),
        format!("\"{}\"", codec::CONTENT_TYPE),
        format!("'{}'", String::from_utf8_lossy(codec::CONTEXT)),
        format!("-65537: [0*{} (bstr .cbor entry) / null]", model::MAX_ENTRIES),
        format!("[0*{} signed-by]", MAX_SIGNATURES),
        format!("8: bstr .size (0..{})", model::MAX_ENTRIES * 32),
        format!("salt: bstr .size {}", codec::SALT),
        format!("[1*{} photograph]", model::MAX_PHOTOGRAPHS),
        format!("9: bstr .size (1..{})", model::MAX_PROMISE),
        format!("11: null / bstr .size (0..{})", model::MAX_SITE_RECORD),
        format!("[1*{} reference]", model::MAX_DEVICES),
        format!("[0*{} area]", model::MAX_AREAS),
        format!("[3*{} corner]", model::MAX_CORNERS),
        format!("[1*{} window]", model::MAX_WINDOWS),
        format!("tstr .size (1..{})", model::MAX_TEXT),
        format!("{}..{}, ", crate::template::MIN_DIMENSIONS, crate::template::MAX_DIMENSIONS),
    ];
    for text in wanted {
        assert!(LIST.contains(&text), "watchlist.cddl does not say {text:?}");
    }
    let wanted = [
        format!("\"{}\"", rotation::CONTENT_TYPE),
        format!("'{}'", String::from_utf8_lossy(rotation::CONTEXT)),
        format!("(1..{})", trust::MAX_TRUST_BYTES),
        format!("[0*{} signed-by]", MAX_SIGNATURES),
    ];
    for text in wanted {
        assert!(TRUST.contains(&text), "trust.cddl does not say {text:?}");
    }
    let wanted = [
        format!("\"{}\"", order::CONTENT_TYPE),
        format!("'{}'", String::from_utf8_lossy(order::CONTEXT)),
        format!("1..{}", order::EVERY_VERSION),
        format!("[0*{} reference]", order::MAX_DEVICES),
        format!("[0*{} [3*{} position]]", order::MAX_AREAS, model::MAX_CORNERS),
    ];
    for text in wanted {
        assert!(ORDER.contains(&text), "order.cddl does not say {text:?}");
    }
}
