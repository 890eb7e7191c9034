//! The words of mails: one template per matter and language, from which the text and the page are made.
//!
//! A template is a subject line, `---`, and paragraphs; one of them may be a button: `[label]({{link}})`.
//! Claims: what is put in is escaped in the page; no placeholder is left over.

use crate::directory::{mail::Matter, settings::Language};

/// A mail's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The subject line.
    pub subject: String,
    /// For programs that show text.
    pub text: String,
    /// For programs that show pages.
    pub html: String,
}

const LAYOUT: &str = include_str!("templates/layout.html");
const BUTTON: &str = "display:inline-block;padding:10px 18px;background:#1a56db;color:#ffffff;border-radius:6px;text-decoration:none";

fn template(matter: &Matter, language: Language) -> &'static str {
    match (matter, language) {
        (Matter::Verify(_), Language::English) => include_str!("templates/verify.en.txt"),
        (Matter::Verify(_), Language::Chinese) => include_str!("templates/verify.zh-CN.txt"),
        (Matter::Reset(_), Language::English) => include_str!("templates/reset.en.txt"),
        (Matter::Reset(_), Language::Chinese) => include_str!("templates/reset.zh-CN.txt"),
        (Matter::AccountExists, Language::English) => include_str!("templates/account-exists.en.txt"),
        (Matter::AccountExists, Language::Chinese) => include_str!("templates/account-exists.zh-CN.txt"),
    }
}

/// Writes a mail.
pub fn write(matter: &Matter, language: Language, username: &str, link: &str) -> Words {
    let (subject, body) = template(matter, language).split_once("\n---\n").unwrap_or_default();
    let (mut text, mut content) = (String::new(), String::new());
    for paragraph in body.trim().split("\n\n") {
        let button = paragraph.strip_prefix('[').and_then(|rest| rest.strip_suffix("]({{link}})"));
        match button {
            Some(label) => {
                text.push_str(&format!("{label}:\n{link}\n\n"));
                let (label, link) = (escape(label), escape(link));
                content.push_str(&format!("<p><a href=\"{link}\" style=\"{BUTTON}\">{label}</a></p>\n"));
                content.push_str(&format!(
                    "<p style=\"font-size:13px;color:#5f6b7a;word-break:break-all\">{link}</p>\n"
                ));
            }
            None => {
                text.push_str(&paragraph.replace("{{username}}", username));
                text.push_str("\n\n");
                let paragraph = paragraph.replace("{{username}}", &escape(username));
                content.push_str(&format!("<p>{paragraph}</p>\n"));
            }
        }
    }
    let html = LAYOUT
        .replace("{{language}}", language.as_str())
        .replace("{{subject}}", &escape(subject))
        .replace("{{content}}", content.trim_end());
    Words { subject: subject.to_owned(), text: format!("{}\n", text.trim_end()), html }
}

/// A text as it stands in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::Secret;

    #[test]
    fn every_mail_has_its_words_in_both_languages() {
        let secret = || Secret::new("t");
        for matter in [Matter::Verify(secret()), Matter::Reset(secret()), Matter::AccountExists] {
            let mut subjects = Vec::new();
            for language in [Language::English, Language::Chinese] {
                let words = write(&matter, language, "ann", "https://g.example/x?a=1&b=2");
                assert!(!words.subject.is_empty() && !words.subject.contains('\n'), "{matter:?}");
                assert!(words.text.contains("\nhttps://g.example/x?a=1&b=2\n"), "{}", words.text);
                assert!(words.html.contains("href=\"https://g.example/x?a=1&amp;b=2\""), "{}", words.html);
                assert!(words.html.contains(&format!("<html lang=\"{language}\">")));
                for part in [&words.text, &words.html] {
                    assert!(part.contains("ann") && !part.contains("{{"), "{part}");
                }
                subjects.push(words.subject);
            }
            assert_ne!(subjects[0], subjects[1], "{matter:?}");
        }
    }

    #[test]
    fn a_page_holds_what_is_put_in_as_text() {
        let words = write(&Matter::AccountExists, Language::English, "<b>ann", "https://g/\"><script>");
        assert!(
            words.html.contains("Hello &lt;b&gt;ann") && !words.html.contains("<script>"),
            "{}",
            words.html
        );
        assert!(words.text.contains("Hello <b>ann"));
    }
}
