//! Where a visitor came from, by the URL of the page and the referrer. It owns which of the two says what.
//!
//! What the URL says comes before what the referrer says: a campaign names its source, a click id its network.
//! Only a referrer that is known by name comes before the network of a click id, which serves other sites, too.
//! No value is longer than [`MAX_VALUE_BYTES`]; none has control characters, blanks around it, or is empty.

mod channel;
mod click;
mod source;
mod table;

pub use channel::Channel;

use crate::path::normal_path;
use crate::url::{Url, decoded, without_line_ends};
use click::Click;
use source::Source;

/// The longest value of an origin, in bytes.
pub const MAX_VALUE_BYTES: usize = 256;

/// Where a visitor came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The referring site as people call it: `Google`, `ChatGPT`, `example.com`.
    pub source: Option<String>,
    /// Host and path of the referrer, without query. An app is its package, without path.
    pub referrer: Option<String>,
    /// `utm_medium`, as the campaign has it.
    pub medium: Option<String>,
    /// `utm_campaign`.
    pub campaign: Option<String>,
    /// `utm_term`.
    pub term: Option<String>,
    /// `utm_content`.
    pub content: Option<String>,
    pub channel: Channel,
}

/// Where a visitor of the page with this URL came from, with the referrer as a browser or a log has it.
/// `is_own_host` gets the referrer's host in its normal form; [`is_own_host`](crate::is_own_host) can answer.
///
/// Returns None for a direct visit, one from the site itself, and if nothing is known.
pub fn origin(url: &str, referrer: Option<&str>, is_own_host: impl Fn(&str) -> bool) -> Option<Origin> {
    let told = Told::by(url);
    let referrer = referrer.and_then(|text| Referrer::read(text, is_own_host));
    if told.is_nothing() && referrer.is_none() {
        return None;
    }
    let (referrer, by_referrer) =
        referrer.map_or((None, None), |referrer| (Some(referrer.address), Some(referrer.source)));
    let by_campaign = told.source.as_deref().or(told.other_source.as_deref()).map(Source::of_campaign);
    let by_click = told.click.and_then(|click| click.source).map(|(name, kind)| Source::known(name, kind));
    let source = match (by_campaign, by_referrer, by_click) {
        (Some(source), _, _) => Some(source),
        (None, Some(source), _) if source.is_known => Some(source),
        (None, by_referrer, by_click) => by_click.or(by_referrer),
    };
    let channel =
        channel::channel(source.as_ref().map(|source| source.kind), told.medium.as_deref(), told.click);
    Some(Origin {
        source: source.map(|source| source.name),
        referrer,
        medium: told.medium,
        campaign: told.campaign,
        term: told.term,
        content: told.content,
        channel,
    })
}

/// What the query of the page's URL tells.
#[derive(Default)]
struct Told {
    source: Option<String>,
    /// From `source` or `ref`, which sites use for other things, too: only without `utm_source`.
    other_source: Option<String>,
    medium: Option<String>,
    campaign: Option<String>,
    term: Option<String>,
    content: Option<String>,
    click: Option<&'static Click>,
}

impl Told {
    fn by(url: &str) -> Self {
        let mut told = Told::default();
        let url = without_line_ends(url);
        let Some(url) = Url::split(&url) else { return told };
        let mut best = usize::MAX;
        for (name, value) in url.parameters() {
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            let field = match name.to_ascii_lowercase().as_str() {
                "utm_source" => &mut told.source,
                "source" | "ref" => &mut told.other_source,
                "utm_medium" => &mut told.medium,
                "utm_campaign" => &mut told.campaign,
                "utm_term" => &mut told.term,
                "utm_content" => &mut told.content,
                name => {
                    best = click::rank(name).map_or(best, |rank| rank.min(best));
                    continue;
                }
            };
            // The first that says something.
            if field.is_none() {
                *field = clean(&decoded(value));
            }
        }
        told.click = click::at(best);
        told
    }

    fn is_nothing(&self) -> bool {
        self.click.is_none()
            && [&self.source, &self.other_source, &self.medium, &self.campaign, &self.term, &self.content]
                .iter()
                .all(|field| field.is_none())
    }
}

/// A referrer that is not the site itself.
struct Referrer {
    address: String,
    source: Source,
}

impl Referrer {
    fn read(text: &str, is_own_host: impl Fn(&str) -> bool) -> Option<Self> {
        let text = without_line_ends(text);
        let url = Url::split(&text)?;
        let is_app = url.scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("android-app"));
        let host = url.host.as_deref().filter(|host| is_app || url.is_web() && !is_own_host(host))?;
        let (mut address, source) = if is_app {
            (host.to_owned(), Source::of_app(host))
        } else {
            (format!("{host}{}", normal_path(url.path)), Source::of_host(host))
        };
        cut(&mut address);
        Some(Referrer { address, source })
    }
}

/// A value without control characters, and without what changes the direction of the text after it; None if
/// nothing is left, or what stands for nothing.
fn clean(text: &str) -> Option<String> {
    let is_shown = |c: &char| {
        !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let shown: String = text.chars().filter(is_shown).collect();
    let mut value = shown.trim().to_owned();
    cut(&mut value);
    value.truncate(value.trim_end().len());
    let is_nothing = ["", "(none)", "(not set)", "(direct)", "null", "undefined"]
        .contains(&value.to_ascii_lowercase().as_str());
    (!is_nothing).then_some(value)
}

/// Cuts a text at the end of a character.
fn cut(text: &mut String) {
    let end = text
        .char_indices()
        .map(|(start, c)| start + c.len_utf8())
        .take_while(|end| *end <= MAX_VALUE_BYTES)
        .last();
    text.truncate(end.unwrap_or(0));
}

#[cfg(test)]
mod tests;
