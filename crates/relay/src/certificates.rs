use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refersion_relay_ingest::{Certificate, CertificateError};
use refersion_relay_queue::rfc3339_seconds;
use secrecy::{ExposeSecret, SecretSlice};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{NOT_THERE, TlsFiles};
use crate::look::Look;
use crate::reload::chain;

/// How often the files are looked at, as the configuration is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long reading them may take: one may be on a share that does not answer.
const READING: Duration = Duration::from_secs(5);

/// What is in the two files of a listener's certificate.
pub(crate) struct Pem {
    chain: Vec<u8>,
    key: SecretSlice<u8>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnusableFiles {
    #[error("cannot read {key} = {path}")]
    Unreadable { key: &'static str, path: String, source: io::Error },
    #[error("cannot read {KEY}: {NOT_THERE}")]
    NoKey,
    #[error("{CERTIFICATE} and {KEY}")]
    Certificate(#[source] CertificateError),
}

/// The keys of the configuration.
const CERTIFICATE: &str = "ingest.tls_certificate_file";
const KEY: &str = "ingest.tls_key_file";

impl Pem {
    /// Reads both files. May block.
    pub(crate) fn read(files: &TlsFiles) -> Result<Self, UnusableFiles> {
        let chain = fs::read(&files.certificate).map_err(|error| no_certificate(files, error))?;
        let key = fs::read(files.key.path()).map_err(|error| no_key(files, error))?;
        Ok(Self { chain, key: key.into() })
    }

    /// The same, but only files that can be read as often as one likes.
    fn read_again(files: &TlsFiles) -> Result<Self, UnusableFiles> {
        let regular = |path: &Path| {
            let error = || io::Error::other("it is no regular file, so it is read only at the start");
            fs::metadata(path)?.is_file().then_some(()).ok_or_else(error)
        };
        regular(&files.certificate).map_err(|error| no_certificate(files, error))?;
        regular(files.key.path()).map_err(|error| no_key(files, error))?;
        Self::read(files)
    }

    pub(crate) fn certificate(&self) -> Result<Certificate, UnusableFiles> {
        Certificate::parse(&self.chain, self.key.expose_secret()).map_err(UnusableFiles::Certificate)
    }
}

fn no_certificate(files: &TlsFiles, source: io::Error) -> UnusableFiles {
    UnusableFiles::Unreadable { key: CERTIFICATE, path: files.certificate.display().to_string(), source }
}

/// Without what may be the key itself.
fn no_key(files: &TlsFiles, source: io::Error) -> UnusableFiles {
    files.key.shown().map_or(UnusableFiles::NoKey, |path| UnusableFiles::Unreadable { key: KEY, path, source })
}

impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        let Self { chain, key } = self;
        *chain == other.chain && key.expose_secret() == other.key.expose_secret()
    }
}

/// Takes a new certificate into a running listener, after a SIGHUP at once and after a change of a file when both have been
/// the same twice: one of them is always written first. What cannot be used changes nothing and is said once.
pub(crate) struct Certificates {
    look: Look<Result<Pem, UnusableFiles>>,
    in_force: Pem,
    shown: watch::Sender<Arc<Certificate>>,
    hangups: Signal,
    /// The last complaint, which is not repeated.
    said: Option<String>,
}

/// What the files have, or why there is nothing in them.
type Seen = Result<Pem, String>;

impl Certificates {
    /// Begins with what is in the files. The receiver has what is to be shown.
    pub(crate) async fn begin(files: TlsFiles) -> anyhow::Result<(Self, watch::Receiver<Arc<Certificate>>)> {
        let reading = files.clone();
        let pem = tokio::task::spawn_blocking(move || Pem::read(&reading)).await??;
        let (shown, receiver) = watch::channel(Arc::new(pem.certificate()?));
        let look = Look::new(move || Pem::read_again(&files));
        let hangups = signal(SignalKind::hangup())?;
        Ok((Self { look, in_force: pem, shown, hangups, said: None }, receiver))
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let looking = async {
            let mut seen = None;
            loop {
                let asked = tokio::select! {
                    Some(()) = self.hangups.recv() => true,
                    () = tokio::time::sleep(LOOK_EVERY) => false,
                };
                seen = self.once(asked, seen).await;
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    /// Returns what is there now, as long as it is not what is in force. `seen`: the same, from the last time.
    async fn once(&mut self, asked: bool, seen: Option<Seen>) -> Option<Seen> {
        let now = match self.look.take(READING).await {
            Some(read) => read.map_err(|error| chain(&error)),
            None => Err(format!("reading the certificate takes longer than {} s", READING.as_secs())),
        };
        match now {
            Ok(pem) if pem == self.in_force => {
                self.said = None;
                None
            }
            now if !asked && seen.as_ref() != Some(&now) => Some(now),
            Err(why) => {
                self.complain(&why, asked);
                Some(Err(why))
            }
            Ok(pem) => match pem.certificate() {
                Ok(certificate) => {
                    let until = rfc3339_seconds(certificate.expires());
                    tracing::info!("new connections get the new certificate, which is valid until {until}");
                    self.shown.send_replace(Arc::new(certificate));
                    (self.in_force, self.said) = (pem, None);
                    None
                }
                Err(error) => {
                    self.complain(&chain(&error), asked);
                    Some(Ok(pem))
                }
            },
        }
    }

    /// Says it once, or whenever somebody asks.
    fn complain(&mut self, why: &str, asked: bool) {
        if asked || self.said.as_deref() != Some(why) {
            tracing::error!("the certificate was not read again, what was in force still is: {why}");
            self.said = Some(why.to_owned());
        }
    }
}
