//! Times as pages show them. The script writes them anew for whoever wants those of their own place.

/// `2026-01-31 12:00:05` of an RFC 3339 time in UTC; other texts as they are.
pub(super) fn short(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..19)) {
        (Some(day), Some("T"), Some(clock)) => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(short("2026-01-31T12:00:05.123Z"), "2026-01-31 12:00:05");
        assert_eq!(short("then ü"), "then ü");
    }
}
