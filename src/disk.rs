//! Regular files of bounded size: the one way in which anything is read from disk.
//!
//! Whoever may write a path may put a FIFO, a device, a folder or a file without end there.
//! None of them makes a reader wait or fills its memory.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadError {
    /// The system refused.
    System(io::Error),
    /// It is a folder.
    Folder,
    /// It is a FIFO, a socket or a device.
    NotRegular,
    /// It holds more than this many bytes.
    TooLong(u64),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(cause) => cause.fmt(f),
            Self::Folder => f.write_str("it is a folder"),
            Self::NotRegular => f.write_str("it is no regular file"),
            Self::TooLong(max) => write!(f, "it is longer than {} KiB", max / 1024),
        }
    }
}

impl std::error::Error for ReadError {}

/// What was read, and the open file it came from.
#[derive(Debug)]
pub struct Content {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Still open: its metadata tell whether it changed under the reading.
    pub file: File,
    /// As they were before the first byte.
    pub before: Metadata,
}

/// Reads a regular file of at most `max` bytes. Symbolic links are followed.
///
/// # Errors
/// See [`ReadError`]; none of them takes time.
pub fn read(path: &Path, max: u64) -> Result<Content, ReadError> {
    // O_NONBLOCK: opening a FIFO would wait for its writer. O_NOCTTY: a terminal stays a file.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|cause| match cause.raw_os_error() {
        // A socket can't be opened at all.
        Some(libc::ENXIO) => ReadError::NotRegular,
        _ => ReadError::System(cause),
    })?;
    let before = file.metadata().map_err(ReadError::System)?;
    if before.is_dir() {
        return Err(ReadError::Folder);
    }
    if !before.is_file() {
        return Err(ReadError::NotRegular);
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too long, whatever its size says it is.
    Read::by_ref(&mut &file)
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(ReadError::System)?;
    if bytes.len() as u64 > max {
        return Err(ReadError::TooLong(max));
    }
    Ok(Content { bytes, file, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 1024]).unwrap();
        assert_eq!(read(&path, 1024).unwrap().bytes, [7; 1024]);
        assert!(matches!(read(&path, 1023), Err(ReadError::TooLong(1023))));
        assert!(matches!(read(folder.path(), 9), Err(ReadError::Folder)));
        assert!(matches!(read(Path::new("/dev/zero"), 9), Err(ReadError::NotRegular)));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&socket, 9), Err(ReadError::NotRegular)));
        let round = folder.path().join("loop");
        std::os::unix::fs::symlink(&round, &round).unwrap();
        assert!(matches!(read(&round, 9), Err(ReadError::System(_))));
    }
}
