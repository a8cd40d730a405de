use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use x509_parser::parse_x509_certificate;

/// What a listener shows when it speaks TLS: a certificate with those it is issued by, and its key.
#[derive(Clone)]
pub struct Certificate {
    pub(crate) config: Arc<ServerConfig>,
    begins: SystemTime,
    expires: SystemTime,
}

/// Why a certificate cannot be used. Never quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The first text is none.
    #[error("there is no certificate in PEM in it")]
    NoCertificate,
    /// The second text is none.
    #[error("there is no private key in PEM in it, or it needs a password")]
    NoKey,
    /// They were not made for each other.
    #[error("the key does not belong to the certificate, which is the first one in its file")]
    Mismatch,
    /// TLS cannot be spoken with it.
    #[error("they cannot be used: {0}")]
    Unusable(String),
}

impl Certificate {
    /// Reads a chain, the listener's own certificate first, and its key. Both are PEM.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| CertificateError::NoCertificate)?;
        let (mut begins, mut expires) = (SystemTime::UNIX_EPOCH, None);
        for certificate in &chain {
            let (_, read) = parse_x509_certificate(certificate).map_err(|_| CertificateError::NoCertificate)?;
            begins = begins.max(moment(read.validity().not_before.timestamp()));
            let ends = moment(read.validity().not_after.timestamp());
            expires = Some(expires.map_or(ends, |expires: SystemTime| expires.min(ends)));
        }
        let expires = expires.ok_or(CertificateError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch,
            error => CertificateError::Unusable(error.to_string()),
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), begins, expires })
    }

    /// From when on it is valid: all of its chain is.
    #[must_use]
    pub fn begins(&self) -> SystemTime {
        self.begins
    }

    /// Until when it is valid: all of its chain is.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.expires
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begins, expires, .. } = self;
        f.debug_struct("Certificate").field("begins", begins).field("expires", expires).finish_non_exhaustive()
    }
}

/// Nothing in use is from before 1970.
fn moment(timestamp: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(timestamp.try_into().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// A certificate and a key.
    fn made(expires_in: i32) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(expires_in, 1, 1));
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_is_valid_as_long_as_all_of_it() {
        let ((long, key), (short, _)) = (made(2040), made(2030));
        let chain = format!("{long}{short}");
        let certificate = Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert_eq!(seconds(certificate.begins()), 1_577_836_800);
        assert_eq!(seconds(certificate.expires()), 1_893_456_000);
    }

    #[test]
    fn what_does_not_belong_together_or_is_none_is_told() {
        let ((chain, key), (_, other)) = (made(2040), made(2040));
        let parse = |chain: &str, key: &str| Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(matches!(parse(&chain, &other), CertificateError::Mismatch));
        for none in ["", "nonsense", &key, &chain[..chain.len() / 2]] {
            assert!(matches!(parse(none, &key), CertificateError::NoCertificate), "{none}");
        }
        for none in ["", "nonsense", &chain] {
            assert!(matches!(parse(&chain, none), CertificateError::NoKey), "{none}");
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let (chain, key) = made(2040);
        let shown = format!("{:?}", Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap());
        assert!(shown.starts_with("Certificate { begins: ") && shown.ends_with(", .. }"), "{shown}");
    }
}
