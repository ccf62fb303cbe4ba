use banger_guest_protocol::ports::{COMMAND_MAX_LEN, LISTENERS_MAX, Ports, PortsQuery, TcpPorts};
use futures_util::{Stream, StreamExt as _};
use http::Method;

use super::client::{ANSWER_LIMIT, with_limit};
use super::import::lines;
use super::{Guest, GuestError};

/// More than a process has that listens on all addresses of both families.
const ADDRESSES_MAX: usize = 4;

/// What listens in the guest, as it says: bounded, but any text may be in it.
impl Guest {
    /// Every socket that waits for others, and what it speaks.
    pub async fn ports(&self) -> Result<Ports, GuestError> {
        let path = format!("/v1/ports?{}", PortsQuery { probe: true }.to_query());
        let ports = self.json(Method::GET, "ports", &path, &(), ANSWER_LIMIT).await?;
        Ok(bounded(ports))
    }

    /// The TCP ports on which somebody listens, now and after each change.
    pub async fn watch_ports(
        &self,
    ) -> Result<impl Stream<Item = Result<TcpPorts, GuestError>> + Unpin, GuestError> {
        let request = "watch ports";
        let response = self.send(Method::GET, request, "/v1/ports/watch", &(), None);
        let response = with_limit(request, ANSWER_LIMIT, response).await?;
        Ok(lines(response).map(move |line| {
            let line = line.map_err(|_| GuestError::Broken)?;
            let mut now: TcpPorts =
                serde_json::from_str(&line).map_err(|source| GuestError::Body { request, source })?;
            now.ports.retain(|port| *port != 0);
            now.ports.sort_unstable();
            now.ports.dedup();
            now.ports.truncate(LISTENERS_MAX);
            Ok(now)
        }))
    }
}

fn bounded(mut ports: Ports) -> Ports {
    ports.truncated |= ports.listeners.len() > LISTENERS_MAX;
    ports.listeners.truncate(LISTENERS_MAX);
    for listener in &mut ports.listeners {
        listener.addresses.truncate(ADDRESSES_MAX);
        if let Some(process) = &mut listener.process {
            cut(&mut process.name);
            cut(&mut process.command);
        }
    }
    ports
}

fn cut(text: &mut String) {
    let end = (0..=COMMAND_MAX_LEN.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use banger_guest_protocol::ports::{Listener, Process, Protocol};

    use super::*;

    #[test]
    fn a_guest_cannot_tell_without_end() {
        let long = "\u{e9}".repeat(300);
        let listener = Listener {
            protocol: Protocol::Udp,
            port: 1,
            addresses: vec!["::".parse().unwrap(); 100],
            service: None,
            process: Some(Process { pid: 1, name: long.clone(), command: long }),
        };
        let told = bounded(Ports { listeners: vec![listener; 2000], truncated: false });
        assert!(told.truncated && told.listeners.len() == LISTENERS_MAX);
        let process = told.listeners[0].process.as_ref().unwrap();
        assert_eq!((told.listeners[0].addresses.len(), process.name.len()), (ADDRESSES_MAX, COMMAND_MAX_LEN));
    }
}
