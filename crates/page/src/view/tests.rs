//! Whole pages: what is on them, and that nothing that a visitor has written becomes markup.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::answers::{self, Moment, Place, Starts, Total};

const TODAY: i64 = 20_283; // Mon 2025-07-14

/// Texts as somebody hostile would send them.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "a & b &lt; {{ policy }} {% endif %}",
    "</style></title></svg><h1>",
];

fn numbers(visitors: i64) -> Numbers {
    Numbers {
        views: visitors * 3,
        visitors,
        visits: visitors * 2,
        entries: visitors * 2,
        exits: visitors * 2,
        bounces: visitors,
        seconds: visitors * 120,
    }
}

fn page(query: serde_json::Value, answers: &Answers) -> String {
    let query = query.as_object().map(Query::parse).unwrap_or_default();
    render(&query, &Range::of(&query, TODAY, answers.total.since), answers)
}

/// A site with these texts wherever a page has a text.
fn site(texts: &[&str], days: i64) -> Answers {
    let rows: Vec<_> = texts.iter().map(|text| (Some((*text).to_owned()), numbers(7_000_000))).collect();
    let owned = |number: usize| texts.get(number % texts.len()).map(|text| (*text).to_owned());
    Answers {
        site: owned(0).unwrap_or_default(),
        timezone: "Europe/Lisbon".to_owned(),
        now: Moment { day: TODAY, hour: 9, minute: 5 },
        active: answers::Active {
            visitors: 1_234,
            pages: texts.iter().map(|text| ((*text).to_owned(), 7)).collect(),
            places: (0..5_000)
                .map(|n| Place {
                    latitude: f64::from(n % 140 - 60),
                    longitude: f64::from(n % 360 - 180),
                    city: owned(n as usize),
                    country: owned(n as usize + 1),
                })
                .collect(),
        },
        total: Total { views: 21_000, visitors: 7_000, since: Some(20_000), source: "aggregates".to_owned() },
        summary: numbers(7_000),
        before: Some(numbers(3_500)),
        units: (0..days)
            .map(|n| (Starts { day: TODAY - days + n + 1, hour: None }, numbers(1_000 + n)))
            .collect(),
        breakdowns: PARTS.iter().map(|_| Breakdown { values: 900, rows: rows.clone() }).collect(),
        refusals: texts.iter().map(|text| ((*text).to_owned(), 5)).collect(),
        sites: texts.iter().map(|text| (*text).to_owned()).collect(),
        read_directly: 12,
    }
}

#[test]
fn style_and_script_are_those_of_the_policy() {
    for (text, hash) in [(STYLE, STYLE_HASH), (SCRIPT, SCRIPT_HASH)] {
        assert_eq!(format!("sha256-{}", STANDARD.encode(Sha256::digest(text))), hash);
    }
}

