//! One connection of an origin to this shard.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use catena_replicated::{FromOrigin, ToOrigin};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use crate::limits::{CLOSING_TICKS, REPLIES};

/// The connection is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// An open connection. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Connection {
    waker: Waker,
    from: mpsc::Receiver<FromOrigin>,
    to: PollSender<ToOrigin>,
    /// Answers that wait for room.
    replies: VecDeque<ToOrigin>,
    /// Whether the replica may owe it something.
    is_owed: bool,
    /// Ticks that are left for the last answers.
    closing: Option<u32>,
}

impl Connection {
    pub fn new(
        waker: Waker,
        from: mpsc::Receiver<FromOrigin>,
        to: mpsc::Sender<ToOrigin>,
    ) -> Connection {
        Connection {
            waker,
            from,
            to: PollSender::new(to),
            replies: VecDeque::new(),
            is_owed: false,
            closing: None,
        }
    }

    /// The next message. One that is being closed has nothing to say any more.
    pub fn poll_receive(&mut self) -> Poll<Result<FromOrigin, Gone>> {
        if self.closing.is_some() {
            return Poll::Pending;
        }
        let mut cx = Context::from_waker(&self.waker);
        self.from
            .poll_recv(&mut cx)
            .map(|message| message.ok_or(Gone))
    }

    /// The replica may owe it something from now on.
    pub fn owe(&mut self) {
        self.is_owed = self.closing.is_none();
    }

    /// Takes an answer, which is never lost.
    ///
    /// # Errors
    /// [`Gone`] when too many wait.
    pub fn reply(&mut self, message: ToOrigin) -> Result<(), Gone> {
        if self.replies.len() >= REPLIES {
            return Err(Gone);
        }
        self.replies.push_back(message);
        Ok(())
    }

    /// Ends the connection after what was answered.
    pub fn close(&mut self) {
        self.is_owed = false;
        self.closing = Some(CLOSING_TICKS);
    }

    /// Whether something waits to be sent.
    pub fn has_to_send(&self) -> bool {
        self.is_owed || !self.replies.is_empty() || self.closing.is_some()
    }

    /// Sends what waits and what `owed` says, as far as there is room; the waker is woken when there is room again.
    ///
    /// # Errors
    /// [`Gone`] once the connection is over, also when all was said before its close.
    pub fn send(&mut self, mut owed: impl FnMut() -> Option<ToOrigin>) -> Result<(), Gone> {
        let mut cx = Context::from_waker(&self.waker);
        while self.is_owed || !self.replies.is_empty() {
            match self.to.poll_reserve(&mut cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(room) => room.map_err(|_| Gone)?,
            }
            let Some(message) = self.replies.pop_front().or_else(&mut owed) else {
                self.is_owed = false;
                break;
            };
            self.to.send_item(message).map_err(|_| Gone)?;
        }
        match self.closing {
            Some(_) => Err(Gone),
            None => Ok(()),
        }
    }

    /// Counts a tick; `false` once the time to close is over.
    pub fn tick(&mut self) -> bool {
        match &mut self.closing {
            Some(left) => {
                *left = left.saturating_sub(1);
                *left > 0
            }
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TO_ORIGIN_MESSAGES;

    fn connection() -> (Connection, mpsc::Receiver<ToOrigin>) {
        let (_, from) = mpsc::channel(1);
        let (to, answers) = mpsc::channel(TO_ORIGIN_MESSAGES);
        (Connection::new(Waker::noop().clone(), from, to), answers)
    }

    fn gap(applied_through: u64) -> ToOrigin {
        ToOrigin::Gap { applied_through }
    }

    // An answer that is lost is one that somebody waits for.
    #[test]
    fn answers_wait_for_room_and_come_before_the_end() {
        let (mut connection, mut answers) = connection();
        let count = TO_ORIGIN_MESSAGES + REPLIES / 2;
        for number in 0..count {
            connection.reply(gap(number as u64)).unwrap();
            if number < TO_ORIGIN_MESSAGES {
                connection.send(|| None).unwrap();
            }
        }
        connection.close();
        connection.owe();
        connection
            .send(|| panic!("nothing is owed any more"))
            .unwrap();
        let mut came = 0;
        while let Ok(answer) = answers.try_recv() {
            assert!(matches!(answer, ToOrigin::Gap { applied_through } if applied_through == came));
            came += 1;
            let _ = connection.send(|| None);
        }
        assert_eq!(came, count as u64);
        assert_eq!(connection.send(|| None), Err(Gone));
    }

    // One that takes nothing would keep its place for ever.
    #[test]
    fn answers_and_the_time_to_take_them_are_bounded() {
        let (mut connection, _answers) = connection();
        for number in 0..REPLIES {
            connection.reply(gap(number as u64)).unwrap();
        }
        assert_eq!(connection.reply(gap(0)), Err(Gone));
        assert!(connection.tick(), "it is not to be closed");
        connection.close();
        let ticks = (0..=CLOSING_TICKS)
            .take_while(|_| connection.tick())
            .count();
        assert_eq!(ticks as u32 + 1, CLOSING_TICKS);
    }
}
