//! How the host reaches the agent in a guest. The VMM says it, the session with the guest uses it.

/// Where an agent can be spoken to. Sockets are named as they are in the VM's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentChannel {
    /// A virtio-serial port: one stream of bytes that outlives whoever speaks over it, so that streams are
    /// multiplexed.
    Serial { socket: &'static str },
    /// A VMM's hybrid vsock: after `CONNECT <port>` a connection to the socket is a stream to the guest.
    Vsock { socket: &'static str, port: u32 },
}
