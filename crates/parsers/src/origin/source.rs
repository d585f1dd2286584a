//! What people call the site or app that a visitor came from, and of which kind it is. It owns the look-up.
//!
//! A source has one name, whether a referrer's host (`www.google.de`), an app (`com.google.android.gm`) or a
//! campaign (`utm_source=Google`) tells of it.

use super::table::{ALIASES, APPS, COUNTRY_NAMES, HOSTS, PORTALS};
use crate::host::{normal_host, without_www};

/// What a source is to its visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Search,
    Social,
    Assistant,
    Mail,
    Other,
}

/// A source: its name and kind, and whether the tables know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub name: String,
    pub kind: Kind,
    pub is_known: bool,
}

impl Source {
    /// The source that a referrer's host is, in its normal form.
    pub fn of_host(host: &str) -> Self {
        let host = without_www(host);
        match known_host(host) {
            Some((name, kind)) => Source::known(name, kind),
            None => Source { name: host.to_owned(), kind: kind_by_label(host), is_known: false },
        }
    }

    /// The source that an Android package is.
    pub fn of_app(package: &str) -> Self {
        match find(APPS, package) {
            Some((name, kind)) => Source::known(name, kind),
            None => Source { name: package.to_owned(), kind: Kind::Other, is_known: false },
        }
    }

    /// The source that a campaign names: by an alias, a name, a host, or in words of its own, which stay.
    pub fn of_campaign(text: &str) -> Self {
        let word = text.to_lowercase();
        if let Some((name, kind)) = find(ALIASES, &word) {
            return Source::known(name, kind);
        }
        let is_it = |entry: &&(&str, &str, Kind)| entry.1.eq_ignore_ascii_case(&word);
        if let Some((_, name, kind)) = HOSTS.iter().find(is_it) {
            return Source::known(name, *kind);
        }
        match normal_host(&word).filter(|host| host.contains('.')) {
            Some(host) => Source::of_host(&host),
            None => Source { name: text.to_owned(), kind: Kind::Other, is_known: false },
        }
    }

    pub fn known(name: &str, kind: Kind) -> Self {
        Source { name: name.to_owned(), kind, is_known: true }
    }
}

/// Looks for the host itself, then for each host above it.
fn known_host(host: &str) -> Option<(&'static str, Kind)> {
    let international = without_country(host);
    let host = international.as_deref().unwrap_or(host);
    if let Some(found) = find(HOSTS, host) {
        return Some(found);
    }
    let mut rest = host;
    while let Some((_, above)) = rest.split_once('.') {
        if let Some((name, kind)) = find(HOSTS, above) {
            let is_service = PORTALS.contains(&above);
            return Some((name, if is_service { Kind::Other } else { kind }));
        }
        rest = above;
    }
    None
}

/// `images.google.com` for `images.google.co.uk`. None if the host does not end in such a name and a country:
/// anybody may own `google.evil.com`.
fn without_country(host: &str) -> Option<String> {
    let is_country = |label: &str| label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase());
    let (above, country) = host.rsplit_once('.').filter(|(_, label)| is_country(label))?;
    let above = match above.rsplit_once('.') {
        Some((above, "co" | "com")) => above,
        _ => above,
    };
    let (below, name) = above.rsplit_once('.').map_or(("", above), |(below, name)| (below, name));
    let (_, main) = COUNTRY_NAMES.iter().find(|(known, _)| *known == name)?;
    // yandex.ru is itself, and not in need of a country.
    let is_main = main.strip_suffix(country).is_some_and(|start| start.ends_with('.'));
    if is_main {
        return None;
    }
    Some(if below.is_empty() { (*main).to_owned() } else { format!("{below}.{main}") })
}

/// A host that nobody knows may still say that it serves mail.
fn kind_by_label(host: &str) -> Kind {
    match host.split_once('.') {
        Some(("mail" | "webmail", rest)) if rest.contains('.') => Kind::Mail,
        _ => Kind::Other,
    }
}

