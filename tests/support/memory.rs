//! The memory of a process, as one moment shows it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Command;

use super::wait_for;

/// One writable range of addresses.
pub struct Mapping {
    /// The kernel's `VmFlags`, in two letters each.
    pub flags: String,
    pub bytes: Vec<u8>,
}

/// All that process `id` may write to. `None` where it may not be read. Another process stands
/// still meanwhile: a range that it extends or gives back between the kernel's list and the reading
/// would be missed with all that lies beside it.
pub fn memory(id: u32) -> Option<Vec<Mapping>> {
    let _paused = (id != std::process::id()).then(|| Paused::new(id));
    let file = File::open(format!("/proc/{id}/mem")).ok()?;
    let mut list = String::new();
    File::open(format!("/proc/{id}/smaps")).ok()?.read_to_string(&mut list).ok()?;
    let mut all = Vec::new();
    let mut range = None;
    for line in list.lines() {
        if let Some(found) = writable(line) {
            range = found;
        } else if let (Some((from, to)), Some(flags)) = (range, line.strip_prefix("VmFlags:")) {
            let mut bytes = vec![0; (to - from) as usize];
            // A mapping of a device cannot be read, nor, in this process, one that went away.
            if file.read_exact_at(&mut bytes, from).is_ok() {
                all.push(Mapping { flags: flags.trim().to_owned(), bytes });
            }
        }
    }
    Some(all)
}

/// Of a line that begins a range: its addresses where they may be written to. `None` for any other
/// line.
fn writable(line: &str) -> Option<Option<(u64, u64)>> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let (from, to) = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
    let writable = words.next()?.starts_with("rw") && !line.contains("[v");
    Some(writable.then_some((from, to)))
}

/// A process all of whose threads stand still until this goes.
struct Paused(u32);

impl Paused {
    fn new(id: u32) -> Self {
        assert!(signal("-STOP", id), "process {id} is one of this test");
        let paused = Self(id);
        wait_for("all threads to stand still", || paused.stands().then_some(()));
        paused
    }

    /// A thread that ended meanwhile moves nothing.
    fn stands(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0)).expect("it runs");
        tasks.flatten().all(|task| {
            let line = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            line.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'X', 'Z']))
        })
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal("-CONT", self.0);
    }
}

fn signal(name: &str, id: u32) -> bool {
    Command::new("kill").args([name, &id.to_string()]).status().is_ok_and(|s| s.success())
}
