use celes::Country;

/// The codes Refersion takes, in its own order. Everything else in `country` makes it refuse the whole affiliate.
const ACCEPTED: [&str; 90] = [
    "US", "AE", "AR", "AS", "AT", "AU", "BA", "BD", "BE", "BG", "BR", "CA", "CH", "CL", "CN", "CO", "CR", "CZ", "DE",
    "DK", "DZ", "EE", "ES", "FI", "FM", "FO", "FR", "GB", "GH", "GR", "GU", "HK", "HN", "HR", "HU", "ID", "IE", "IL",
    "IM", "IN", "IS", "IT", "JM", "JP", "KR", "KW", "LT", "LU", "LV", "MA", "MH", "MK", "MP", "MT", "MX", "MY", "NG",
    "NL", "NO", "NZ", "OM", "PE", "PH", "PK", "PL", "PR", "PT", "PW", "QA", "RO", "RS", "RU", "SA", "SE", "SG", "SI",
    "SK", "SV", "TH", "TN", "TR", "TW", "TZ", "UA", "UY", "VG", "VI", "VN", "WS", "ZA",
];

/// Maps a country as people write it (a two or three letter code, a name, in any case) to a code that Refersion takes.
///
/// `None` when the text names no country, or one that Refersion does not list; then the field has to be left out.
#[must_use]
pub fn refersion_country(text: &str) -> Option<&'static str> {
    let compact: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let code = match compact.as_str() {
        // What people write and ISO 3166 does not know.
        "uk" => "GB",
        _ => {
            Country::from_alpha2(&compact)
                .or_else(|_| Country::from_alpha3(&compact))
                .or_else(|_| Country::from_alias(&compact))
                .or_else(|_| Country::from_name(&compact))
                .ok()?
                .alpha2
        }
    };
    ACCEPTED.into_iter().find(|accepted| *accepted == code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(refersion_country(text), expected, "{text}");
    }

    #[test]
    fn codes_and_names_become_one_of_the_accepted_codes() {
        check("USA", Some("US"));
        check("us", Some("US"));
        check(" U.S.A. ", Some("US"));
        check("United States", Some("US"));
        check("United States of America", Some("US"));
        check("Deutschland", None);
        check("Germany", Some("DE"));
        check("DEU", Some("DE"));
        check("UK", Some("GB"));
        check("Great Britain", Some("GB"));
        check("United Kingdom", Some("GB"));
        check("South Korea", Some("KR"));
        check("Viet Nam", Some("VN"));
        check("Vietnam", Some("VN"));
        check("Czech Republic", Some("CZ"));
        check("Russia", Some("RU"));
        check("Netherlands", Some("NL"));
        check("The Netherlands", Some("NL"));
        check("Philippines", Some("PH"));
        check("Türkiye", Some("TR"));
        check("Taiwan", Some("TW"));
    }

    #[test]
    fn a_country_refersion_does_not_list_is_left_out() {
        for absent in ["EG", "Kenya", "CYP", "Iraq", "", "??", "Atlantis"] {
            check(absent, None);
        }
    }

    #[test]
    fn each_accepted_code_maps_to_itself() {
        for code in ACCEPTED {
            check(code, Some(code));
        }
    }
}
