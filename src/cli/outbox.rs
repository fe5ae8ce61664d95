//! `watchpost outbox show`: what waits on the disk for a broker, by event id. Shows no payload,
//! changes nothing, and may be used while the daemon runs. Another folder is an error.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, output};
use crate::delivery::event::EventId;
use crate::delivery::outbox::disk;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: OutboxCommand,
}

#[derive(clap::Subcommand)]
enum OutboxCommand {
    /// One line for each record in the folder, oldest first; delivered ones stay until their file
    /// goes.
    Show {
        /// Folder of the outbox, instead of the configuration's.
        folder: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFile,
        #[command(flatten)]
        format: OutputFormat,
    },
}

#[derive(Serialize)]
struct RecordLine {
    position: u64,
    id: EventId,
    /// `waiting` or `retired`.
    state: &'static str,
    expires: String,
    bytes: usize,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let OutboxCommand::Show { folder, config, format: OutputFormat { json } } = args.command;
    let folder = match folder {
        Some(folder) => folder,
        None => config
            .load()?
            .broker
            .outbox_folder()
            .ok_or(concat!(
                setting!(broker.outbox),
                " is empty: candidates wait in memory, where nobody can look"
            ))?
            .to_owned(),
    };
    let unreadable = |e: std::io::Error| {
        format!(
            "cannot read the outbox {} ({e}); name its folder, as its owner or root",
            folder.display()
        )
    };
    if !disk::may_be_an_outbox(&folder).map_err(unreadable)? {
        return Err(format!(
            "{} is no outbox: other files are in it, and no *.events; name the folder in {}",
            folder.display(),
            setting!(broker.outbox)
        )
        .into());
    }
    let (kept, bad) = disk::look(&folder).map_err(unreadable)?;
    let lines: Vec<RecordLine> = kept
        .into_iter()
        .map(|k| RecordLine {
            position: k.position,
            id: k.id,
            state: if k.retired { "retired" } else { "waiting" },
            expires: k.expires.format(&Rfc3339).unwrap_or_default(),
            bytes: k.bytes,
        })
        .collect();
    if json {
        lines.iter().try_for_each(output::json_line)?;
    } else if lines.is_empty() {
        output::line("Nothing waits.")?;
    } else {
        let rows: Vec<Vec<String>> = lines
            .iter()
            .map(|l| {
                vec![
                    l.position.to_string(),
                    l.id.to_string(),
                    l.state.to_owned(),
                    l.expires.clone(),
                    l.bytes.to_string(),
                ]
            })
            .collect();
        output::table(&["position", "event", "state", "expires", "bytes"], &rows)?;
    }
    if bad > 0 {
        output::say(format_args!(
            "{bad} stretches of bytes are damaged, unfinished or of another version; the daemon's \
             log says more"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_folder_is_no_outbox_and_an_empty_one_has_nothing_that_waits() {
        let folder = tempfile::tempdir().unwrap();
        let show = || {
            let format = OutputFormat { json: true };
            let config = ConfigFile { path: "/nonexistent".into() };
            let folder = Some(folder.path().to_owned());
            run(Args { command: OutboxCommand::Show { folder, config, format } })
        };
        assert!(show().is_ok());
        std::fs::write(folder.path().join("lock"), b"").unwrap();
        assert!(show().is_ok());
        std::fs::write(folder.path().join("letter.txt"), b"").unwrap();
        let refused = show().expect_err("no outbox").to_string();
        assert!(refused.contains("is no outbox"), "{refused}");
        std::fs::write(folder.path().join("00000000000000000001.events"), b"").unwrap();
        assert!(show().is_ok(), "other files beside its own are left alone");
    }
}
