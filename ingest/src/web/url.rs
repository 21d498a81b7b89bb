//! Addresses of pages: text in them is encoded here and nowhere else.

use std::fmt::Write as _;

/// A page's address with parameters; those without a value are left out.
pub(super) fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut url = path.to_owned();
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    for ((name, value), sign) in given.zip(std::iter::once('?').chain(std::iter::repeat('&'))) {
        url.push(sign);
        url.push_str(name);
        url.push('=');
        encode(value, &mut url);
    }
    url
}

/// The page of a search.
pub(super) fn search(q: &str) -> String {
    with("/", &[("q", q)])
}

/// A page under segments, each of which may hold anything.
pub(super) fn under(segments: &[&str]) -> String {
    let mut url = String::new();
    for segment in segments {
        url.push('/');
        // A browser takes these for steps, encoded or not.
        if matches!(*segment, "." | "..") {
            return "/".to_owned();
        }
        encode(segment, &mut url);
    }
    url
}

fn encode(text: &str, url: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            write!(url, "%{byte:02X}").expect("writing to a string succeeds");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sign_of_a_value_is_a_sign_of_the_address() {
        assert_eq!(search("a&b=\"ü\" #x"), "/?q=a%26b%3D%22%C3%BC%22%20%23x");
        assert_eq!(under(&["entities", "a/b", "?x%"]), "/entities/a%2Fb/%3Fx%25");
        assert_eq!(search(""), "/");
        assert_eq!(under(&["actors", ".."]), "/");
    }
}
