//! What somebody used, in the words a person would use: *Firefox on Windows*.

use std::sync::LazyLock;

use woothee::parser::Parser;

static PARSER: LazyLock<Parser> = LazyLock::new(Parser::new);

/// The longest user agent that is looked at, in bytes.
const LONGEST: usize = 1_024;

/// The device of a user agent; none if there is nothing to tell.
pub(crate) fn device(user_agent: &str) -> Option<String> {
    if user_agent.is_empty() {
        return None;
    }
    let known = PARSER.parse(user_agent.get(..LONGEST).unwrap_or(user_agent));
    let known =
        known.filter(|known| ["pc", "smartphone", "mobilephone", "appliance"].contains(&known.category));
    let Some(known) = known else { return Some("a program or an unknown browser".to_owned()) };
    let browser = match known.name {
        "UNKNOWN" => "a browser",
        "SamsungBrowser" => "Samsung Internet",
        name => name,
    };
    let system = match known.os {
        "UNKNOWN" => return Some(browser.to_owned()),
        "Mac OSX" => "a Mac",
        "iPhone" => "an iPhone",
        "iPad" => "an iPad",
        system if system.starts_with("Windows") => "Windows",
        system => system,
    };
    Some(format!("{browser} on {system}"))
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn a_user_agent_is_told_by_its_family_and_system() {
        for (agent, told) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
                "Firefox on Windows",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                 Version/17.5 Mobile/15E148 Safari/604.1",
                "Safari on an iPhone",
            ),
            ("curl/8.0", "a program or an unknown browser"),
            ("<script>alert(1)</script>", "a program or an unknown browser"),
            (&"é".repeat(4_000), "a program or an unknown browser"),
        ] {
            assert_eq!(device(agent).as_deref(), Some(told), "{agent}");
        }
        assert_eq!(device(""), None);
    }
}
