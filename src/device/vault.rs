//! Where the list lies and how it is opened: sealed on the disk, plain only in locked memory.
//!
//! A device with a key takes sealed lists only, unless the configuration says otherwise. One
//! without a key takes lists that are not sealed, and says so: whoever gets its disk has the
//! templates.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use log::warn;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::cause::Cause;
use crate::decision::policy::Blindness;
use crate::files::{FileError, destroy, destroy_rest, replace, replace_and_wipe};
use crate::locked::Locked;
use crate::watchlist::codec::MAX_BYTES;
use crate::watchlist::removal::{self, Reduced};
use crate::watchlist::seal::{self, DeviceKey, SealError};
use crate::watchlist::text::hex;
use crate::watchlist::{Reference, WatchlistConfig, read_list};

/// The service manager's folder of credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Most files of the inbox that are looked into.
const MAX_OFFERED: usize = 1024;

/// An opened list.
pub struct Opened {
    /// The signed container.
    pub bytes: Locked<u8>,
    /// Whether it was sealed.
    pub sealed: bool,
}

/// The list file, the key that opens it, and the folder of lists that are offered by digest.
pub struct Vault {
    key: Result<Option<DeviceKey>, Blindness>,
    list: PathBuf,
    inbox: Option<PathBuf>,
    accept_plain: bool,
}

/// A list that is named instead of sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    sha256: String,
    size: u64,
}

/// The key from the configured file or from the service manager.
fn key(file: Option<&Path>) -> Result<Option<DeviceKey>, SealError> {
    match file {
        Some(file) => DeviceKey::open_file(file).map(Some),
        None => {
            DeviceKey::from_credentials(std::env::var_os(CREDENTIALS).map(PathBuf::from).as_deref())
        }
    }
}

impl Vault {
    /// Reads the key. A key that cannot be read is told when it is needed.
    pub fn new(config: &WatchlistConfig) -> Self {
        Self {
            key: key(config.device_key.as_deref()).map_err(Blindness::from),
            list: config.list.clone(),
            inbox: config.inbox.clone(),
            accept_plain: config.accept_plain,
        }
    }

    /// The device's key, if it has one.
    pub fn key(&self) -> Option<&DeviceKey> {
        self.key.as_ref().ok().and_then(Option::as_ref)
    }

    /// What there is to say about the key.
    ///
    /// # Errors
    /// Where it is configured and cannot be used.
    pub fn key_for_people(&self) -> Result<String, Blindness> {
        match self.key.as_ref().map_err(Clone::clone)? {
            Some(key) => Ok(format!("lists are to be sealed to {}", key.recipient())),
            None => {
                Ok("none: lists are not sealed, and whoever reads the disk has the templates; \
                make one with `watchpost key device`"
                    .into())
            }
        }
    }

    /// Opens a list that came from outside or from the disk.
    ///
    /// # Errors
    /// Where it is sealed and cannot be opened, or is not sealed and has to be.
    pub fn open(&self, bytes: &[u8]) -> Result<Opened, Blindness> {
        let key = self.key.as_ref().map_err(Clone::clone)?;
        match (seal::is_sealed(bytes), key) {
            (true, Some(key)) => Ok(Opened { bytes: seal::open(bytes, key)?, sealed: true }),
            (true, None) => Err(SealError::NoKey.into()),
            (false, Some(key)) if !self.accept_plain => Err(Blindness::new(
                Cause::NotSealed,
                format_args!(
                    concat!(
                        "the list is not sealed and this device has a key; seal it (`watchpost \
                         watchlist seal --to {}`), or set ",
                        setting!(watchlist.accept_plain),
                        " = true where its disk and its network are safe"
                    ),
                    key.recipient()
                ),
            )),
            (false, _) => Ok(Opened {
                bytes: Locked::copy_of(bytes).map_err(SealError::Memory)?,
                sealed: false,
            }),
        }
    }

    /// Opens the list on the disk.
    ///
    /// # Errors
    /// Where it cannot be read or opened.
    pub fn stored(&self) -> Result<Opened, Blindness> {
        self.open(&read_list(&self.list).map_err(|error| Blindness::new(Cause::NoList, error))?)
    }

    /// Whether there is no list on the disk.
    pub fn is_empty(&self) -> bool {
        matches!(self.list.try_exists(), Ok(false))
    }

    /// Keeps `list`, sealed or plain as it came, in place of the one on the disk.
    ///
    /// # Errors
    /// Where it cannot be written; then the one before is still there.
    pub fn store(&self, list: &[u8]) -> Result<(), FileError> {
        if self.list.exists() {
            replace_and_wipe(&self.list, &[list])
        } else {
            replace(&self.list, list)
        }
    }

