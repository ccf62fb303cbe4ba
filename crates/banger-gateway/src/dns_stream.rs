//! DNS over TCP: the same resolver, with the length of each message before it.

use std::time::Duration;

use banger_guest_protocol::flow::Kind;

use crate::credit::{WINDOW_MIN, Window};
use crate::dns;
use crate::flow::FlowState;
use crate::gateway::Gateway;

/// How long a connection may be idle.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// Longest question, in bytes: it fits what a flow may always send.
const QUESTION_MAX_LEN: usize = WINDOW_MIN - 2;

/// Answers questions until the guest ends.
pub(crate) async fn serve(gateway: &Gateway, id: u32, state: &FlowState) {
    let mut window = Window::new(&gateway.budget);
    state.said.borrow_mut().granted = WINDOW_MIN;
    gateway.outbox.push(Kind::Opened, id, &[&(WINDOW_MIN as u32).to_le_bytes()]);
    let last = loop {
        let (reset, ended) = (state.said.borrow().reset, state.said.borrow().ended);
        if reset {
            return;
        }
        match next_question(state) {
            Question::Whole(question) => {
                let Some(answer) = dns::answer(gateway, &question).await else { break Kind::Reset };
                let len = (answer.len() as u16).to_be_bytes();
                let mut said = state.said.borrow_mut();
                if said.credit < answer.len() + len.len() {
                    break Kind::Reset;
                }
                said.credit -= answer.len() + len.len();
                let more = window.consumed(question.len() + len.len());
                said.granted += more;
                drop(said);
                gateway.outbox.push(Kind::Data, id, &[&len, &answer]);
                gateway.outbox.push(Kind::Credit, id, &[&(more as u32).to_le_bytes()]);
            }
            Question::TooLong => break Kind::Reset,
            Question::Incomplete if ended => break Kind::End,
            Question::Incomplete => {
                if tokio::time::timeout(IDLE_LIMIT, state.changed.notified()).await.is_err() {
                    break Kind::Reset;
                }
            }
        }
    };
    gateway.outbox.push(last, id, &[]);
}

enum Question {
    Whole(Vec<u8>),
    Incomplete,
    TooLong,
}

fn next_question(state: &FlowState) -> Question {
    let data = &mut state.said.borrow_mut().data;
    let Some(len) = data.first_chunk::<2>().map(|len| usize::from(u16::from_be_bytes(*len))) else {
        return Question::Incomplete;
    };
    if len > QUESTION_MAX_LEN {
        return Question::TooLong;
    }
    if data.len() < 2 + len {
        return Question::Incomplete;
    }
    let question = data[2..2 + len].to_vec();
    data.drain(..2 + len);
    Question::Whole(question)
}
