use serde::Deserialize;

/// The country codes Refersion takes, far fewer than ISO 3166 has.
const CODES: &str = "US AE AR AS AT AU BA BD BE BG BR CA CH CL CN CO CR CZ DE DK DZ EE ES FI FM FO FR GB GH GR GU HK \
    HN HR HU ID IE IL IM IN IS IT JM JP KR KW LT LU LV MA MH MK MP MT MX MY NG NL NO NZ OM PE PH PK PL PR PT PW QA RO \
    RS RU SA SE SG SI SK SV TH TN TR TW TZ UA UY VG VI VN WS ZA";

/// A country code from the list.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Country(String);

#[derive(Debug, thiserror::Error)]
#[error("not one of the listed countries")]
pub(crate) struct UnlistedCountry;

impl TryFrom<String> for Country {
    type Error = UnlistedCountry;

    fn try_from(code: String) -> Result<Self, UnlistedCountry> {
        if CODES.split(' ').any(|listed| listed == code) { Ok(Self(code)) } else { Err(UnlistedCountry) }
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_ninety_codes() {
        assert_eq!(CODES.split(' ').count(), 90);
    }

    #[test]
    fn only_listed_codes_in_capitals_pass() {
        assert!(Country::try_from("DE".to_owned()).is_ok());
        for refused in ["", "de", "CY", "USA", "AT AU"] {
            assert!(Country::try_from(refused.to_owned()).is_err(), "{refused}");
        }
    }
}
