//! Frames that a server sends by the thousand, encoded from what the gate shares.
//!
//! A call's document is shared among everyone who follows it. These types write it to the wire
//! without a copy; byte for byte they are `Call` and `ServerFrame`, which a test holds them to.

use std::sync::Arc;

use bytes::BufMut;
use cmdop_contract::v1::{self, Call};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, message, uint32, uint64};

use crate::codec::Encode;

/// A call that others hold, too.
pub(crate) struct SharedCall(pub(crate) Arc<Call>);

impl Encode for SharedCall {
    fn encode(&self, buf: &mut impl BufMut) {
        self.0.encode_raw(buf);
    }
}

/// What a session is told about one of its proposals.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Call(Arc<Call>),
    Output(v1::Output),
    Error(v1::Error),
}

/// The content of a `ServerFrame`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    Welcome(v1::SessionWelcome),
    Opened,
    Update { request_id: u64, answer: Answer },
    Closed(Option<v1::Error>),
    Pong { nonce: u64 },
}

/// A `ServerFrame` on its way out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) session: u32,
    pub(crate) sequence: u64,
    pub(crate) content: Content,
}

// Field numbers of ServerFrame and SessionUpdate in session.proto.
const SESSION: u32 = 1;
const SEQUENCE: u32 = 2;
const WELCOME: u32 = 3;
const OPENED: u32 = 4;
const UPDATE: u32 = 5;
const CLOSED: u32 = 6;
const PONG: u32 = 7;
const REQUEST_ID: u32 = 1;
const CALL: u32 = 2;
const OUTPUT: u32 = 3;
const ERROR: u32 = 4;

impl Encode for Outgoing {
    fn encode(&self, buf: &mut impl BufMut) {
        if self.session != 0 {
            uint32::encode(SESSION, &self.session, buf);
        }
        if self.sequence != 0 {
            uint64::encode(SEQUENCE, &self.sequence, buf);
        }
        match &self.content {
            Content::Welcome(welcome) => message::encode(WELCOME, welcome, buf),
            Content::Opened => message::encode(OPENED, &v1::SessionOpened {}, buf),
            Content::Update { request_id, answer } => match answer {
                Answer::Call(call) => update(*request_id, CALL, &**call, buf),
                Answer::Output(output) => update(*request_id, OUTPUT, output, buf),
                Answer::Error(error) => update(*request_id, ERROR, error, buf),
            },
            Content::Closed(error) => {
                let closed = v1::SessionClosed { error: error.clone() };
                message::encode(CLOSED, &closed, buf);
            }
            Content::Pong { nonce } => message::encode(PONG, &v1::Pong { nonce: *nonce }, buf),
        }
    }
}

fn update(request_id: u64, field: u32, answer: &impl Message, buf: &mut impl BufMut) {
    let id_len = if request_id == 0 { 0 } else { uint64::encoded_len(REQUEST_ID, &request_id) };
    let answer_len = answer.encoded_len();
    encode_key(UPDATE, WireType::LengthDelimited, buf);
    encode_varint((id_len + key_len(field) + encoded_len_varint(answer_len as u64) + answer_len) as u64, buf);
    if request_id != 0 {
        uint64::encode(REQUEST_ID, &request_id, buf);
    }
    encode_key(field, WireType::LengthDelimited, buf);
    encode_varint(answer_len as u64, buf);
    answer.encode_raw(buf);
}

#[cfg(test)]
mod tests {
    use cmdop_contract::v1::{server_frame, session_update};

    use super::*;

    fn call() -> Call {
        Call { call_id: "c".into(), attempt: 7, proposal: Some(v1::Proposal::default()), ..Call::default() }
    }

    fn wire(session: u32, sequence: u64, content: Content) -> v1::ServerFrame {
        let mut bytes = Vec::new();
        Outgoing { session, sequence, content }.encode(&mut bytes);
        let decoded = v1::ServerFrame::decode(&*bytes).expect("a ServerFrame");
        assert_eq!(decoded.encode_to_vec(), bytes);
        decoded
    }

    #[test]
    fn outgoing_frames_are_server_frames_byte_for_byte() {
        let error = v1::Error { message: "no".into(), ..v1::Error::default() };
        let output = v1::Output { data: vec![0; 300], ..v1::Output::default() };
        let update = |kind| server_frame::Kind::Update(v1::SessionUpdate { request_id: 300, kind: Some(kind) });
        let answered = |answer| Content::Update { request_id: 300, answer };
        let cases = [
            (Content::Opened, server_frame::Kind::Opened(v1::SessionOpened {})),
            (Content::Pong { nonce: 9 }, server_frame::Kind::Pong(v1::Pong { nonce: 9 })),
            (Content::Closed(None), server_frame::Kind::Closed(v1::SessionClosed { error: None })),
            (
                Content::Closed(Some(error.clone())),
                server_frame::Kind::Closed(v1::SessionClosed { error: Some(error.clone()) }),
            ),
            (answered(Answer::Call(Arc::new(call()))), update(session_update::Kind::Call(call()))),
            (answered(Answer::Output(output.clone())), update(session_update::Kind::Output(output))),
            (answered(Answer::Error(error.clone())), update(session_update::Kind::Error(error))),
        ];
        for (content, kind) in cases {
            let expected = v1::ServerFrame { session: 5, sequence: 1_000, kind: Some(kind) };
            assert_eq!(wire(5, 1_000, content), expected);
        }
    }

    #[test]
    fn a_request_id_of_zero_is_left_out_as_prost_does() {
        let answer = Answer::Call(Arc::new(call()));
        let frame = wire(0, 0, Content::Update { request_id: 0, answer });
        let Some(server_frame::Kind::Update(update)) = frame.kind else { panic!("{frame:?}") };
        assert_eq!(update.kind, Some(session_update::Kind::Call(call())));
    }

    #[test]
    fn a_shared_call_is_a_call_byte_for_byte() {
        let mut bytes = Vec::new();
        SharedCall(Arc::new(call())).encode(&mut bytes);
        assert_eq!(bytes, call().encode_to_vec());
    }
}
