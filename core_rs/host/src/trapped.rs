//! Whoever answers a command's trapped calls: a thread of its own, which alone receives them.
//!
//! A process can have only one listener (seccomp(2), EBUSY), so the calls that start programs, those that
//! name an address and those that are refused come here together. A thread, because ptrace(2) knows its tracer by it.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::Error;
use crate::attempts::Attempts;
use crate::network::Network;
use crate::notify::{Listener, Trapped};
use crate::spawned::{EXECS, Processes};

/// Calls that may name an address.
const CONTACTS: [libc::c_long; 4] = [libc::SYS_connect, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg];

/// A call for the network's supervisor, with who can answer it and pid 1 of the caller's view.
#[derive(Debug)]
pub(crate) struct Contact {
    pub(crate) listener: Arc<Listener>,
    pub(crate) init: libc::pid_t,
    pub(crate) call: Trapped,
}

/// The answering of one command's calls. It ends by itself when all its processes are dead.
#[derive(Debug)]
pub(crate) struct Supervision {
    thread: Option<JoinHandle<()>>,
    network: Option<JoinSet<()>>,
}

/// What of a command somebody wants to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    /// What it starts.
    pub(crate) processes: Option<Processes>,
    /// What is refused to it.
    pub(crate) attempts: Attempts,
    /// Directories that it finds empty.
    pub(crate) hidden: Vec<PathBuf>,
}

/// The command's end of the way to its supervisor, which runs from now on. With a network it needs the
/// runtime of the caller.
///
/// # Errors
/// What the operating system refuses.
pub(crate) fn supervise(watched: Watched, network: Option<&Network>) -> Result<(OwnedFd, Supervision), Error> {
    let doing = || Error::io("connect to the command's supervisor");
    let (ours, theirs) = UnixStream::pair().map_err(doing())?;
    let (contacts, network) = match network {
        Some(network) => {
            // No longer than the command has threads: each waits for the answer to its call.
            let (contacts, incoming) = unbounded_channel();
            (Some(contacts), Some(network.supervise(incoming)))
        }
        None => (None, None),
    };
    let thread = std::thread::Builder::new().name("supervise".to_owned());
    let thread = thread.spawn(move || answer(&ours, &watched, contacts.as_ref())).map_err(doing())?;
    Ok((theirs.into(), Supervision { thread: Some(thread), network }))
}

impl Supervision {
    /// Waits until everything is answered. Every process of the command must be dead.
    pub(crate) async fn finish(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        if let Some(mut network) = self.network.take() {
            network.shutdown().await;
        }
    }

    /// The same where there is no runtime.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(socket: &UnixStream, watched: &Watched, contacts: Option<&UnboundedSender<Contact>>) {
    let Ok(Some((listener, init))) = take_over(socket) else { return };
    let listener = Arc::new(Listener::new(listener));
    // It has not begun yet: without an answer nothing starts.
    watched.attempts.watch(init, &watched.hidden);
    let mut begun = false;
    // The other end is the worker's, which closes it with init's end.
    while listener.wait(socket.as_fd()) {
        let Some(call) = listener.receive() else { continue };
        match (&watched.processes, contacts) {
            (Some(processes), _) if EXECS.contains(&call.number) => processes.let_through(&listener, &call, &mut begun),
            (_, Some(contacts)) if CONTACTS.contains(&call.number) => {
                let contact = Contact { listener: listener.clone(), init, call };
                if contacts.send(contact).is_err() {
                    listener.answer(&call, Err(libc::EPERM));
                }
            }
            _ if EXECS.contains(&call.number) => listener.answer(&call, Err(libc::ENOSYS)),
            _ => watched.attempts.answer(&listener, &call, init),
        }
    }
}

/// Waits for the listener of the command's filter, which comes with the number of pid 1 of the view.
fn take_over(socket: &UnixStream) -> rustix::io::Result<Option<(OwnedFd, libc::pid_t)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut init = [0; size_of::<libc::pid_t>()];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut init)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    let listener = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(listener.filter(|_| received.bytes == init.len()).map(|listener| (listener, libc::pid_t::from_ne_bytes(init))))
}
