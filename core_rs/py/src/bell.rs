//! What wakes the other side of a queue: something to wait for, by the system's own kind of descriptor.

use std::io;

#[cfg(target_os = "linux")]
pub use counter::Bell;
#[cfg(not(target_os = "linux"))]
pub use pair::Bell;

/// A descriptor (Unix) or socket (Windows) as event loops take it.
#[cfg(not(windows))]
pub type Descriptor = std::os::fd::RawFd;
/// A descriptor (Unix) or socket (Windows) as event loops take it.
#[cfg(windows)]
pub type Descriptor = std::os::windows::io::RawSocket;

#[cfg(target_os = "linux")]
mod counter {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

    use rustix::event::{EventfdFlags, eventfd};

    use super::{Descriptor, io};

    /// An eventfd.
    #[derive(Debug)]
    pub struct Bell(OwnedFd);

    impl Bell {
        /// # Errors
        /// If the process may open no more descriptors.
        pub fn new() -> io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
        }

        /// Readable while it rings.
        pub fn descriptor(&self) -> Descriptor {
            self.0.as_raw_fd()
        }

        /// Never waits.
        pub fn ring(&self) {
            // It fails only when the counter is full: then it is readable, which is all we want.
            let _full = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }

        /// Never waits.
        pub fn silence(&self) {
            let mut count = [0; 8];
            // Nothing to read means that it was not rung.
            let _unrung = rustix::io::read(&self.0, &mut count);
        }
    }

    impl AsFd for Bell {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

/// Built on Linux for its tests alone.
#[cfg(any(not(target_os = "linux"), test))]
mod pair {
    use std::io::{Read, Write};
    #[cfg(windows)]
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    #[cfg(unix)]
    use std::os::fd::AsRawFd;
    #[cfg(unix)]
    use std::os::unix::net::UnixStream as Stream;
    #[cfg(windows)]
    use std::os::windows::io::AsRawSocket;

    #[cfg(windows)]
    use TcpStream as Stream;

    use super::{Descriptor, io};

    /// Two ends of a stream within this process.
    #[derive(Debug)]
    pub struct Bell {
        near: Stream,
        far: Stream,
    }

    impl Bell {
        /// # Errors
        /// If the process may open no more descriptors.
        pub fn new() -> io::Result<Self> {
            let (near, far) = pair()?;
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            Ok(Self { near, far })
        }

        /// Readable while it rings.
        pub fn descriptor(&self) -> Descriptor {
            #[cfg(unix)]
            return self.near.as_raw_fd();
            #[cfg(windows)]
            return self.near.as_raw_socket();
        }

        /// Never waits.
        pub fn ring(&self) {
            // It fails only when the stream is full: then it is readable, which is all we want.
            let _full = (&self.far).write(&[1]);
        }

        /// Never waits.
        pub fn silence(&self) {
            let mut rung = [0; 64];
            // Nothing to read means that it was not rung; a full buffer, that it was more often.
            while matches!((&self.near).read(&mut rung), Ok(64)) {}
        }
    }

    #[cfg(unix)]
    impl std::os::fd::AsFd for Bell {
        fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
            self.near.as_fd()
        }
    }

    #[cfg(unix)]
    fn pair() -> io::Result<(Stream, Stream)> {
        Stream::pair()
    }

    /// Windows has no pairs; whoever else comes to the port first is turned away.
    #[cfg(windows)]
    fn pair() -> io::Result<(Stream, Stream)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let far = TcpStream::connect(listener.local_addr()?)?;
        loop {
            let (near, from) = listener.accept()?;
            if from == far.local_addr()? {
                far.set_nodelay(true)?;
                return Ok((near, far));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::pair::Bell;

    fn rings(bell: &Bell) -> bool {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&at_once)).expect("poll") == 1
    }

    #[test]
    fn a_bell_of_two_ends_rings_until_it_is_silenced_and_never_waits() {
        let bell = Bell::new().expect("a bell");
        assert!(bell.descriptor() > 2);
        assert!(!rings(&bell));
        bell.silence();
        for _ in 0..1_000_000 {
            bell.ring();
        }
        assert!(rings(&bell));
        bell.silence();
        assert!(!rings(&bell));
        bell.ring();
        assert!(rings(&bell));
    }
}
