//! Unix sockets that keep message boundaries and carry descriptors.
//!
//! What it does not do: it knows no message format and no address scheme. Its functions return
//! bare errnos, because to their callers `EAGAIN`, `ECONNREFUSED` and `EADDRINUSE` are turns in a
//! protocol, not failures; [`Error::when`](super::Error) makes an error of the rest.
//!
//! 1. Every socket and every received descriptor is close-on-exec from the start.
//! 2. Every socket is nonblocking: no call here waits for a peer.
//! 3. A message is received whole, with all its descriptors, or stays in the queue: a process
//!    that is out of descriptors loses none (see [`receive`]).
//! 4. Messages are never empty, so that zero bytes always mean the end.

#![allow(unsafe_code)] // SO_PEERCRED: rustix's UCred cannot hold the pid 0 of another namespace.

use super::retry;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::mem::MaybeUninit;
use std::path::Path;

/// The most descriptors that one message carries here; the kernel's own limit is 253.
pub(crate) const DESCRIPTORS_MAX: usize = 4;

/// Where a socket is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(SocketAddrUnix);

impl Address {
    /// The most bytes an abstract name can have.
    pub(crate) const ABSTRACT_MAX: usize = 107;

    /// A name that lives in the network namespace and vanishes with its last descriptor.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` beyond [`Address::ABSTRACT_MAX`] bytes.
    pub(crate) fn abstract_name(name: &[u8]) -> Result<Self, Errno> {
        SocketAddrUnix::new_abstract_name(name).map(Self)
    }

    /// A name in the file system, which stays behind when its socket is closed.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` beyond 108 bytes, `EINVAL` if it contains NUL.
    pub(crate) fn path(path: &Path) -> Result<Self, Errno> {
        SocketAddrUnix::new(path).map(Self)
    }
}

/// Who is at the other end, as the kernel recorded it when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// The process number as seen from here; 0 if it cannot be seen from this pid namespace.
    pub(crate) pid: i32,
    /// The effective user, as seen from this user namespace.
    pub(crate) uid: u32,
}

/// What came out of a queue.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message of so many bytes, and what came with it.
    Message {
        /// How many bytes of the caller's buffer it fills.
        len: usize,
        /// The descriptors that it carried, in order; at most [`DESCRIPTORS_MAX`].
        descriptors: Vec<OwnedFd>,
    },
    /// The other end is closed and the queue is empty.
    End,
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// `socket`, `bind`, `listen`: a socket that others can connect to.
///
/// # Errors
///
/// `EADDRINUSE` if the name is taken, also by a stale path.
pub(crate) fn listen(address: &Address, backlog: u32) -> Result<OwnedFd, Errno> {
    let socket = new_socket()?;
    net::bind(&socket, &address.0)?;
    net::listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// `socket`, `connect`, without waiting.
///
/// The connection is complete at once, before the other side accepts it: messages can be sent.
///
/// # Errors
///
/// `ECONNREFUSED` if nobody listens there (also `ENOENT` for a path); `EAGAIN` if as many
/// connections wait to be accepted as the listener allows.
pub(crate) fn connect(address: &Address) -> Result<OwnedFd, Errno> {
    let socket = new_socket()?;
    retry(|| net::connect(&socket, &address.0))?;
    Ok(socket)
}

/// `accept4`: the next connection.
///
/// # Errors
///
/// `EAGAIN` if there is none; `EMFILE` and `ENFILE`, which leave it waiting.
pub(crate) fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    retry(|| net::accept_with(&listener, flags))
}

/// `socketpair`: two connected ends.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// `SO_PEERCRED`: who made the other end, or who called listen on what we connected to.
pub(crate) fn peer(socket: impl AsFd) -> Result<Credentials, Errno> {
    let mut raw = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `raw`, for which any bytes are valid.
    let code = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut raw).cast(),
            &raw mut len,
        )
    };
    if code == 0 {
        Ok(Credentials {
            pid: raw.pid,
            uid: raw.uid,
        })
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// `sendmsg`: puts one message, with its descriptors, into the other end's queue.
///
/// All or nothing. The queue holds the descriptors, not the sender: they arrive even if the
/// sender is killed right after this returns.
///
/// # Errors
///
/// `EAGAIN` if the queue is full; `ETOOMANYREFS` if too many descriptors of this user are in
/// flight, which is back-pressure as well; `EPIPE` or `ECONNRESET` if the other end is closed;
/// `EMSGSIZE` if the message can never fit; `EINVAL` if it is empty or has more than
/// [`DESCRIPTORS_MAX`] descriptors.
pub(crate) fn send(
    socket: impl AsFd,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let fits = descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors));
    if message.is_empty() || descriptors.len() > DESCRIPTORS_MAX || !fits {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry(|| net::sendmsg(&socket, &[IoSlice::new(message)], &mut control, flags)).map(|_| ())
}

