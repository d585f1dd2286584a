//! Tests of origins: what a page's URL and its referrer say together.

use super::*;
use crate::hostile;

fn find(url: &str, referrer: &str) -> Option<Origin> {
    origin(url, Some(referrer), |host| host.ends_with("own.example"))
}

#[test]
fn a_source_and_a_channel_come_from_both_texts() {
    use Channel::*;
    for (url, referrer, source, channel) in [
        // Referrers alone.
        ("/", "https://www.google.com/", "Google", OrganicSearch),
        ("/", "https://www.google.de/search?q=secret", "Google", OrganicSearch),
        ("/", "https://mail.google.com/mail/u/0/", "Gmail", Email),
        ("/", "https://docs.google.com/document/d/1", "Google Docs", Referral),
        ("/", "https://gemini.google.com/", "Gemini", AiAssistants),
        ("/", "https://www.perplexity.ai/", "Perplexity", AiAssistants),
        ("/", "https://chatgpt.com/", "ChatGPT", AiAssistants),
        ("/", "https://l.facebook.com/", "Facebook", OrganicSocial),
        ("/", "https://t.co/abc", "X", OrganicSocial),
        ("/", "https://news.ycombinator.com/item?id=1", "news.ycombinator.com", Referral),
        ("/", "https://webmail.example.com/", "webmail.example.com", Email),
        ("/", "android-app://com.google.android.gm/", "Gmail", Email),
        (
            "/",
            "android-app://com.google.android.googlequicksearchbox/https/www.google.com",
            "Google",
            OrganicSearch,
        ),
        ("/", "android-app://org.example.reader", "org.example.reader", Referral),
        ("/", "//example.com/a", "example.com", Referral),
        // Campaigns.
        ("/?utm_source=google&utm_medium=cpc", "", "Google", PaidSearch),
        ("/?utm_source=Google&utm_medium=organic", "", "Google", OrganicSearch),
        ("/?utm_source=google&utm_medium=display", "", "Google", Display),
        ("/?utm_source=fb&utm_medium=paid", "", "Facebook", PaidSocial),
        ("/?utm_source=facebook&utm_medium=cpc", "", "Facebook", PaidSocial),
        ("/?utm_source=x&utm_medium=Paid_Social", "", "X", PaidSocial),
        ("/?utm_source=acme&utm_medium=ppc", "", "acme", PaidSearch),
        ("/?utm_source=acme&utm_medium=paid-placement", "", "acme", Display),
        ("/?utm_source=acme&utm_medium=cpm", "", "acme", Display),
        ("/?utm_source=acme&utm_medium=affiliate", "", "acme", Affiliates),
        ("/?utm_source=acme&utm_medium=e-mail", "", "acme", Email),
        ("/?utm_source=newsletter", "", "Newsletter", Email),
        ("/?utm_source=acme&utm_medium=Social-Network", "", "acme", OrganicSocial),
        ("/?utm_source=linkedin&utm_medium=referral", "", "LinkedIn", OrganicSocial),
        ("/?utm_source=chatgpt.com", "", "ChatGPT", AiAssistants),
        ("/?utm_source=acme", "", "acme", Referral),
        ("/?utm_source=acme", "https://www.google.com/", "acme", Referral),
        ("/?utm_source=&ref=producthunt", "", "producthunt", Referral),
        ("/?ref=a&utm_source=b&source=c", "", "b", Referral),
        ("/?UTM_Source=acme", "", "acme", Referral),
        ("https://own.example/?utm_medium=email#utm_medium=cpc", "https://www.google.com/", "Google", Email),
        // Click ids.
        ("/?gclid=1", "", "Google", PaidSearch),
        ("/?gclid=1", "https://www.google.com/", "Google", PaidSearch),
        ("/?gclid=1", "https://news.example.com/", "Google", PaidSearch),
        ("/?gclid=1", "https://www.youtube.com/", "YouTube", PaidSocial),
        ("/?wbraid=1", "", "Google", PaidSearch),
        ("/?msclkid=1", "https://duckduckgo.com/", "DuckDuckGo", PaidSearch),
        ("/?fbclid=1", "", "Facebook", OrganicSocial),
        ("/?fbclid=1", "https://l.instagram.com/", "Instagram", OrganicSocial),
        ("/?fbclid=1&utm_source=ig&utm_medium=paid", "", "Instagram", PaidSocial),
        ("/?fbclid=1&gclid=2", "", "Google", PaidSearch),
        ("/?ttclid=1", "", "TikTok", PaidSocial),
        ("/?twclid=1", "https://t.co/", "X", PaidSocial),
        ("/?dclid=1", "", "DoubleClick", Display),
        ("/?mc_eid=1", "", "Mailchimp", Email),
        ("/?awc=1", "https://example.com/", "example.com", Affiliates),
        ("/?srsltid=1", "", "Google", OrganicSearch),
    ] {
        let origin = find(url, referrer).unwrap();
        assert_eq!((origin.source.as_deref(), origin.channel), (Some(source), channel), "{url} {referrer}");
    }
}

