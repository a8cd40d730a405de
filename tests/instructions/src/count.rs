use std::env;
use std::io::ErrorKind;
use std::process::Command;

use crate::Operation;

/// Tells the test that runs under valgrind what it is to do: `100 NAME`.
const ORDER: &str = "RELAY_TEST_INSTRUCTIONS_OF";

/// Whether this runs under valgrind. Then it has done what it was told to.
pub(crate) fn obey(operations: &[Operation]) -> bool {
    let Ok(order) = env::var(ORDER) else { return false };
    let (times, name) = order.split_once(' ').expect("a number and a name");
    let operation = operations.iter().find(|operation| operation.name == name).expect("the operation of this name");
    (operation.run)(times.parse().expect("a number"));
    true
}

/// The instructions that one operation needs: the difference of doing it often and rarely, in which nothing is that comes before
/// or after it.
pub(crate) fn count(test: &str, operation: &Operation) -> u64 {
    let (rarely, often) = ((operation.repetitions / 5).max(1), operation.repetitions);
    let [less, more] = [rarely, often].map(|times| count_all(test, operation.name, times));
    more.saturating_sub(less) / u64::from(often - rarely)
}

/// The instructions of a whole process, with all its threads.
fn count_all(test: &str, name: &str, times: u32) -> u64 {
    let ended = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(ORDER, format!("{times} {name}"))
        .output();
    let output = match ended {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "missing: valgrind, which counts instructions: install Debian's package of that name, as tests/run does"
            )
        }
        Err(error) => panic!("valgrind: {error}"),
    };
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{complaints}");
    assert!(said.contains("1 passed"), "there is no test {test}: {said}");
    let counted =
        complaints.lines().filter(|line| line.starts_with("==")).find_map(|line| line.split_once("Collected :"));
    counted.and_then(|(_, count)| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count: {complaints}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_up_to(end: u64, times: u32) {
        for _ in 0..times {
            assert_ne!((0..end).sum::<u64>(), 0);
        }
    }

    #[test]
    fn an_operation_is_counted_without_what_is_around_it() {
        let once = Operation { name: "add", repetitions: 100, run: |times| add_up_to(1_000, times) };
        let twice = Operation { name: "add twice", repetitions: 100, run: |times| add_up_to(2_000, times) };
        let operations = [once, twice];
        if obey(&operations) {
            return;
        }
        let [once, twice] = operations
            .map(|operation| count("count::tests::an_operation_is_counted_without_what_is_around_it", &operation));
        assert!((once * 199..once * 201).contains(&(twice * 100)), "{once} {twice}");
    }
}
