//! The parts of an URL as a browser or a log gives it. It owns where one part ends and the next begins.
//!
//! The parts are borrowed and as they were written, but for the host. Only addresses of pages are URLs here:
//! `mailto:`, `data:` and paths that do not begin with `/` are not.

use std::borrow::Cow;

use crate::host::normal_host;

/// The parts of an URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// As it was written, without the colon. None for `//host/path` and `/path`.
    pub scheme: Option<&'a str>,
    /// In its normal form: see [`normal_host`]. None for `/path`.
    pub host: Option<String>,
    /// As it was written, without query and fragment. Empty, or it begins with `/` or `\`.
    pub path: &'a str,
    /// As it was written, without `?` and fragment. Empty if there is none.
    pub query: &'a str,
}

impl<'a> Url<'a> {
    /// Splits `scheme://user@host:port/path?query#fragment`, `//host/path` and `/path`. Returns None if the text
    /// is none of these or its host is not one.
    ///
    /// A log's request may be for a path that begins with `//`, which this takes for a host: put the scheme and
    /// the host that served it before it.
    pub fn split(text: &'a str) -> Option<Self> {
        let text = text.trim_matches(|c: char| c <= ' ');
        let (text, _fragment) = text.split_once('#').unwrap_or((text, ""));
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
            _ => match text.strip_prefix("//") {
                Some(rest) => (None, rest),
                None if text.starts_with('/') => {
                    return Some(Url { scheme: None, host: None, path: text, query });
                }
                None => return None,
            },
        };
        let (authority, path) = rest.split_at_checked(rest.find(['/', '\\']).unwrap_or(rest.len()))?;
        let address = authority.rsplit_once('@').map_or(authority, |(_user, address)| address);
        Some(Url { scheme, host: Some(normal_host(address)?), path, query })
    }

    /// Whether it is the address of a page on the web. A missing scheme is the scheme of another such page.
    pub fn is_web(&self) -> bool {
        self.scheme
            .is_none_or(|scheme| scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http"))
    }

    /// The parameters of the query in their order, names and values as they were written. The value is None if
    /// there is no `=`.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, Option<&'a str>)> + use<'a> {
        self.query.split('&').filter(|parameter| !parameter.is_empty()).map(|parameter| {
            match parameter.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (parameter, None),
            }
        })
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// An URL without tabs and line ends, which browsers take out before they read it.
pub fn without_line_ends(text: &str) -> Cow<'_, str> {
    const LINE_ENDS: [char; 3] = ['\t', '\n', '\r'];
    if text.contains(LINE_ENDS) { Cow::Owned(text.replace(LINE_ENDS, "")) } else { Cow::Borrowed(text) }
}

/// Decodes a name or value of a query as forms write it: `+` is a space, `%C3%A9` is `é`. An escape that is none
/// stays, and what is not UTF-8 becomes U+FFFD.
pub fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match escaped(*high, *low) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = after;
                }
                None => bytes.push(b'%'),
            },
            (byte, _) => bytes.push(*byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The byte that two hexadecimal digits stand for.
pub(crate) fn escaped(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_url_has_its_parts() {
        for (text, scheme, host, path, query) in [
            ("https://example.com/a?b=c#d", Some("https"), Some("example.com"), "/a", "b=c"),
            ("HTTP://User:pass@Example.COM.:8080?q", Some("HTTP"), Some("example.com"), "", "q"),
            ("//example.com/a", None, Some("example.com"), "/a", ""),
            ("/a?b?c", None, None, "/a", "b?c"),
            ("/login?next=https://example.com/", None, None, "/login", "next=https://example.com/"),
            ("/https://example.com/", None, None, "/https://example.com/", ""),
            ("  https://[::1]:8080/a \n", Some("https"), Some("::1"), "/a", ""),
            ("https://example.com#/route?x", Some("https"), Some("example.com"), "", ""),
            ("https://example.com\\a", Some("https"), Some("example.com"), "\\a", ""),
            (
                "android-app://com.google.android.gm/",
                Some("android-app"),
                Some("com.google.android.gm"),
                "/",
                "",
            ),
        ] {
            let host = host.map(str::to_owned);
            assert_eq!(Url::split(text), Some(Url { scheme, host, path, query }), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_page_is_no_url() {
        for text in [
            "",
            "-",
            "a",
            "?a",
            "#a",
            "about:blank",
            "mailto:a@example.com",
            "javascript:alert(1)",
            "data:,a",
            "example.com/a",
            "https://",
            "https:///a",
            "https://a b/",
            "https://a:b/",
            "https://%41/",
            "1a://b/",
            "file:///etc/passwd",
            "*",
            "https://a..b/",
            "https://[::g]/",
            "https:/a",
        ] {
            assert_eq!(Url::split(text), None, "{text}");
        }
    }

    #[test]
    fn parameters_come_as_they_were_written() {
        let url = Url::split("/?a=b=c&&d&e=&=f").unwrap();
        let parameters: Vec<_> = url.parameters().collect();
        assert_eq!(parameters, [("a", Some("b=c")), ("d", None), ("e", Some("")), ("", Some("f"))]);
    }

    #[test]
    fn values_are_decoded_as_forms_write_them() {
        for (text, value) in [
            ("a", "a"),
            ("a+b%20c", "a b c"),
            ("%C3%a9", "é"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(text), value);
        }
    }
}
