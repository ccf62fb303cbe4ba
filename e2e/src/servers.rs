//! Servers at every address of two network namespaces. They say which address and port were reached.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Answers HTTP, at every address.
const HTTP_PORT: u16 = 80;
/// Says where it is, then sends back what it gets; over UDP as well.
const ECHO_PORT: u16 = 7;
/// Says where it is, and hangs up.
const BRIEF_PORT: u16 = 13;
/// Answers HTTP on the host's loopback.
pub const LOOPBACK_PORT: u16 = 11434;

/// What `/large` yields, piece by piece, with a pause after each: about 6 s.
const PIECE_LEN: usize = 256 * 1024;
const PIECES: usize = 64;
const PIECE_PAUSE: Duration = Duration::from_millis(100);

/// Who connected: the address that was reached, and the first line and the Host of each request.
type Requests = Arc<Mutex<Vec<String>>>;

/// They run until the test's process ends.
pub struct Servers {
    requests: Requests,
}

/// For HTTP, for echoes, to be brief, for datagrams.
type Bound = (Vec<TcpListener>, [TcpListener; 2], UdpSocket);

impl Servers {
    /// `host` and `world` run what they are given in their namespace.
    pub(crate) fn new(
        host: impl FnOnce(fn() -> Bound) -> Bound,
        world: impl FnOnce(fn() -> Bound) -> Bound,
    ) -> Self {
        let requests = Requests::default();
        for (http, [echo, brief], udp) in [host(bind_host), world(bind_world)] {
            for listener in http {
                serve(listener, &requests, answer_http);
            }
            serve(echo, &requests, echo_back);
            serve(brief, &requests, say_where);
            std::thread::spawn(move || echo_datagrams(&udp));
        }
        Self { requests }
    }

    /// `ADDRESS PORT` for each connection to one of ours so far, and `ADDRESS PORT: REQUEST LINE, HOST` for
    /// each request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("servers do not panic").clone()
    }

    /// The digest of `/large`.
    pub fn large_sha256(&self) -> String {
        let mut digest = Sha256::new();
        (0..PIECES).for_each(|at| digest.update(piece(at)));
        hex::encode(digest.finalize())
    }
}

fn bind_world() -> Bound {
    let any = |port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a port of our own namespace");
    let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, ECHO_PORT)).expect("a port of our own namespace");
    (vec![any(HTTP_PORT)], [any(ECHO_PORT), any(BRIEF_PORT)], udp)
}

fn bind_host() -> Bound {
    let (mut http, others, udp) = bind_world();
    let loopback = TcpListener::bind((Ipv4Addr::LOCALHOST, LOOPBACK_PORT));
    http.push(loopback.expect("a port of our own namespace"));
    (http, others, udp)
}

fn serve(listener: TcpListener, requests: &Requests, answer: fn(TcpStream, &Requests) -> io::Result<()>) {
    let requests = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let requests = requests.clone();
            if let Ok(at) = stream.local_addr() {
                note(&requests, place(at));
            }
            // Clients that break off are what some scenarios are about.
            std::thread::spawn(move || answer(stream, &requests));
        }
    });
}

fn note(requests: &Requests, text: String) {
    requests.lock().expect("servers do not panic").push(text);
}

/// `ADDRESS PORT`: IPv4 as such, although one socket serves both.
fn place(at: SocketAddr) -> String {
    format!("{} {}", at.ip().to_canonical(), at.port())
}

/// HTTP/1.1 with connections that are kept.
fn answer_http(mut stream: TcpStream, requests: &Requests) -> io::Result<()> {
    let here = place(stream.local_addr()?);
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut host = String::new();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if header.to_lowercase().starts_with("host:") {
                host = header.trim().to_owned();
            }
        }
        note(requests, format!("{here}: {}, {host}", line.trim()));
        let path = line.split(' ').nth(1).unwrap_or_default();
        match path.strip_prefix("/to/") {
            _ if path == "/large" => send_large(&mut stream)?,
            Some(target) => {
                write!(
                    stream,
                    "HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n"
                )?;
            }
            None => {
                let body = format!("you reached {here}\n");
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + &body).as_bytes())?;
            }
        }
    }
}

fn send_large(stream: &mut TcpStream) -> io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", PIECES * PIECE_LEN)?;
    for at in 0..PIECES {
        stream.write_all(&piece(at))?;
        std::thread::sleep(PIECE_PAUSE);
    }
    Ok(())
}

/// No two pieces, and no two parts of one, are the same.
fn piece(at: usize) -> Vec<u8> {
    (0..PIECE_LEN / 8).flat_map(|word| ((at * PIECE_LEN + word) as u64).to_le_bytes()).collect()
}

fn say_where(mut stream: TcpStream, _requests: &Requests) -> io::Result<()> {
    stream.write_all(format!("you reached {}\n", place(stream.local_addr()?)).as_bytes())
}

fn echo_back(mut stream: TcpStream, requests: &Requests) -> io::Result<()> {
    say_where(stream.try_clone()?, requests)?;
    let mut buffer = [0; 4096];
    while let len @ 1.. = stream.read(&mut buffer)? {
        stream.write_all(&buffer[..len])?;
    }
    Ok(())
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    // An error is that of an answer which nobody took.
    loop {
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _nobody_took_it = socket.send_to(&buffer[..len], from);
        }
    }
}