/// `recvmsg`, twice: takes one message, with its descriptors, out of the queue.
///
/// The kernel drops descriptors that do not fit into the receiver's table, and only says so
/// afterwards. So the message is looked at first (which installs its descriptors) and removed
/// second. Calls on one socket have to be serialized by the caller, or the second step may remove
/// another message than the first one saw.
///
/// # Errors
///
/// `EAGAIN` if there is none; `EMFILE` if its descriptors do not fit: it stays in the queue.
/// `EMSGSIZE` if it is longer than `buffer` or carries more than [`DESCRIPTORS_MAX`]: it is
/// removed, since whoever sent that does not speak our language.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    // One more than allowed, so that too many are told apart from too few free numbers.
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let look = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let seen = retry(|| net::recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, look));
    let seen = match seen {
        // What a closed peer left unread on its side; ours may still hold messages, but they
        // come first, so this is the end.
        Err(Errno::CONNRESET) => return Ok(Received::End),
        other => other?,
    };
    if seen.bytes == 0 {
        return Ok(Received::End); // invariant 4
    }
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    let too_much = seen.bytes > buffer.len() || descriptors.len() > DESCRIPTORS_MAX;
    if seen.flags.contains(ReturnFlags::CTRUNC) && !too_much {
        return Err(Errno::MFILE);
    }
    // Removes it; the second copy of the descriptors is dropped by the kernel, for want of room.
    retry(|| net::recv(&socket, &mut [0u8; 1], RecvFlags::DONTWAIT))?;
    if too_much {
        return Err(Errno::MSGSIZE);
    }
    Ok(Received::Message {
        len: seen.bytes,
        descriptors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_boundaries_and_descriptors() {
        let (left, right) = pair().unwrap();
        let (pipe_out, pipe_in) = rustix::pipe::pipe().unwrap();
        send(&left, b"with", &[pipe_in.as_fd()]).unwrap();
        send(&left, b"without", &[]).unwrap();
        drop((left, pipe_in));

        let mut buffer = [0; 16];
        let Received::Message { len, descriptors } = receive(&right, &mut buffer).unwrap() else {
            panic!("a message was sent");
        };
        assert_eq!((&buffer[..len], descriptors.len()), (&b"with"[..], 1));
        rustix::io::write(&descriptors[0], b"!").unwrap();
        assert_eq!(rustix::io::read(&pipe_out, &mut [0; 4]).unwrap(), 1);

        let Received::Message { len, descriptors } = receive(&right, &mut buffer).unwrap() else {
            panic!("a message was sent");
        };
        assert_eq!((&buffer[..len], descriptors.len()), (&b"without"[..], 0));
        assert!(matches!(receive(&right, &mut buffer), Ok(Received::End)));
    }

    #[test]
    fn an_oversized_message_is_refused_and_removed() {
        let (left, right) = pair().unwrap();
        send(&left, &[7; 100], &[]).unwrap();
        send(&left, b"next", &[]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive(&right, &mut buffer).unwrap_err(), Errno::MSGSIZE);
        assert!(matches!(
            receive(&right, &mut buffer),
            Ok(Received::Message { len: 4, .. })
        ));
        assert_eq!(receive(&right, &mut buffer).unwrap_err(), Errno::AGAIN);
        assert_eq!(send(&left, b"", &[]), Err(Errno::INVAL));
    }

    #[test]
    fn an_abstract_name_is_taken_once_and_shows_who_listens() {
        let name = format!("staffetta-test-{}", std::process::id());
        let address = Address::abstract_name(name.as_bytes()).unwrap();
        assert_eq!(connect(&address).unwrap_err(), Errno::CONNREFUSED);
        let listener = listen(&address, 4).unwrap();
        assert_eq!(listen(&address, 4).unwrap_err(), Errno::ADDRINUSE);
        let client = connect(&address).unwrap();
        let server = accept(&listener).unwrap();
        let me = Credentials {
            pid: std::process::id() as i32,
            uid: rustix::process::geteuid().as_raw(),
        };
        assert_eq!(peer(&client), Ok(me));
        assert_eq!(peer(&server), Ok(me));
    }
}
