//! `limit.mmap`: what it costs to take memory into the address space and to give it back.
//!
//! Three forms, told apart in the row:
//!
//! - `touch` `first`: mmap of a memfd, one byte read, munmap;
//! - `touch` `all`: mmap, one byte read on every page, munmap;
//! - `reference` `capability`: as `first`, but the descriptor comes from the other process over a
//!   Unix socket for every message. This is what acquiring a capability for the first time costs.

use super::memcpy::Idle;
use crate::bench::subject::{Open, Side, Spec, Subject, Touch, BATCH_LONG};
use crate::failure::Fault;
use crate::raw::{map_read_unmap, memfd};
use crate::two::wire::Wire;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::hint::black_box;
use std::mem::MaybeUninit;

/// One row for each size and form.
pub fn specs() -> Vec<Spec> {
    let mut specs = Vec::new();
    for bytes in [64 << 10, 1 << 20, 16 << 20] {
        for touch in [Touch::First, Touch::All] {
            specs.push(spec(
                None,
                bytes,
                touch,
                true,
                Box::new(move |side, _| match side {
                    Side::Ping => Ok(Box::new(Local { fd: filled(bytes)?, bytes, touch })),
                    Side::Pong => Ok(Box::new(Idle)),
                }),
            ));
        }
    }
    for bytes in [64 << 10, 1 << 20, 16 << 20] {
        let open = Box::new(move |side, wire: &Wire| passed(side, wire, bytes));
        specs.push(spec(Some("capability"), bytes, Touch::First, false, open));
    }
    specs
}

fn spec(reference: Option<&'static str>, bytes: usize, touch: Touch, alone: bool, open: Open) -> Spec {
    Spec {
        what: "limit.mmap",
        reference,
        wait: None,
        bytes: bytes as u64,
        touch: Some(touch),
        batch: BATCH_LONG,
        alone,
        limit: None,
        open: vec![open],
    }
}

/// A memfd whose pages are all there, so that no mapping of it has to make them.
fn filled(bytes: usize) -> Result<OwnedFd, Fault> {
    let fd = memfd(bytes)?;
    rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?;
    Ok(fd)
}

fn acquire(fd: &OwnedFd, bytes: usize, touch: Touch) -> Result<(), Fault> {
    let stride = match touch {
        Touch::First => bytes,
        Touch::All => rustix::param::page_size(),
    };
    black_box(map_read_unmap(fd, bytes, stride)?);
    Ok(())
}

/// One process, one memfd.
struct Local {
    fd: OwnedFd,
    bytes: usize,
    touch: Touch,
}

impl Subject for Local {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds * 2 {
            acquire(&self.fd, self.bytes, self.touch)?;
        }
        Ok(())
    }
}

/// A memfd handed to and fro over a socket.
struct Passed {
    socket: OwnedFd,
    fd: OwnedFd,
    bytes: usize,
}

fn passed(side: Side, wire: &Wire, bytes: usize) -> Result<Box<dyn Subject>, Fault> {
    let socket = match side {
        Side::Ping => {
            let (ours, theirs) = Wire::pair()?;
            wire.send_with(&(), &[theirs.as_fd()])?;
            ours
        }
        Side::Pong => wire.recv_fd::<()>()?.1,
    };
    Ok(Box::new(Passed { socket, fd: filled(bytes)?, bytes }))
}

impl Passed {
    fn give(&self) -> Result<(), Fault> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [self.fd.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.socket, &[IoSlice::new(&[0; 8])], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn take(&self) -> Result<(), Fault> {
        let mut text = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = part {
                let fd = fds.next().ok_or("the descriptor did not arrive")?;
                return acquire(&fd, self.bytes, Touch::First);
            }
        }
        Err("the descriptor did not arrive".into())
    }
}

impl Subject for Passed {
    fn ping(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.give()?;
            self.take()?;
        }
        Ok(())
    }

    fn pong(&mut self, rounds: u64) -> Result<(), Fault> {
        for _ in 0..rounds {
            self.take()?;
            self.give()?;
        }
        Ok(())
    }
}
