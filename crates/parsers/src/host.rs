//! The normal form of a host, and whose host it is. It owns how two hosts are compared.
//!
//! Two texts name one host if and only if their normal forms are equal. `www.` is a part of a host; only
//! [`is_own_host`] looks past it.

use std::net::Ipv6Addr;

/// The longest name that the domain name system has, in bytes.
const MAX_HOST_BYTES: usize = 253;

/// The normal form of a host: lower case, without port and trailing dot; an IPv6 address in its shortest form
/// and without brackets, as PostgreSQL's `inet` shows it. Returns None if it is no host, and at most 253 bytes.
///
/// A browser gives names with other letters than those of ASCII in their ASCII form (`xn--bcher-kva.example`).
/// This does not translate between the two.
pub fn normal_host(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
        return address.parse::<Ipv6Addr>().ok().filter(|_| is_port).map(|address| address.to_string());
    }
    let name = match text.split_once(':') {
        Some((name, port)) if is_number(port) => name,
        Some(_) => return text.parse::<Ipv6Addr>().ok().map(|address| address.to_string()),
        None => text,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > MAX_HOST_BYTES || !name.split('.').all(is_label) {
        return None;
    }
    let name = name.to_lowercase();
    // A few letters are longer in lower case.
    (name.len() <= MAX_HOST_BYTES).then_some(name)
}

/// Whether a referrer's host belongs to the site that was visited: it is the host of the page itself or one of
/// the site's hosts, with or without `www.`. All are in their normal form.
pub fn is_own_host(host: &str, page_host: Option<&str>, site_hosts: &[impl AsRef<str>]) -> bool {
    let host = without_www(host);
    page_host.is_some_and(|own| without_www(own) == host)
        || site_hosts.iter().any(|own| without_www(own.as_ref()) == host)
}

pub(crate) fn without_www(host: &str) -> &str {
    host.strip_prefix("www.").unwrap_or(host)
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_normal_form() {
        for (text, host) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com.:", "example.com"),
            ("localhost", "localhost"),
            ("my_host.internal", "my_host.internal"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[2001:DB8:0:0::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("BÜCHER.example", "bücher.example"),
            ("www.example.com", "www.example.com"),
        ] {
            assert_eq!(normal_host(text).as_deref(), Some(host), "{text}");
            assert_eq!(normal_host(host).as_deref(), Some(host), "{host}");
        }
        for text in [
            "", ".", "a..b", ".a", "a b", "a/b", "a:b", "[::1", "[::1]x", "[::1]:x", "a%41", "<", "\0", "::g",
        ] {
            assert_eq!(normal_host(text), None, "{text}");
        }
        assert_eq!(normal_host(&"a".repeat(254)), None);
        // U+023A takes two bytes, and three in lower case.
        assert_eq!(normal_host(&"\u{23a}".repeat(126)), None);
    }

    #[test]
    fn a_site_owns_its_hosts_and_the_page_its_own() {
        let none: [&str; 0] = [];
        assert!(is_own_host("www.example.com", Some("example.com"), &none));
        assert!(is_own_host("example.com", None, &["www.example.com"]));
        assert!(!is_own_host("blog.example.com", Some("example.com"), &["www.example.com"]));
        assert!(!is_own_host("example.com", None, &none));
    }
}