#[test]
fn a_direct_visit_has_no_origin() {
    for (url, referrer) in [
        ("/", ""),
        ("/", "-"),
        ("/", "https://own.example/a"),
        ("/", "https://www.own.example/a"),
        ("/?gclid=&utm_source=%20&utm_medium=(none)&ref", "about:blank"),
        ("/?q=utm_source", "file:///a"),
        ("/", "chrome-extension://abcdef/"),
        ("not an url ?utm_source=a", "nor this"),
    ] {
        assert_eq!(find(url, referrer), None, "{url} {referrer}");
    }
    assert_eq!(origin("/", None, |_| false), None);
    let campaign = find("/?utm_campaign=spring", "https://own.example/").unwrap();
    assert_eq!((campaign.source, campaign.referrer, campaign.channel), (None, None, Channel::Direct));
}

#[test]
fn a_referrer_is_host_and_path_without_query() {
    for (referrer, expected) in [
        ("https://user@News.example.com:8080/a//b/?q=secret#c", "news.example.com/a/b/"),
        ("https://www.google.com", "www.google.com/"),
        ("https://example.com/\u{e9}", "example.com/%C3%A9"),
        ("http://[::1]/a", "::1/a"),
        ("android-app://com.google.android.gm/https/x", "com.google.android.gm"),
    ] {
        assert_eq!(find("/", referrer).unwrap().referrer.as_deref(), Some(expected));
    }
    let long = find("/", &format!("https://example.com/{}", "a".repeat(1000))).unwrap();
    assert_eq!(long.referrer.unwrap().len(), MAX_VALUE_BYTES);
}

#[test]
fn values_are_decoded_cleaned_and_cut() {
    let origin = find("/?utm_campaign=+a%00%0Ab+%E2%80%AEc%20&utm_term=%FF&utm_content=%zz", "").unwrap();
    assert_eq!(origin.campaign.as_deref(), Some("ab c"));
    assert_eq!(origin.term.as_deref(), Some("\u{fffd}"));
    assert_eq!(origin.content.as_deref(), Some("%zz"));
    let long = find(&format!("/?utm_term=a{}", "%C3%A9".repeat(500)), "").unwrap();
    assert_eq!(long.term.unwrap().len(), MAX_VALUE_BYTES - 1);
}

#[test]
fn hostile_texts_give_bounded_origins() {
    hostile::texts(|text| {
        let campaign = format!("/?utm_source={text}&utm_medium={text}&utm_campaign={text}&{text}");
        for (url, referrer) in [(text, text), (campaign.as_str(), text), ("/", &format!("https://{text}"))] {
            let Some(origin) = find(url, referrer) else { continue };
            for value in
                [origin.source, origin.referrer, origin.medium, origin.campaign, origin.term, origin.content]
                    .into_iter()
                    .flatten()
            {
                assert!(!value.is_empty() && value.len() <= MAX_VALUE_BYTES, "{url}");
                assert!(!value.chars().any(char::is_control) && value == value.trim(), "{url}");
            }
        }
    });
}
