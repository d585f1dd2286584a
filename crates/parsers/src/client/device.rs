//! The kind of device, by the user agent. It owns the order in which the kinds are asked for: the rarer first,
//! because a television says that it is an Android, and a tablet that it is a phone.

use super::is_ipad_as_mac;

/// What is worn, driven or spoken to.
const OTHERS: &[&str] = &[
    "oculusbrowser",
    "pico browser",
    "tesla/",
    "qtcarbrowser",
    "watchos",
    "ticwatch",
    "sm-r7",
    "; watch",
    "sm-r8",
    "sm-r9",
    "wear os",
    "echo show",
];

const CONSOLES: &[&str] = &["playstation", "nintendo", "xbox"];

const TELEVISIONS: &[&str] = &[
    "smart-tv",
    "smarttv",
    "smart_tv",
    "smart tv",
    "smarthub",
    "hbbtv",
    "appletv",
    "apple tv",
    "googletv",
    "androidtv",
    "nettv",
    "netcast",
    "web0s",
    "webostv",
    "vidaa",
    "viera",
    "bravia",
    "roku",
    "crkey",
    "chromecast",
    "philipstv",
    "inettvbrowser",
    "sonydtv",
    "tsbnettv",
    "dtv/",
    "netrange",
    "mibox",
    "mitv",
    " aftt",
    " aftm",
    " aftb",
    " afts",
    " aftn",
    " aftk",
    " aftr",
    " aftg",
    " aftw",
    " aftj",
    " afta",
    " aftd",
    " afte",
    " afth",
    " aftl",
    " aftp",
    "shield android",
    "stbapp",
    "_stb",
    "stb;",
    "andr0id",
    " omi/",
    "tivo-device",
    "espial",
    "whaleos",
    "vizio",
    "tvbox",
    "lge tv",
];

const TABLETS: &[&str] = &[
    "tablet",
    "playbook",
    "kindle",
    "touchpad",
    "mediapad",
    "matepad",
    "sm-t",
    "sm-x",
    "sm-p5",
    "sm-p6",
    "gt-p",
    "nexus 7",
    "nexus 9",
    "nexus 10",
    "xoom",
    "lenovo tb",
    "lenovo tab",
    "iconia",
    "transformer",
    "silk/",
];

const PHONES: &[&str] = &[
    "mobi",
    "phone",
    "iphone",
    "ipod",
    "blackberry",
    "bb10",
    "symbian",
    "symbos",
    "series60",
    "series40",
    "opera mini",
    "ucweb",
    "midp",
    "j2me",
    "nokia",
    "kaios",
    "up.browser",
    "netfront",
    "obigo",
    "palm",
    "windows ce",
    "palmsource",
    "bada",
    "meego",
    "webos/",
];

const DESKTOPS: &[&str] = &[
    "windows",
    "win98",
    "win95",
    "macintosh",
    "mac_powerpc",
    "mac os x",
    "x11",
    "cros ",
    "linux",
    "ubuntu",
    "bsd",
    "sunos",
    "haiku",
];

/// `desktop`, `mobile`, `tablet`, `tv`, `console`, `other`, or None if the user agent, in lower case, does not tell.
pub(super) fn device(agent: &str) -> Option<&'static str> {
    let has = |text: &str| agent.contains(text);
    let has_one = |texts: &[&str]| texts.iter().any(|text| agent.contains(text));
    if has_one(OTHERS) {
        Some("other")
    } else if has_one(CONSOLES) {
        Some("console")
    } else if has_one(TELEVISIONS) || has_word(agent, "tv") {
        Some("tv")
    } else if has("windows")
        && !has_one(&["windows phone", "windows ce", "windows mobile", "iemobile", "lumia", "palmsource"])
    {
        // Some of them say Tablet PC, which all versions of that time do.
        Some("desktop")
    } else if has("android") {
        let is_phone = has("mobi") || has("opera mini") || has("ucweb") || has("ucbrowser");
        Some(if is_phone && !has_one(TABLETS) { "mobile" } else { "tablet" })
    } else if has("ipad") || is_ipad_as_mac(agent) {
        Some("tablet")
    } else if has("iphone") || has("ipod") {
        Some("mobile")
    } else if has_one(TABLETS) {
        Some("tablet")
    } else if has_one(PHONES) {
        Some("mobile")
    } else {
        has_one(DESKTOPS).then_some("desktop")
    }
}

/// Whether a text is there, and no letter or digit beside it.
fn has_word(agent: &str, word: &str) -> bool {
    agent.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word)
}
