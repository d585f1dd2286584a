//! What a visitor uses: browser, system and kind of device, by the user agent. It owns what the words of a user
//! agent mean when several are there, and many are: nearly every browser says that it is some others, too.
//!
//! Only names from constant tables come out. A user agent cannot tell all: Brave and Arc are Chrome, an iPad may
//! be a Mac, and Tor is Firefox on Windows. Android without `Mobile` is taken for a tablet, which a television
//! or a phone that asks for the page of a desktop may be, too.

mod device;
mod tables;

use device::device;

/// What is read of a user agent, in bytes. Nothing that a browser sends is longer.
pub const MAX_AGENT_BYTES: usize = 2048;

/// What a visitor uses. None is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// The browser, or the app whose built-in browser it is: `Chrome`, `Safari`, `Instagram`.
    pub browser: Option<&'static str>,
    /// The system, without version: `Windows`, `macOS`, `iOS`, `Android`. All distributions are `Linux`.
    pub os: Option<&'static str>,
    /// `desktop`, `mobile`, `tablet`, `tv`, `console` or `other`.
    pub device: Option<&'static str>,
}

/// What a visitor with this user agent uses. Of a long one, the first 2,048 bytes decide.
pub fn client(user_agent: &str) -> Client {
    let agent = beginning(user_agent).to_ascii_lowercase();
    Client { browser: browser(&agent), os: system(&agent), device: device(&agent) }
}

/// The part of a user agent that is read, up to the end of a character.
pub(crate) fn beginning(user_agent: &str) -> &str {
    let end = (0..=MAX_AGENT_BYTES.min(user_agent.len())).rev().find(|end| user_agent.is_char_boundary(*end));
    end.and_then(|end| user_agent.get(..end)).unwrap_or("")
}

fn browser(agent: &str) -> Option<&'static str> {
    first(tables::BROWSERS, agent).or_else(|| engine(agent))
}

/// The browser of those that say nothing but their engine, or what others say, too.
fn engine(agent: &str) -> Option<&'static str> {
    let has = |text: &str| agent.contains(text);
    if has("chrome/") {
        Some(if has("; wv)") || has("version/4.0 chrome/") { "Android WebView" } else { "Chrome" })
    } else if has("android") {
        has("applewebkit").then_some("Android Browser")
    } else if has("safari/") && !has("linux") {
        Some("Safari")
    } else if has("applewebkit") && (has("iphone") || has("ipad") || has("ipod")) {
        Some("iOS WebView")
    } else {
        None
    }
}

fn system(agent: &str) -> Option<&'static str> {
    if is_ipad_as_mac(agent) { Some("iOS") } else { first(tables::SYSTEMS, agent) }
}

/// An iPad asks for the pages of desktops. Some browsers on it still say that they are mobile.
fn is_ipad_as_mac(agent: &str) -> bool {
    agent.contains("macintosh") && agent.contains(" mobile/")
}

/// The name of the first of these texts that is there.
fn first(table: &[(&str, &'static str)], agent: &str) -> Option<&'static str> {
    table.iter().find(|(text, _)| agent.contains(text)).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests;
