//! Reading the file of a list, which may be sealed or not.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::codec::MAX_BYTES;
use crate::files::FileError;

/// Most bytes that sealing adds to a list: a header, and 16 bytes for every 64 KiB.
const MAX_OVERHEAD: usize = 1 << 20;

/// Reads a list file. What is sealed needs no locked memory, and what is not lies on the disk for
/// everybody.
///
/// # Errors
/// Where it cannot be read or is larger than any list.
pub fn read_list(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let read = || -> io::Result<_> {
        // Without waiting, should it be a pipe.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        let most = MAX_BYTES + MAX_OVERHEAD;
        let size = usize::try_from(about.len()).ok().filter(|size| *size <= most);
        let size = size.ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than any list")
        })?;
        // Reserved at once, because a buffer that grows leaves unwiped copies of templates.
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
        file.take(size as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(FileError::at("read the list", path))
}

/// Whether `bytes` begin as a signed list or trust file does (a tagged `COSE_Sign`, of whatever
/// format version).
pub fn is_signed_container(bytes: &[u8]) -> bool {
    // CBOR's tag 98, RFC 9052 section 2.
    bytes.starts_with(&[0xD8, 98])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_list_file_that_is_no_file_or_too_large_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.cose");
        assert!(read_list(dir.path()).is_err() && read_list(&path).is_err());
        File::create(&path).unwrap().set_len((MAX_BYTES + MAX_OVERHEAD + 1) as u64).unwrap();
        assert!(read_list(&path).unwrap_err().to_string().contains("larger than any list"));
        fs::write(&path, b"bytes").unwrap();
        assert_eq!(**read_list(&path).unwrap(), *b"bytes");
    }
}
