//! Output of a running command on its way to the server. It never makes the command wait.

use std::borrow::Cow;

use cmdop_contract::redact::{self, Known};
use cmdop_contract::v1::{HostToServer, Output, OutputStream, host_to_server};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

/// Largest piece in one frame.
const MAX_PIECE: usize = 32 * 1024;

/// A line is told once it is whole, or as long as this: a part of a secret looks like none.
const MAX_LINE: usize = 8 * 1024;

/// How a private key begins, and how it ends.
const KEY: [&[u8]; 2] = [b"PRIVATE KEY", b"-----END "];

/// Numbers the pieces of both streams of one call and counts what is left out.
#[derive(Debug)]
pub(crate) struct OutputSender {
    outbound: Sender<HostToServer>,
    call_id: String,
    known: Known,
    sequence: u64,
    dropped: u64,
    stdout: Line,
    stderr: Line,
}

/// What of a stream waits for the end of its line.
#[derive(Debug, Default)]
struct Line {
    begun: Vec<u8>,
    /// Within a private key, whose lines are none by themselves.
    is_key: bool,
}

impl OutputSender {
    /// For a call, some secrets of which are known.
    pub(crate) fn new(outbound: Sender<HostToServer>, call_id: String, known: Known) -> Self {
        Self { outbound, call_id, known, sequence: 0, dropped: 0, stdout: Line::default(), stderr: Line::default() }
    }

    /// Sends the whole lines that there are now without their secrets, or counts them as dropped if the link is behind.
    pub(crate) fn push(&mut self, stream: OutputStream, data: &[u8]) {
        let known = std::mem::take(&mut self.known);
        let lines = self.line(stream).take(data, &known);
        self.known = known;
        self.send(stream, &lines);
    }

    fn line(&mut self, stream: OutputStream) -> &mut Line {
        if stream == OutputStream::Stderr { &mut self.stderr } else { &mut self.stdout }
    }

    fn send(&mut self, stream: OutputStream, data: &[u8]) {
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

impl Drop for OutputSender {
    /// What ends without the end of a line is told, too.
    fn drop(&mut self) {
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            let line = std::mem::take(&mut self.line(stream).begun);
            let known = std::mem::take(&mut self.known);
            let line = self.line(stream).clean(line, &known);
            self.known = known;
            self.send(stream, &line);
        }
    }
}

impl Line {
    /// The lines that are whole with these bytes, without secrets.
    fn take(&mut self, data: &[u8], known: &Known) -> Vec<u8> {
        self.begun.extend_from_slice(data);
        let end = self.begun.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map(|at| at + 1);
        let end = end.or_else(|| (self.begun.len() > MAX_LINE).then_some(self.begun.len()));
        let rest = self.begun.split_off(end.unwrap_or(0));
        let lines = std::mem::replace(&mut self.begun, rest);
        self.clean(lines, known)
    }

    fn clean(&mut self, mut lines: Vec<u8>, known: &Known) -> Vec<u8> {
        let [begin, end] = KEY;
        if self.is_key {
            let Some(at) = lines.windows(end.len()).position(|found| found == end) else { return Vec::new() };
            let behind = lines[at..].iter().position(|byte| *byte == b'\n').map_or(lines.len(), |line| at + line);
            lines.drain(..behind);
            self.is_key = false;
        }
        if let Some(last) = lines.windows(begin.len()).rposition(|found| found == begin) {
            let line = lines[..last].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            self.is_key = lines[line..last].windows(7).any(|found| found == b"--BEGIN")
                && !lines[last..].windows(end.len()).any(|found| found == end);
        }
        // Bytes that are no text stay as they are, unless a secret stands among them.
        match redact::text_knowing(&String::from_utf8_lossy(&lines), known) {
            Cow::Owned(clean) if clean.as_bytes() != String::from_utf8_lossy(&lines).as_bytes() => clean.into_bytes(),
            _ => lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use cmdop_contract::v1::Action;

    use super::*;

    /// All the text that was sent.
    fn told(sent: &mut tokio::sync::mpsc::Receiver<HostToServer>) -> String {
        let mut told = Vec::new();
        while let Ok(frame) = sent.try_recv() {
            if let Some(host_to_server::Kind::Output(output)) = frame.kind {
                told.extend(output.data);
            }
        }
        String::from_utf8_lossy(&told).into_owned()
    }

    #[test]
    fn a_slow_link_loses_output_and_is_told_how_much() {
        let (outbound, mut sent) = tokio::sync::mpsc::channel(1);
        let mut output = OutputSender::new(outbound, "call".into(), Known::default());
        output.push(OutputStream::Stdout, b"first\n");
        output.push(OutputStream::Stdout, b"lost\n");
        output.push(OutputStream::Stderr, b"lost too\n");
        let mut next = || match sent.try_recv().expect("a frame").kind {
            Some(host_to_server::Kind::Output(output)) => (output.sequence, output.data, output.dropped),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(), (1, b"first\n".to_vec(), 0));
        output.push(OutputStream::Stdout, b"last\n");
        assert_eq!(next(), (2, b"last\n".to_vec(), 14));
    }

    #[test]
    fn secrets_are_told_in_no_piece_however_they_come() {
        let said = "ok\npassword=hunter2hunter2\n-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC\nhunter2\n\
                    -----END RSA PRIVATE KEY-----\nAuthorization: Bearer hunter2hunter2\r\né done ghp_hunter2hunter2hunter2";
        for size in 1..said.len() {
            let (outbound, mut sent) = tokio::sync::mpsc::channel(1_000);
            let mut output = OutputSender::new(outbound, "call".into(), Known::default());
            said.as_bytes().chunks(size).for_each(|piece| output.push(OutputStream::Stdout, piece));
            drop(output);
            let told = told(&mut sent);
            assert!(!told.contains("hunter2") && !told.contains("MIIE"), "in pieces of {size}: {told}");
            assert!(told.starts_with("ok\n") && told.contains(" done "), "in pieces of {size}: {told}");
        }
    }

    #[test]
    fn what_a_call_names_as_a_secret_is_told_nowhere_in_its_output() {
        let arguments_json = r#"{"command": "PASSWORD=hunter2x ./x"}"#.to_owned();
        let known = redact::known(&Action { arguments_json, ..Action::default() });
        let (outbound, mut sent) = tokio::sync::mpsc::channel(10);
        let mut output = OutputSender::new(outbound, "call".into(), known);
        output.push(OutputStream::Stdout, b"logged in with hunter2x\nhunt");
        output.push(OutputStream::Stdout, b"er2x");
        drop(output);
        let told = told(&mut sent);
        assert!(told.starts_with("logged in with [redacted:8:") && !told.contains("hunter2x"), "{told}");
    }

    #[test]
    fn what_is_no_secret_is_told_to_the_byte() {
        let (outbound, mut sent) = tokio::sync::mpsc::channel(10);
        let mut output = OutputSender::new(outbound, "call".into(), Known::default());
        output.push(OutputStream::Stderr, b"\xff\xfe\r10 %\r20 %\nrest");
        drop(output);
        let mut told = Vec::new();
        while let Ok(frame) = sent.try_recv() {
            if let Some(host_to_server::Kind::Output(output)) = frame.kind {
                told.extend(output.data);
            }
        }
        assert_eq!(told, b"\xff\xfe\r10 %\r20 %\nrest");
    }
}
