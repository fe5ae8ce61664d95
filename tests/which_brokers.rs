//! The last lines of `cargo test`: against which brokers the promises about delivery were checked
//! on this machine.

mod support;

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let embedded = if cfg!(feature = "demo-broker") {
        "the embedded broker"
    } else {
        "no embedded broker in this build"
    };
    support::say("");
    match support::find_mosquitto() {
        Some(program) => {
            // Its first line names the version: it has no switch that prints just that.
            let help =
                Command::new(&program).arg("-h").output().map(|o| o.stdout).unwrap_or_default();
            let version =
                String::from_utf8_lossy(&help).lines().next().unwrap_or_default().to_owned();
            support::say(&format!(
                "Brokers: checked against {embedded}, and against {version} ({}).",
                program.display()
            ));
            ExitCode::SUCCESS
        }
        None => {
            support::say(&format!(
                "Brokers: checked against {embedded} only. mosquitto is not installed, so nothing \
                 was checked against it."
            ));
            if std::env::var("CI").is_ok_and(|ci| ci == "true") {
                support::say("With CI=true that is a failure: install the package `mosquitto`.");
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
    }
}
