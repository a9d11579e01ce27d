//! Small files of the command line's own: tokens, and what the local CA keeps.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::disk::{self, ReadError};

/// Bytes that a token, a key or a certificate may take.
const SIZE_MAX: u64 = 64 * 1024;

/// Reads a small regular file; never waits on a FIFO and never swallows a device.
pub(super) fn read_small(path: &Path) -> io::Result<String> {
    let content = disk::read(path, SIZE_MAX).map_err(|error| match error {
        ReadError::System(cause) => cause,
        other => io::Error::new(io::ErrorKind::InvalidInput, other.to_string()),
    })?;
    String::from_utf8(content.bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

/// Puts `text` in the place of `path` at once, for the owner's eyes if `mode` says so.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What a broken-off run left behind, with whatever permissions that had.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Makes a folder, with its parents, that only its owner may look into.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(read_small(&path).unwrap(), "secret\n");
        std::fs::write(&path, vec![b'a'; 64 * 1024 + 1]).unwrap();
        assert!(read_small(&path).is_err());
        assert!(read_small(folder.path()).is_err());
        assert!(read_small(Path::new("/dev/zero")).is_err());
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        if made.is_ok_and(|status| status.success()) {
            assert!(read_small(&fifo).is_err());
        }
    }

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for text in ["one", "two"] {
            std::fs::write(folder.path().join("key.pem.new"), "left behind").unwrap();
            replace(&path, text, 0o600).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
