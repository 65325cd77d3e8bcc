//! A wire between two processes: JSON messages with descriptors, over a sequenced-packet socket.
//!
//! Only for arranging things; nothing that is measured goes over a wire.

use crate::failure::Fault;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    recvmsg, sendmsg, socketpair, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::mem::MaybeUninit;

/// The longest message, and the most descriptors with it.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
const DESCRIPTORS_MAX: usize = 4;

/// One end of a wire.
pub struct Wire(OwnedFd);

/// What travels: a message, or the news that the other side could not go on.
#[derive(Serialize, Deserialize)]
enum Envelope<T> {
    Message(T),
    GaveUp(String),
}

/// The process at the other end has gone.
#[derive(Debug, thiserror::Error)]
#[error("the other process ended unexpectedly")]
pub struct PeerGone;

impl Wire {
    /// Both ends of a new wire.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
    }

    /// A wire over one end of a [`Wire::pair`].
    pub fn new(fd: OwnedFd) -> Wire {
        Wire(fd)
    }

    /// Sends a message.
    pub fn send<T: Serialize>(&self, message: &T) -> Result<(), Fault> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors.
    pub fn send_with<T: Serialize>(&self, message: &T, fds: &[BorrowedFd]) -> Result<(), Fault> {
        self.put(&Envelope::Message(message), fds)
    }

    /// Tells the other side that this one cannot go on; its next receive fails with `reason`.
    pub fn give_up(&self, reason: &str) -> Result<(), Fault> {
        self.put(&Envelope::<()>::GaveUp(reason.to_owned()), &[])
    }

    fn put<T: Serialize>(&self, envelope: &Envelope<T>, fds: &[BorrowedFd]) -> Result<(), Fault> {
        let text = serde_json::to_vec(envelope)?;
        if text.len() > MESSAGE_BYTES_MAX || fds.len() > DESCRIPTORS_MAX {
            return Err("a message is too long for the wire between the processes".into());
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(PeerGone.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives a message, waiting for it.
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        Ok(self.recv_with()?.0)
    }

    /// Receives a message and the one descriptor that must come with it.
    pub fn recv_fd<T: DeserializeOwned>(&self) -> Result<(T, OwnedFd), Fault> {
        let (message, fds) = self.recv_with()?;
        match fds.into_iter().next() {
            Some(fd) => Ok((message, fd)),
            None => Err("a message came without the descriptor it announces \
                (too many open files? see `ulimit -n`)"
                .into()),
        }
    }

    /// Receives a message and the descriptors that came with it.
    pub fn recv_with<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), Fault> {
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut text)];
            match recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(PeerGone.into()),
                Err(error) => return Err(error.into()),
            }
        };
        if received.bytes == 0 {
            return Err(PeerGone.into());
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err("a message between the processes was cut off".into());
        }
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        match serde_json::from_slice(&text[..received.bytes])? {
            Envelope::Message(message) => Ok((message, fds)),
            Envelope::GaveUp(reason) => Err(reason.into()),
        }
    }

    /// Throws away whatever has already arrived.
    pub fn drain(&self) {
        let mut text = [0u8; 64];
        loop {
            match rustix::net::recv(&self.0, &mut text, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `wires` has something to say (or has been closed), at most `timeout_ms`.
/// A signal ends the wait early. Gives the index of the first that is ready.
pub fn wait_any(wires: &[&Wire], timeout_ms: i64) -> io::Result<Option<usize>> {
    let mut fds: Vec<PollFd> = wires.iter().map(|wire| PollFd::new(wire, PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(fds.iter().position(|fd| !fd.revents().is_empty())),
        Err(Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
