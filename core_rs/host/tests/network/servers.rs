//! Servers on the loopback, outside of every view.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::host::{self, Host};

type Server = Box<dyn FnOnce() + Send>;

/// What is to be served once there may be threads; none any more when everything is served at once.
static WAITING: Mutex<Option<Vec<Server>>> = Mutex::new(Some(Vec::new()));

/// Runs a server, now or when the case begins: a spawner wants to be made before there are threads.
pub fn serve(server: impl FnOnce() + Send + 'static) {
    match &mut *WAITING.lock().expect("no panic") {
        Some(waiting) => waiting.push(Box::new(server)),
        None => drop(std::thread::spawn(server)),
    }
}

/// Runs a case with its servers.
pub fn on_runtime<F: Future<Output = ()>>(directory: &Path, case: impl FnOnce(Host) -> F) {
    host::on_runtime(directory, |host| {
        for server in WAITING.lock().expect("no panic").take().into_iter().flatten() {
            std::thread::spawn(server);
        }
        case(host)
    });
}

/// Sends back what comes, and counts who comes.
pub struct Echo {
    pub port: u16,
    met: Arc<AtomicUsize>,
}

impl Echo {
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("bind");
        let port = listener.local_addr().expect("bound").port();
        let met = Arc::new(AtomicUsize::new(0));
        let count = met.clone();
        serve(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || echo(stream));
            }
        });
        Self { port, met }
    }

    /// Connections that arrived.
    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 65_536];
    while let Ok(read @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..read]).is_err() {
            return;
        }
    }
}

/// Sends datagrams back.
pub fn udp_echo() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let port = socket.local_addr().expect("bound").port();
    serve(move || {
        let mut bytes = [0; 65_536];
        while let Ok((read, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..read], from);
        }
    });
    port
}

/// A socket to which nobody may send.
pub fn silent_udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_nonblocking(true).expect("nonblocking");
    socket
}

/// One whole round trip over a stream.
pub fn say(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(text)?;
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard)?;
    Ok(heard)
}
