//! The path that names a page, from an URL. It owns what is the same page.
//!
//! One page has one path, whether a browser or a log wrote its URL, and the path of a path is that path again:
//! `page_path(page_path(url)) == page_path(url)`.
//!
//! A path consists of letters, digits, `-._~!$&'()*+,;=:@/` and escapes in upper case; a query may follow. All
//! else is escaped, so no browser, log or terminal shows it in another way. An escaped letter, digit, `-`, `.`,
//! `_` or `~` is the character itself (RFC 3986, 6.2.2). Escapes come before dots: `/%2e%2E/` is `/../`, as
//! browsers have it. A `%` that begins no escape is `%25`; left as it is, it could become one.

use std::fmt;

use crate::url::{Url, decoded, escaped, without_line_ends};

/// The longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 2048;

/// Why an URL has no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It is no address of a page on the web: `about:blank`, `example.com/a`, `file:///a`, an empty text.
    NotWeb,
    /// Its path is longer than [`MAX_PATH_BYTES`].
    TooLong,
}

impl fmt::Display for PathError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::NotWeb => formatter.write_str("not the address of a page"),
            PathError::TooLong => write!(formatter, "path is longer than {MAX_PATH_BYTES} bytes"),
        }
    }
}

impl std::error::Error for PathError {}

/// The path of a page: without scheme, host and fragment, without the query but for the parameters named.
///
/// `..` takes the segment before with it, `.` and empty segments go, and an empty path is `/`. A `/` at the end
/// stays. Kept parameters are in the order in which they are named, whatever their order in the URL; one that
/// comes more than once is kept as often, in the order of the URL. Names are compared decoded, and with case.
///
/// # Errors
/// See [`PathError`]. A path is never cut: two pages would become one.
pub fn page_path(url: &str, kept_parameters: &[impl AsRef<str>]) -> Result<String, PathError> {
    let url = without_line_ends(url);
    let url = Url::split(&url).filter(Url::is_web).ok_or(PathError::NotWeb)?;
    let mut path = normal_path(url.path);
    let mut separator = '?';
    for (index, kept) in kept_parameters.iter().map(AsRef::as_ref).enumerate() {
        if kept_parameters.iter().take(index).any(|before| before.as_ref() == kept) {
            continue;
        }
        let is_kept = |name: &str| decoded(name) == kept;
        for (name, value) in url.parameters().filter(|(name, _)| is_kept(name)) {
            path.push(separator);
            push_normal(&mut path, name, Part::Name);
            if let Some(value) = value {
                path.push('=');
                push_normal(&mut path, value, Part::Value);
            }
            separator = '&';
            if path.len() > MAX_PATH_BYTES {
                return Err(PathError::TooLong);
            }
        }
    }
    if path.len() > MAX_PATH_BYTES { Err(PathError::TooLong) } else { Ok(path) }
}

/// The normal form of the path alone, of any length.
pub(crate) fn normal_path(path: &str) -> String {
    let mut output = String::with_capacity(path.len());
    push_normal(&mut output, path, Part::Path);
    without_dots(&output)
}

/// Takes the dots out of a path, then the empty segments. In this order: `..` takes an empty segment with it, too,
/// for every browser.
fn without_dots(path: &str) -> String {
    // Nearly every path.
    if path.starts_with('/') && !path.contains("/.") && !path.contains("//") {
        return path.to_owned();
    }
    let mut output = String::with_capacity(path.len() + 1);
    let mut ends_in_dots = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        ends_in_dots = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => output.truncate(output.rfind('/').unwrap_or(0)),
            _ => {
                output.push('/');
                output.push_str(segment);
            }
        }
    }
    if ends_in_dots {
        output.push('/');
    }
    let mut before = ' ';
    output.retain(|c| std::mem::replace(&mut before, c) != '/' || c != '/');
    output
}

/// A part of an URL, by what may stand in it unescaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Name,
    Value,
}

impl Part {
    fn allows(self, byte: u8) -> bool {
        match byte {
            b'?' => self != Part::Path,
            b'&' => self == Part::Path,
            // Browsers escape it in a query, and only there.
            b'\'' => self == Part::Path,
            b'=' => self != Part::Name,
            b'!' | b'$' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b':' | b'@' | b'/' => true,
            _ => is_unreserved(byte),
        }
    }
}

/// Appends a part of an URL with its escapes in their normal form.
fn push_normal(output: &mut String, text: &str, part: Part) {
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'%', [high, low, after @ ..]) => match escaped(*high, *low) {
                Some(byte) => {
                    rest = after;
                    if is_unreserved(byte) {
                        output.push(char::from(byte))
                    } else {
                        push_escape(output, byte)
                    }
                }
                None => push_escape(output, b'%'),
            },
            // Browsers take the one slash for the other.
            (b'\\', _) if part == Part::Path => output.push('/'),
            (byte, _) if part.allows(*byte) => output.push(char::from(*byte)),
            (byte, _) => push_escape(output, *byte),
        }
    }
}

