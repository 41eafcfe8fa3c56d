//! Each test is a table of what happens to a stream and what it sends because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use cmdop_contract::v1::{Call, ClientHello, CloseSession, GrantCredits, OpenSession, Output, Ping, Reason};

use super::*;

struct Stream {
    mux: Mux,
    now: Instant,
    requests: Vec<Request>,
}

impl Stream {
    /// A stream that has said hello and was welcomed.
    fn open(limits: SessionLimits) -> Self {
        let mut stream = Self { mux: Mux::new(limits, 4_096), now: Instant::now(), requests: Vec::new() };
        stream.frame(0, hello(1, 1));
        assert!(matches!(stream.sent()[..], [Outgoing { content: Content::Welcome(_), .. }]));
        stream
    }

    fn frame(&mut self, session: u32, kind: client_frame::Kind) {
        let frame = ClientFrame { session, kind: Some(kind) };
        self.requests.extend(self.mux.receive(frame, self.now));
    }

    fn open_session(&mut self, id: u32, credits: u32) {
        self.frame(id, client_frame::Kind::Open(OpenSession { actor: Some(actor("user")), credits }));
    }

    /// Proposes and gives the request that came of it.
    fn propose(&mut self, id: u32, request_id: u64) -> Option<SessionKey> {
        let before = self.requests.len();
        self.frame(id, propose(request_id));
        self.requests.get(before).map(|request| request.session)
    }

    fn answer(&mut self, key: SessionKey, request_id: u64) -> Delivery {
        let call = Call { attempt: u32::try_from(request_id).expect("small"), ..Call::default() };
        self.mux.deliver(key, request_id, Answer::Call(Arc::new(call)), true, self.now)
    }

    fn sent(&mut self) -> Vec<Outgoing> {
        std::iter::from_fn(|| self.mux.pop(self.now)).collect()
    }

    /// What was sent, as (session, sequence, what).
    fn told(&mut self) -> Vec<(u32, u64, String)> {
        let describe = |content: Content| match content {
            Content::Welcome(_) => "welcome".to_owned(),
            Content::Opened => "opened".to_owned(),
            Content::Pong { nonce } => format!("pong {nonce}"),
            Content::Closed(None) => "closed".to_owned(),
            Content::Closed(Some(error)) => format!("closed {}", error.reason().as_str_name()),
            Content::Update { request_id, answer: Answer::Call(_) } => format!("call {request_id}"),
            Content::Update { request_id, answer: Answer::Output(_) } => format!("output {request_id}"),
            Content::Update { request_id, answer: Answer::Error(error) } => {
                format!("error {request_id} {}", error.reason().as_str_name())
            }
        };
        self.sent().into_iter().map(|frame| (frame.session, frame.sequence, describe(frame.content))).collect()
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.mux.tick(self.now);
    }
}

fn actor(user: &str) -> Actor {
    Actor { user: user.into(), ..Actor::default() }
}

fn hello(min_protocol: u32, max_protocol: u32) -> client_frame::Kind {
    client_frame::Kind::Hello(ClientHello { min_protocol, max_protocol, client: "test".into() })
}

fn propose(request_id: u64) -> client_frame::Kind {
    let proposal = Some(Proposal::default());
    client_frame::Kind::Propose(SessionProposal { request_id, proposal, ..SessionProposal::default() })
}

fn grant(credits: u32) -> client_frame::Kind {
    client_frame::Kind::Grant(GrantCredits { credits })
}

fn close() -> client_frame::Kind {
    client_frame::Kind::Close(CloseSession {})
}

fn ping(nonce: u64) -> client_frame::Kind {
    client_frame::Kind::Ping(Ping { nonce })
}

