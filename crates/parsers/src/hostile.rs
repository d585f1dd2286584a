//! Hostile texts for tests: the same ones in each run. It owns what a visitor may send to break a parser.

/// Pieces that mean something to one of the parsers, and those that break careless ones.
const PIECES: &[&str] = &[
    "/",
    "//",
    "/./",
    "/../",
    ".",
    "..",
    "%",
    "%2",
    "%2e",
    "%2E%2e",
    "%25",
    "%2525",
    "%41",
    "%zz",
    "%00",
    "%ff",
    "%C3%A9",
    "\\",
    "?",
    "&",
    "=",
    "#",
    "+",
    ";",
    ":",
    "@",
    "[",
    "]",
    "|",
    "id",
    "id=",
    "?id=1",
    "&i%64=",
    "a b=",
    "%=",
    "é=",
    "utm_source=",
    "&utm_medium=cpc",
    "gclid=",
    "https://",
    "http:",
    "android-app://",
    "www.",
    "google.",
    "com",
    "co.uk",
    "a",
    "A",
    "7",
    " ",
    "\t",
    "\r\n",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "é",
    "ß",
    "\u{130}",
    "\u{23a}",
    "\u{2028}",
    "\u{202e}",
    "\u{fffd}",
    "\u{feff}",
    "\u{1f916}",
    "Mozilla/5.0 (",
    "Windows NT 10.0; ",
    "Android 10; K) ",
    "Chrome/",
    "120.0.0.0 ",
    "Mobile ",
    "Safari/537.36",
    "bot",
    "news",
    "google",
    "/1.0;",
    ";q=0.9,",
    "en-GB",
    "zh-Hant-TW",
    "*",
    "-",
    "_",
    "(",
    ")",
    "()",
    "compatible;",
    "search",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Calls with some thousand texts, most of them short, some of them of hundreds of kilobytes.
pub fn texts(mut call: impl FnMut(&str)) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for _ in 0..20_000 {
        let pieces = 1 + random(12);
        let text: String = (0..pieces).map(|_| PIECES[random(PIECES.len())]).collect();
        call(&text);
    }
    for piece in PIECES {
        call(&piece.repeat(3_000));
        call(&format!("https://example.com/?id={}", piece.repeat(50_000)));
    }
}
