//! Times as pages show them. The script writes them anew for whoever wants those of their own place.

/// `2026-01-31 12:00:05` of an RFC 3339 time in UTC; other texts as they are.
pub(super) fn short(time: &str) -> String {
    match (time.get(..10), time.get(10..11), time.get(11..19)) {
        (Some(day), Some("T"), Some(clock)) => format!("{day} {clock}"),
        _ => time.to_owned(),
    }
}

/// A length of time in its largest unit; below 10 seconds with a tenth.
pub(super) fn span(millis: i64) -> String {
    const MINUTE: i64 = 60_000;
    match millis.max(0) {
        short @ ..1_000 => format!("{short} ms"),
        short @ ..10_000 => format!("{}.{} s", short / 1_000, short % 1_000 / 100),
        short @ ..MINUTE => format!("{} s", short / 1_000),
        middle if middle < 60 * MINUTE => format!("{} min", middle / MINUTE),
        long if long < 48 * 60 * MINUTE => format!("{} h", long / (60 * MINUTE)),
        days => format!("{} d", days / (24 * 60 * MINUTE)),
    }
}

#[cfg(test)]
mod tests {
    use super::{short, span};

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(short("2026-01-31T12:00:05.123Z"), "2026-01-31 12:00:05");
        assert_eq!(short("then ü"), "then ü");
    }

    #[test]
    fn a_length_of_time_is_said_in_its_largest_unit() {
        for (millis, expected) in [
            (-5, "0 ms"),
            (999, "999 ms"),
            (1_250, "1.2 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(millis), expected);
        }
    }
}
