//! A small file system of one's own, which can be filled and made read-only.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::say;

/// Mounted below a temporary directory; unmounted when dropped.
pub struct SmallDisk {
    /// The image and the mount point.
    directory: tempfile::TempDir,
    /// `ext4` in a file, or `tmpfs` where there is no loop device.
    pub kind: &'static str,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

impl SmallDisk {
    /// One of `megabytes`; `None`, and said, where this user may not mount.
    pub fn mounted(megabytes: u32) -> Option<Self> {
        let directory =
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let (image, point) = (directory.path().join("image"), directory.path().join("disk"));
        std::fs::create_dir(&point).expect("the temporary directory is writable");
        let file = std::fs::File::create(&image).expect("the temporary directory is writable");
        file.set_len(u64::from(megabytes) << 20).expect("a sparse file");
        let (image, point) = (image.display().to_string(), point.display().to_string());
        let made = run("mkfs.ext4", &["-q", "-m", "0", &image])
            || run("/sbin/mkfs.ext4", &["-q", "-m", "0", &image]);
        if made && run("mount", &["-o", "loop", &image, &point]) {
            return Some(Self { directory, kind: "ext4" });
        }
        if run("mount", &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs", &point]) {
            return Some(Self { directory, kind: "tmpfs" });
        }
        say("outage: this user may not mount; a full and a read-only disk were NOT tried on a \
             real file system.");
        None
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filler")).expect("a new file");
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![0x55; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn empty(&self) {
        let _ = std::fs::remove_file(self.path().join("filler"));
    }

    /// Whether it worked: no file may be open for writing.
    pub fn read_only(&self, yes: bool) -> bool {
        run(
            "mount",
            &[
                "-o",
                if yes { "remount,ro" } else { "remount,rw" },
                &self.path().display().to_string(),
            ],
        )
    }

    /// Bytes that its device was given so far; `None` where it has none.
    pub fn written(&self) -> Option<u64> {
        let mounts = std::fs::read_to_string("/proc/mounts").ok()?;
        let point = self.path().display().to_string();
        let device = mounts.lines().map(|l| l.split(' ')).find_map(|mut l| {
            let device = l.next()?;
            (l.next()? == point).then(|| device.to_owned())
        })?;
        let name = Path::new(&device).file_name()?.to_str()?;
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat")).ok()?;
        stat.split_whitespace().nth(6)?.parse::<u64>().ok().map(|sectors| sectors * 512)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let point = self.path().display().to_string();
        if !run("umount", &[&point]) {
            run("umount", &["-l", &point]);
        }
    }
}

/// Whether files may be made, replaced and removed in `folder`, also by root.
pub fn immutable(folder: &Path, yes: bool) {
    let folder = folder.display().to_string();
    assert!(run("chattr", &[if yes { "+i" } else { "-i" }, &folder]), "an ext4 folder");
}
