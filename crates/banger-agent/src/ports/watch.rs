//! Tells when the guest begins to listen on a port, or ends it.
//!
//! The kernel tells nobody of that (its netlink events know only of connections that end), so the tables are
//! read again and again. Here that costs a guest about a millisecond even when it is emulated, and nothing
//! goes to the host until there is something to say.

use std::time::Duration;

use banger_guest_protocol::ports::TcpPorts;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::tcp_ports;

/// People start a server and reload a page.
const INTERVAL: Duration = Duration::from_millis(500);

/// The ports as they are, and again whenever they have changed, for as long as the receiver is held.
pub fn watch() -> mpsc::Receiver<TcpPorts> {
    let (changes, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut looks = interval(INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = None;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = changes.closed() => return,
            }
            // What cannot be read now is read the next time.
            let Ok(now) = tcp_ports() else { continue };
            if last.as_ref() != Some(&now) {
                last = Some(now.clone());
                if changes.send(now).await.is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn changes_are_told_and_nothing_else() {
        let mut changes = watch();
        assert!(changes.recv().await.is_some());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // Other tests of this process listen as well.
        while !changes.recv().await.unwrap().ports.contains(&port) {}
        drop(listener);
        while changes.recv().await.unwrap().ports.contains(&port) {}
    }
}