    /// Overwrites and removes what a kill has left of a list that was being written.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn destroy_rest(&self) -> Result<(), FileError> {
        destroy_rest(&self.list)
    }

    /// Overwrites and removes each list in the inbox of which `gone` says so by id and version.
    /// Returns the files that are left although they should be gone, each with the reason.
    pub fn destroy_offered(&self, gone: impl Fn(&Reference, u64) -> bool) -> Vec<FileError> {
        let files = self.inbox.iter().flat_map(|inbox| fs::read_dir(inbox).into_iter().flatten());
        let mut left = Vec::new();
        for path in files.flatten().map(|file| file.path()).take(MAX_OFFERED) {
            let opened = read_list(&path).ok().and_then(|bytes| self.open(&bytes).ok());
            let identity = opened.and_then(|list| removal::identity(&list.bytes).ok());
            if identity.is_some_and(|(id, version)| gone(&id, version)) {
                left.extend(destroy(&path).err());
            }
        }
        left
    }

    /// Id and version of the list on the disk, whoever signed it.
    pub fn stored_identity(&self) -> Option<(Reference, u64)> {
        removal::identity(&self.stored().ok()?.bytes).ok()
    }

    /// Overwrites and removes the list on the disk: where it is reached through links, the file
    /// that they lead to as well.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn destroy(&self) -> Result<(), FileError> {
        if let Ok(file) = fs::canonicalize(&self.list) {
            destroy(&file)?;
        }
        destroy(&self.list)
    }

    /// Removes from the list on the disk the entries of which `gone` says so by list, version and
    /// entry; how many there were. Before that `remember` is told their digests, as signed. What
    /// was sealed is sealed again, to this device alone. No list is no entries.
    ///
    /// # Errors
    /// Where the list cannot be opened or replaced, and what `remember` says: the list is then as
    /// before.
    pub fn remove(
        &self,
        gone: impl Fn(&Reference, u64, &Reference) -> bool,
        remember: impl FnOnce(&Reference, u64, &[[u8; 32]]) -> Result<(), Blindness>,
    ) -> Result<usize, Blindness> {
        if !self.list.exists() {
            return Ok(0);
        }
        let Opened { bytes, sealed } = self.stored()?;
        let (id, version) = removal::identity(&bytes)?;
        let reduced = removal::without(&bytes, |entry| gone(&id, version, entry))?;
        let Some(Reduced { parts, gone }) = reduced else { return Ok(0) };
        remember(&id, version, &gone)?;
        let failed = |error: FileError| Blindness::new(Cause::ListNotStored, error);
        match self.key().filter(|_| sealed) {
            Some(key) => {
                let sealed = seal::seal(&parts, std::slice::from_ref(key.recipient()))?;
                replace_and_wipe(&self.list, &[&sealed]).map_err(failed)?;
            }
            None => replace_and_wipe(&self.list, &parts).map_err(failed)?,
        }
        Ok(gone.len())
    }

    /// The list that an offer names instead of carrying it: the file of that digest and size in the
    /// inbox.
    ///
    /// # Errors
    /// Where the offer does not parse, there is no inbox or no such file, or the file is another.
    pub fn named(&self, offer: &[u8]) -> Result<Zeroizing<Vec<u8>>, Blindness> {
        let malformed = |what| {
            Blindness::new(
                Cause::Unreadable,
                format_args!("the offer by digest does not parse: {what}"),
            )
        };
        let Named { sha256, size } =
            serde_json::from_slice(offer).map_err(|e| malformed(e.to_string()))?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(malformed("sha256 is 64 lower-case hexadecimal digits".into()));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= MAX_BYTES);
        let size = size.ok_or_else(|| {
            Blindness::new(Cause::TooLarge, "the offered list is larger than any list may be")
        })?;
        let Some(inbox) = &self.inbox else {
            return Err(Blindness::new(
                Cause::NoInbox,
                concat!(
                    "a list is offered by digest and ",
                    setting!(watchlist.inbox),
                    " is not set"
                ),
            ));
        };
        let read = || -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
            // The name is 64 digits, so that it leads nowhere else; what it is must be a file and
            // no link to one.
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let mut file =
                OpenOptions::new().read(true).custom_flags(flags).open(inbox.join(&sha256))?;
            let about = file.metadata()?;
            if !about.is_file() || about.len() != size as u64 {
                return Ok(None);
            }
            let mut bytes = Zeroizing::new(vec![0; size]);
            file.read_exact(&mut bytes)?;
            Ok((hex(&Sha256::digest(&bytes[..])) == sha256).then_some(bytes))
        };
        match read() {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(Blindness::new(
                Cause::NotAsOffered,
                format_args!(
                    "the file {sha256} in the inbox is not the list that was offered; copy it again"
                ),
            )),
            Err(error) => Err(Blindness::new(
                Cause::NotInInbox,
                format_args!(
                    "the offered list is not in {} ({error}); copy it there, then offer it again",
                    inbox.display()
                ),
            )),
        }
    }

    /// Tells once, at the start, what is weaker than it could be.
    pub fn warn(&self) {
        match &self.key {
            Ok(None) => warn!(
                "Lists are not sealed: this device has no key, and whoever reads its disk has the \
                 templates; make one with `watchpost key device`."
            ),
            Ok(Some(_)) if self.accept_plain => {
                warn!(concat!(
                    "Lists that are not sealed are taken: ",
                    setting!(watchlist.accept_plain),
                    " is true."
                ))
            }
            _ => {}
        }
    }
}
