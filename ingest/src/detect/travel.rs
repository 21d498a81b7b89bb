//! How fast somebody would have had to travel between two countries.
//!
//! The edge records countries and no positions. A country is the places of its time zones in the tz database, and around each
//! a disc of the country's area: the distance between two countries is the least that it can well be, so that neighbours and
//! borders accuse nobody, and somebody on a VPN in a country far away is taken for a traveller.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono::TimeDelta;

/// Of the Earth, in km.
const RADIUS: f64 = 6_371.0;
/// Half a great circle, in km: nothing lies farther away.
const FARTHEST: u32 = 20_016;

/// Where a country lies.
#[derive(Debug)]
struct Country {
    /// Of a disc of its area, in km.
    radius: f64,
    /// Latitudes and longitudes, in degrees.
    places: Vec<(f64, f64)>,
}

/// By code of ISO 3166-1: radius and places, from `zone.tab` of the tz database (public domain).
static COUNTRIES: LazyLock<HashMap<&'static str, Country>> =
    LazyLock::new(|| include_str!("countries.tsv").lines().filter_map(read).collect());

fn read(line: &'static str) -> Option<(&'static str, Country)> {
    let (code, rest) = line.split_once('\t')?;
    let (radius, places) = rest.split_once('\t')?;
    let place = |text: &str| {
        let (latitude, longitude) = text.split_once(',')?;
        Some((latitude.parse().ok()?, longitude.parse().ok()?))
    };
    let places = places.split(';').map(place).collect::<Option<Vec<_>>>()?;
    Some((code, Country { radius: radius.parse().ok()?, places }))
}

/// How far two countries lie apart at least, in km; none for what is no country's code, such as `T1` for Tor.
pub(super) fn apart(one: &str, other: &str) -> Option<f64> {
    let (from, to) = (COUNTRIES.get(one)?, COUNTRIES.get(other)?);
    let each = from.places.iter().flat_map(|from| to.places.iter().map(move |to| between(*from, *to)));
    let nearest = each.fold(f64::INFINITY, f64::min);
    Some((nearest - from.radius - to.radius).max(0.0))
}

/// Along a great circle, in km.
fn between((from_lat, from_lon): (f64, f64), (to_lat, to_lon): (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin().powi(2);
    let arc = half(from_lat, to_lat)
        + from_lat.to_radians().cos() * to_lat.to_radians().cos() * half(from_lon, to_lon);
    2.0 * RADIUS * arc.sqrt().min(1.0).asin()
}

/// Whether nobody gets from one country to the other in a time. Unknown countries are anywhere.
pub(super) fn is_impossible(
    (one, other): (&str, &str),
    took: TimeDelta,
    faster_than: u32,
    farther_than: u32,
) -> bool {
    let Some(distance) = apart(one, other) else { return false };
    let hours = took.as_seconds_f64().abs() / 3_600.0;
    distance > f64::from(farther_than) && distance > f64::from(faster_than) * hours
}

/// The time after which everything can be reached at a speed in km/h.
pub(super) fn reach(speed: u32) -> TimeDelta {
    TimeDelta::seconds(i64::from(FARTHEST) * 3_600 / i64::from(speed.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_of_the_list_reads() {
        let lines = include_str!("countries.tsv").lines().count();
        assert_eq!(COUNTRIES.len(), lines);
        assert!(lines > 240, "{lines}");
    }

    #[test]
    fn distances_are_about_those_of_an_atlas() {
        // Madrid to Wellington is 19,860 km.
        let far = between((40.4, -3.68), (-41.3, 174.8));
        assert!((far - 19_860.0).abs() < 150.0, "{far}");
        let over_the_ocean = apart("DE", "US").expect("known");
        assert!((3_000.0..6_400.0).contains(&over_the_ocean), "{over_the_ocean}");
        assert_eq!(apart("DE", "US"), apart("US", "DE"));
    }

    #[test]
    fn neighbours_can_always_be_reached_and_other_continents_not_within_the_hour() {
        let (at_once, hours) = (TimeDelta::seconds(1), TimeDelta::hours);
        for pair in [("DE", "AT"), ("DE", "FR"), ("US", "CA"), ("US", "MX"), ("GB", "IE"), ("CN", "RU")] {
            assert!(!is_impossible(pair, at_once, 900, 500), "{pair:?}");
        }
        for pair in [("DE", "US"), ("US", "CN"), ("GB", "SG"), ("BR", "JP")] {
            assert!(is_impossible(pair, hours(1), 900, 500), "{pair:?}");
            assert!(!is_impossible(pair, hours(23), 900, 500), "{pair:?}");
        }
        assert!(!is_impossible(("DE", "T1"), at_once, 900, 500), "Tor is no country");
        assert!(reach(900) < hours(23));
    }
}
