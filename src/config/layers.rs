//! A configuration of several parts: the file, fragments beside it, and the environment, for
//! packages, fleets and containers.
//!
//! * Later parts win, key by key: the file, then each `conf.d/*.toml` beside it in the order of
//!   names, then variables as `WATCHPOST__BROKER__URL`.
//! * Each part is as strict as the file: an unknown key or a value of the wrong kind is an error
//!   that names the part.
//! * A variable's value is what TOML reads it as where that fits the key, and text otherwise.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, ConfigError, MAX_FILE};
use crate::files;

/// How the names of variables begin; levels are parted as the prefix is.
const PREFIX: &str = "WATCHPOST__";
/// Most fragments that are read.
const MOST: usize = 256;

/// The fragments that belong to the file at `path`, in the order in which they count.
///
/// # Errors
/// Where one cannot be read, the folder cannot be listed, or there are too many: a fragment that is
/// left out unseen could be the one that makes the device stricter.
pub fn fragments(path: &Path) -> Result<Vec<(PathBuf, String)>, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ConfigError::List { folder, error }),
    };
    let mut files = Vec::new();
    for entry in entries {
        let listed = |error| ConfigError::List { folder: folder.clone(), error };
        let file = entry.map_err(listed)?.path();
        if file.extension().is_some_and(|e| e == "toml") {
            files.push(file);
        }
    }
    if files.len() > MOST {
        return Err(ConfigError::TooManyFragments { folder, found: files.len(), most: MOST });
    }
    files.sort();
    let read = |file: PathBuf| match files::read_text(&file, MAX_FILE) {
        Ok(text) => Ok((file, text.as_str().to_owned())),
        Err(error) => Err(ConfigError::Read { path: file, error }),
    };
    files.into_iter().map(read).collect()
}

/// The variables that are settings, by key, in the order of names.
pub fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<String, String> {
    let named = all.filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        Some((name.strip_prefix(PREFIX)?.to_lowercase().replace("__", "."), value))
    });
    named.collect()
}

/// Puts the parts together. `parse` reads one alone, for its errors.
///
/// # Errors
/// Names the part that is wrong.
pub fn assemble(
    path: &Path,
    text: &str,
    fragments: &[(PathBuf, String)],
    variables: &BTreeMap<String, String>,
) -> Result<Config, ConfigError> {
    let mut config = super::read(text, path)?;
    if fragments.is_empty() && variables.is_empty() {
        return Ok(config);
    }
    let mut table = super::table(text, path)?;
    for (file, text) in fragments {
        super::read(text, file)?;
        merge(&mut table, super::table(text, file)?);
        config = convert(&table).map_err(|message| wrong(file, "", message))?;
    }
    for (key, text) in variables {
        let as_toml = toml::from_str::<Table>(&format!("value = {text}")).ok();
        let as_toml = as_toml.and_then(|mut table| table.remove("value"));
        let as_text = Some(Value::String(text.clone()));
        let mut last = None;
        for value in [as_toml, as_text].into_iter().flatten() {
            let mut with = table.clone();
            merge(&mut with, nested(key, value));
            match convert(&with) {
                Ok(read) => {
                    (table, config, last) = (with, read, None);
                    break;
                }
                Err(message) => last = Some(message),
            }
        }
        if let Some(message) = last {
            let name = format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"));
            return Err(wrong(Path::new("the environment"), &name, message));
        }
    }
    Ok(config)
}

fn wrong(path: &Path, text: &str, message: String) -> ConfigError {
    ConfigError::Syntax { path: path.into(), line: 1, text: text.to_owned(), message }
}

fn convert(table: &Table) -> Result<Config, String> {
    table.clone().try_into().map_err(|e: toml::de::Error| e.message().to_owned())
}

/// A table with nothing but `value` at the dotted `key`.
fn nested(key: &str, value: Value) -> Table {
    let (first, rest) = key.split_once('.').map_or((key, None), |(f, r)| (f, Some(r)));
    let value = match rest {
        None => value,
        Some(rest) => Value::Table(nested(rest, value)),
    };
    Table::from_iter([(first.to_owned(), value)])
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(value)) => merge(below, value),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[device]\nid = \"gate-1\"\n[broker]\nroot = \"site\"\nkeep_alive_s = 20\n";

    fn assembled(fragments: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Config, String> {
        let fragments: Vec<_> =
            fragments.iter().map(|(p, t)| (PathBuf::from(p), (*t).to_owned())).collect();
        let all = variables.iter().map(|(n, v)| (OsString::from(n), OsString::from(v)));
        assemble(Path::new("watchpost.toml"), FILE, &fragments, &super::variables(all))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn later_parts_win_key_by_key() {
        let config = assembled(
            &[
                ("10.toml", "[broker]\nroot = \"a\"\nkeep_alive_s = 30\n"),
                ("20.toml", "broker.root = \"b\"\n"),
            ],
            &[
                ("WATCHPOST__BROKER__URL", "mqtts://broker"),
                ("WATCHPOST__DEVICE__CAMERA", "7"),
                ("WATCHPOST__DECISION__VIEWS", "6"),
                ("WATCHPOST__EVENT__CROP", "false"),
                ("WATCHPOST_LOG", "debug"),
                ("PATH", "/bin"),
            ],
        )
        .expect("good parts");
        assert_eq!((config.device.id.as_str(), config.device.camera.as_str()), ("gate-1", "7"));
        assert_eq!((config.broker.root.as_str(), config.broker.keep_alive_s), ("b", 30));
        assert_eq!((config.broker.url.as_str(), config.decision.views), ("mqtts://broker", 6));
        assert!(!config.event.crop);
        assert_eq!(
            assembled(&[], &[]),
            super::super::read(FILE, Path::new("x")).map_err(|e| e.to_string())
        );
    }

    #[test]
    fn fragments_come_in_the_order_of_names_and_none_is_left_out_unseen() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder) = (dir.path().join("watchpost.toml"), dir.path().join("conf.d"));
        assert_eq!(fragments(&file).unwrap(), [], "no folder is no fragments");
        std::fs::write(&folder, "").unwrap();
        assert!(matches!(fragments(&file), Err(ConfigError::List { .. })));
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        for name in ["b.toml", "a.toml", "c.toml.old"] {
            std::fs::write(folder.join(name), name).unwrap();
        }
        let texts: Vec<_> = fragments(&file).unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a.toml", "b.toml"]);
        for number in 0..MOST - 1 {
            std::fs::write(folder.join(format!("z{number}.toml")), "").unwrap();
        }
        let error = fragments(&file).unwrap_err();
        assert!(matches!(error, ConfigError::TooManyFragments { found: 257, .. }), "{error}");
    }

    #[test]
    fn what_is_wrong_names_its_part() {
        let error = assembled(&[("10.toml", "[broker]\nrot = 1\n")], &[]).expect_err("no such key");
        assert!(error.contains("10.toml, line 2"), "{error}");
        for (name, value) in [
            ("WATCHPOST__BROKER__UROL", "x"),
            ("WATCHPOST__DECISION__VIEWS", "many"),
            ("WATCHPOST__BROKER", "x"),
            ("WATCHPOST__", "x"),
        ] {
            let error = assembled(&[], &[(name, value)]).expect_err(name);
            assert!(error.contains("the environment") && error.contains(name), "{error}");
        }
    }
}
