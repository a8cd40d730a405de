use std::time::{Duration, SystemTime};

use refersion_relay_ingest::Certificate;
use refersion_relay_queue::rfc3339_seconds;
use tokio::time::timeout;

use super::finding::Finding;
use crate::config::{TlsFiles, others_may_read};
use crate::output::words::counted;
use crate::run::certificates::{Pem, UnusableFiles};
use crate::run::watched_files::chain;

/// A certificate that is valid for less than this should have been replaced.
const WARN: Duration = Duration::from_hours(14 * 24);

const CERTIFICATE: &str = "ingest.tls_certificate_file";

/// Looks at the listener's certificate and at its key. `patience`: one of them may be on a share that does not answer.
pub(crate) async fn look(files: &TlsFiles, patience: Duration) -> Vec<Finding> {
    let reading = files.clone();
    let reading = tokio::task::spawn_blocking(move || {
        let certificate = Pem::read(&reading).and_then(|pem| pem.certificate());
        (certificate, others_may_read(reading.key.path()))
    });
    let Ok(Ok((certificate, is_shown))) = timeout(patience, reading).await else {
        let says = format!("reading it and its key took longer than {} s", patience.as_secs());
        return vec![Finding::failed(CERTIFICATE, says)];
    };
    let mut findings = vec![judge(SystemTime::now(), &certificate)];
    if is_shown {
        let says = format!("every user of this machine can read {}: chmod o-r", files.key.path().display());
        findings.push(Finding::warning("ingest.tls_key_file", says));
    }
    findings
}

fn judge(now: SystemTime, certificate: &Result<Certificate, UnusableFiles>) -> Finding {
    let certificate = match certificate {
        Ok(certificate) => certificate,
        Err(error) => return Finding::failed(CERTIFICATE, chain(error)),
    };
    let (begins, expires) = (certificate.begins(), certificate.expires());
    let shown = rfc3339_seconds;
    match expires.duration_since(now) {
        _ if now < begins => Finding::failed(CERTIFICATE, format!("it is valid only from {} on", shown(begins))),
        Ok(left) if WARN <= left => {
            Finding::ok(CERTIFICATE, format!("it belongs to its key and is valid until {}", shown(expires)))
        }
        Ok(left) if !left.is_zero() => {
            let days = counted(left.as_secs() / (24 * 60 * 60), "day");
            Finding::warning(CERTIFICATE, format!("it expires in {days}, at {}: renew it", shown(expires)))
        }
        Ok(_) | Err(_) => Finding::failed(CERTIFICATE, format!("it expired at {}: renew it", shown(expires))),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::super::finding::Level;
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_certificate_is_fine_until_14_days_before_its_end() {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
        let chain = params.self_signed(&key).unwrap().pem();
        let certificate = Certificate::parse(chain.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let (begins, expires) = (certificate.begins(), certificate.expires());
        let certificate = Ok(certificate);

        let check = |now, level, part: &str| {
            let finding = judge(now, &certificate);
            assert!(finding.level == level && finding.says.contains(part), "{finding}");
        };
        check(begins - DAY, Level::Failed, "from 2026-01-01");
        check(begins, Level::Ok, "until 2027-01-01");
        check(expires - 14 * DAY, Level::Ok, "until 2027-01-01");
        check(expires - 14 * DAY + DAY / 2, Level::Warning, "in 13 days");
        check(expires, Level::Failed, "expired at 2027-01-01");
        check(expires + DAY, Level::Failed, "expired");
    }
}
