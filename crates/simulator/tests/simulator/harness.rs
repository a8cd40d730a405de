use std::{io, net::SocketAddr};

use refersion_relay_simulator::{NewAffiliate, Settings, Simulator, Stats};
use serde_json::{Map, Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) const PUBLIC_KEY: &str = "pub_1";
pub(crate) const PASSWORD: &str = "Abcdefg1!";

/// A simulator behind a port of its own, which stops when this is dropped.
pub(crate) struct Harness {
    pub(crate) simulator: Simulator,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<io::Result<()>>,
    address: SocketAddr,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let simulator = Simulator::new(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let (simulator, stop) = (simulator.clone(), stop.clone());
            async move { simulator.serve(listener, stop).await }
        });
        Self { simulator, stop, serving, address }
    }

    /// Calls an operation with keys that are let in.
    pub(crate) async fn call(&self, operation: &str, body: &Value) -> Reply {
        self.try_call(operation, &body.to_string()).await.unwrap()
    }

    pub(crate) async fn try_call(&self, operation: &str, body: &str) -> io::Result<Reply> {
        self.exchange(&format!("/affiliate/{operation}"), (PUBLIC_KEY, "sec_1"), body).await
    }

    pub(crate) async fn exchange(&self, path: &str, keys: (&str, &str), body: &str) -> io::Result<Reply> {
        let mut stream = self.send("POST", path, keys, body).await;
        Reply::read(&mut stream).await
    }

    /// Asks one of the routes that Refersion does not have.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &str) -> Reply {
        let mut stream = self.send(method, &format!("/_simulator/{path}"), ("", ""), body).await;
        Reply::read(&mut stream).await.unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects and says nothing.
    pub(crate) async fn connect(&self) -> io::Result<TcpStream> {
        TcpStream::connect(self.address).await
    }

    /// Sends a request and leaves the answer to be read.
    pub(crate) async fn send(&self, method: &str, path: &str, keys: (&str, &str), body: &str) -> TcpStream {
        let (public, secret) = keys;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Refersion-Public-Key: {public}\r\nRefersion-Secret-Key: {secret}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = self.connect().await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Seeds an affiliate and returns its numeric id and its code.
    pub(crate) fn seed(&self, email: &str) -> (u64, String) {
        self.simulator.add_affiliate(PUBLIC_KEY, person(email));
        let affiliate = self.simulator.affiliates().pop().unwrap();
        (affiliate.id, affiliate.code)
    }

    /// Waits until the counts are as wanted, by asking over and over again.
    pub(crate) async fn until(&self, wanted: impl Fn(&Stats) -> bool) {
        while !wanted(&self.simulator.stats()) {
            tokio::task::yield_now().await;
        }
    }
}

impl Reply {
    async fn read(stream: &mut TcpStream) -> io::Result<Self> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Self { status: status.ok_or(io::ErrorKind::InvalidData)?, head: head.to_lowercase(), body: body.to_owned() })
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16, body: &Value) {
        assert_eq!((self.status, self.json()), (status, body.clone()));
    }

    /// The one way in which a 422 is phrased.
    #[track_caller]
    pub(crate) fn is_unacceptable(&self, reasons: &[&str]) {
        self.is(422, &json!({ "errors": reasons }));
    }

    /// What a client sees of a field that is not accepted.
    #[track_caller]
    pub(crate) fn is_no_content(&self) {
        assert_eq!((self.status, self.body.as_str()), (204, ""));
    }
}

/// An affiliate to seed.
pub(crate) fn person(email: &str) -> NewAffiliate {
    NewAffiliate {
        email: email.to_owned(),
        first_name: "Jo".to_owned(),
        last_name: "Doe".to_owned(),
        ..NewAffiliate::default()
    }
}

/// A request to create an affiliate, good unless `changes` make it bad. A change to `null` takes the field out.
pub(crate) fn creation(email: &str, changes: &Value) -> Value {
    let mut request = json!({
        "first_name": "Jo", "last_name": "Doe", "email": email, "password": PASSWORD, "status": "ACTIVE",
    });
    let fields: &mut Map<_, _> = request.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        if value.is_null() {
            fields.remove(field);
        } else {
            fields.insert(field.clone(), value.clone());
        }
    }
    request
}
