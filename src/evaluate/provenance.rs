//! How a manifest says where its figures are from.

use std::path::Path;

/// Measured by `evaluate curve` on the photographs below `root`.
pub fn curve_on(root: &Path) -> String {
    format!("watchpost evaluate curve on {}", root.display())
}

/// `text` as a string of a manifest, on one line.
pub fn quoted(text: &str) -> toml::Value {
    toml::Value::String(text.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_folder_stays_one_string_of_one_line() {
        let source = quoted(&curve_on(Path::new("a \"set\"\nof\\people")));
        let table: toml::Table = format!("source = {source}").parse().expect("TOML");
        assert_eq!(
            table["source"].as_str(),
            Some("watchpost evaluate curve on a \"set\" of\\people")
        );
        assert!(!source.to_string().contains('\n'), "{source}");
    }
}
