//! How much of what a process sent over TCP its peers have acknowledged, as the kernel counts it (`sock_diag(7)`, `tcp_info`). It
//! looks at sockets and touches none of them. Must not judge what that means.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` of `linux/netlink.h`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ENDS: [u16; 2] = [2, 3];
/// `INET_DIAG_INFO` of `linux/inet_diag.h`.
const INFO: u16 = 2;
/// Every state but listening (10) and closed (7), a bit each.
const STATES: u32 = 0xfff & !(1 << 10) & !(1 << 7);
/// Sizes of `nlmsghdr` and `inet_diag_msg`, and where the latter has the inode.
const HEADER: usize = 16;
const MESSAGE: usize = 72;
const INODE: usize = 68;
/// Where `tcp_info` has `tcpi_bytes_acked`.
const BYTES_ACKED: usize = 120;

/// Bytes that the peers of a process's TCP connections have acknowledged; 0 while it has none. Blocks for as long as the kernel
/// lists connections.
///
/// # Errors
/// When the process is gone, or this kernel or sandbox does not tell.
pub fn acknowledged(process: u32) -> io::Result<u64> {
    let own = sockets(process)?;
    if own.is_empty() {
        return Ok(0);
    }
    let mut sum = 0;
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        for_each(family, |inode, bytes| {
            if own.contains(&inode) {
                sum += bytes;
            }
        })?;
    }
    Ok(sum)
}

/// Bytes that the peer of a connection of this process has acknowledged; `is_ipv6`: what it is called over. Blocks for as long as
/// the kernel lists connections.
///
/// # Errors
/// When there is no such connection any more, or this kernel or sandbox does not tell.
pub fn acknowledged_on(inode: u32, is_ipv6: bool) -> io::Result<u64> {
    let mut found = None;
    let family = if is_ipv6 { AddressFamily::INET6 } else { AddressFamily::INET };
    for_each(family, |other, bytes| found = found.or((other == inode).then_some(bytes)))?;
    found.ok_or_else(|| io::ErrorKind::NotConnected.into())
}

/// The number of a socket of this process.
///
/// # Errors
/// When there is no such file, or it is no socket.
pub fn inode(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd()))?;
    inode_of(&name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn inode_of(name: &Path) -> Option<u32> {
    name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The inodes of a process's sockets.
fn sockets(process: u32) -> io::Result<HashSet<u32>> {
    let folder = PathBuf::from(format!("/proc/{process}/fd"));
    let names = std::fs::read_dir(folder)?.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    Ok(names.filter_map(|name| inode_of(&name)).collect())
}

/// Tells inode and acknowledged bytes of every TCP connection of this network namespace.
fn for_each(family: AddressFamily, mut tell: impl FnMut(u32, u64)) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    send(&socket, &request(family), SendFlags::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) = recv(&socket, buffer.as_mut_slice(), RecvFlags::empty())?;
        if length == 0 || read_messages(&buffer[..length], &mut tell)? {
            return Ok(());
        }
    }
}

/// A request for all connections of a family, with their `tcp_info` (`inet_diag_req_v2`).
fn request(family: AddressFamily) -> Vec<u8> {
    let mut body = vec![family.as_raw() as u8, 6, 1 << (INFO - 1), 0];
    body.extend(STATES.to_ne_bytes());
    body.resize(56, 0);
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    request
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The pieces of a message with a 4-byte aligned length each, which `length` reads.
fn pieces(mut rest: &[u8], length: fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let size = length(rest).filter(|size| *size >= 4 && *size <= rest.len())?;
        let (piece, _) = rest.split_at(size);
        rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some(piece)
    })
}

/// Reads one datagram of the kernel; true when it is the last.
fn read_messages(bytes: &[u8], tell: &mut impl FnMut(u32, u64)) -> io::Result<bool> {
    for message in pieces(bytes, |rest| Some(u32_at(rest, 0)? as usize)) {
        let kind = u16_at(message, 4).unwrap_or(ENDS[0]);
        if kind == ENDS[0] {
            return Err(io::Error::other("the kernel does not tell of TCP connections"));
        }
        if kind == ENDS[1] {
            return Ok(true);
        }
        let Some(body) = message.get(HEADER..).filter(|body| body.len() >= MESSAGE) else { continue };
        let info = pieces(&body[MESSAGE..], |rest| Some(usize::from(u16_at(rest, 0)?)))
            .find(|attribute| u16_at(attribute, 2) == Some(INFO))
            .and_then(|attribute| attribute.get(4..));
        if let (Some(inode), Some(bytes)) = (u32_at(body, INODE), info.and_then(|info| u64_at(info, BYTES_ACKED))) {
            tell(inode, bytes);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_a_peer_took_is_counted_and_what_it_did_not_take_is_not() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            // Any process will do; the test's own has other tests' sockets, too.
            let connect = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut sender = connect();
            let (mut receiver, _) = listener.accept().unwrap();
            let is_ipv6 = listener.local_addr().unwrap().is_ipv6();
            let count = |stream: &TcpStream| acknowledged_on(inode(stream.as_fd()).unwrap(), is_ipv6).unwrap();
            let before = count(&sender);
            sender.write_all(&[0; 5000]).unwrap();
            receiver.read_exact(&mut [0; 5000]).unwrap();
            let taken = (0..100).map(|_| count(&sender)).find(|count| *count >= before + 5000);
            assert!(taken.is_some());
            // More than all buffers hold, which nobody reads.
            sender.set_nonblocking(true).unwrap();
            while sender.write(&[0; 16384]).is_ok() {}
            let mut counts = (0..1000).map(|_| {
                std::thread::yield_now();
                count(&sender)
            });
            let full = counts.by_ref().last().unwrap();
            assert_eq!(count(&sender), full, "nothing moves once the peer's buffer is full");
            assert!(acknowledged(std::process::id()).unwrap() >= full);
        }
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(acknowledged(u32::MAX).is_err());
    }

    #[test]
    fn torn_messages_are_read_without_harm() {
        let mut told = 0;
        for length in 0..200_usize {
            let mut bytes = vec![0_u8; length];
            if length >= 4 {
                bytes[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            }
            if length >= 6 {
                bytes[4] = 20;
            }
            let _ = read_messages(&bytes, &mut |_, _| told += 1);
        }
        assert_eq!(told, 0);
    }
}
