use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use rustix::time::{ClockId, clock_gettime};

use crate::front::bodies::body::BodyError;
use crate::front::protection::Loan;

/// The most members that a body may have: some senders write several, and each costs work however little is in it.
const MAX_MEMBERS: usize = 100;
/// The time of a processor that a body may cost.
const MAX_WORK: Duration = Duration::from_secs(1);
/// Unpacked before memory for more is borrowed.
const STEP: usize = 8 * 1024;

/// Unpacks a body to at most `limit` bytes. The loan is that of the packed body, and becomes that of the unpacked one. What
/// is unpacked is borrowed before it is there, so however much would come out of a body, no more is used than there is to
/// lend; it cannot be more than 1,032 times what was sent, which is as far as the format goes.
pub(crate) fn gunzip(packed: &[u8], limit: usize, loan: &mut Loan) -> Result<Bytes, BodyError> {
    gunzip_within(MAX_WORK, packed, limit, loan)
}

fn gunzip_within(max_work: Duration, packed: &[u8], limit: usize, loan: &mut Loan) -> Result<Bytes, BodyError> {
    let (borrowed, began) = (loan.size(), work());
    let (mut unpacked, mut members, mut rest) = (Vec::new(), 0, packed);
    while members == 0 || !rest.is_empty() {
        if members == MAX_MEMBERS {
            return Err(BodyError::Encoding);
        }
        members += 1;
        let mut member = GzDecoder::new(rest);
        loop {
            if max_work < work().saturating_sub(began) {
                return Err(BodyError::Busy);
            }
            if unpacked.capacity() - unpacked.len() < STEP {
                // Never more than one byte beyond the limit, which shows that there is more.
                let wanted = (unpacked.capacity() * 2).max(unpacked.len() + STEP).min(limit + 1);
                loan.resize(borrowed + wanted).map_err(|_| BodyError::Busy)?;
                unpacked.reserve_exact(wanted - unpacked.len());
            }
            let step = STEP.min(limit + 1 - unpacked.len()) as u64;
            let read = member.by_ref().take(step).read_to_end(&mut unpacked).map_err(|_| BodyError::Encoding)?;
            if limit < unpacked.len() {
                return Err(BodyError::UnpackedTooLarge);
            }
            if read == 0 {
                break;
            }
        }
        rest = member.into_inner();
    }
    unpacked.shrink_to_fit();
    // The packed body is dropped by whoever called.
    loan.resize(unpacked.capacity()).map_err(|_| BodyError::Busy)?;
    Ok(Bytes::from(unpacked))
}

/// The time that this thread has worked.
fn work() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use refersion_relay_telemetry::Metrics;

    use super::*;
    use crate::front::protection::Budget;

    const MIB: usize = 1024 * 1024;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn budget() -> Arc<Budget> {
        Budget::new(64 * MIB, Metrics::new())
    }

    fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, BodyError> {
        gunzip(packed, limit, &mut budget().borrow(false))
    }

    #[test]
    fn a_packed_body_is_unpacked_up_to_its_limit() {
        assert_eq!(unpack(&packed(b"hello"), 5).unwrap(), "hello");
        assert_eq!(unpack(&packed(b""), 5).unwrap(), "");
        assert_eq!(unpack(&packed(b"hello"), 4), Err(BodyError::UnpackedTooLarge));
        assert_eq!(unpack(&packed(&vec![b'x'; 8 * MIB]), 1024), Err(BodyError::UnpackedTooLarge));
        let large = vec![b'x'; 100_000];
        assert_eq!(unpack(&packed(&large), 100_000).unwrap(), large);
        for limit in [99_999, 8 * 1024] {
            assert_eq!(unpack(&packed(&large), limit), Err(BodyError::UnpackedTooLarge));
        }
        assert_eq!(unpack(&packed(b"hello")[..10], 5), Err(BodyError::Encoding));
        assert_eq!(unpack(b"hello", 5), Err(BodyError::Encoding));
        assert_eq!(unpack(b"", 5), Err(BodyError::Encoding));
    }

    #[test]
    fn a_body_may_have_several_members_but_not_any_number() {
        let members = |count| packed(b"ab").repeat(count);
        assert_eq!(unpack(&members(100), MIB).unwrap(), "ab".repeat(100));
        assert_eq!(unpack(&members(101), MIB), Err(BodyError::Encoding));
        assert_eq!(unpack(&[members(2), b"nonsense".to_vec()].concat(), MIB), Err(BodyError::Encoding));
    }

    #[test]
    fn a_body_may_cost_so_much_work() {
        let packed = packed(&vec![b'x'; MIB]);
        let unpack = |max_work| gunzip_within(max_work, &packed, MIB, &mut budget().borrow(false));
        assert_eq!(unpack(Duration::ZERO), Err(BodyError::Busy));
        assert_eq!(unpack(Duration::MAX).unwrap().len(), MIB);
    }

    #[test]
    fn no_more_is_unpacked_than_can_be_lent() {
        let budget = budget();
        let bomb = packed(&vec![0; 4 * MIB]);
        let mut all = budget.borrow(false);
        all.resize(56 * MIB).unwrap();
        let mut loan = budget.borrow(false);
        loan.resize(bomb.len()).unwrap();
        assert_eq!(gunzip(&bomb, 4 * MIB, &mut loan), Err(BodyError::Busy));
        assert_eq!(gunzip(&packed(b"hello"), MIB, &mut budget.borrow(false)).unwrap(), "hello", "a small one is");

        all.resize(0).unwrap();
        loan.resize(bomb.len()).unwrap();
        assert_eq!(gunzip(&bomb, 4 * MIB, &mut loan).unwrap().len(), 4 * MIB);
        assert_eq!(loan.size(), 4 * MIB, "what was packed is not charged any more");
    }
}
