//! Output of a running command on its way to the server. It never makes the command wait.

use cmdop_contract::v1::{HostToServer, Output, OutputStream, host_to_server};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Largest piece in one frame.
const MAX_PIECE: usize = 32 * 1024;

/// Numbers the pieces of both streams of one call and counts what is left out.
#[derive(Debug)]
pub(crate) struct OutputSender {
    outbound: Sender<HostToServer>,
    call_id: String,
    sequence: u64,
    dropped: u64,
}

impl OutputSender {
    pub(crate) fn new(outbound: Sender<HostToServer>, call_id: String) -> Self {
        Self { outbound, call_id, sequence: 0, dropped: 0 }
    }
    /// Sends a piece, or counts it as dropped if the link is behind.
    pub(crate) fn push(&mut self, stream: OutputStream, data: &[u8]) {
        for piece in data.chunks(MAX_PIECE) {
            let output = Output {
                call_id: self.call_id.clone(),
                stream: stream.into(),
                sequence: self.sequence + 1,
                data: piece.to_vec(),
                dropped: self.dropped,
            };
            match self.outbound.try_send(HostToServer { kind: Some(host_to_server::Kind::Output(output)) }) {
                Ok(()) => {
                    self.sequence += 1;
                    self.dropped = 0;
                }
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => self.dropped += piece.len() as u64,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_loses_output_and_is_told_how_much() {
        let (outbound, mut sent) = tokio::sync::mpsc::channel(1);
        let mut output = OutputSender::new(outbound, "call".into());
        output.push(OutputStream::Stdout, b"first");
        output.push(OutputStream::Stdout, b"lost");
        output.push(OutputStream::Stderr, b"lost too");
        let mut next = || match sent.try_recv().expect("a frame").kind {
            Some(host_to_server::Kind::Output(output)) => (output.sequence, output.data, output.dropped),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(), (1, b"first".to_vec(), 0));
        output.push(OutputStream::Stdout, b"last");
        assert_eq!(next(), (2, b"last".to_vec(), 12));
    }
}
