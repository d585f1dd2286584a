//! Whether a user agent is a bot's. It owns the decision; its list is that of the npm package isbot, which it
//! equals but for what `EXTRA`, `PEOPLE` and `EXCUSES` say.
//!
//! A bot that pretends to be a browser is one here, too: nothing but the user agent is looked at.

mod needles;
mod scan;
mod shapes;

use crate::client::{MAX_AGENT_BYTES, beginning};
use scan::{After, Before, Needle, Table, needle};

static LISTED: Table = Table::of(needles::NEEDLES);
static OURS: Table = Table::of(EXTRA);

/// Bots that isbot does not know: fetchers on behalf of a user, libraries, browsers without a window, and apps
/// that fetch without a browser (Dalvik is Android's, CFNetwork Apple's). In byte order.
const EXTRA: &[Needle] = &[
    needle(Before::Any, "-extended", After::NoWord),
    needle(Before::Any, "-user", After::NoWord),
    needle(Before::NoWord, "dart/", After::Any),
    needle(Before::Start, "dalvik/", After::Any),
    needle(Before::Any, "gtmetrix", After::Any),
    needle(Before::Any, "happydom", After::Any),
    needle(Before::Any, "jsdom", After::Any),
    needle(Before::Any, "powershell", After::Any),
    needle(Before::Any, "puppeteer", After::Any),
];

/// Beginnings of what people watch television with, which isbot takes for bots.
const PEOPLE: &[&str] = &["appletv", "roku/"];

/// Phones, browsers and the like that have a needle in their name. A needle within one of these does not count.
const EXCUSES: &[&str] = &[
    ".catcher",
    "; b bot ",
    "; c bot",
    "; capture",
    "; discovery",
    "; id bot ",
    "; m bot ",
    "; m_bot_tab",
    "; newsday",
    "; power bot ",
    "; radar",
    "; spider ",
    "; vr bot ",
    "; xbot",
    "aurii virtuoso",
    "cubot",
    "firephp",
    "gm discovery",
    " google tv",
    "googletv",
    "s60 discovery",
    "s60_discovery",
    "superion radar",
    "sogoumobilebrowser",
    "sogoumse",
];

/// Whether a user agent is a bot's. An empty one is. Of a long one, the first 2,048 bytes decide.
pub fn is_bot(user_agent: &str) -> bool {
    let agent = beginning(user_agent).to_ascii_lowercase();
    debug_assert!(agent.len() <= MAX_AGENT_BYTES);
    let text = agent.as_bytes();
    if agent.trim_ascii().is_empty() {
        return true;
    }
    if PEOPLE.iter().any(|start| agent.starts_with(start)) {
        return false;
    }
    OURS.is_in(text, |_, _| false)
        || !text.starts_with(b"mozilla/") && agent.contains("cfnetwork/")
        || LISTED.is_in(text, |place, length| is_excused(text, place, length))
        || shapes::is_bot_shape(&agent)
}

/// Whether the bytes at this place are a part of an excuse.
fn is_excused(text: &[u8], place: usize, length: usize) -> bool {
    let Some(needle) = text.get(place..place + length) else { return false };
    EXCUSES.iter().map(|excuse| excuse.as_bytes()).any(|excuse| {
        let inside = excuse.windows(length).position(|window| window == needle);
        let start = inside.and_then(|inside| place.checked_sub(inside));
        start.and_then(|start| text.get(start..)).is_some_and(|from| from.starts_with(excuse))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    #[test]
    fn bots_are_bots() {
        for agent in [
            "",
            "  ",
            "-",
            "Mozilla/5.0",
            "curl/8.5.0",
            "Go-http-client/1.1",
            "python-requests/2.32.3",
            "axios/1.7.2",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/W.X.Y.Z Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot",
            "Mozilla/5.0 (compatible; Claude-User/1.0)",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 Safari/537.36",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "WhatsApp/2.23.20.0",
            "Dalvik/2.1.0 (Linux; U; Android 9; SM-G960F Build/PPR1)",
            "MyApp/1 CFNetwork/1410.0.3 Darwin/22.6.0",
            "Dart/3.1 (dart:io)",
            "kube-probe/1.29",
            "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1682",
        ] {
            assert!(is_bot(agent), "{agent}");
        }
    }

    #[test]
    fn people_are_no_bots() {
        for agent in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/135.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_NOTE_S) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/87.0.4280.101 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 4.2.1; Discovery DG500 Build/JOP40D) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/34.0.1847.114 Mobile Safari/537.36",
            "Roku/DVP-12.0 (12.0.0.4182-88)",
            "AppleTV11,1/11.1",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/450.0.0.38.108;FBBV/564431005;FBDV/iPhone13,2;FBMD/iPhone]",
        ] {
            assert!(!is_bot(agent), "{agent}");
        }
    }

    #[test]
    fn an_excuse_is_for_its_own_words_only() {
        let phone = "Mozilla/5.0 (Linux; Android 9; CUBOT) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/87.0 Mobile Safari/537.36";
        assert!(!is_bot(phone));
        assert!(is_bot(&format!("{phone} (compatible; AcmeBot/1.0)")));
    }

    #[test]
    fn the_beginning_of_a_long_agent_decides() {
        let browser = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/128.0";
        let padding = " a".repeat(MAX_AGENT_BYTES);
        assert!(!is_bot(&format!("{browser}{padding} Googlebot")));
        assert!(is_bot(&format!("{browser} Googlebot{padding}")));
        // A character of two bytes across the border.
        assert!(!is_bot(&format!("{browser} {}", "é".repeat(MAX_AGENT_BYTES))));
        hostile::texts(|text| {
            is_bot(text);
        });
    }
}
