use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn compressed(script: &str) -> usize {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(script.as_bytes()).unwrap();
    encoder.finish().unwrap().len()
}

/// The address in a script, as a browser reads it.
fn endpoint_of(script: &str) -> String {
    let line = script.lines().find(|line| line.starts_with("const endpoint = ")).unwrap();
    let text = line.strip_prefix("const endpoint = '").and_then(|line| line.strip_suffix("';")).unwrap();
    let mut units = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        assert!(c.is_ascii() && !"'\"`<>\n\r".contains(c), "{c:?} in {text}");
        if c == '\\' {
            assert_eq!(rest.next(), Some('u'));
            let code: String = rest.by_ref().take(4).collect();
            units.push(u16::from_str_radix(&code, 16).unwrap());
        } else {
            units.push(c as u16);
        }
    }
    String::from_utf16(&units).unwrap()
}

#[test]
fn the_script_is_small() {
    let size = compressed(&script("/collect").unwrap());
    println!("{size} bytes compressed");
    assert!(size < 2048, "{size}");
    let longest = format!("https://stats.example/{}", "aZ9-_xQ4".repeat(100));
    assert!(compressed(&script(&longest[..MAX_ENDPOINT_BYTES]).unwrap()) < 2048);
}

/// Lines are left out without a look at what is in quotes, so nothing in quotes may look like a comment.
#[test]
fn comments_can_be_told_by_the_beginning_of_their_line() {
    assert!(!SOURCE.contains(['`']) && !SOURCE.contains("/*"));
    for line in SOURCE.lines().map(str::trim_start) {
        assert!(line.starts_with("//") || !line.contains("//"), "{line}");
        assert!(!line.ends_with('\\'), "{line}");
    }
    let delivered = script("/collect").unwrap();
    assert!(delivered.starts_with("(() => {\nconst endpoint = '/collect';\n"));
    assert!(delivered.ends_with("})();\n"));
    assert!(delivered.lines().all(|line| !line.is_empty() && !line.starts_with([' ', '/'])));
}

#[test]
fn the_place_of_the_address_is_there_once() {
    assert_eq!(SOURCE.matches(PLACE).count(), 1);
}

#[test]
fn addresses_of_servers_and_paths_are_taken() {
    for endpoint in [
        "/collect",
        "collect",
        "./a:b",
        "?event",
        "//stats.example/collect",
        "https://stats.example/collect?site=a&b=c#d",
        "HTTP://stats.example:8080",
        "https://[2001:db8::1]/collect",
        "/a@b",
        "https://stats.example/@b",
        "/'\"`</script><!--${x}",
        "/\u{2028}\u{2029}\u{feff}é\u{1F600}",
        "/';alert(1)//",
    ] {
        assert_eq!(endpoint_of(&script(endpoint).unwrap()), endpoint);
    }
}

#[test]
fn what_a_page_cannot_send_to_is_refused() {
    use EndpointError::*;
    for (endpoint, error) in [
        ("", Empty),
        ("javascript:alert(1)", Scheme),
        ("JavaScript:alert(1)", Scheme),
        ("data:text/plain,x", Scheme),
        ("mailto:a@b.example", Scheme),
        ("ftp://stats.example/", Scheme),
        ("https:collect", Scheme),
        ("http:/collect", Scheme),
        ("https:///collect", Scheme),
        ("//", Scheme),
        ("https://?x", Scheme),
        (" javascript:alert(1)", Characters),
        ("\u{1}javascript:alert(1)", Characters),
        ("java\tscript:alert(1)", Characters),
        ("java\nscript:alert(1)", Characters),
        ("/a b", Characters),
        ("\\\\stats.example\\collect", Characters),
        ("/\u{7f}", Characters),
        ("/\u{85}", Characters),
        ("https://user:secret@stats.example/collect", User),
        ("//user@stats.example", User),
    ] {
        assert_eq!(script(endpoint), Err(error), "{endpoint:?}");
    }
    assert_eq!(script(&"x".repeat(MAX_ENDPOINT_BYTES + 1)), Err(TooLong));
    assert!(script(&"x".repeat(MAX_ENDPOINT_BYTES)).is_ok());
}
