//! Descriptors that the parent process handed on.
#![expect(unsafe_code, reason = "a number from the command line becomes an owned descriptor here")]

use std::{
    io,
    net::TcpListener,
    os::fd::{FromRawFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{SockaddrStorage, getsockname, getsockopt, sockopt},
};

/// The listening TCP socket that was inherited as descriptor `number`; it is not handed on further. To be called once for a number.
///
/// # Errors
/// EBADF where no such descriptor is open, EINVAL for 0–2 and for what is no listening socket of IPv4 or IPv6.
pub fn listener(number: RawFd) -> io::Result<TcpListener> {
    if number <= 2 {
        return Err(Errno::EINVAL.into());
    }
    fcntl(number, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let address: SockaddrStorage = getsockname(number)?;
    if address.as_sockaddr_in().is_none() && address.as_sockaddr_in6().is_none() {
        return Err(Errno::EINVAL.into());
    }
    // SAFETY: the call above has shown that the descriptor is open; the parent opened it for this process, and nothing else here
    // knows its number.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    if !getsockopt(&socket, sockopt::AcceptConn)? {
        return Err(Errno::EINVAL.into());
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;

    use super::*;

    #[test]
    fn only_a_listening_socket_is_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(listener(socket.into_raw_fd()).unwrap().local_addr().unwrap(), address);
        for number in [0, -1] {
            assert_eq!(listener(number).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        }
        assert_eq!(listener(1_000_000).unwrap_err().raw_os_error(), Some(libc::EBADF));
        let file = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        assert_eq!(listener(file).unwrap_err().raw_os_error(), Some(libc::ENOTSOCK));
    }
}
