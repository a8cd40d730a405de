use std::ops::RangeInclusive;

/// How many characters a password may have.
const LENGTH: RangeInclusive<usize> = 9..=72;

/// How often one character may follow itself.
const LONGEST_RUN: usize = 3;

/// Returns what is wrong with a password, in the words of the published catalogue, stray backslashes included.
pub(crate) fn complaints(password: &str, email: &str) -> Vec<String> {
    let length = password.chars().count();
    let mut complaints = Vec::new();
    if length > *LENGTH.end() {
        complaints.push(format!(
            "The password should not be longer than 72 characters. Current password length is {length} characters"
        ));
    }
    if length < *LENGTH.start() {
        complaints.push(format!(
            "The password should be at least 9 characters long. Current password length is {length} characters"
        ));
    }
    if password.eq_ignore_ascii_case(email) {
        complaints.push(r"The password can\'t be the same as the e-mail".to_owned());
    }
    if longest_run(password) > LONGEST_RUN {
        complaints.push(r"The password can\'t have the same character repeated more than 3 times in a row".to_owned());
    }
    if !has_every_kind(password) {
        complaints.push(
            "The password should have at least 1 number, 1 uppercase letter, 1 lowercase letter and 1 symbol."
                .to_owned(),
        );
    }
    complaints
}

fn longest_run(password: &str) -> usize {
    let (mut longest, mut run, mut previous) = (0, 0, None);
    for character in password.chars() {
        run = if previous == Some(character) { run + 1 } else { 1 };
        previous = Some(character);
        longest = longest.max(run);
    }
    longest
}

/// Which characters count as symbols is not published: this takes ASCII punctuation.
fn has_every_kind(password: &str) -> bool {
    let kinds: [fn(char) -> bool; 4] =
        [|c| c.is_ascii_digit(), |c| c.is_ascii_uppercase(), |c| c.is_ascii_lowercase(), |c| c.is_ascii_punctuation()];
    kinds.into_iter().all(|kind| password.contains(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(password: &str, fragments: &[&str]) {
        let complaints = complaints(password, "Ann1@example.com");
        assert_eq!(complaints.len(), fragments.len(), "{complaints:?}");
        for (complaint, fragment) in complaints.iter().zip(fragments) {
            assert!(complaint.contains(fragment), "{complaint}");
        }
    }

    #[test]
    fn a_password_with_all_kinds_of_characters_is_fine() {
        check("Abcdefg1!", &[]);
        check("AAAbbb111!!!", &[]);
    }

    #[test]
    fn the_length_is_counted_in_characters() {
        check("Äbcdef1!", &["length is 8 characters", "1 uppercase"]);
        check(&format!("{}!", "Ab1".repeat(24)), &["length is 73 characters"]);
    }

    #[test]
    fn the_fourth_of_the_same_in_a_row_is_one_too_many() {
        check("Abcccc12!", &[r"can\'t have the same character"]);
    }

    #[test]
    fn several_complaints_come_together() {
        check("aaaa", &["at least 9", "repeated more than 3", "1 symbol"]);
        check("ann1@EXAMPLE.com", &[r"can\'t be the same as the e-mail"]);
    }
}
