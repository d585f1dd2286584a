//! The script that tells what happens in the pages of a site: `tracker.js`, with the address to which it sends.
//!
//! Its events are those of `receive()`. Whatever the address is, the script is one of ASCII characters, and the address is a
//! string in it that nothing can end: not a quote, not `</script>`, not a line separator.

#![forbid(unsafe_code)]

/// The script as it is in the repository, with comments.
const SOURCE: &str = include_str!("tracker.js");

/// What stands for the address in the source.
const PLACE: &str = "'ENDPOINT'";

/// The longest address, in bytes.
pub const MAX_ENDPOINT_BYTES: usize = 512;

/// Why an address is none that a page can send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    Empty,
    TooLong,
    /// It has characters that browsers take out of an address, or that make it another one.
    Characters,
    /// It has a scheme other than `http` and `https`, or no host after one of these.
    Scheme,
    /// It has a user or a password, with which browsers refuse to send.
    User,
}

/// The script that sends to an address, which is a path, or a URL with the scheme `http` or `https`.
pub fn script(endpoint: &str) -> Result<String, EndpointError> {
    check(endpoint)?;
    let source =
        SOURCE.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let delivered: String = source.flat_map(|line| [line, "\n"]).collect();
    Ok(delivered.replacen(PLACE, &literal(endpoint), 1))
}

fn check(endpoint: &str) -> Result<(), EndpointError> {
    if endpoint.is_empty() {
        return Err(EndpointError::Empty);
    }
    if endpoint.len() > MAX_ENDPOINT_BYTES {
        return Err(EndpointError::TooLong);
    }
    // Browsers take blanks at the ends, tabs and line ends out before they look for a scheme, and read \ as /.
    if endpoint.chars().any(|c| c <= ' ' || c == '\\' || c.is_control()) {
        return Err(EndpointError::Characters);
    }
    let rest = match scheme(endpoint) {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            if !rest.starts_with("//") {
                return Err(EndpointError::Scheme);
            }
            rest
        }
        Some(_) => return Err(EndpointError::Scheme),
        None => endpoint,
    };
    if let Some(rest) = rest.strip_prefix("//") {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() {
            return Err(EndpointError::Scheme);
        }
        if authority.contains('@') {
            return Err(EndpointError::User);
        }
    }
    Ok(())
}

/// The scheme of a URL, and what follows its colon; `None` for one that has none.
fn scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

/// A text as a string of JavaScript. All but some characters are escaped.
fn literal(text: &str) -> String {
    let mut literal = String::from("'");
    for unit in text.encode_utf16() {
        match u8::try_from(unit).map(char::from) {
            Ok(c) if c.is_ascii_alphanumeric() || "-._~:/?#@!*+,;=%".contains(c) => literal.push(c),
            _ => literal.push_str(&format!("\\u{unit:04x}")),
        }
    }
    literal.push('\'');
    literal
}

#[cfg(test)]
mod tests;
