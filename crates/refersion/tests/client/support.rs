use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use refersion_relay_model::{Email, KeyPair, NewAffiliate, Personal};
use refersion_relay_refersion::{
    Applied, Client, ClientSettings, Existing, Failure, NewAffiliateDefaults, Operation, ProxyUrl, Status,
};
use refersion_relay_simulator as simulator;
use refersion_relay_simulator::{Settings, Simulator};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const PUBLIC_KEY: &str = "pub_visible";
pub(crate) const SECRET_KEY: &str = "sec_visible";

/// Long enough for any answer that comes at all.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn keys() -> KeyPair {
    KeyPair::new(PUBLIC_KEY, SECRET_KEY)
}

pub(crate) fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

/// A person of whom nothing is known but what Refersion insists on.
pub(crate) fn person(address: &str) -> NewAffiliate {
    NewAffiliate {
        email: email(address),
        first_name: Personal::new("Peter"),
        last_name: Personal::new("Gibbons"),
        company: None,
        phone: None,
        address1: None,
        city: None,
        state: None,
        zip: None,
        country: None,
        unique_merchant_id: None,
        omitted: Vec::new(),
    }
}

pub(crate) const ACTIVE: NewAffiliateDefaults = NewAffiliateDefaults { status: Status::Active, send_welcome: false };

pub(crate) async fn create(client: &Client, address: &str) -> Result<Applied, Failure> {
    client.create(&keys(), &person(address), ACTIVE, Existing::Keep).await
}

pub(crate) async fn deactivate(client: &Client, address: &str) -> Result<Applied, Failure> {
    client.deactivate(&keys(), &email(address)).await
}

pub(crate) fn client(base_url: &str) -> Client {
    client_with(base_url, PATIENCE, |_, _| ())
}

pub(crate) fn client_with(
    base_url: &str,
    timeout: Duration,
    observe: impl Fn(Operation, &'static str) + Send + Sync + 'static,
) -> Client {
    listen();
    let observer = Arc::new(move |operation, outcome, _| observe(operation, outcome));
    Client::new(ClientSettings { base_url: base_url.to_owned(), timeout, proxy: None, observer }).unwrap()
}

pub(crate) fn client_through(proxy: ProxyUrl, base_url: &str) -> Client {
    listen();
    let observer = Arc::new(|_, _, _| ());
    let settings = ClientSettings { base_url: base_url.to_owned(), timeout: PATIENCE, proxy: Some(proxy), observer };
    Client::new(settings).unwrap()
}

/// What all tests together have logged, down to the smallest detail.
static LOG: Log = Log(Mutex::new(Vec::new()));

struct Log(Mutex<Vec<u8>>);

impl io::Write for &Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts the log. It is one for the whole process, and every test starts it before anything can be logged: what was
/// logged first without a listener may be remembered as not worth logging.
fn listen() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| &LOG)
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

pub(crate) fn logged() -> String {
    String::from_utf8(LOG.0.lock().unwrap().clone()).unwrap()
}

/// A simulator behind a port of its own, which stops when this is dropped.
pub(crate) struct Simulated {
    pub(crate) simulator: Simulator,
    pub(crate) client: Client,
    pub(crate) base_url: String,
    _stop: DropGuard,
}

impl Simulated {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        listen();
        let simulator = Simulator::new(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v2", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn({
            let (simulator, stop) = (simulator.clone(), stop.clone());
            async move { simulator.serve(listener, stop).await }
        });
        Self { simulator, client: client(&base_url), base_url, _stop: stop.drop_guard() }
    }

    /// Puts an affiliate in place, without a call.
    pub(crate) fn seed(&self, address: &str, status: simulator::Status) {
        let affiliate =
            simulator::NewAffiliate { email: address.to_owned(), status, ..simulator::NewAffiliate::default() };
        self.simulator.add_affiliate(PUBLIC_KEY, affiliate);
    }

    /// The addresses that are disabled, in order of creation.
    pub(crate) fn disabled(&self) -> Vec<String> {
        let affiliates = self.simulator.affiliates().into_iter();
        affiliates
            .filter(|affiliate| affiliate.status == simulator::Status::Disabled)
            .map(|affiliate| affiliate.email)
            .collect()
    }

    /// Every operation that was called, in order.
    pub(crate) fn called(&self) -> Vec<simulator::Operation> {
        self.simulator.calls().iter().map(|call| call.operation).collect()
    }
}

/// One request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn operation(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The page that a search asks for.
    pub(crate) fn page(&self) -> usize {
        self.json()["page"].as_str().unwrap().parse().unwrap()
    }
}

/// One answer as it goes over the wire.
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    missing_bytes: usize,
}

impl Reply {
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), missing_bytes: 0 }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::text(status, body.to_string()).header("Content-Type", "application/json")
    }

    pub(crate) fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Announces more bytes than are sent.
    pub(crate) fn cut_off(mut self) -> Self {
        self.missing_bytes = 1;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let length = self.body.len() + self.missing_bytes;
        let mut head = format!("HTTP/1.1 {} Whatever\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        // A 204 has neither a body nor its length.
        if self.status != 204 {
            write!(head, "Content-Length: {length}\r\n").unwrap();
        }
        format!("{head}\r\n{}", self.body).into_bytes()
    }
}

/// A server that answers whatever a test wants answered, and remembers what it was asked.
pub(crate) struct FakeRefersion {
    pub(crate) client: Client,
    pub(crate) base_url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    _stop: DropGuard,
}

impl FakeRefersion {
    /// Answers one request after the other.
    pub(crate) async fn answering(mut answer: impl FnMut(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}/v2", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        tokio::spawn({
            let (requests, stop) = (requests.clone(), stop.clone());
            stop.run_until_cancelled_owned(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let mut stream = BufReader::new(stream);
                    // A client that goes away in the middle is not a request.
                    let Some(request) = receive(&mut stream).await else { continue };
                    let reply = answer(&request);
                    requests.lock().unwrap().push(request);
                    // The client may have stopped reading an answer that is too long.
                    let _ = stream.write_all(&reply.bytes()).await;
                    let _ = stream.shutdown().await;
                }
            })
        });
        Self { client: client(&base_url), base_url, requests, _stop: stop.drop_guard() }
    }

    /// Answers every request in the same way.
    pub(crate) async fn always(reply: impl Fn() -> Reply + Send + 'static) -> Self {
        Self::answering(move |_| reply()).await
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The bodies that one operation was sent.
    pub(crate) fn bodies(&self, operation: &str) -> Vec<Value> {
        self.requests().iter().filter(|request| request.operation() == operation).map(Request::json).collect()
    }
}

async fn receive(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    // Only what has a body has a length.
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(Ok(0), |(_, value)| value.parse()).ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).ok()? })
}
