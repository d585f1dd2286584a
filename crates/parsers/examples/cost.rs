//! What a call of each parser costs, in nanoseconds, on texts of today's browsers and on the longest and worst that
//! a visitor may send:
//!
//!     cargo run --release -p site_stats_parsers --example cost
//!
//! The figures are the best of five rounds on one core. They are for comparing two states of the code on one machine.

use std::hint::black_box;
use std::time::Instant;

use site_stats_parsers::{client, is_bot, language, origin, page_path};

const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0",
];
const VISITS: [(&str, &str); 4] = [
    (
        "https://www.example.com/blog/2026/11/a-post?utm_source=newsletter&utm_medium=email&utm_campaign=november",
        "",
    ),
    ("https://www.example.com/blog/2026/11/a-post?id=7", "https://www.google.com/"),
    ("https://www.example.com/", "https://news.ycombinator.com/item?id=1"),
    ("https://www.example.com/caf%c3%a9/?gclid=abcdefghijklmnopqrstuvwxyz", "https://www.google.de/"),
];

fn main() {
    let mut agents = BROWSERS.iter().cycle();
    report("is_bot, a browser", || is_bot(agents.next().copied().unwrap_or("")));
    let mut agents = BROWSERS.iter().cycle();
    report("client, a browser", || client(agents.next().copied().unwrap_or("")));
    let mut visits = VISITS.iter().cycle();
    report("origin, a visit", || visits.next().map(|(url, referrer)| origin(url, Some(referrer), |_| false)));
    let mut visits = VISITS.iter().cycle();
    report("page_path, a visit", || visits.next().map(|(url, _)| page_path(url, &["id"])));
    report("language, a header", || language("de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"));
    let worst_agent = "Mozilla/5.0 (cubot; build/xbo ".repeat(1000);
    report("is_bot, 30 kB of beginnings of needles", || is_bot(&worst_agent));
    report("client, 30 kB", || client(&worst_agent));
    for kilobytes in [16, 32, 64] {
        let campaign = format!("https://example.com/?utm_source={}", "%C3%A9".repeat(kilobytes * 1024 / 6));
        report(&format!("origin, a value of {kilobytes} kB"), || origin(&campaign, None, |_| false));
        let parameters = format!("https://example.com/?{}", "a=b&".repeat(kilobytes * 1024 / 4));
        report(&format!("origin, parameters of {kilobytes} kB"), || origin(&parameters, None, |_| false));
        let dots = format!("https://example.com{}", "/a/..".repeat(kilobytes * 1024 / 5));
        report(&format!("page_path, dots of {kilobytes} kB"), || page_path(&dots, &["id"]));
        let languages = "de;q=0.1,".repeat(kilobytes * 1024 / 9);
        report(&format!("language, a header of {kilobytes} kB"), || language(&languages));
    }
}

fn report<T>(what: &str, mut call: impl FnMut() -> T) {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let mut calls = 0_u32;
        let start = Instant::now();
        while start.elapsed().as_millis() < 40 {
            for _ in 0..16 {
                black_box(call());
            }
            calls += 16;
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    println!("{best:10.0}  {what}");
}