fn told(session: u32, sequence: u64, what: &str) -> (u32, u64, String) {
    (session, sequence, what.to_owned())
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const STALL: Duration = Duration::from_secs(10);

#[test]
fn frames_that_may_not_come_end_the_connection_with_a_typed_error() {
    let violation = Reason::ProtocolViolation;
    let open = || client_frame::Kind::Open(OpenSession::default());
    type Frames = Vec<(u32, Option<client_frame::Kind>)>;
    let cases: [(&str, Frames, Reason); 8] = [
        ("no hello", vec![(1, Some(open()))], violation),
        ("hello on a session", vec![(1, Some(hello(1, 1)))], violation),
        ("newer only", vec![(0, Some(hello(2, 9)))], Reason::UnsupportedProtocol),
        ("older only", vec![(0, Some(hello(0, 0)))], Reason::UnsupportedProtocol),
        ("hello twice", vec![(0, Some(hello(1, 1))), (0, Some(hello(1, 1)))], violation),
        ("nothing in it", vec![(0, Some(hello(1, 1))), (1, None)], violation),
        ("open connection", vec![(0, Some(hello(1, 1))), (0, Some(open()))], violation),
        ("open twice", vec![(0, Some(hello(1, 1))), (3, Some(open())), (3, Some(open()))], violation),
    ];
    for (name, frames, reason) in cases {
        let mut mux = Mux::new(SessionLimits::default(), 1);
        let now = Instant::now();
        for (session, kind) in frames {
            assert!(!mux.is_over(), "{name}");
            assert_eq!(mux.receive(ClientFrame { session, kind }, now), None, "{name}");
        }
        assert!(mux.is_over(), "{name}");
        let last = std::iter::from_fn(|| mux.pop(now)).last().expect("a last word");
        let Content::Closed(Some(error)) = last.content else { panic!("{name}: {last:?}") };
        assert_eq!((last.session, error.reason()), (0, reason), "{name}");
    }
}

#[test]
fn a_session_opens_is_answered_in_order_and_closes() {
    let mut stream = Stream::open(SessionLimits::default());
    stream.open_session(7, 0);
    let key = stream.propose(7, 41).expect("request");
    assert_eq!(stream.requests[0].proposal.actor, Some(actor("user")));
    stream.propose(7, 42).expect("request");
    stream.answer(key, 42);
    stream.answer(key, 41);
    stream.frame(7, ping(5));
    stream.frame(0, ping(6));
    let expected = [
        told(7, 1, "opened"),
        told(0, 0, "pong 6"),
        told(7, 2, "call 42"),
        told(7, 3, "call 41"),
        told(7, 4, "pong 5"),
    ];
    assert_eq!(stream.told(), expected);
    stream.frame(7, close());
    assert_eq!(stream.told(), [told(7, 5, "closed")]);
    assert_eq!(stream.answer(key, 43), Delivery::Gone);
}

#[test]
fn a_session_is_sent_no_more_frames_than_it_granted() {
    let mut stream = Stream::open(SessionLimits::default());
    stream.open_session(1, 2);
    let key = stream.propose(1, 0).expect("request");
    for request_id in 1..=4 {
        stream.frame(1, propose(request_id));
        stream.answer(key, request_id);
    }
    assert_eq!(stream.told(), [told(1, 1, "opened"), told(1, 2, "call 1"), told(1, 3, "call 2")]);
    stream.frame(1, grant(0));
    assert_eq!(stream.told(), []);
    stream.frame(1, grant(1));
    assert_eq!(stream.told(), [told(1, 4, "call 3")]);
    stream.frame(1, grant(u32::MAX));
    stream.frame(1, grant(u32::MAX));
    assert_eq!(stream.told(), [told(1, 5, "call 4")]);
}

#[test]
fn a_session_without_credits_is_cut_and_others_do_not_notice() {
    let mut stream = Stream::open(SessionLimits { stall: STALL, ..SessionLimits::default() });
    stream.open_session(1, 1);
    stream.open_session(2, 8);
    let slow = stream.propose(1, 1).expect("request");
    stream.frame(1, propose(2));
    let quick = stream.propose(2, 3).expect("request");
    stream.answer(slow, 1);
    stream.answer(slow, 2);
    stream.told();
    stream.wait(STALL / 2);
    assert_eq!(stream.told(), []);
    stream.wait(STALL / 2);
    stream.answer(quick, 3);
    assert_eq!(stream.told(), [told(1, 3, "closed REASON_SLOW_CONSUMER"), told(2, 2, "call 3")]);
    assert!(!stream.mux.is_over());
}

#[test]
fn credits_in_time_keep_a_session() {
    let mut stream = Stream::open(SessionLimits { stall: STALL, ..SessionLimits::default() });
    stream.open_session(1, 1);
    let key = stream.propose(1, 1).expect("request");
    stream.frame(1, propose(2));
    stream.answer(key, 1);
    stream.answer(key, 2);
    stream.told();
    stream.wait(STALL - Duration::from_millis(1));
    stream.frame(1, grant(1));
    stream.told();
    stream.wait(STALL * 3);
    assert_eq!(stream.told(), []);
}

#[test]
fn a_full_outbox_cuts_its_session() {
    let mut stream = Stream::open(SessionLimits { outbox: 3, ..SessionLimits::default() });
    stream.open_session(1, 100);
    let key = stream.propose(1, 0).expect("request");
    for nonce in 1..=3 {
        stream.frame(1, ping(nonce));
    }
    assert_eq!(stream.answer(key, 0), Delivery::Gone);
    assert_eq!(stream.told(), [told(1, 1, "opened"), told(1, 2, "closed REASON_SLOW_CONSUMER")]);
}

#[test]
fn frames_that_were_under_way_to_a_cut_session_are_no_mistake() {
    let mut stream = Stream::open(SessionLimits { outbox: 1, ..SessionLimits::default() });
    stream.open_session(1, 100);
    stream.frame(1, ping(1));
    stream.frame(1, ping(2));
    stream.told();
    stream.frame(1, grant(8));
    assert_eq!(stream.propose(1, 5), None);
    assert_eq!(stream.told(), []);
    stream.open_session(1, 100);
    assert_eq!(stream.told(), [told(1, 1, "opened")]);
}

#[test]
fn a_frame_for_an_unknown_session_is_told_to_that_session_only() {
    let mut stream = Stream::open(SessionLimits::default());
    stream.open_session(1, 0);
    stream.told();
    assert_eq!(stream.propose(9, 1), None);
    stream.frame(8, close());
    let violation = "closed REASON_PROTOCOL_VIOLATION";
    assert_eq!(stream.told(), [told(9, 1, violation), told(8, 1, violation)]);
    assert!(stream.propose(1, 1).is_some());
}

#[test]
fn an_answer_never_reaches_the_next_life_of_a_session_id() {
    let mut stream = Stream::open(SessionLimits::default());
    stream.open_session(1, 0);
    let old = stream.propose(1, 1).expect("request");
    stream.frame(1, close());
    stream.open_session(1, 0);
    stream.told();
    assert_eq!(stream.answer(old, 1), Delivery::Gone);
    assert_eq!(stream.told(), []);
}

#[test]
fn too_many_sessions_or_proposals_are_shed() {
    let limits = SessionLimits { sessions: 2, open_proposals: 1, ..SessionLimits::default() };
    let mut stream = Stream::open(limits);
    for id in 1..=3 {
        stream.open_session(id, 0);
    }
    let key = stream.propose(1, 1).expect("request");
    assert_eq!(stream.propose(1, 2), None);
    let expected = [
        told(1, 1, "opened"),
        told(2, 1, "opened"),
        told(3, 1, "closed REASON_LOAD_SHED"),
        told(1, 2, "error 2 REASON_LOAD_SHED"),
    ];
    assert_eq!(stream.told(), expected);
    stream.answer(key, 1);
    assert!(stream.propose(1, 3).is_some());
}

#[test]
fn sessions_with_much_to_say_take_turns() {
    let mut stream = Stream::open(SessionLimits::default());
    stream.open_session(1, 0);
    stream.open_session(2, 0);
    stream.told();
    for nonce in [10, 11, 12] {
        stream.frame(1, ping(nonce));
    }
    stream.frame(2, ping(20));
    let order: Vec<_> = stream.told().into_iter().map(|(session, ..)| session).collect();
    assert_eq!(order, [1, 2, 1, 1]);
}

#[test]
fn a_stream_that_nobody_reads_is_ended() {
    let mut stream = Stream::open(SessionLimits { stall: STALL, ..SessionLimits::default() });
    stream.open_session(1, 0);
    stream.wait(STALL);
    assert!(stream.mux.is_over());
    assert_eq!(stream.told(), [told(1, 1, "opened"), told(0, 0, "closed REASON_SLOW_CONSUMER")]);
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let mut stream = Stream::open(SessionLimits::default());
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    for nonce in 0..CONTROL_FRAMES as u64 {
        assert_eq!(stream.mux.poll_accept(&waker), Poll::Ready(()));
        stream.frame(0, ping(nonce));
    }
    assert_eq!(stream.mux.poll_accept(&waker), Poll::Pending);
    stream.mux.pop(stream.now);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(stream.mux.poll_accept(&waker), Poll::Ready(()));
}

#[test]
fn output_waits_for_room_and_learns_that_a_session_is_gone() {
    let mut stream = Stream::open(SessionLimits { outbox: 4, ..SessionLimits::default() });
    stream.open_session(1, 100);
    let key = stream.propose(1, 1).expect("request");
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    for _ in 0..2 {
        assert_eq!(stream.mux.poll_room(key, &waker), Poll::Ready(Delivery::Taken));
        stream.mux.deliver(key, 1, Answer::Output(Output::default()), false, stream.now);
    }
    assert_eq!(stream.mux.poll_room(key, &waker), Poll::Pending);
    stream.told();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    stream.mux.deliver(key, 1, Answer::Output(Output::default()), false, stream.now);
    stream.mux.deliver(key, 1, Answer::Output(Output::default()), false, stream.now);
    assert_eq!(stream.mux.poll_room(key, &waker), Poll::Pending);
    stream.frame(1, close());
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    assert_eq!(stream.mux.poll_room(key, &waker), Poll::Ready(Delivery::Gone));
}

#[test]
fn a_session_for_a_name_that_is_none_is_not_opened_and_says_which() {
    let mut stream = Stream::open(SessionLimits::default());
    for bad in ["jan\u{1b}[2J", &"n".repeat(100_000)] {
        stream.frame(3, client_frame::Kind::Open(OpenSession { actor: Some(actor(bad)), credits: 1 }));
        let sent = stream.sent();
        let [Outgoing { session: 3, content: Content::Closed(Some(error)), .. }] = &sent[..] else {
            panic!("{} frames", sent.len())
        };
        assert_eq!((error.reason(), error.violations[0].pointer.as_str()), (Reason::InvalidAction, "/actor/user"));
    }
    stream.open_session(3, 1);
    assert_eq!(stream.told(), [(3, 1, "opened".to_owned())]);
}
