use rand::seq::{IndexedRandom, SliceRandom};
use secrecy::SecretString;

const LENGTH: usize = 24;
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const DIGITS: &[u8] = b"0123456789";
/// Which characters Refersion counts as special is not published; these are special by every usual definition.
const SYMBOLS: &[u8] = b"!#$%&*+-=?@_";

/// Makes the password that Refersion's create operation insists on and nobody will ever use: the affiliate sets their
/// own. It is sent once and kept nowhere.
///
/// Refersion's rules: 9 to 72 characters; an upper-case and a lower-case letter, a digit and a special character; none
/// more than three times in a row; not the e-mail address. About 140 bits, from the thread's generator: a cryptographic
/// one, which is seeded by the operating system and again after every 64 KiB. One password takes some 48 draws,
/// so asking the operating system for each of them is a tenth of what an event costs.
///
/// # Panics
/// When the operating system has no randomness to give to a thread's first password.
#[must_use]
pub fn generate_password() -> SecretString {
    let mut rng = rand::rng();
    let all = [UPPER, LOWER, DIGITS, SYMBOLS].concat();
    loop {
        let mut password: Vec<u8> = [UPPER, LOWER, DIGITS, SYMBOLS]
            .into_iter()
            .chain(std::iter::repeat_n(all.as_slice(), LENGTH - 4))
            .map(|set| *set.choose(&mut rng).expect("no set is empty"))
            .collect();
        password.shuffle(&mut rng);
        if password.windows(4).all(|run| run.iter().any(|c| *c != run[0])) {
            return SecretString::from(String::from_utf8(password).expect("the sets are ASCII"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_thousand_passwords_differ_and_obey_the_rules() {
        let passwords: HashSet<String> = (0..1_000).map(|_| generate_password().expose_secret().to_owned()).collect();
        assert_eq!(passwords.len(), 1_000);
        for password in passwords {
            let has = |set: &[u8]| password.bytes().any(|c| set.contains(&c));
            assert!((9..=72).contains(&password.len()));
            assert!(has(UPPER) && has(LOWER) && has(DIGITS) && has(SYMBOLS));
            assert!(password.as_bytes().windows(4).all(|run| run.iter().any(|c| *c != run[0])));
            assert!(!password.contains(".com"), "no address");
        }
    }
}
