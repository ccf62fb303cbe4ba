//! A server that says exactly what a test wants, byte by byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Nothing is served for longer than this.
const MAX_LIFE: Duration = Duration::from_secs(20);

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
    /// How many requests for the same path came before.
    pub(crate) earlier: usize,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte that is asked for.
    pub(crate) fn first_byte(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        range.map_or(0, |first| first.parse().unwrap())
    }
}

/// What goes out: a head, and a body that may break off, drip or never end.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    announced: Option<usize>,
    sent: usize,
    endless: bool,
    drip: Option<(usize, Duration)>,
    under_way: Option<Arc<AtomicUsize>>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let (announced, sent) = (Some(body.len()), body.len());
        Self {
            status,
            headers: Vec::new(),
            body,
            announced,
            sent,
            endless: false,
            drip: None,
            under_way: None,
        }
    }

    /// The body from the byte that is asked for.
    pub(crate) fn ranged(request: &Request, body: &[u8]) -> Self {
        match request.first_byte() {
            0 => Self::new(200, body),
            from if from >= body.len() => Self::new(416, ""),
            from => Self::new(206, &body[from..])
                .with("Content-Range", &format!("bytes {from}-{}/{}", body.len() - 1, body.len())),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn to(location: &str) -> Self {
        Self::new(307, "").with("Location", location)
    }

    /// Closes after this many bytes of the body.
    pub(crate) fn cut_after(mut self, bytes: usize) -> Self {
        self.sent = bytes.min(self.body.len());
        self
    }

    pub(crate) fn announcing(mut self, bytes: Option<usize>) -> Self {
        self.announced = bytes;
        self
    }

    /// Repeats the body until the client has enough.
    pub(crate) fn endless(mut self) -> Self {
        (self.endless, self.announced) = (true, None);
        self
    }

    /// So many bytes at a time, with a pause after each.
    pub(crate) fn dripping(mut self, bytes: usize, pause: Duration) -> Self {
        self.drip = Some((bytes, pause));
        self
    }

    /// Counts one less just before the last piece goes out.
    pub(crate) fn counted_in(mut self, under_way: &Arc<AtomicUsize>) -> Self {
        self.under_way = Some(Arc::clone(under_way));
        self
    }

    async fn write(&self, stream: &mut TcpStream, served: &AtomicU64) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.announced {
            Some(bytes) => head += &format!("Content-Length: {bytes}\r\n\r\n"),
            None => head += "Transfer-Encoding: chunked\r\n\r\n",
        }
        stream.write_all(head.as_bytes()).await?;
        let body = &self.body[..self.sent];
        let (piece, pause) = self.drip.unwrap_or((16 << 10, Duration::ZERO));
        loop {
            let pieces = body.len().div_ceil(piece);
            for (number, bytes) in body.chunks(piece).enumerate() {
                if let Some(under_way) = self.under_way.as_ref().filter(|_| number + 1 == pieces) {
                    under_way.fetch_sub(1, Ordering::SeqCst);
                }
                if self.announced.is_none() {
                    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
                }
                stream.write_all(bytes).await?;
                served.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if self.announced.is_none() {
                    stream.write_all(b"\r\n").await?;
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
            if !self.endless {
                break;
            }
        }
        if self.announced.is_none() && self.sent == self.body.len() {
            stream.write_all(b"0\r\n\r\n").await?;
        }
        stream.shutdown().await
    }
}

type Script = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// Runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    served: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1", script).await
    }

    /// On another address of the loopback interface.
    pub(crate) async fn start_on(
        host: &str,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (log, served) = (Arc::default(), Arc::default());
        let script: Script = Arc::new(script);
        let task = tokio::spawn(accept(listener, script, Arc::clone(&log), Arc::clone(&served)));
        Self { address, log, served, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// The requests for paths that contain this.
    pub(crate) fn asked_for(&self, part: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.path.contains(part)).collect()
    }

    /// How many bytes of bodies went out.
    pub(crate) fn served_bytes(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    script: Script,
    log: Arc<Mutex<Vec<Request>>>,
    served: Arc<AtomicU64>,
) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let (script, log, served) = (Arc::clone(&script), Arc::clone(&log), Arc::clone(&served));
        tokio::spawn(tokio::time::timeout(MAX_LIFE, async move {
            let Some(mut request) = read(&mut stream).await else {
                // Such as a TLS greeting.
                let _ = Reply::new(400, "").write(&mut stream, &served).await;
                return;
            };
            let reply = {
                let mut log = log.lock().unwrap();
                request.earlier = log.iter().filter(|before| before.path == request.path).count();
                log.push(request.clone());
                script(&request)
            };
            // The client may have had enough.
            let _ = reply.write(&mut stream, &served).await;
            let mut rest = [0; 1024];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        }));
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        if !bytes[0].is_ascii_uppercase() {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let body_len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < body_len {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        body.extend_from_slice(&piece[..read]);
    }
    Some(Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::from_utf8(body).ok()?,
        earlier: 0,
    })
}
