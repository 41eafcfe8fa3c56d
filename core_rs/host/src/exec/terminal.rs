//! The daemon's end of a command's terminal, which the worker opens in the view and sends over.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::UnixStream;

/// Ends input (termios(3), VEOF) where a line is empty.
const END_OF_INPUT: u8 = 4;

/// Reads what the command writes and types its input meanwhile.
pub(super) struct Terminal {
    /// Where the other end comes from.
    socket: UnixStream,
    opened: Option<AsyncFd<std::fs::File>>,
    input: VecDeque<u8>,
}

impl Terminal {
    pub(super) fn new(socket: UnixStream, mut input: Vec<u8>) -> Self {
        // Only at the beginning of a line does the first one end the input; else it ends the line.
        if !input.is_empty() && !input.ends_with(b"\n") {
            input.push(END_OF_INPUT);
        }
        input.push(END_OF_INPUT);
        Self { socket, opened: None, input: input.into() }
    }

    /// False if the worker is gone without having sent one.
    fn poll_open(&mut self, ctx: &mut Context<'_>) -> Poll<std::io::Result<bool>> {
        while self.opened.is_none() {
            ready!(self.socket.poll_read_ready(ctx))?;
            match self.socket.try_io(Interest::READABLE, || receive(&self.socket)) {
                Ok(Some(fd)) => {
                    rustix::io::ioctl_fionbio(&fd, true)?;
                    // SAFETY: a file gives the same descriptor, and keeps it open, as long as it lives.
                    self.opened = Some(unsafe { AsyncFd::register(std::fs::File::from(fd)) }?);
                }
                Ok(None) => return Poll::Ready(Ok(false)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if !ready!(this.poll_open(ctx))? {
            return Poll::Ready(Ok(()));
        }
        let Some(opened) = &this.opened else { return Poll::Ready(Ok(())) };
        while !this.input.is_empty() {
            let Poll::Ready(guard) = opened.poll_write_ready(ctx) else { break };
            let (typed, _) = this.input.as_slices();
            match guard?.try_io(|opened| opened.get_ref().write(&typed[..typed.len().min(1_024)])) {
                Ok(Ok(written)) => drop(this.input.drain(..written)),
                Ok(Err(_)) => this.input.clear(),
                Err(_would_block) => {}
            }
        }
        loop {
            let mut guard = ready!(opened.poll_read_ready(ctx))?;
            match guard.try_io(|opened| opened.get_ref().read(buffer.initialize_unfilled())) {
                Ok(Ok(read)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                // EIO is how a terminal says that nobody has its other end open any more.
                Ok(Err(_)) => return Poll::Ready(Ok(())),
                Err(_would_block) => {}
            }
        }
    }
}

fn receive(socket: &UnixStream) -> std::io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fds.next())
}
