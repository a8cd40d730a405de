use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use refersion_relay_ingest::{Certificate, CertificateError};
use refersion_relay_queue::rfc3339_seconds;
use refersion_relay_telemetry::{Metrics, Reloaded};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{NOT_THERE, TlsFiles};
use crate::run::watched_files::{Reading, WatchedFiles, chain};

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
    watched: WatchedFiles<Arc<Pem>>,
    in_force: Arc<Pem>,
    shown: watch::Sender<Arc<Certificate>>,
    metrics: Metrics,
}

impl Certificates {
    /// Begins with what is in the files. The receiver has what is to be shown.
    pub(crate) async fn begin(
        files: TlsFiles,
        metrics: &Metrics,
    ) -> anyhow::Result<(Self, watch::Receiver<Arc<Certificate>>)> {
        let reading = files.clone();
        let pem = tokio::task::spawn_blocking(move || Pem::read(&reading)).await??;
        let certificate = pem.certificate()?;
        metrics.certificate_expires(certificate.expires());
        let (shown, receiver) = watch::channel(Arc::new(certificate));
        let state = metrics.reload_state(Reloaded::Certificate);
        let watched = WatchedFiles::new("the certificate", state, move || Pem::read_again(&files).map(Arc::new))?;
        Ok((Self { watched, in_force: Arc::new(pem), shown, metrics: metrics.clone() }, receiver))
    }

    /// Looks until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let looking = async {
            loop {
                let reading = self.watched.next().await;
                self.take(reading);
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = looking => {}
        }
    }

    fn take(&mut self, Reading { now, counts, asked }: Reading<Arc<Pem>>) {
        if now.as_ref() == Ok(&self.in_force) {
            self.watched.is_fine();
            return;
        }
        if !counts {
            return;
        }
        let read = now.and_then(|pem| {
            let certificate = pem.certificate().map_err(|error| chain(&error))?;
            Ok((pem, certificate))
        });
        match read {
            Ok((pem, certificate)) => {
                self.watched.is_fine();
                self.metrics.certificate_expires(certificate.expires());
                let until = rfc3339_seconds(certificate.expires());
                tracing::info!("new connections get the new certificate, which is valid until {until}");
                self.shown.send_replace(Arc::new(certificate));
                self.in_force = pem;
            }
            Err(why) => {
                let why = format!("the certificate was not read again, what was in force still is: {why}");
                self.watched.complain(why, asked);
            }
        }
    }
}
