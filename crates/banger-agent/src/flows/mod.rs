//! The guest's network: what programs send over `eth0` ends here and goes on to the host as flows
//! ([`banger_guest_protocol::flow`]).
//!
//! `eth0` is a TUN. Its packets come to this thread, which is every TCP server in the world to the guest's
//! kernel: a connection is accepted when the gateway on the host has reached the real one, and refused when
//! it has not. No packet leaves the guest.
//!
//! One thread, one loop, no timers but TCP's own: emulated, each wake-up counts.

mod connection;
mod frame_queue;
mod gateway_port;
mod packet;
mod reply;
mod stack;
#[cfg(test)]
mod stack_tests;
mod tun;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use banger_guest_protocol::flow::PORT_NAME;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use self::gateway_port::{Event, GatewayPort};
use self::stack::Stack;
pub(crate) use self::tun::MTU;
use self::tun::Tun;
use crate::init::modules;
use crate::system_error::{Context as _, SystemError};
use crate::{console, port};

/// How long the port may take to appear: it does with the one that the agent is reached over.
const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Where the driver lies in the directory of the kernel's modules.
const DRIVER: &str = "kernel/drivers/net/tun.ko";

/// How often to look for a gateway that is away: its return is no event one could wait for.
const ABSENT_INTERVAL: Duration = Duration::from_millis(20);

/// What the port yields at once, and how long the host takes for it.
const PAGE_LEN: usize = 4096;
const PAGE_PAUSE: Duration = Duration::from_micros(12);
const PAUSE_MAX: Duration = Duration::from_micros(100);

/// A packet of which there are probably more.
const BULK_LEN: usize = 8 * 1024;

/// How many packets are taken before the gateway's frames have their turn again.
const PACKETS_AT_ONCE: usize = 64;

/// Makes the interface `name`, without an address, and begins to serve it. It is there for as long as the
/// agent. `root` is where the image is.
///
/// # Errors
///
/// When the kernel has no TUN, or the machine has no port for the gateway.
pub(crate) fn begin(root: &Path, name: &str) -> Result<(), SystemError> {
    let tun = match Tun::create(name) {
        Ok(tun) => tun,
        // The initramfs of a kernel that an earlier banger got has no driver; the disk of modules has.
        Err(error) => match modules::load_from_tree(root, DRIVER) {
            Ok(()) => Tun::create(name)?,
            Err(_) => return Err(error),
        },
    };
    let port = GatewayPort::new(wait_for_port()?).context("wait on", "the port to the gateway")?;
    let serve = move || {
        let Err(error) = serve(tun, port);
        console::say(format_args!("the network broke: {error}"));
    };
    std::thread::Builder::new()
        .name("network".into())
        .spawn(serve)
        .context("start", "the network's thread")?;
    Ok(())
}

fn wait_for_port() -> Result<std::os::fd::OwnedFd, SystemError> {
    let end = Instant::now() + APPEARANCE_TIMEOUT;
    loop {
        if let Some(port) = port::open(PORT_NAME)? {
            return Ok(port);
        }
        if Instant::now() > end {
            return Err(SystemError::new(
                "find",
                format_args!("the virtio-serial port {PORT_NAME}"),
                io::Error::from(io::ErrorKind::NotFound),
            ));
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Moves packets and frames for ever.
fn serve(mut tun: Tun, mut port: GatewayPort) -> io::Result<std::convert::Infallible> {
    let mut stack = Stack::new(Instant::now());
    loop {
        wait_for_rest(port.missing());
        let ready = wait(&tun, &port, &stack)?;
        let now = Instant::now();
        if ready.port_in {
            port.receive(|event| match event {
                Event::SessionBegan => stack.gateway_came(now, &mut tun),
                Event::SessionEnded => stack.gateway_went(now, &mut tun),
                Event::Frame(header, body) => stack.frame(header, body, now, &mut tun),
            })?;
        }
        if ready.tun_in {
            for _ in 0..PACKETS_AT_ONCE {
                let Some(packet) = tun.receive()? else { break };
                stack.packet(&packet, now, &mut tun);
                let is_bulk = packet.len() > BULK_LEN;
                tun.recycle(packet);
                if !is_bulk {
                    // Most likely the only one: it is not worth another call to be told so.
                    break;
                }
            }
        }
        stack.settle(now, &mut tun);
        port.send(stack.frames())?;
    }
}

/// The rest of a large frame is on its way, page by page: without a pause the loop would run for each of
/// them, which emulated takes longer than the page.
fn wait_for_rest(missing: usize) {
    let pages = missing / PAGE_LEN;
    if pages > 1 {
        std::thread::sleep((PAGE_PAUSE * pages as u32).min(PAUSE_MAX));
    }
}

/// What there is to do.
struct Ready {
    tun_in: bool,
    port_in: bool,
}

fn wait(tun: &Tun, port: &GatewayPort, stack: &Stack) -> io::Result<Ready> {
    let mut wanted = PollFlags::IN;
    if stack.has_frames() || port.has_unsent() {
        wanted |= PollFlags::OUT;
    }
    // While the gateway takes nothing the guest's kernel keeps its packets.
    let tun_wanted = if stack.takes_packets() { PollFlags::IN } else { PollFlags::empty() };
    let mut fds = [PollFd::new(tun.fd(), tun_wanted), PollFd::new(port.fd(), wanted)];
    let now = Instant::now();
    let deadline = stack.deadline().map(|at| at.saturating_duration_since(now));
    // A port whose host is away is always ready: it is left out, and looked at now and then.
    let away = port.is_host_away();
    let limit =
        if away { Some(deadline.map_or(ABSENT_INTERVAL, |at| at.min(ABSENT_INTERVAL))) } else { deadline };
    let limit = limit.map(|limit| Timespec {
        tv_sec: limit.as_secs() as i64,
        // Rounded up: woken too soon, it would only wait again.
        tv_nsec: i64::from(limit.subsec_nanos()) + i64::from(limit.subsec_nanos() < 999_000_000) * 500_000,
    });
    let watched = if away { 1 } else { 2 };
    match poll(&mut fds[..watched], limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let port_in = away || !fds[1].revents().is_empty();
    Ok(Ready { tun_in: !fds[0].revents().is_empty(), port_in })
}
