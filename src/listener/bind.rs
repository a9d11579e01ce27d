//! Sockets to accept on: one for each worker, the kernel shares connections out among them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Why an address can't be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub cause: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, cause } = self;
        write!(f, "can't listen on {address}: {cause}")?;
        let port = address.port();
        match cause.kind() {
            io::ErrorKind::AddrInUse => {
                write!(f, "; find who does with `ss -ltnp 'sport = :{port}'`, or take another port")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "; ports below 1024 need root or CAP_NET_BIND_SERVICE: take one from 1024 on, or \
                 `setcap cap_net_bind_service=+ep` on the program"
            ),
            io::ErrorKind::AddrNotAvailable => f.write_str("; no interface here has that address"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Connections that may wait in the kernel for each worker.
const BACKLOG: i32 = 4_096;

/// `workers` sockets on one address. Port 0 takes a free one, the same for all.
///
/// # Errors
/// The address is taken, forbidden or not this machine's.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, BindError> {
    let address = match probe(address) {
        // A machine without IPv6: `[::]` means every address, so take those there are.
        Err(cause)
            if address.is_ipv6()
                && address.ip().is_unspecified()
                && cause.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
        {
            let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            probe(v4).map(|()| v4).map_err(|cause| BindError { address, cause })?
        }
        Err(cause) => return Err(BindError { address, cause }),
        Ok(()) => address,
    };
    let mut sockets = Vec::with_capacity(workers);
    let mut taken = address;
    for _ in 0..workers.max(1) {
        let socket = open(taken, true).map_err(|cause| BindError { address, cause })?;
        taken = socket.local_addr().map_err(|cause| BindError { address, cause })?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// `SO_REUSEPORT` lets two programs of one user share a port in silence. A socket without it
/// finds out first whether somebody is there.
fn probe(address: SocketAddr) -> io::Result<()> {
    open(address, false).map(|_| ())
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 too, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if !shared {
        // Binding alone does not collide with a listener that has SO_REUSEADDR; listening does.
        socket.listen(1)?;
        return Ok(socket.into());
    }
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_socket_on_one_port() {
        let sockets = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
    }

    #[test]
    fn a_port_in_use_is_named_even_if_its_owner_would_share() {
        let ours = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let address = ours[0].local_addr().unwrap();
        let error = bind(address, 1).unwrap_err();
        assert_eq!(error.cause.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
}
