//! User agents that have the shape of a bot's, whatever they say. It owns those patterns of isbot's list that no
//! needle can be: each is a function here, with the pattern in its comment.
//!
//! A text is read from left to right. Each run of characters is as long as it can be, and what follows a run is
//! never one of its characters, so that nothing is read twice.

use super::scan::is_word;

/// Whether a user agent in lower case has one of the shapes.
pub(super) fn is_bot_shape(agent: &str) -> bool {
    let text = agent.as_bytes();
    is_name_with_version(text)
        || is_product_with_details(text)
        || is_long_without_space(agent)
        || begins_with_search_or_number(text)
        || is_mozilla_alone(agent)
        || ends_with_word_after_space(agent)
        || has_address(text)
        || has_first_version(text)
}

/// A text before all of which a reader is.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads on past a text, if it is next.
    fn text(self, text: &str) -> Option<Self> {
        self.0.strip_prefix(text.as_bytes()).map(Reader)
    }

    /// Reads on past a byte that is next and of a kind.
    fn one(self, is_it: fn(u8) -> bool) -> Option<Self> {
        self.0.split_first().filter(|(byte, _)| is_it(**byte)).map(|(_, rest)| Reader(rest))
    }

    /// Reads on past all bytes of a kind that are next, with their number.
    fn all(self, is_it: fn(u8) -> bool) -> (usize, Self) {
        let count = self.0.iter().take_while(|byte| is_it(**byte)).count();
        (count, Reader(self.0.get(count..).unwrap_or(&[])))
    }

    /// Reads on past one or more bytes of a kind.
    fn some(self, is_it: fn(u8) -> bool) -> Option<Self> {
        let (count, rest) = self.all(is_it);
        (count > 0).then_some(rest)
    }

    /// Reads on past a blank of any script, as `\s` is one.
    fn space(self) -> Option<Self> {
        let length = self
            .0
            .utf8_chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next())
            .filter(|c| is_space(*c))?
            .len_utf8();
        self.0.get(length..).map(Reader)
    }

    fn is_end(self) -> bool {
        self.0.is_empty()
    }
}

