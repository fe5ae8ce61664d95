//! `watchpost check`: whether the daemon could do its work as configured.

use std::process::ExitCode;

use serde::Serialize;

use super::flags::{ConfigFile, OutputFormat};
use super::{CliError, output};
use crate::clock::Clock;
use crate::delivery::tls;
use crate::device::keeper::Keeper;
use crate::vision::engines;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    format: OutputFormat,
}

#[derive(Serialize)]
struct Requirement {
    name: &'static str,
    ok: bool,
    detail: String,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    // A configuration that cannot be used ends here, with exit code 78.
    let config = args.config.load()?;
    let mut checks = vec![Requirement {
        name: "config",
        ok: true,
        detail: args.config.path.display().to_string(),
    }];
    let models = config.vision.open_models();
    checks.push(match &models {
        Err(error) => Requirement { name: "models", ok: false, detail: error.to_string() },
        Ok(models) => match engines(models, config.vision.long_side) {
            Ok([detector, embedder]) => Requirement {
                name: "models",
                ok: true,
                detail: format!(
                    "{}, {} ({detector}, {embedder})",
                    models.manifest.detector.name, models.manifest.embedder.name
                ),
            },
            Err(error) => Requirement { name: "models", ok: false, detail: error.to_string() },
        },
    });
    if let Ok(models) = &models {
        let mut keeper = Keeper::new(&config, models);
        let key = keeper.vault().key_for_people();
        checks.push(Requirement {
            name: "device key",
            ok: key.is_ok(),
            detail: key.unwrap_or_else(|blindness| blindness.to_string()),
        });
        checks.push(match keeper.examine(Clock::default().now()) {
            Ok(active) => Requirement { name: "watchlist", ok: true, detail: active.summary() },
            Err(blindness) => {
                Requirement { name: "watchlist", ok: false, detail: blindness.to_string() }
            }
        });
    }
    let mut problems = Vec::new();
    tls::file_problems(&config.broker, &mut problems);
    checks.push(Requirement {
        name: "broker files",
        ok: problems.is_empty(),
        detail: if problems.is_empty() {
            config.broker.url.clone()
        } else {
            problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        },
    });
    let all_ok = checks.iter().all(|c| c.ok);
    for check in &checks {
        if args.format.json {
            output::json_line(check)?;
        } else {
            output::line(format!(
                "{:<5} {:<13} {}",
                if check.ok { "ok" } else { "wrong" },
                check.name,
                check.detail
            ))?;
        }
    }
    Ok(if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
