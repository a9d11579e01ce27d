//! The admin listener's socket: loopback TCP, any TCP with a token, or a unix socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::model::AdminAddress;
use crate::listener::BindError;

/// Where the admin listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why the admin listener can't start.
#[derive(Debug)]
pub enum StartError {
    /// The TCP address can't be listened on.
    Bind(BindError),
    /// The unix socket can't be made.
    Socket(PathBuf, io::Error),
    /// The token file gives no token.
    Token(PathBuf, String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(cause) => write!(f, "admin: {cause}"),
            Self::Socket(path, cause) => {
                write!(f, "admin: can't listen on unix:{}: {cause}", path.display())
            }
            Self::Token(path, why) => write!(
                f,
                "admin: no token in {}: {why}; put one there, as with `openssl rand -hex 32`",
                path.display()
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// Bound, but of no runtime yet.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// Removes the socket from the file system when the gate ends.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone, or its folder may.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    pub(super) fn bind(address: &AdminAddress) -> Result<(Self, Address), StartError> {
        match address {
            AdminAddress::Tcp(address) => {
                let bound = crate::listener::bind(*address, 1).map_err(StartError::Bind)?;
                let failed = |cause| StartError::Bind(BindError { address: *address, cause });
                let socket = bound.into_iter().next();
                let socket = socket.ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
                let local = socket.local_addr().map_err(failed)?;
                Ok((Self::Tcp(socket), Address::Tcp(local)))
            }
            AdminAddress::Unix(path) => {
                let socket =
                    bind_unix(path).map_err(|cause| StartError::Socket(path.clone(), cause))?;
                let address = Address::Unix(path.clone());
                Ok((Self::Unix(socket, SocketFile(path.clone())), address))
            }
        }
    }

    /// Makes it part of the current runtime.
    pub(super) fn listen(self) -> io::Result<Listening> {
        Ok(match self {
            Self::Tcp(socket) => Listening::Tcp(TcpListener::from_std(socket)?),
            Self::Unix(socket, file) => Listening::Unix(UnixListener::from_std(socket)?, file),
        })
    }
}

/// Mode 0600: who may read the gate's state is who may read its files.
fn bind_unix(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if stale {
        // Left by a gate that was killed, unless somebody answers.
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let socket = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Ready to accept.
pub(super) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "dropped with the listener")] SocketFile),
}

impl Listening {
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => Ok(Stream::Tcp(socket.accept().await?.0)),
            Self::Unix(socket, _) => Ok(Stream::Unix(socket.accept().await?.0)),
        }
    }
}

/// A connection, over TCP or a unix socket.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
