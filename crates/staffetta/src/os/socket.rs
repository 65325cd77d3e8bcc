//! Unix sockets that keep message boundaries and carry descriptors.
//!
//! What it does not do: it knows no message format and no address scheme. Its functions return
//! bare errnos, because to their callers `EAGAIN`, `ECONNREFUSED` and `EADDRINUSE` are turns in a
//! protocol, not failures; [`Error::when`](super::Error) makes an error of the rest.
//!
//! 1. Every socket and every received descriptor is close-on-exec from the start; a socket is also
//!    closed in forked children, since its end has to mean the end of its owner.
//! 2. Every socket is nonblocking: no call here waits for a peer.
//! 3. A message is received whole, with all its descriptors, or stays in the queue: a process
//!    that is out of descriptors loses none (see [`peek`]).
//! 4. Messages are never empty, so that zero bytes always mean the end.

#![allow(unsafe_code)] // SO_PEERCRED: rustix's UCred cannot hold the pid 0 of another namespace.

use super::fork::NotInherited;
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
pub(crate) fn listen(address: &Address, backlog: u32) -> Result<NotInherited, Errno> {
    let socket = NotInherited::create(new_socket)?;
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
pub(crate) fn connect(address: &Address) -> Result<NotInherited, Errno> {
    let socket = NotInherited::create(new_socket)?;
    retry(|| net::connect(&socket, &address.0))?;
    Ok(socket)
}

/// `accept4`: the next connection.
///
/// # Errors
///
/// `EAGAIN` if there is none; `EMFILE` and `ENFILE`, which leave it waiting.
pub(crate) fn accept(listener: impl AsFd) -> Result<NotInherited, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    NotInherited::create(|| retry(|| net::accept_with(&listener, flags)))
}

/// `socketpair`: two connected ends, of which one is usually meant to be inherited.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// `SO_PEERCRED`: who made the other end, or who called listen on what we connected to.
pub(crate) fn peer(socket: impl AsFd) -> Result<Credentials, Errno> {
    let mut raw = libc::ucred { pid: 0, uid: 0, gid: 0 };
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
        Ok(Credentials { pid: raw.pid, uid: raw.uid })
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
pub(crate) fn send(socket: impl AsFd, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut room);
    let fits = descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors));
    if message.is_empty() || descriptors.len() > DESCRIPTORS_MAX || !fits {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    retry(|| net::sendmsg(&socket, &[IoSlice::new(message)], &mut control, flags)).map(|_| ())
}

/// `recvmsg(MSG_PEEK)`: looks at the next message, and takes copies of its descriptors.
///
/// The message stays in the queue until [`remove`]. Looking first and removing second is how a
/// message survives a receiver that has no room for it: the kernel drops descriptors that do not
/// fit into the receiver's table and only says so afterwards, too late for a message that has
/// left the queue.
///
/// The two steps on one socket have to be serialized by the caller, or the second may remove
/// another message than the first one saw.
///
/// # Errors
///
/// `EAGAIN` if there is none; `EMFILE` if its descriptors do not fit. `EMSGSIZE` if it is longer
/// than `buffer` or carries more than [`DESCRIPTORS_MAX`]: whoever sent that does not speak our
/// language, and it has been removed.
pub(crate) fn peek(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    // One more than allowed, so that too many are told apart from too few free numbers.
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::PEEK | RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT | RecvFlags::TRUNC;
    let mut look = || {
        let mut buffers = [IoSliceMut::new(&mut *buffer)];
        retry(|| net::recvmsg(&socket, &mut buffers, &mut control, flags))
    };
    let seen = match look() {
        // The other end was closed before it had read everything from us. That is told once, and
        // ahead of the messages it had sent, which are still to come.
        Err(Errno::CONNRESET) => look(),
        other => other,
    }?;
    if seen.bytes == 0 {
        return Ok(Received::End); // invariant 4
    }
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    if seen.bytes > buffer.len() || descriptors.len() > DESCRIPTORS_MAX {
        remove(&socket);
        return Err(Errno::MSGSIZE);
    }
    if seen.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE);
    }
    Ok(Received::Message { len: seen.bytes, descriptors })
}

/// `recv`: removes the message that [`peek`] saw. Its own copies of the descriptors are closed by
/// the kernel, for want of a place to put them.
pub(crate) fn remove(socket: impl AsFd) {
    // The message is there, as `peek` saw it and nobody else removes; an error would leave it to
    // be seen again.
    let _ = retry(|| net::recv(&socket, &mut [0u8; 1], RecvFlags::DONTWAIT));
}

/// [`peek`] and [`remove`]: takes one message, with its descriptors, out of the queue.
///
/// # Errors
///
/// As for [`peek`].
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let received = peek(&socket, buffer)?;
    if let Received::Message { .. } = received {
        remove(&socket);
    }
    Ok(received)
}

/// `poll`: blocks until one of the sockets has a message or an end to tell, or the time is over.
///
/// Says which, by position. A signal ends the wait early, with nothing.
pub(crate) fn wait_readable(sockets: &[impl AsFd], limit: std::time::Duration) -> Result<Vec<usize>, Errno> {
    use rustix::event::{PollFd, PollFlags};
    let limit = rustix::time::Timespec::try_from(limit).map_err(|_| Errno::INVAL)?;
    let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    match rustix::event::poll(&mut polled, Some(&limit)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    }
    let ready = polled.iter().enumerate();
    Ok(ready.filter(|(_, polled)| !polled.revents().is_empty()).map(|(position, _)| position).collect())
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
    fn what_was_sent_survives_a_sender_that_left_its_own_mail_unread() {
        let (left, right) = pair().unwrap();
        send(&right, b"never read", &[]).unwrap();
        send(&left, b"last words", &[left.as_fd()]).unwrap();
        drop(left);
        let mut buffer = [0; 16];
        let received = receive(&right, &mut buffer).unwrap();
        let Received::Message { len: 10, descriptors } = received else {
            panic!("the message came before the end: {received:?}");
        };
        drop(descriptors);
        assert!(matches!(receive(&right, &mut buffer), Ok(Received::End)));
    }

    #[test]
    fn an_oversized_message_is_refused_and_removed() {
        let (left, right) = pair().unwrap();
        send(&left, &[7; 100], &[]).unwrap();
        send(&left, b"next", &[]).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(receive(&right, &mut buffer).unwrap_err(), Errno::MSGSIZE);
        assert!(matches!(receive(&right, &mut buffer), Ok(Received::Message { len: 4, .. })));
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
        let me = Credentials { pid: std::process::id() as i32, uid: rustix::process::geteuid().as_raw() };
        assert_eq!(peer(&client), Ok(me));
        assert_eq!(peer(&server), Ok(me));
    }
}