/// `\s` of JavaScript.
fn is_space(c: char) -> bool {
    c.is_whitespace() && c != '\u{85}' || c == '\u{feff}'
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// `^[\w \.\-\(?:\):%]+(?:/v?\d+(?:\.\d+)?(?:\.\d{1,10})*?)?(?:,|$)`
fn is_name_with_version(text: &[u8]) -> bool {
    let is_name =
        |byte| is_word(byte) || matches!(byte, b' ' | b'.' | b'-' | b'(' | b'?' | b':' | b')' | b'%');
    let Some(name) = Reader(text).some(is_name) else { return false };
    let is_over = |reader: Reader| reader.is_end() || reader.0.starts_with(b",");
    let version = name.text("/").and_then(|reader| reader.text("v").unwrap_or(reader).some(is_digit));
    is_over(name) || version.is_some_and(|version| is_over(past_numbers(version)))
}

/// Reads on past numbers with a dot before each. Only the first may have more than ten digits.
fn past_numbers(mut reader: Reader) -> Reader {
    let mut most = usize::MAX;
    while let Some(number) = reader.text(".") {
        let (digits, rest) = number.all(is_digit);
        if digits == 0 || digits > most {
            break;
        }
        (reader, most) = (rest, 10);
    }
    reader
}

/// `^[\w\-]+/[\w]+$`, `^\w+/[\w\(\)]*$` and `^\w+/\d\.\d\s\([\w@]+\)$`
fn is_product_with_details(text: &[u8]) -> bool {
    let with_dashes =
        Reader(text).some(|byte| is_word(byte) || byte == b'-').and_then(|reader| reader.text("/"));
    if with_dashes.and_then(|reader| reader.some(is_word)).is_some_and(Reader::is_end) {
        return true;
    }
    let Some(product) = Reader(text).some(is_word).and_then(|reader| reader.text("/")) else { return false };
    let is_detail = |byte| is_word(byte) || matches!(byte, b'(' | b')');
    if product.all(is_detail).1.is_end() {
        return true;
    }
    past_short_version(product)
        .and_then(|reader| reader.text("(")?.some(|byte| is_word(byte) || byte == b'@')?.text(")"))
        .is_some_and(Reader::is_end)
}

/// Reads on past `\d\.\d\s`.
fn past_short_version(reader: Reader) -> Option<Reader> {
    reader.one(is_digit)?.text(".")?.one(is_digit)?.space()
}

/// `^[^ ]{50,}$`, in units of UTF-16 as JavaScript counts
fn is_long_without_space(agent: &str) -> bool {
    agent.len() >= 50 && !agent.contains(' ') && agent.chars().map(char::len_utf16).sum::<usize>() >= 50
}

/// `^\w*search\b` and `^\d+\b`
fn begins_with_search_or_number(text: &[u8]) -> bool {
    let (length, _) = Reader(text).all(is_word);
    let word = text.get(..length).unwrap_or(&[]);
    word.ends_with(b"search") || !word.is_empty() && word.iter().all(u8::is_ascii_digit)
}

/// `^mozilla/\d\.\d\s[\w\.-]+$` and
/// `^mozilla/\d\.\d\s\((?:compatible;)?(?:\s?[\w\d-.]+[\s/]\d+\.\d+)?\)$`
fn is_mozilla_alone(agent: &str) -> bool {
    let is_name = |byte| is_word(byte) || matches!(byte, b'.' | b'-');
    let Some(rest) = Reader(agent.as_bytes()).text("mozilla/").and_then(past_short_version) else {
        return false;
    };
    if rest.some(is_name).is_some_and(Reader::is_end) {
        return true;
    }
    let Some(details) = rest.text("(") else { return false };
    let details = details.text("compatible;").unwrap_or(details);
    let product = details.space().unwrap_or(details).some(is_name).and_then(|name| {
        let number = name.text("/").or_else(|| name.space())?.some(is_digit)?;
        number.text(".")?.some(is_digit)
    });
    let is_over = |reader: Reader| reader.text(")").is_some_and(Reader::is_end);
    is_over(details) || product.is_some_and(is_over)
}

/// `;\s\w+;$`
fn ends_with_word_after_space(agent: &str) -> bool {
    let Some(rest) = agent.strip_suffix(';') else { return false };
    let word_starts = rest.trim_end_matches(|c: char| u8::try_from(c).is_ok_and(is_word));
    let before_space = word_starts.strip_suffix(is_space);
    word_starts.len() < rest.len() && before_space.is_some_and(|before| before.ends_with(';'))
}

/// `@[a-z][\w-]+\.`
fn has_address(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'@').skip(1).any(|after| {
        let host = Reader(after).one(|byte| byte.is_ascii_lowercase());
        let host = host.and_then(|reader| reader.some(|byte| is_word(byte) || byte == b'-'));
        host.is_some_and(|reader| reader.text(".").is_some())
    })
}

/// `\b\w+/1\.0;`
fn has_first_version(text: &[u8]) -> bool {
    text.windows(6).any(|window| matches!(window, [name, b'/', b'1', b'.', b'0', b';'] if is_word(*name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shape_is_a_bot_and_what_is_nearly_one_is_not() {
        for (bot, nearly) in [
            ("acme fetcher 100% (beta?)", "acme fetcher; 100%"),
            ("acme fetcher/v1.123456789012.1234567890, x", "acme fetcher/1.2.12345678901, x"),
            ("acme fetcher/1", "acme fetcher/1.x"),
            ("acme-fetcher/abc", "acme-fetcher/ab!c"),
            ("acme/(beta)", "acme/(beta; 2)"),
            ("acme/1.2 (me@home)", "acme/1.2 (me@home!)"),
            (
                "acme!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "acme!aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
            (
                "acme!\u{1f916}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "acme!\u{1f916}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
            ("acme_search!", "acme_searches!"),
            ("12! x", "12x! y"),
            ("mozilla/5.0 acme-1.0", "mozilla/5.0 acme!1.0"),
            ("mozilla/5.0 (compatible; acme/1.0)", "mozilla/5.0 (compatible; acme/1)"),
            ("mozilla/5.0 (acme 1.0)", "mozilla/5.0 (acme 1.0) x"),
            ("mozilla/5.0\u{feff}()", "mozilla/5.0\u{85}()"),
            ("!!; x;\u{a0}acme;", "!!; x!\u{a0}acme;"),
            ("!me@acme-corp.example", "!me@1acme.example"),
            ("!acme/1.0;", "!/1.0;"),
        ] {
            assert!(is_bot_shape(bot), "{bot}");
            assert!(!is_bot_shape(nearly), "{nearly}");
        }
    }
}
