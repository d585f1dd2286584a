//! The map of places: an outline of the land, and a point for each place.
//!
//! The outline is Natural Earth's (public domain), made small by bin/update-page-data: from 84 degrees north to 56 south, each degree
//! as far as another, two units to a degree.

use std::collections::BTreeMap;

use crate::answers::Place;
use crate::names;
use crate::words::shown;

/// The outline as an SVG path.
pub const LAND: &str = include_str!("land.svg");

const UNITS: f64 = 2.0;
const NORTH: f64 = 84.0;
const WIDTH: i64 = 720;
const HEIGHT: i64 = 280;

/// Places that are nearer to each other are one point.
const NEAR: i64 = 6;

/// The most points on the map.
const MOST_POINTS: usize = 100;

pub struct Point {
    pub x: i64,
    pub y: i64,
    pub radius: i64,
}

/// Where the points are.
pub fn points(places: &[Place]) -> Vec<Point> {
    let mut counts: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for place in places.iter().filter(|place| place.latitude.is_finite() && place.longitude.is_finite()) {
        let x = (((place.longitude + 180.0) * UNITS) as i64).clamp(0, WIDTH - 1);
        let y = (((NORTH - place.latitude) * UNITS) as i64).clamp(0, HEIGHT - 1);
        *counts.entry((x / NEAR * NEAR + NEAR / 2, y / NEAR * NEAR + NEAR / 2)).or_default() += 1;
    }
    let mut points: Vec<_> = counts.into_iter().collect();
    points.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    points.truncate(MOST_POINTS);
    let point =
        |((x, y), count): ((i64, i64), i64)| Point { x, y, radius: 5 + (count.ilog2() as i64).min(9) };
    points.into_iter().map(point).collect()
}

/// The names of places and how many visitors are there, the most first.
pub fn names_of(places: &[Place]) -> Vec<(String, i64)> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for place in places {
        let country = place.country.as_deref().map(|country| names::country(country).unwrap_or(country));
        let name = match (place.city.as_deref().filter(|city| !city.is_empty()), country) {
            (Some(city), Some(country)) => format!("{}, {}", shown(city), shown(country)),
            (Some(name), None) | (None, Some(name)) => shown(name),
            (None, None) => "Somewhere".to_owned(),
        };
        *counts.entry(name).or_default() += 1;
    }
    let mut names: Vec<_> = counts.into_iter().collect();
    names.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(latitude: f64, longitude: f64, city: &str, country: &str) -> Place {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Place { latitude, longitude, city: text(city), country: text(country) }
    }

    #[test]
    fn places_are_where_they_are() {
        let points = points(&[place(38.7, -9.1, "Lisbon", "Portugal"), place(-90.0, 180.0, "", "")]);
        assert_eq!((points[0].x, points[0].y), (339, 93));
        assert_eq!((points[1].x, points[1].y), (717, 279));
    }

    #[test]
    fn a_crowd_is_one_point() {
        let crowd = vec![place(52.5, 13.4, "Berlin", "DE"); 1_000];
        let points = points(&crowd);
        assert_eq!((points.len(), points[0].radius), (1, 14));
        assert_eq!(names_of(&crowd), [("Berlin, Germany".to_owned(), 1_000)]);
        assert_eq!(names_of(&[place(1.0, 1.0, "", "")]), [("Somewhere".to_owned(), 1)]);
    }

    #[test]
    fn the_outline_is_small_and_a_path() {
        assert!(LAND.len() < 7_000);
        assert!(LAND.trim_end().chars().all(|letter| letter.is_ascii_digit() || "Mlz -".contains(letter)));
    }
}