#[test]
fn a_page_has_the_numbers() {
    let mut answers = site(&["/", "/about"], 30);
    answers.site = "shop".to_owned();
    let page = page(json!({}), &answers);
    for part in [
        "<title>shop – Statistics, 15 Jun – 14 Jul 2025</title>",
        "<b id=\"now\">1,234</b> here now",
        "<dt>Visitors<dd><b>7,000</b> <span class=\"good\" title=\"100% more than in the 30 days before\">",
        "<dt>Bounce rate<dd><b>50%</b>",
        "<dt>Visit duration<dd><b>1 min</b>",
        "Visitors and page views by day",
        "<tr><th>Mon 14 Jul 2025 (not over yet)<td>1,029<td>2,058<td>3,087",
        "<a href=\"?path=/about\">/about</a>",
        "<a href=\"?entry_path=/about\">/about</a>",
        "and 898 more countries",
        "Counted since 4 Oct 2024: 21,000 page views of 7,000 visitors.",
        "14 Jul 2025, 09:05 (Europe/Lisbon)",
        "The total is from aggregates, these days are from spans and 12 page views read directly.",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn nothing_that_visitors_send_is_markup() {
    let filters =
        json!({"path": HOSTILE, "source": HOSTILE[1], "since": HOSTILE[0], "campaign~": HOSTILE[2]});
    for page in [
        page(filters, &site(&HOSTILE, 3)),
        page(json!({"live": "/live", "nonce": "abc"}), &site(&HOSTILE, 3)),
    ] {
        for wrong in ["<script>", "<img", "</style></title>", "<h1></h1>", "=alert(1)>"] {
            assert!(!page.contains(wrong), "{wrong}\n{page}");
        }
        // Every quote of a text is escaped, so each attribute of the template ends where the template ends it.
        assert!(!page.contains("' onmouseover") && !page.contains("\"><img"));
        let links: Vec<_> = page.match_indices("href=\"").map(|(at, _)| &page[at + 6..]).collect();
        assert!(links.len() > 50);
        assert!(
            links.iter().all(|link| link.starts_with(['?', '#']) || link.starts_with("data:image/svg+xml,"))
        );
        assert_eq!(page.matches("</style>").count(), 1);
    }
}

#[test]
fn only_a_live_page_has_a_script() {
    let answers = site(&["/"], 3);
    let plain = page(json!({}), &answers);
    assert!(
        !plain.contains("<script") && plain.contains("script-src &#39;none&#39;; connect-src &#39;none&#39;")
    );
    let live = page(json!({"live": "/live?site=shop", "nonce": "abc123"}), &answers);
    assert!(live.contains("data-live=\"/live?site=shop\"") && live.contains("<script nonce=\"abc123\">"));
    assert!(live.contains("<style nonce=\"abc123\">") && live.contains("connect-src &#39;self&#39;"));
    assert!(
        !live.contains("unsafe-") && !live.contains(" style="),
        "nothing that the policy would have to allow"
    );
}

#[test]
fn a_page_stays_small() {
    // Each character of a text is five bytes of markup, and each byte of it three of a link.
    let long = "&".repeat(2_000);
    let texts: Vec<&str> = std::iter::repeat_n(long.as_str(), 8).collect();
    let mut answers = site(&texts, 400);
    answers.sites = vec!["x".repeat(128); 50];
    answers.site = "x".repeat(128);
    let filters = json!({"path": "&".repeat(330), "unit": "day", "since": "2024-06-10"});
    for (query, what) in [(filters, "long filters"), (json!({}), "long texts")] {
        let page = page(query, &answers);
        assert!(page.len() < 100_000, "{} bytes with {what}", page.len());
    }
}

#[test]
fn an_empty_page_says_what_to_do() {
    let nothing = Answers::default();
    assert!(page(json!({}), &nothing).contains("Nothing is counted yet"));
    let mut answers = site(&["/"], 3);
    (answers.summary, answers.before) = (Numbers::default(), None);
    let page_of_days = page(json!({}), &answers);
    assert!(
        page_of_days.contains("<a href=\"?period=all\">Show all time</a>")
            && !page_of_days.contains("compared with")
    );
    let filtered = page(json!({"path": "/x"}), &answers);
    assert!(filtered.contains("None matches all filters. <a href=\"?\">Remove the filters</a>"));
    let mut answers = site(&["/"], 3);
    answers.breakdowns.iter_mut().for_each(|breakdown| breakdown.rows = vec![(None, numbers(5))]);
    assert!(page(json!({}), &answers).contains("Pass the user agent to receive()"));
}

#[test]
fn problems_are_told() {
    let page = page(json!({"since": "tomorrow", "utm_source": "x"}), &site(&["/"], 3));
    assert!(
        page.contains("<li>since “tomorrow” is not a day such as 2025-07-14.")
            && !page.contains("utm_source")
    );
}

#[test]
fn changes_are_good_or_bad() {
    let answers = Answers {
        summary: numbers(90),
        before: Some(Numbers { bounces: 20, ..numbers(100) }),
        ..Answers::default()
    };
    let query = Query::default();
    let cards = cards(&answers, &Range::of(&query, TODAY, Some(1)), &query);
    let shifts: Vec<_> = cards
        .iter()
        .map(|card| card.change.as_ref().map(|shift| (shift.kind, shift.text.as_str())))
        .collect();
    assert_eq!(
        shifts,
        [
            Some(("bad", "↓ 10%")),
            Some(("bad", "↓ 10%")),
            Some(("bad", "↓ 10%")),
            Some(("bad", "↑ 40 points")),
            Some(("same", "=")),
        ]
    );
}

#[test]
fn a_page_can_be_ascii() {
    assert_eq!(to_ascii("<b title=\"–\">ä</b>"), "<b title=\"&#8211;\">&#228;</b>");
    // Characters of style and script have no references.
    assert!(STYLE.is_ascii() && SCRIPT.is_ascii());
}
