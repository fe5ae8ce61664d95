//! Writes the manual pages and shell completions of the packages, from the definitions that
//! `--help` is made of:
//!
//!     cargo run --example manual -- FOLDER
//!
//! `FOLDER/man1` gets one page for the program and one for each subcommand, `FOLDER/completions`
//! the files for bash, zsh and fish, under the names that these shells look for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap_complete::Shell;
use clap_complete::aot::generate_to;

const NAME: &str = "watchpost";

fn main() -> io::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: manual FOLDER"))?;
    let pages = folder.join("man1");
    fs::create_dir_all(&pages)?;
    // `help` and its copies of all subcommands are no commands of ours.
    let mut command = watchpost::cli::command().disable_help_subcommand(true);
    command.build();
    page(&command, NAME, &pages)?;

    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for (shell, file) in
        [(Shell::Bash, "watchpost"), (Shell::Zsh, "_watchpost"), (Shell::Fish, "watchpost.fish")]
    {
        let written = generate_to(shell, &mut watchpost::cli::command(), NAME, &completions)?;
        fs::rename(written, completions.join(file))?;
    }
    Ok(())
}

/// The page of a command and those of its subcommands, named as in `watchpost-watchlist-sign.1`.
fn page(command: &clap::Command, name: &str, folder: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().display_name(name.to_owned()))
        .title(name.to_uppercase())
        .manual("watchpost manual")
        .render(&mut text)?;
    fs::write(folder.join(format!("{name}.1")), text)?;
    for subcommand in command.get_subcommands() {
        page(subcommand, &format!("{name}-{}", subcommand.get_name()), folder)?;
    }
    Ok(())
}
