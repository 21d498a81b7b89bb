//! Where somebody was: the country that the platform told, by its name. A city is not recorded.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Codes of ISO 3166-1 and their names in English, as CLDR has them.
static NAMES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    include_str!("countries.tsv").lines().filter_map(|line| line.split_once('\t')).collect()
});

/// The name of a country; none for what is no country's code, such as `T1` for Tor.
pub(crate) fn country(code: &str) -> Option<&'static str> {
    NAMES.get(code).copied()
}

#[cfg(test)]
mod tests {
    use super::country;

    #[test]
    fn a_code_has_a_name() {
        assert_eq!((country("DE"), country("CI")), (Some("Germany"), Some("Côte d’Ivoire")));
        assert_eq!((country("de"), country("T1"), country("<b>")), (None, None, None));
    }
}
