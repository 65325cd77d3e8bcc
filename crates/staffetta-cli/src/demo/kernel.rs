//! The mechanisms of the kernel, to compare with: TCP over loopback, Unix stream socket, pipe.
//!
//! All three move bytes, so the receiver reads each message into one target variable of its own. Each
//! message is copied at least twice, by construction: from the sender's memory into the kernel's, and
//! from there into the receiver's.

use super::mechanism::{Copies, Mechanism, Messages, Plan, Receiving, Sending};
use crate::failure::Fault;
use crate::two::wire::Wire;
use rustix::fd::{AsFd, OwnedFd};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

const USER_KERNEL_USER: Copies = Copies::Known(2);

/// A byte stream as a sending end.
struct Out<S>(S);

impl<S: Write> Sending for Out<S> {
    fn send_all(&mut self, messages: Messages<'_>) -> Result<(), Fault> {
        for message in messages.iter() {
            self.0.write_all(message)?;
        }
        Ok(())
    }
}

/// A byte stream as a receiving end, with the target variable it reads into.
struct In<S> {
    stream: S,
    target: Vec<u8>,
}

impl<S: Read> In<S> {
    fn new(stream: S, plan: Plan) -> Result<In<S>, Fault> {
        let mut target = Vec::new();
        target.try_reserve_exact(plan.longest())?;
        target.resize(plan.longest(), 0);
        Ok(In { stream, target })
    }
}

impl<S: Read> Receiving for In<S> {
    fn receive_all(&mut self, plan: Plan, reader: &mut dyn FnMut(&[u8])) -> Result<(), Fault> {
        for length in plan.lengths() {
            let target = &mut self.target[..length];
            self.stream.read_exact(target)?;
            reader(target);
        }
        Ok(())
    }
}

/// TCP over the loopback interface, without delay of small messages.
pub struct Tcp;

impl Mechanism for Tcp {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn copies(&self) -> Copies {
        USER_KERNEL_USER
    }

    fn sender(&self, meet: &Wire, _: Plan) -> Result<Box<dyn Sending>, Fault> {
        let port: u16 = meet.recv()?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        // Another program may have connected first: the receiver takes the one with this address.
        meet.send(&stream.local_addr()?)?;
        Ok(Box::new(Out(stream)))
    }

    fn receiver(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Receiving>, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        meet.send(&listener.local_addr()?.port())?;
        let expected = meet.recv()?;
        loop {
            let (stream, from) = listener.accept()?;
            if from == expected {
                return Ok(Box::new(In::new(stream, plan)?));
            }
        }
    }
}

/// A Unix stream socket.
pub struct Unix;

impl Mechanism for Unix {
    fn name(&self) -> &'static str {
        "unix"
    }

    fn copies(&self) -> Copies {
        USER_KERNEL_USER
    }

    fn sender(&self, meet: &Wire, _: Plan) -> Result<Box<dyn Sending>, Fault> {
        let (ours, theirs) = UnixStream::pair()?;
        meet.send_with(&(), &[theirs.as_fd()])?;
        Ok(Box::new(Out(ours)))
    }

    fn receiver(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Receiving>, Fault> {
        let ((), fd): ((), OwnedFd) = meet.recv_fd()?;
        Ok(Box::new(In::new(UnixStream::from(fd), plan)?))
    }
}

/// A pipe, as large as an ordinary user may make it.
pub struct Pipe;

/// The usual /proc/sys/fs/pipe-max-size.
const PIPE_BYTES: usize = 1 << 20;

impl Mechanism for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn copies(&self) -> Copies {
        USER_KERNEL_USER
    }

    fn sender(&self, meet: &Wire, _: Plan) -> Result<Box<dyn Sending>, Fault> {
        let (theirs, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // 64 KiB by default, which means a switch every 64 KiB. A user who may not have more keeps that.
        let _ = rustix::pipe::fcntl_setpipe_size(&ours, PIPE_BYTES);
        meet.send_with(&(), &[theirs.as_fd()])?;
        Ok(Box::new(Out(File::from(ours))))
    }

    fn receiver(&self, meet: &Wire, plan: Plan) -> Result<Box<dyn Receiving>, Fault> {
        let ((), fd): ((), OwnedFd) = meet.recv_fd()?;
        Ok(Box::new(In::new(File::from(fd), plan)?))
    }
}
