//! Tests of what a process may lock, each in a process of its own: limits are the whole process's,
//! and for root there are none.

use std::process::Command;

/// Says to the process that it is the one of its own.
const HERE: &str = "WATCHPOST_TEST_LIMIT";
/// A user who may not lock more than the limit.
const NOBODY: libc::uid_t = 65_534;

/// Runs `test`, which is the caller, once more where at most `bytes` bytes may be locked. True in
/// that process, false in the one that has waited for it.
///
/// # Panics
/// Where the test fails there.
pub(crate) fn to<T: Fn()>(bytes: libc::rlim_t, test: &T) -> bool {
    if std::env::var_os(HERE).is_none() {
        let path = std::any::type_name_of_val(test);
        let (_, name) = path.split_once("::").expect("a function of this crate");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(HERE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return false;
    }
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: plain system calls on values of this frame.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
        }
    }
    true
}

/// Bytes that this process has locked, as the kernel says.
pub(crate) fn locked() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let kilobytes: usize = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kilobytes << 10
}
