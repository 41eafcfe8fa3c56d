//! Addresses of servers. Without tokens only this machine is spoken to, and listened to.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::error::Error;

/// How long a connection may be quiet before it is asked whether it lives, and may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The address to use of those that a name stands for, if all of them are on this machine.
pub(crate) fn only_loopback(name: &str, known: impl IntoIterator<Item = SocketAddr>) -> Result<SocketAddr, Error> {
    let known: Vec<_> = known.into_iter().collect();
    if known.iter().any(|known| !known.ip().is_loopback()) {
        return Err(Error::NotLoopback(name.into()));
    }
    known.first().copied().ok_or_else(|| Error::BadAddress(name.into()))
}

/// Where to dial for an address such as `127.0.0.1:7717` or `localhost:7717`.
pub(crate) fn endpoint(address: &str, connect_timeout: Duration) -> Result<Endpoint, Error> {
    match address.parse::<SocketAddr>() {
        Ok(socket) => only_loopback(address, [socket]).map(|_| ())?,
        Err(_) => {
            let (name, port) = address.rsplit_once(':').ok_or_else(|| Error::BadAddress(address.into()))?;
            port.parse::<u16>().map_err(|_| Error::BadAddress(address.into()))?;
            if name != "localhost" {
                return Err(Error::NotLoopback(address.into()));
            }
        }
    }
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|_| Error::BadAddress(address.into()))?;
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true))
}

#[cfg(test)]
mod tests {
    use cmdop_contract::v1::{self, Reason};

    use super::*;

    #[test]
    fn only_this_machine_may_be_dialled() {
        let dial = |address| endpoint(address, KEEPALIVE).map(|_| ());
        for address in ["127.0.0.1:7717", "127.8.9.1:1", "[::1]:7717", "localhost:7717"] {
            assert!(dial(address).is_ok(), "{address}");
        }
        for address in ["10.0.0.1:7717", "0.0.0.0:7717", "example.com:7717", "[::]:7717", "localhost.example.com:1"] {
            let error = dial(address).expect_err(address);
            assert!(matches!(error, Error::NotLoopback(_)), "{address}: {error}");
            assert_eq!(v1::Error::from(error).reason(), Reason::InvalidConfiguration);
        }
        for address in ["", "7717", "localhost", "localhost:port", "localhost:70000"] {
            assert!(matches!(dial(address), Err(Error::BadAddress(_))), "{address}");
        }
    }
}
