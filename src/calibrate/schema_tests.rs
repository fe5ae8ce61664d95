//! The schemas in `config/schemas` say what the code does: keys and bounds.

use super::{counts, decoys, record, strata};
use crate::template::{MAX_DIMENSIONS, MIN_DIMENSIONS};
use crate::watchlist::container::MAX_SIGNATURES;
use crate::watchlist::model::MAX_TEXT;

const SET: &str = include_str!("../../config/schemas/decoys.cddl");
const RECORD: &str = include_str!("../../config/schemas/site-record.cddl");

#[test]
fn the_schema_of_decoys_has_the_codes_bounds() {
    let wanted = [
        format!("format {} (RFC", decoys::FORMAT_VERSION),
        format!("\"{}\"", decoys::CONTENT_TYPE),
        format!("'{}'", String::from_utf8_lossy(decoys::CONTEXT)),
        format!("up to {} days", decoys::LONGEST.whole_days()),
        format!("5: {MIN_DIMENSIONS}..{MAX_DIMENSIONS},"),
        format!(
            "days: {}..{}, faces: {}..{}",
            decoys::DAYS.start(),
            decoys::DAYS.end(),
            decoys::LEAST_FACES,
            u32::MAX
        ),
        format!("12: [{}*{} bstr]", decoys::LEAST, counts::MAX_DECOYS),
        format!("tstr .size (1..{MAX_TEXT})"),
        format!("[0*{MAX_SIGNATURES} signed-by]"),
    ];
    for text in wanted {
        assert!(SET.contains(&text), "decoys.cddl does not say {text:?}");
    }
}

#[test]
fn the_schema_of_a_record_has_the_codes_bounds() {
    let wanted = [
        format!("format {} (RFC", record::FORMAT_VERSION),
        format!("at most {} days", record::VALID_FOR.whole_days()),
        format!("[{}*{} [day", decoys::DAYS.start(), counts::MAX_DAYS),
        format!("[0*{} mark]", counts::MAX_COUNTED_ENTRIES),
        format!("decoys: {}..{},", strata::LEAST_DECOYS, counts::MAX_DECOYS),
        format!("bins = [0*{} uint]", counts::BINS),
        format!("from .{:.0} in steps", counts::FIRST_BIN * 100.0),
        format!("at .{:.0} or above", counts::MILD * 100.0),
        format!("[{0}*{0} 1000..", counts::BINS),
    ];
    for text in wanted {
        assert!(RECORD.contains(&text), "site-record.cddl does not say {text:?}");
    }
}