fn find(table: &[(&'static str, &'static str, Kind)], key: &str) -> Option<(&'static str, Kind)> {
    let index = table.binary_search_by_key(&key, |(entry, _, _)| entry).ok()?;
    table.get(index).map(|(_, name, kind)| (*name, *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_in_order() {
        for table in [HOSTS, APPS, ALIASES] {
            assert!(table.is_sorted_by(|before, after| before.0 < after.0));
            assert!(table.iter().all(|entry| entry.0 == entry.0.to_lowercase()));
            assert!(table.iter().all(|entry| entry.1.len() <= 32));
        }
        for portal in PORTALS {
            assert!(find(HOSTS, portal).is_some(), "{portal}");
        }
        for (_, main) in COUNTRY_NAMES {
            assert!(find(HOSTS, main).is_some(), "{main}");
        }
        for (host, name, kind) in HOSTS {
            let others = HOSTS.iter().chain(APPS).filter(|other| other.1 == *name);
            others.for_each(|other| assert_eq!(other.2, *kind, "{host} and {}", other.0));
        }
    }

    #[test]
    fn hosts_have_the_names_that_people_call_them() {
        use Kind::*;
        for (host, name, kind) in [
            ("www.google.com", "Google", Search),
            ("google.de", "Google", Search),
            ("www.google.co.uk", "Google", Search),
            ("images.google.com.br", "Google", Search),
            ("google.evil.com", "google.evil.com", Other),
            ("google.com.evil.example", "google.com.evil.example", Other),
            ("notgoogle.com", "notgoogle.com", Other),
            ("google.co.uk.evil.io", "google.co.uk.evil.io", Other),
            ("mail.google.com", "Gmail", Mail),
            ("docs.google.com", "Google Docs", Other),
            ("adservice.google.com", "Google", Other),
            ("gemini.google.com", "Gemini", Assistant),
            ("notebooklm.google.com", "NotebookLM", Assistant),
            ("chatgpt.com", "ChatGPT", Assistant),
            ("chat.openai.com", "ChatGPT", Assistant),
            ("openai.com", "openai.com", Other),
            ("www.perplexity.ai", "Perplexity", Assistant),
            ("copilot.microsoft.com", "Copilot", Assistant),
            ("learn.microsoft.com", "learn.microsoft.com", Other),
            ("claude.ai", "Claude", Assistant),
            ("cn.bing.com", "Bing", Search),
            ("edgeservices.bing.com", "Copilot", Assistant),
            ("r.search.yahoo.com", "Yahoo", Search),
            ("de.search.yahoo.com", "Yahoo", Search),
            ("finance.yahoo.com", "Yahoo", Other),
            ("mail.yahoo.com", "Yahoo Mail", Mail),
            ("yandex.ru", "Yandex", Search),
            ("yandex.com.tr", "Yandex", Search),
            ("mail.yandex.ru", "Yandex Mail", Mail),
            ("e.mail.ru", "Mail.ru", Mail),
            ("go.mail.ru", "Mail.ru Search", Search),
            ("tieba.baidu.com", "Tieba", Social),
            ("l.facebook.com", "Facebook", Social),
            ("out.reddit.com", "Reddit", Social),
            ("t.co", "X", Social),
            ("x.com", "X", Social),
            ("netflix.com", "netflix.com", Other),
            ("at.pinterest.com", "Pinterest", Social),
            ("pinterest.co.uk", "Pinterest", Social),
            ("news.ycombinator.com", "news.ycombinator.com", Other),
            ("www.example.com", "example.com", Other),
            ("webmail.example.com", "webmail.example.com", Mail),
            ("mail.com", "mail.com", Other),
            ("localhost", "localhost", Other),
            ("::1", "::1", Other),
        ] {
            let source = Source::of_host(host);
            assert_eq!((source.name.as_str(), source.kind), (name, kind), "{host}");
        }
    }

    #[test]
    fn a_campaign_and_a_referrer_name_a_source_alike() {
        for (text, name) in [
            ("google", "Google"),
            ("GOOGLE", "Google"),
            ("google.com", "Google"),
            ("www.google.de", "Google"),
            ("fb", "Facebook"),
            ("Facebook", "Facebook"),
            ("twitter", "X"),
            ("chatgpt.com", "ChatGPT"),
            ("ChatGPT", "ChatGPT"),
            ("perplexity", "Perplexity"),
            ("hackernews", "news.ycombinator.com"),
            ("Our Partner", "Our Partner"),
            ("Example.com", "example.com"),
            ("v1.5 mailing", "v1.5 mailing"),
        ] {
            assert_eq!(Source::of_campaign(text).name, name, "{text}");
        }
    }
}