fn push_escape(output: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    output.push('%');
    for digit in [byte >> 4, byte & 15] {
        output.extend(DIGITS.get(usize::from(digit)).copied().map(char::from));
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    fn path(url: &str) -> String {
        page_path(url, &["id", "page"]).unwrap()
    }

    #[test]
    fn one_page_has_one_path() {
        for (url, expected) in [
            ("https://example.com", "/"),
            ("https://example.com?utm_source=x", "/"),
            ("https://example.com/a#b", "/a"),
            ("https://example.com:8080/a/?b=c", "/a/"),
            ("http://user@example.com//a///b/./c/../d", "/a/b/d"),
            ("/a//../b", "/a/b"),
            ("/a/..//b", "/b"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/..", "/"),
            ("/...", "/..."),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e", "/"),
            ("/%41%2d%7e", "/A-~"),
            ("/a%2fb", "/a%2Fb"),
            ("/%c3%a9", "/%C3%A9"),
            ("/\u{e9}", "/%C3%A9"),
            ("/a b\"<>`{}|^[]", "/a%20b%22%3C%3E%60%7B%7D%7C%5E%5B%5D"),
            ("/a\u{1}\u{7f}", "/a%01%7F"),
            ("/a\tb\r\nc%4\t1", "/abcA"),
            ("https://example.com\\a\\b", "/a/b"),
            ("/a%5Cb", "/a%5Cb"),
            ("/%", "/%25"),
            ("/%zz%4", "/%25zz%254"),
            ("/%%34%31", "/%2541"),
            ("/%25zz", "/%25zz"),
            ("/a;v=1,b:c@d!$&'()*+", "/a;v=1,b:c@d!$&'()*+"),
            ("/A", "/A"),
        ] {
            assert_eq!(path(url), expected, "{url}");
        }
    }

    #[test]
    fn parameters_are_kept_in_the_order_of_their_names() {
        for (url, expected) in [
            ("/a?page=2&x=y&id=1", "/a?id=1&page=2"),
            ("/a?id=1&id=2", "/a?id=1&id=2"),
            ("/a?id", "/a?id"),
            ("/a?id=", "/a?id="),
            ("/a?i%64=%41%2f+ \u{e9}%", "/a?id=A%2F+%20%C3%A9%25"),
            ("/a?ID=1&id[]=2&identity=3", "/a"),
            ("/a?id=?a=b/c:d", "/a?id=?a=b/c:d"),
            ("/a'b?id=c'd", "/a'b?id=c%27d"),
            ("/a?i\td=1", "/a?id=1"),
            ("/a#?id=1", "/a"),
        ] {
            assert_eq!(path(url), expected, "{url}");
        }
        assert_eq!(page_path("/?a=1", &["a", "a"]).unwrap(), "/?a=1");
        assert_eq!(page_path("/?a+b%26c=1&x", &["a b&c"]).unwrap(), "/?a+b%26c=1");
        assert_eq!(page_path("/?g%C3%B6=1&gö=2", &["gö"]).unwrap(), "/?g%C3%B6=1&g%C3%B6=2");
        assert_eq!(page_path("/?a%3Db=1", &["a=b"]).unwrap(), "/?a%3Db=1");
    }

    #[test]
    fn a_browser_and_a_log_name_the_same_page() {
        // What location.href shows, and what the same browser writes into the request.
        for (browser, log) in [
            ("https://example.com/caf%C3%A9?x#y", "/caf%C3%A9?x"),
            ("https://example.com/a|b[c]^", "/a|b[c]^"),
            ("https://example.com/a%20b", "/a%20b"),
            ("https://example.com/%7Euser", "/~user"),
        ] {
            assert_eq!(path(browser), path(log));
        }
    }

    #[test]
    fn a_path_is_never_cut() {
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES - 1));
        assert_eq!(path(&long), long);
        let none: [&str; 0] = [];
        assert_eq!(page_path(&format!("{long}b"), &none), Err(PathError::TooLong));
        assert_eq!(page_path(&format!("/?id={long}"), &["id"]), Err(PathError::TooLong));
        assert_eq!(path(&format!("{}a", "/b/..".repeat(10_000) + "/")), "/a");
        for url in ["", "about:blank", "a/b", "android-app://com.example/", "*"] {
            assert_eq!(page_path(url, &none), Err(PathError::NotWeb), "{url}");
        }
    }

    #[test]
    fn the_path_of_a_path_is_that_path() {
        hostile::texts(|text| {
            for url in [text.to_owned(), format!("/{text}"), format!("https://example.com/{text}")] {
                let kept = ["id", "a b", "%", "é", "id"];
                if let Ok(path) = page_path(&url, &kept) {
                    assert!(path.starts_with('/') && !path.starts_with("//") && path.len() <= MAX_PATH_BYTES);
                    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
                    assert_eq!(page_path(&path, &kept).as_ref(), Ok(&path), "{url}");
                }
            }
        });
    }
}
